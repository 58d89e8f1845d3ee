#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Zeroing with FAST_ZERO: what would be slow is refused for the whole range,
# before any of it has changed.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536
not_supported=95

# fingerprint: of all files.
fingerprint ()
{
  sha256sum ./*.vmdk
}

new_disk chain size=4000 layers="sparse alloc=all; sparse alloc=0-5,12"
before=$(fingerprint)
serve d.vmdk
# Whole grains are fast, parts of a grain over the parent aren't: at the
# end of the range, in its middle (grain 12 has a place), at its beginning.
refused $not_supported zero 0 $((7 * grain + 1)) fast may-trim \
        zero $((8 * grain + 5)) $((3 * grain)) fast may-trim \
        zero $((3 * grain)) $((12 * grain - 100)) fast may-trim
right
[ "$before" = "$(fingerprint)" ] || fail 'it was refused, but done in part'
[ -z "$(server_errors)" ] || fail "$(cat "$server_log")"
change zero 0 $((8 * grain)) fast may-trim
right
closed_right

# Where there is nothing below, any part is fast.
new_disk sparse size=4000 alloc=0-5,12
serve d.vmdk
change zero 5 $((20 * grain)) fast may-trim
right
closed_right
