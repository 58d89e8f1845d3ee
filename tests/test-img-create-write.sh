#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img create: what is written to a new disk is read back, by qemu as
# well, whatever its grains are and whether they have a place already; and a
# descriptor for bytes that are there.

. ./functions.sh
. "$srcdir/writing.sh"

# What is written comes back, also by qemu: with other sizes of grains, too.
writable ()
{
  rm -f d*.vmdk d.raw
  "$vmdk_img" create "$@" 7777s d.vmdk
  truncate -s $((7777 * 512)) d.raw
  serve d.vmdk
  change write 0 1000 0x11 write 65535 2 0x22 write $((7000 * 512)) 5000 0x33 \
         zero 300 100 write $((7776 * 512)) 512 0x44 flush
  right
  stop_server
  qemu_right
  check_quiet
}
writable
writable -t twoGbMaxExtentSparse --grain-size=8K
writable -t vmfs
writable -t vmfsSparse --grain-size=8K
writable --preallocate=metadata

# Preallocated: each grain has its place, and then its space.
rm -f d.raw
truncate -s 1M d.raw
for type in monolithicSparse vmfsSparse; do
  for how in metadata full; do
    rm -f d*.vmdk
    "$vmdk_img" create -t $type --preallocate=$how 1M d.vmdk
    qemu_right
    check_quiet
    grep -q 'allocated: .* = 100.00%' check.out || fail "$(cat check.out)"
    used=$(du -B 1 --total d*.vmdk | tail -n 1 | cut -f 1)
    [ $how != full ] || [ "$used" -ge 1048576 ] || fail "only $used bytes"
  done
done
rm -f d*.vmdk
"$vmdk_img" create -t vmfsThick 1M d.vmdk
[ $(($(stat -c '%b * %B' d-flat.vmdk))) -ge 1048576 ] || fail "not full"
! grep thin d.vmdk >&2 || fail "not thin"
"$vmdk_img" create --force -t vmfsThin 1M d.vmdk
grep -q '^ddb.thinProvisioned = "1"$' d.vmdk || fail "$(cat d.vmdk)"

# A descriptor for bytes that are there.
rm -f d*.vmdk d.raw
head -c 1M /dev/urandom > d.raw
cp d.raw d-flat.vmdk
"$vmdk_img" create --from-flat=d-flat.vmdk d.vmdk
grep -q '^RW 2048 VMFS "d-flat.vmdk"$' d.vmdk || fail "$(cat d.vmdk)"
qemu_right
rm d.vmdk
mkdir below
ln d.raw below/x.img
"$vmdk_img" create --from-flat=below/x.img d.vmdk
grep -q '^RW 2048 FLAT "below/x.img" 0$' d.vmdk || fail "$(cat d.vmdk)"
qemu_right
truncate -s 512K d.raw
"$vmdk_img" create --force --from-flat=d-flat.vmdk -t monolithicFlat 512K d.vmdk
grep -q '^RW 1024 FLAT "d-flat.vmdk" 0$' d.vmdk || fail "$(cat d.vmdk)"
qemu_right
