#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Trimming gives space back, and keeps the places of grains, so that a disk
# that is trimmed and filled again doesn't grow.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

# trim FILE BUILDER ARGS...: FILE is the extent's.
trim ()
{
  local size before kib file=$1

  new_disk "${@:2}"
  size=$(stat -c %s d.raw)
  before=$($written places "$file") kib=$(data_kib "$file")
  serve d.vmdk
  change trim 0 $((2 * grain)) trim $((5 * grain)) $((4 * grain)) \
         trim $((10 * grain)) $((size - 10 * grain)) fua
  right
  [ $((kib - $(data_kib "$file"))) -ge $((6 * 64)) ] ||
    fail "no space was given back: $kib, $(data_kib "$file")"
  quiet
  closed_right
  [ "$before" = "$($written places "$file")" ] || fail 'grains have moved'
  serve d.vmdk
  # Those of COWD aren't at the borders of blocks.
  nbd extent $grain 4096 extent $((3 * grain)) 1 extent $((8 * grain)) 4096 |
    tr '\n' ' ' > found
  [ "$(cat found)" = "$grain:4096:3 $((3 * grain)):1:0 $((8 * grain)):4096:3 " \
    ] || fail "extents: $(cat found)"
  change write 0 $size new.raw
  quiet
  closed_right
}

trim d.vmdk sparse size=4001 alloc=all
trim d-delta.vmdk cowd size=4001 alloc=all grain=8

# Over a parent only grains as a whole are trimmed, and are zero then.
new_disk chain size=4001 layers="sparse alloc=all; sparse alloc=1,2"
serve d.vmdk
change trim 0 $((5 * grain))
nbd trim $((7 * grain + 1)) $((2 * grain)) > found
$written change "$sock" d.raw trim $((8 * grain)) $grain
right
closed_right

#----------------------------------------------------------------------
# Ten times filled and trimmed.

# refill ROUNDS BUILDER ARGS...: no more blocks and no longer files than when
# it was full once.
refill ()
{
  local i size=$((2001 * 512)) files most_kib=0 most_bytes=0

  new_disk "${@:2}"
  for ((i = 1; i <= $1; i++)); do
    # Every third time with a new server.
    [ $((i % 3)) -ne 1 ] || serve d.vmdk
    change write 0 $size new.raw flush
    files=(d*.vmdk)
    if [ $i = 1 ]; then
      most_kib=$(data_kib "${files[@]}")
      most_bytes=$(sum_of %s "${files[@]}")
    fi
    # Extents of the tree that the file system has may differ a little.
    [ "$(data_kib "${files[@]}")" -le $((most_kib + 64)) ] ||
      fail "round $i: $(data_kib "${files[@]}") KiB, not $most_kib"
    [ "$(sum_of %s "${files[@]}")" -le "$most_bytes" ] ||
      fail "round $i: longer than $most_bytes"
    change trim 0 $size flush
    [ $(($(data_kib "${files[@]}") + 900)) -le "$most_kib" ] ||
      fail "round $i: no space given back"
    [ $((i % 3)) -ne 0 ] || stop_server
  done
  [ -S "$sock" ] || serve d.vmdk
  right
  closed_right
}

refill 10 sparse size=2001 alloc=none
refill 4 cowd size=2001 alloc=none grain=8
refill 4 chain size=2001 layers='sparse alloc=none; split piece=1024 alloc=none'
