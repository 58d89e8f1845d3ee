#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# fio on four connections, each with a part of the disk: it writes at random,
# overwrites, trims, and verifies what it reads, once more later.

. ../functions.sh
requires fio --version
requires fio --enghelp=nbd
. "$srcdir/writing.sh"

part=16 # MiB

# fio_jobs ARGS...: by four jobs with a connection each.
fio_jobs ()
{
  fio --name=test --ioengine=nbd --uri="$uri" --thread=1 --numjobs=4 \
      --size=${part}M --offset_increment=${part}M --iodepth=16 \
      --verify=crc32c --verify_fatal=1 --randseed=11 --output=fio.out "$@" ||
    fail "$*: $(cat fio.out) $(cat "$server_log")"
  grep -q 'err= 0' fio.out || fail "$(cat fio.out)"
  [ "$(grep -c 'err= 0' fio.out)" = 4 ] || fail "$(cat fio.out)"
}

# verified BUILDER [KEY=VALUE...]
verified ()
{
  new_disk "$@"
  serve d.vmdk
  fio_jobs --rw=randwrite --bsrange=512-64k --fsync=50
  stop_server
  # What was written is there for another server.
  serve d.vmdk
  fio_jobs --rw=randwrite --bsrange=512-64k --verify_only
  fio_jobs --rw=randrw --bs=4k --fsync=32
  fio_jobs --rw=randtrimwrite --bs=64k --verify=0
  nbdcopy --connections=4 "$uri" d.raw
  quiet
  closed_right
  check_quiet
  echo "$*: verified"
}

size=$((4 * part * 2048))
verified sparse size=$size alloc=mixed:30
verified chain size=$size layers='sparse alloc=all; sparse alloc=none grain=8'
no_qemu=1 verified split kind=sparse piece=33333 size=$size alloc=none
