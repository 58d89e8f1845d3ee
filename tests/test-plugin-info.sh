#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What the plugin says of itself: --help, --dump-plugin, the export's
# description, block sizes and flags.

. ./functions.sh
requires nbdinfo --version
requires python3
requires jq --version

cd "$scratch"

run_plugin --help > help
for name in file fd extent parent trusted-dir allow-devices single-link \
            cid-check recover table-cache grain-cache; do
  grep -q -E "^(\[$name=\]|$name=)" help || fail "--help lacks $name="
done

run_plugin --dump-plugin > dump
for line in name=vmdk thread_model=parallel magic_config_key=file \
            errno_is_preserved=1 'vmdk_version=[0-9.]*' \
            'vmdk_formats=.*monolithicSparse.*streamOptimized.*seSparse.*' \
            'vmdk_inflate=.*\(zlib\|libdeflate\).*' vmdk_max_chain=255 \
            vmdk_max_extents=4096 vmdk_max_descriptor=1048576 \
            vmdk_table_cache=67108864 vmdk_grain_cache=33554432; do
  grep -q "^$line\$" dump || fail "--dump-plugin lacks $line: $(cat dump)"
done

# info KEY EXPECTED: of the export.
info ()
{
  local found

  found=$(nbdinfo --json "$uri" | jq -c ".exports[0].$1")
  [ "$found" = "$2" ] || fail "$1 is $found, expected $2"
}

$vmdkgen sparse size=81920 cid=1234abcd d.vmdk
serve file=d.vmdk
info description '"monolithicSparse, 40 MiB, CID 1234abcd"'
info '"export-size"' 41943040
info block_size_minimum 1
info block_size_preferred 65536
info block_size_maximum 33554432
info can_multi_conn true
info can_cache true
info is_read_only true
info contexts '["base:allocation"]'
stop_server

$vmdkgen chain size=80 d.vmdk \
         layers='flat; sparse grain=8; sesparse cid=89abcdef'
serve file=d.vmdk
info description '"seSparse, 40 KiB, chain of 3, CID 89abcdef"'
info block_size_preferred 4096
stop_server

# Preferred is a grain, if that can be a block size, and at least 4 KiB.
for grain in 1:4096 8:4096 16:8192 1024:524288; do
  $vmdkgen sparse size=5000 grain=${grain%:*} d.vmdk
  serve file=d.vmdk
  info block_size_preferred ${grain#*:}
  stop_server
done
$vmdkgen cowd size=5000 grain=100 d.vmdk
serve file=d.vmdk
info block_size_preferred 4096
stop_server

# A grain can be larger than what a client may ask for.
$vmdkgen sparse size=500000 grain=131072 d.vmdk &&
  expect_error 'd.vmdk: .*grainSize' run_plugin file=d.vmdk
