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
            cid-check recover zeroed-grains drop-cbt allow-parent-write \
            lock table-cache grain-cache; do
  grep -q -E "^(\[$name=\]|$name=)" help || fail "--help lacks $name="
done

run_plugin --dump-plugin > dump
for line in name=vmdk thread_model=parallel magic_config_key=file \
            errno_is_preserved=1 'vmdk_version=[0-9.]*' \
            'vmdk_formats=.*monolithicSparse.*streamOptimized.*seSparse.*' \
            'vmdk_writable=[^ ]*monolithicSparse[^ ]*vmfsSparse[^ ]*' \
            'vmdk_inflate=.*\(zlib\|libdeflate\).*' vmdk_max_chain=255 \
            vmdk_max_extents=4096 vmdk_max_descriptor=1048576 \
            vmdk_table_cache=67108864 vmdk_grain_cache=33554432; do
  grep -q "^$line\$" dump || fail "--dump-plugin lacks $line: $(cat dump)"
done
# What can't be written isn't called writable, nor is anything unknown.
sed -n -E 's/^vmdk_writable=//p' dump | tr , '\n' | sort > writable
sed -n -E 's/^vmdk_formats=//p' dump | tr , '\n' | sort > formats
[ -z "$(comm -23 writable formats)" ] || fail "vmdk_writable: $(cat dump)"
! grep -q -x -E 'streamOptimized|seSparse' writable ||
  fail "vmdk_writable: $(cat dump)"

# info KEY EXPECTED: of the export.
info ()
{
  local found

  found=$(nbdinfo --json "$uri" | jq -c ".exports[0].$1")
  [ "$found" = "$2" ] || fail "$1 is $found, expected $2"
}

# access rw|ro: what a client may do.
access ()
{
  local writes=true readonly=false key

  [ "$1" = rw ] || { writes=false; readonly=true; }
  info is_read_only $readonly
  for key in can_fua can_trim can_zero can_fast_zero; do
    info $key $writes
  done
  for key in can_multi_conn can_cache can_flush; do
    info $key true
  done
}

$vmdkgen sparse size=81920 cid=1234abcd d.vmdk
serve file=d.vmdk
info description '"monolithicSparse, 40 MiB, CID 1234abcd"'
info '"export-size"' 41943040
info block_size_minimum 1
info block_size_preferred 65536
info block_size_maximum 33554432
access rw
info contexts '["base:allocation"]'
stop_server

# With -r nobody may write; nor without it where the format can't be
# written, or the file mayn't.
serve file=d.vmdk -r
access ro
stop_server
for builder in 'flat rw' 'vmfs rw' 'cowd rw' 'split rw' 'stream ro' \
               'sesparse ro'; do
  rm -f d*
  $vmdkgen ${builder% *} size=5000 d.vmdk
  serve file=d.vmdk
  access ${builder#* }
  stop_server
  [ -z "$(server_errors)" ] || fail "$builder: $(cat "$server_log")"
done
# None of that changes a byte.
cat d* | sha256sum > before
serve file=d.vmdk -v
access ro
grep -q "served read-only: writing seSparse extents isn't" "$server_log" ||
  fail "-v does not say why"
stop_server
cat d* | sha256sum | diff before - >&2 || fail "a file was changed"
rm -f d*

$vmdkgen chain size=80 d.vmdk \
         layers='flat; sparse grain=8; sesparse cid=89abcdef'
serve file=d.vmdk
info description '"seSparse, 40 KiB, chain of 3, CID 89abcdef, read-only"'
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
