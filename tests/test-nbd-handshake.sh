#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Clients of all ages: with and without structured replies, NBD_OPT_GO,
# the fixed handshake, and the old one that asks nothing.  Each with all
# flags that there are and aren't, and with many requests at a time, of
# which some are errors.

. ./functions.sh
. "$srcdir/writing.sh"

# talk ARGS... -- [HOW...]: the arguments are nbdkit's.
talk ()
{
  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  serve d.vmdk ${before[@]+"${before[@]}"}
  python3 "$srcdir/nbdcorners.py" talk "$sock" d.raw "$@" > found 2>&1 ||
    fail "${before[*]-} $*: $(cat found) $(tail -n 5 "$server_log")"
  grep -v -e 'invalid request' -e 'invalid command' "$server_log" &&
    fail "${before[*]-} $*: messages"
  stop_server
}

new_disk chain size=9001 \
         layers='sparse alloc=mixed:70 grain=16; sparse alloc=mixed:30 grain=8'
talk --
talk -- simple
talk -- contexts
talk -- export-name
talk -- simple export-name
talk --no-sr -- simple
talk --mask-handshake=0 -- simple export-name
talk --mask-handshake=1 --
# Read-only ones are left out: nbdkit 1.32 aborts when such a client writes.
talk -o -- simple
talk -r -- read-only
serve d.vmdk -r
right
stop_server
check_quiet
new_disk stream size=9001 alloc=mixed:50
talk -- read-only
new_disk cowd size=9001 alloc=mixed:50
talk -- contexts
