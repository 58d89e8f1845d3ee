#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Writes of all lengths and at all places, in all formats that can be
# written, over grains that have a place, have none, or are marked as zero.

. ./functions.sh
. "$srcdir/writing.sh"

# all_kinds BUILDER [KEY=VALUE...]: first as the server that wrote reads it,
# then as others do.
all_kinds ()
{
  local size grain=65536 offset

  new_disk "$@"
  size=$(stat -c %s d.raw)
  serve d.vmdk
  # The first and last bytes, and those around the border of a grain.
  change write 0 1 new.raw write $((size - 1)) 1 new.raw \
         write $((grain - 1)) 1 new.raw write $((3 * grain - 1)) 2 new.raw \
         write $((5 * grain + 511)) 511 new.raw \
         write $((6 * grain + 1)) 513 new.raw \
         write $((7 * grain)) 512 new.raw write $((8 * grain)) 4096 new.raw \
         write $((size - 700)) 700 new.raw
  # Whole grains, several of them, and parts of grains on both sides.
  change write $((10 * grain)) $grain new.raw \
         write $((12 * grain)) $((3 * grain)) new.raw \
         write $((17 * grain + 100)) $((4 * grain)) new.raw
  # One byte here and there finds grains of every kind.
  offset=23456
  set --
  while [ $offset -lt $size ]; do
    set -- "$@" write $offset 1 0xa5
    offset=$((offset + 77777))
  done
  change "$@" flush
  right
  quiet
  closed_right
}

all_kinds sparse size=9001 alloc=mixed:60 order=random
check_quiet
# Once more, with what is there now.
serve d.vmdk
change write 4095 2 0x11 write 131072 1310720 new.raw
quiet
closed_right
check_quiet

all_kinds sparse size=9001 alloc=mixed:60 grain=8 gtes=128 rgd=0
all_kinds sparse size=9001 alloc=mixed:50 grain=16 short=1
all_kinds sparse size=9001 alloc=none grain=64 tables=end
# qemu reads past the end of an extent that ends within a grain.
no_qemu=1 all_kinds split size=9001 alloc=mixed:50 piece=777 grain=8
all_kinds split size=9001 alloc=mixed:50 piece=5000 kind=flat
all_kinds vmfs size=9001 alloc=mixed:50
all_kinds cowd size=9001 alloc=mixed:50 grain=1
# qemu has no grains that are marked as zero here.
all_kinds cowd size=9001 alloc=random:50 grain=128 order=random
check_quiet
# And it wants a power of two.
no_qemu=1 all_kinds cowd size=9001 alloc=mixed:50 grain=100
# It has no such type.
no_qemu=1 all_kinds custom extents="RW 1001 flat offset=63;
  RW 3000 sparse grain=8; RW 2500 vmfs; RW 2500 sparse alloc=mixed:50"

# As much as a request can have, from a place in the middle of a grain.
new_disk sparse size=70000 alloc=none
serve d.vmdk
change write 100000 $((32 << 20)) new.raw
right
quiet
closed_right
