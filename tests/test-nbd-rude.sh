#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Clients that leave in the middle of a write, send garbage, or say nothing:
# nothing of what they didn't finish is stored, and others are served.

. ./functions.sh
. "$srcdir/writing.sh"

# rude WHAT [ARGS...]
rude ()
{
  python3 "$srcdir/nbdrude.py" "$1" "$sock" d.raw "${@:2}" > found 2>&1 ||
    fail "$1: $(cat found) $(tail -n 5 "$server_log")"
  kill -0 "$server_pid" 2> /dev/null || fail "$1: the server has died"
}

# all_rude BUILDER [KEY=VALUE...]
all_rude ()
{
  new_disk "$@"
  serve d.vmdk
  rude halves
  rude garbage
  rude idle 60
  right
  # What is said of them is nbdkit's.
  grep -F 'd.vmdk' "$server_log" && fail "$*: messages"
  closed_right
  check_quiet
}

all_rude sparse size=9001 grain=8 alloc=mixed:40
all_rude chain size=9001 \
         layers='sparse alloc=mixed:70; cowd alloc=random:20 grain=16'
