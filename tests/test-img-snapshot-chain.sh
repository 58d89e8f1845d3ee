#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Chains that vmdk-img snapshot has made: written by the plugin at each
# level, every level is what it was when its child was made, and what was
# written after; qemu reads the same.

. ./functions.sh
. "$srcdir/writing.sh"

size=$((5 * 1024 * 1024 + 512))

# written FILE REQUEST...: and d.raw.
written ()
{
  serve "$1"
  change "${@:2}" flush
  right
  stop_server
}

# is FILE RAW: as qemu reads it, and as we do.
is ()
{
  qemu-img compare -f vmdk -F raw "$1" "$2" > qemu.out 2>&1 ||
    fail "$1: qemu: $(cat qemu.out)"
  rm -f ours.raw
  "$vmdk_img" convert -t raw "$1" ours.raw
  same_bytes ours.raw "$2"
}

# chain ARGS...: of create
chain ()
{
  rm -f d*.vmdk ./*.raw
  "$vmdk_img" create "$@" $size d.vmdk
  truncate -s $size d.raw
  written d.vmdk write 0 300000 0x11 write $((size - 5000)) 5000 0x12
  "$vmdk_img" snapshot d.vmdk > /dev/null
  "$vmdk_img" snapshot d.vmdk > /dev/null
  is d-000001.vmdk d.raw
  cp d.raw base.raw

  written d-000001.vmdk write 1000 100 0x21 zero 100000 70000 \
          write 2000000 500000 0x22
  "$vmdk_img" snapshot d-000001.vmdk > /dev/null
  cp d.raw first.raw
  written d-000003.vmdk write 2100000 65536 0x31 zero 0 4096 \
          write $((size - 512)) 512 0x32
  is d-000003.vmdk d.raw
  "$vmdk_img" check d-000003.vmdk > check.out || [ $? -eq 3 ] ||
    fail "$(cat check.out)"

  # The brother of the first one is over the base as it was.
  cp base.raw d.raw
  written d-000002.vmdk write 4000000 1000 0x41
  is d-000002.vmdk d.raw
  is d-000001.vmdk first.raw
  is d.vmdk base.raw

  # The base may not be written any more.
  if run_plugin file=d.vmdk --run 'nbdinfo --can write "$uri"' >out 2>&1; then
    fail "the parent can be written: $(cat out)"
  fi
}

chain -t twoGbMaxExtentSparse
chain -t vmfs
