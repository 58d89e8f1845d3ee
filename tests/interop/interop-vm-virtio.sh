#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A virtual machine with disks that qemu gets from us over NBD: file systems
# are made, loaded, trimmed and checked in it, and again outside.

. ../functions.sh
. "$srcdir/interop/vm.sh"

# One new disk, one split in files, and a child over a disk that has a file
# system already.
mkdir tree
for i in $(seq 1 9); do
  head -c $((i * 54321)) "$plugin" > "tree/old-$i"
done
truncate -s 256M old.raw
mke2fs -q -t ext4 -d tree old.raw
"$vmdk_img" convert --format=raw old.raw base.vmdk
"$vmdk_img" snapshot base.vmdk vdc.vmdk > /dev/null
"$vmdk_img" create -t monolithicSparse 256M vda.vmdk
"$vmdk_img" create -t twoGbMaxExtentSparse 256M vdb.vmdk
base=$(sha256sum < base.vmdk)
(cd tree && sha256sum -- *) | sed 's,  ,  /mnt/vdc/,' > old.sums
rm -rf tree old.raw

disks=(vda vdb vdc)
servers=()
for disk in "${disks[@]}"; do
  serve "$disk.vmdk"
  servers+=("$server_pid")
  vm_add_disk "$disk" "$sock" ,discard=unmap,detect-zeroes=unmap
done
vm_start

guest 'each make -- vda vdb'
guest "each attach -- ${disks[*]}"
guest "each load a 2 12 -- ${disks[*]}" > log
cat old.sums >> log
guest "each large 16 -- ${disks[*]}"
declare -A before
for disk in "${disks[@]}"; do
  before[$disk]=$(kib "$disk"*.vmdk)
done
guest "each discard -- ${disks[*]}"
for disk in "${disks[@]}"; do
  after=$(kib "$disk"*.vmdk)
  given=$((before[$disk] - after))
  echo "$disk: fstrim gave back $given of ${before[$disk]} KiB"
  [ $given -gt 12000 ] || fail "fstrim gave nothing back"
done
guest "each detach -- ${disks[*]}"
guest "each verify -- ${disks[*]}"
guest "each attach -- ${disks[*]}"
guest "each sums -- ${disks[*]}" > found.guest
for disk in "${disks[@]}"; do
  all_kept "$disk" log found.guest
  echo "$disk: $files_kept files"
done
guest "each detach -- ${disks[*]}"
vm_stop
echo "the machine has ended after $SECONDS s"

for pid in "${servers[@]}"; do
  stop_server "$pid"
done
if grep -E 'error|warning' server*.log; then
  fail "a server had something to say"
fi
for disk in "${disks[@]}"; do
  sound_disk "$disk.vmdk" "$disk" log
done
[ "$(sha256sum < base.vmdk)" = "$base" ] || fail "the parent was changed"
echo "all was done after $SECONDS s"
