#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# single-link=true: one layer of a chain, in which what the layer doesn't say
# reads as zero and is a hole of unknown content.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# link LAYERS: the top one, built and served alone.
link ()
{
  rm -f d*.vmdk
  $vmdkgen chain size=2000 layers="$1" linkmap=l d.vmdk d.raw
  # The parent isn't even looked for.
  rm d-0.vmdk
  # What the top layer says is in the whole disk's bytes; the rest is zero.
  python3 - <<'END2'
import json
whole = open ("d.raw", "rb").read ()
with open ("l.raw", "wb") as f:
    for run in json.load (open ("l")):
        part = whole[run["offset"]:run["offset"] + run["length"]]
        f.write (bytes (len (part)) if run["status"] == "absent" else part)
END2
  serve file=d.vmdk single-link=true
  check_server l.raw l single-link
  [ ! -s "$server_log" ] || fail "$(cat "$server_log")"
  nbdinfo --json "$uri" > info
  grep -q 'single link' info || fail "$(cat info)"
  stop_server
}

link 'flat alloc=all; sparse grain=8 alloc=mixed:40'
link 'flat alloc=all; cowd grain=4 alloc=mixed:40'
link 'flat alloc=all; sesparse alloc=mixed:40'
link 'flat alloc=all; stream grain=16 alloc=mixed:40'
link 'flat alloc=all; split piece=500 grain=16 alloc=mixed:40'

# All three kinds are in the map.
link 'flat alloc=all; sparse grain=8 alloc=0,2/z'
serve file=d.vmdk single-link=true
[ "$(nbd extents 0 1024000)" = \
  "0:4096:0 4096:4096:1 8192:4096:3 12288:1011712:1" ]
stop_server

# The same of a child that qemu-img made.
if command -v qemu-img >/dev/null && command -v qemu-io >/dev/null; then
  qemu-img create -q -f vmdk base.vmdk 1M
  qemu-io -f vmdk -c 'write -P 1 0 1M' base.vmdk >/dev/null
  qemu-img create -q -f vmdk -F vmdk -b base.vmdk child.vmdk
  qemu-io -f vmdk -c 'write -P 2 128k 64k' child.vmdk >/dev/null
  serve file=child.vmdk single-link=true
  [ "$(nbd extents 0 1048576)" = \
    "0:131072:1 131072:65536:0 196608:851968:1" ]
  [ "$(nbd read 131070 4 read 196606 4)" = $'00000202\n02020000' ]
  stop_server
  serve file=child.vmdk
  [ "$(nbd extents 0 1048576)" = 0:1048576:0 ]
  [ "$(nbd read 131070 4 read 196606 4)" = $'01010202\n02020101' ]
fi
