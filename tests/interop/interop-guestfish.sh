#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# guestfish: libguestfs's own small machine partitions a disk, makes a file
# system, fills it, and finds all of it again.

. ../functions.sh
requires guestfish --version
requires supermin --version
. "$srcdir/writing.sh"
. "$srcdir/interop/vm.sh"

vm_kernel
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
export LIBGUESTFS_CACHEDIR=$scratch LIBGUESTFS_TMPDIR=$scratch
export SUPERMIN_KERNEL=$kernel SUPERMIN_MODULES=$modules
# It can't be told to look elsewhere.
[ -d /lib/modules ] || skip "supermin needs a folder /lib/modules"
timeout 120 supermin --build -f ext2 --host-cpu "$(uname -m)" -o appliance \
        /usr/lib/*/guestfs/supermin.d > supermin.log 2>&1 ||
  skip "supermin can't build the appliance: $(tail -n 1 supermin.log)"
rm -rf appliance

# fish [--ro]: commands from standard input, with the last server's disk.
fish ()
{
  if timeout 140 guestfish --format=raw -a "nbd://?socket=$sock" "$@" \
             > fish.out 2>&1; then
    return
  fi
  grep -q started fish.out ||
    skip "libguestfs's machine doesn't start here: $(tail -n 3 fish.out)"
  fail "guestfish: $(tail -n 20 fish.out) $(cat "$server_log")"
}

"$vmdk_img" create -t monolithicSparse 256M d.vmdk
head -c 5000000 /dev/urandom > file
sum=$(md5sum file | cut -d ' ' -f 1)
serve d.vmdk
fish <<END
run
echo started
part-disk /dev/sda mbr
mkfs ext4 /dev/sda1
mount /dev/sda1 /
mkdir /folder
upload file /folder/file
upload file /gone
write /hello "some text"
sync
rm /gone
umount /
END
stop_server
[ -z "$(server_errors)" ] || fail "$(server_errors)"
check_quiet
echo "$(data_kib d.vmdk) KiB are used"

# On another format, which it can only read.
"$vmdk_img" convert -t streamOptimized d.vmdk s.vmdk
serve s.vmdk
fish --ro <<END
run
echo started
e2fsck-f /dev/sda1
mount-ro /dev/sda1 /
checksum md5 /folder/file
cat /hello
END
grep -q "$sum" fish.out || fail "$(cat fish.out)"
grep -q 'some text' fish.out || fail "$(cat fish.out)"
