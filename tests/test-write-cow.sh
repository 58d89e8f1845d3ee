#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Writes to the top of a chain: what the guest didn't write of a grain comes
# from the parent, which isn't changed, and isn't read without need.

. ./functions.sh
. "$srcdir/writing.sh"

parents ()
{
  find . -name 'd-[0-9]*' -exec sha256sum {} + | sort
}

# Of the parents too: also the time of their last change.
times ()
{
  find . -name 'd-[0-9]*' -printf '%p %T@\n' | sort
}

# cow KEY=VALUE...: writes to a chain of which only d.vmdk is the top.
cow ()
{
  local size before offset=4321

  new_disk chain "$@"
  size=$(stat -c %s d.raw)
  before=$(parents; times)
  serve d.vmdk
  set -- write 0 1 new.raw write $((size - 1)) 1 new.raw \
      write 65536 65536 new.raw write 200001 99999 new.raw \
      write $((size / 2)) $((size / 3)) new.raw
  while [ $offset -lt $size ]; do
    set -- "$@" write $offset 3 0xa5
    offset=$((offset + 54321))
  done
  change "$@" flush
  right
  [ -z "$(server_errors)" ] || fail "messages: $(cat "$server_log")"
  closed_right
  [ "$before" = "$(parents; times)" ] || fail "a parent was changed"
}

# The same grains, larger ones and smaller ones; all kinds of parents.
cow size=5001 layers='flat alloc=random:60; sparse alloc=mixed:30'
cow size=5001 layers='sparse grain=8 alloc=mixed:60;
  sparse grain=64 alloc=mixed:30'
cow size=5001 layers='sparse grain=256 alloc=mixed:60;
  sparse grain=8 alloc=mixed:30 order=random'
cow size=5001 layers='sparse alloc=mixed:60; cowd grain=1 alloc=mixed:30'
# qemu has no grains of COWD that are marked as zero.
cow size=5001 layers='stream alloc=random:60; cowd grain=8 alloc=random:30'
no_qemu=1 cow size=5001 layers='stream alloc=random:60;
  cowd grain=128 alloc=mixed:30'
cow size=5120 layers='cowd grain=8 alloc=random:60; sparse alloc=mixed:30'
cow size=5120 layers='sesparse alloc=mixed:60; sparse grain=16 alloc=mixed:30'
cow size=5120 layers='split piece=2048 alloc=mixed:60;
  sparse grain=8 alloc=mixed:30; cowd grain=8 alloc=random:30;
  sparse grain=32 alloc=mixed:30'

# Parents that are smaller or larger than the child.
no_qemu=1 cow layers='sparse size=3001 alloc=all; sparse size=5001 alloc=none'
no_qemu=1 cow layers='sparse size=6001 alloc=all; sparse size=5001 alloc=none'

# Of the parent only the first two grains are left, but grains that are
# written as a whole don't need it.
new_disk chain size=1280 layers='flat alloc=all; sparse alloc=none'
serve d.vmdk
truncate -s $((2 * 65536)) d-0-flat.vmdk
change write $((2 * 65536)) $((4 * 65536)) new.raw
refused 5 write $((7 * 65536)) 1 0x55 write $((8 * 65536 + 1)) 65535 0x55
change write 0 1 new.raw write $((9 * 65536)) 65536 new.raw
for grain in 0 1 2 3 4 5 9; do
  set -- "$@" compare $((grain * 65536)) 65536 d.raw
done
[ "$(nbd "$@" | sort -u)" = same ] || fail "what was written isn't there"
stop_server
$written sound d.vmdk
