#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The quickstart does what it promises with the plugin that was built.

. ./functions.sh
requires_no_sanitizers # it runs nbdkit by itself
PATH=$PATH:/usr/sbin:/sbin
requires nbdkit
requires nbdinfo
requires qemu-img
requires mke2fs

quickstart=$top_srcdir/examples/quickstart.sh
export PLUGIN=$plugin TMPDIR=$scratch

# Its own sample.
bash "$quickstart" --check | tee "$scratch/out"
grep -q 'export-size: 67108864' "$scratch/out" || fail "not 64 MiB"

# A named disk, with odd characters.
mkdir "$scratch/my disks"
disk="$scratch/my disks/a=b, c.vmdk"
qemu-img create -q -f vmdk "$disk" 3M
qemu-io -c 'write -P 5 1M 64k' "$disk" >/dev/null
bash "$quickstart" --check "$disk" | tee "$scratch/out"
grep -q 'export-size: 3145728' "$scratch/out" || fail "not 3 MiB"

# One line for a slip.
expect_error 'none\.vmdk: there is no such file$' \
  bash "$quickstart" "$scratch/none.vmdk"
expect_error '^usage: ' bash "$quickstart" --what
expect_error 'not a file' bash "$quickstart" "$scratch"

# It leaves nothing behind.
if ls -d "$scratch"/vmdk-quickstart.*; then
  fail "files were left"
fi
