#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# fio writes, overwrites and trims at random on several connections, and
# verifies what it reads.

. ./functions.sh
requires fio --version
requires fio --enghelp=nbd
. "$srcdir/writing.sh"

# verified ARGS...: a disk of 20 MiB, to which fio does this.
verified ()
{
  serve d.vmdk
  fio --name=test --ioengine=nbd --uri="$uri" --size=20M --iodepth=16 \
      --verify=crc32c --verify_fatal=1 --randseed=7 --output=fio.out "$@" ||
    fail "$(cat fio.out)"
  nbdcopy "$uri" d.raw
  quiet
  closed_right
}

new_disk sparse size=40960 alloc=mixed:30
verified --rw=randwrite --bsrange=512-64k --fsync=100
# The second time over what is there.
verified --rw=randwrite --bs=4k --fsync=64
new_disk chain size=40960 layers='sparse alloc=all; cowd alloc=none grain=1'
verified --rw=randwrite --bsrange=512-64k --fsync=100
