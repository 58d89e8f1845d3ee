#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Block devices: an image reaches them only with allow-devices=true; the user
# always.

. ./functions.sh
. "$srcdir/hostile.sh"
requires losetup --version
[ "$(id -u)" -eq 0 ] || skip "only root can make a loop device"

mkdir disk
head -c 65536 /dev/urandom > good.raw
device=$(losetup -f --show -r good.raw 2>/dev/null) ||
  skip "there is no loop device"
cleanup_fn losetup -d "$device"

for type in FLAT VMFSRAW VMFS; do
  write_descriptor disk/d.vmdk "RW 128 $type \"$device\" 0"
  expect_error "line 6: extent \"$device\" is a device; .*allow-devices=true" \
    run_plugin disk/d.vmdk
  expect_error "line 6: extent \"$device\" is a device" \
    run_plugin disk/d.vmdk allow-devices=false
  served_right disk/d.vmdk allow-devices=true
  served_right disk/d.vmdk "extent=$device=$device"
done

# By a link, or as a node in the image's folder.
ln -s "$device" disk/link
write_descriptor disk/d.vmdk 'RW 128 FLAT "link" 0'
expect_error 'leads out' run_plugin disk/d.vmdk
expect_error 'leads out' run_plugin disk/d.vmdk allow-devices=true
if mknod disk/node b "0x$(stat -L -c %t "$device")" \
     "0x$(stat -L -c %T "$device")"; then
  write_descriptor disk/d.vmdk 'RW 128 FLAT "node" 0'
  expect_error 'extent "node": isn.t a regular file.*allow-devices=true' \
    run_plugin disk/d.vmdk
  served_right disk/d.vmdk allow-devices=true
fi

# A device is never a parent that an image chose.
print_descriptor 'RW 128 FLAT "x" 0' "parentFileNameHint=\"$device\"" |
  sed 's/^parentCID=.*/parentCID=12345678/' > disk/d.vmdk
cp good.raw disk/x
expect_error 'its parent .* can.t be opened' \
  run_plugin disk/d.vmdk allow-devices=true trusted-dir=/dev

# A sparse extent on a device.
$vmdkgen sparse size=100 grain=8 sparse.vmdk good.raw
truncate -s 1M sparse.vmdk
sparse=$(losetup -f --show -r sparse.vmdk)
cleanup_fn losetup -d "$sparse"
served_right "$sparse"
