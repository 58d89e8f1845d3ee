#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Images that other programs broke: each is refused with one clear line.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)
requires_images hostile-afl9.vmdk.bz2 tiny-2049-bytes.vmdk \
                truncated-stream.vmdk multi-disk.ova ova-without-disk.ova

cd "$scratch"

hostile=$(image hostile-afl9.vmdk.bz2)
expect_error 'hostile-afl9.vmdk: hosted sparse header: .*expected' \
             run_plugin file="$hostile"
expect_error 'tiny-2049-bytes.vmdk: .*truncated' \
             run_plugin file="$VMDK_IMAGES/tiny-2049-bytes.vmdk"
expect_error 'truncated-stream.vmdk: truncated: .*recover=true' \
             run_plugin file="$VMDK_IMAGES/truncated-stream.vmdk"
expect_error 'multi-disk.ova: there are 3 disks in this archive; .*member=NAME' \
             run_plugin file="$VMDK_IMAGES/multi-disk.ova"
expect_error 'ova-without-disk.ova: the disk testserver-disk1.vmdk, .* isn.t' \
             run_plugin file="$VMDK_IMAGES/ova-without-disk.ova"
expect_error 'vmfs_thick-flat.vmdk: .*open the descriptor instead' \
             run_plugin file="$VMDK_IMAGES/vmfs_thick-flat.vmdk"

# What is left of the stream can be had.
serve file="$VMDK_IMAGES/truncated-stream.vmdk" recover=true
server_warnings | grep -q 'recovered: [0-9]* grains were found' ||
  fail "$(cat "$server_log")"
data=$(nbdinfo --map --totals "$uri" | awk '$3 == 0 { print $1 }')
[ "$data" -gt $((1 << 20)) ] || fail "only $data bytes were found"
nbdcopy "$uri" - > out
[ "$(head -c $((1 << 28)) out | tr -d '\0' | wc -c)" -gt 1000000 ]
