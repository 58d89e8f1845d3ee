#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Where the file system can't punch holes, zeroes are written, and trimming
# succeeds and does nothing; no error of the file system becomes one of ours.

. ./functions.sh
requires_no_sanitizers
. "$srcdir/writing.sh"

shim=$top_builddir/tests/.libs/nopunch-shim.so
[ -e "$shim" ] || skip "there is no $shim"
nbdkit_command=(env "LD_PRELOAD=$shim" nbdkit)

grain=65536

# without BUILDER ARGS...
without ()
{
  new_disk "$@"
  serve d.vmdk
  # Slow zeroing is refused at once to who asks for that, also as the first.
  [ "$(nbd zero 0 100 fast may-trim)" = 'error 95' ] || fail 'fast?'
  change zero 100 1000 zero $grain $((3 * grain)) may-trim \
         zero $((5 * grain + 17)) $((2 * grain)) \
         zero $((20 * grain + 1)) 65000 may-trim fua
  nbd trim 0 $((5 * grain)) trim $((6 * grain + 100)) 70000 > found
  [ "$(sort -u found)" = ok ] || fail "$(cat found)"
  right
  change write $((2 * grain + 9)) 3000 new.raw flush
  right
  quiet
  closed_right
}

without sparse size=4001 alloc=0-20
without flat size=4001 alloc=0-20
without cowd size=4001 alloc=all grain=8

# Over a parent: trimmed grains may become holes, but nothing else.
new_disk chain size=4001 layers='sparse alloc=all; sparse alloc=0-5'
serve d.vmdk
change zero $((4 * grain)) $((5 * grain)) may-trim \
       zero $((10 * grain + 5)) 100 trim $((12 * grain)) $grain
right
quiet
closed_right

# It doesn't grow by being trimmed and filled again.
new_disk sparse size=2001 alloc=none
serve d.vmdk
change write 0 $((2001 * 512)) new.raw flush
length=$(stat -c %s d.vmdk)
for i in 1 2 3; do
  [ "$(nbd trim 0 $((2001 * 512)))" = ok ]
  change write 0 $((2001 * 512)) new.raw zero 0 $((2001 * 512)) may-trim
done
right
closed_right
[ "$(stat -c %s d.vmdk)" -le "$length" ] || fail 'it has grown'
