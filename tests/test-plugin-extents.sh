#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Block status: coalesced over grains, tables and extents; for one range when
# the client wants one; the same from anywhere in a range.

. ./functions.sh
requires python3

cd "$scratch"

# Neighbours in the disk that aren't neighbours in the file, in two tables.
$vmdkgen sparse size=20000 grain=8 alloc=500-530,600 order=random d.vmdk
serve file=d.vmdk
M=$((20000 * 512))
[ "$(nbd extents 0 $M)" = "0:2048000:3 2048000:126976:0 2174976:282624:3 \
2457600:4096:0 2461696:7778304:3" ] || fail "$(nbd extents 0 $M)"
[ "$(nbd extent 0 $M)" = 0:2048000:3 ]
[ "$(nbd extent 2048000 $M 2>&1)" = "error 22" ]
[ "$(nbd extent 2048000 4096)" = 2048000:4096:0 ]
[ "$(nbd extent 2048001 1000000)" = 2048001:126975:0 ]
[ "$(nbd extent 2174975 9)" = 2174975:1:0 ]
[ "$(nbd extent $((M - 1)) 1)" = $((M - 1)):1:3 ]
stop_server

# Over extents, zero lines and missing tables.
$vmdkgen custom d.vmdk extents='RW 8 sparse grain=8 alloc=all; RW 8 flat alloc=all;
  RW 800 zero; RW 200000 sparse gdes=used grain=8 alloc=24999; RW 9 zero'
serve file=d.vmdk
M=$(((8 + 8 + 800 + 200000 + 9) * 512))
[ "$(nbd extents 0 $M)" = "0:8192:0 8192:102805504:3 102813696:4096:0 \
102817792:4608:3" ] || fail "$(nbd extents 0 $M)"
[ "$(nbd extent 8192 100000000)" = 8192:100000000:3 ]
[ "$(nbd extent 4095 9999)" = 4095:4097:0 ]
stop_server

# More than an answer has room for.  In the past nbdkit has aborted here.
$vmdkgen sparse size=$((1 << 26)) alloc=0,262144,524287 d.vmdk
serve file=d.vmdk
G=$((1 << 30))
max=$((4 * G - 1))
nbd extents 0 $max extents 65536 $max extent 65536 $max extents 1 $((3 * G)) \
    extents $((16 * G)) $max extents $((32 * G - 1)) 1 > found
python3 - found <<'END2'
import sys
size, piece, G = 1 << 35, 65536, 1 << 30
data = [g * piece for g in (0, 262144, 524287)]
for line in open (sys.argv[1]):
    extents = [tuple (map (int, e.split (":"))) for e in line.split ()]
    at = extents[0][0]
    for start, length, flags in extents:
        assert start == at and 0 < length < 1 << 32, line
        at += length
        assert at <= size, line
        inside = [d for d in data if d < at and d + piece > start]
        assert bool (inside) == (flags == 0), line
assert line
END2
# All of the disk, by walking over it.
[ "$(nbdinfo --map --totals "$uri" | awk '$3 == 0 { print $1 }')" = \
  $((3 * 65536)) ]
