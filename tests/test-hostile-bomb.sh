#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A compressed grain that would inflate to gigabytes, and the largest grains
# there can be, wanted by many at once: memory stays bounded.

. ./functions.sh
. "$srcdir/hostile.sh"
requires_no_sanitizers

# less_than MIB: the server never had more than this in memory.
less_than ()
{
  local peak

  peak=$(peak_memory)
  echo "peak: $peak KiB"
  [ "$peak" -lt $(($1 * 1024)) ] || fail "$peak KiB of memory"
}

# A bomb of as many bytes as a grain of 64 KiB may have compressed, which is
# 125 MB inflated, in the place of grain 1.
good_image stream size=1280 alloc=all/n layout=front
python3 - "$($vmdkgen where good.vmdk 'grain[1]')" <<'EOF'
import struct, sys, zlib
bomb = zlib.compress (bytes (125 << 20), 9)
with open ('good.vmdk', 'r+b') as f:
    f.seek (int (sys.argv[1]))
    f.write (struct.pack ('<QI', 128, len (bomb)) + bomb)
EOF
serve good.vmdk
for i in {1..20}; do
  echo read 65536 65536 read 65600 1 cache 65536 65536
done | xargs python3 "$srcdir/nbdclient.py" "$sock" | sort -u > answers
[ "$(cat answers)" = "error 5" ] || fail "$(cat answers)"
server_errors | grep -q 'grain 1 .* inflates to more than a grain'
less_than 48
stop_server

# Grains of 16 MiB: the grain cache has place for one of them and the next,
# and eight clients want parts of them at a time.
$vmdkgen stream size=1310720 grain=32768 gtes=128 alloc=all/b big.vmdk
truncate -s $((1310720 * 512)) big.raw
serve big.vmdk
clients=()
for i in {1..8}; do
  client random $((20 + i)) big.raw &
  clients+=($!)
done
wait "${clients[@]}"
less_than 104
stop_server
