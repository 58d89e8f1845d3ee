#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Requests of 0, 1, 511, 512, 513 and 4097 bytes that begin, end or lie at
# the edges of grains, tables, extents and of the disk.

. ./functions.sh
. "$srcdir/writing.sh"

# edges BUILDER [KEY=VALUE...] -- [read-only] OFFSET...
edges ()
{
  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  new_disk "${before[@]}"
  serve d.vmdk
  python3 "$srcdir/nbdcorners.py" edges "$sock" d.raw "$@" > found 2>&1 ||
    fail "${before[*]}: $(cat found) $(tail -n 5 "$server_log")"
  grep -v -e 'invalid request' -e 'invalid command' "$server_log" &&
    fail "${before[*]}: messages"
  if [[ " $* " = *' read-only '* ]]; then
    right
    stop_server
  else
    closed_right
    check_quiet
  fi
}

K=1024
M=$((1024 * K))
edges sparse size=10001 grain=8 alloc=mixed:50 -- \
      $((4 * K)) $((100 * K)) $((2 * M)) $((4 * M))
edges cowd size=5003 grain=1 alloc=mixed:50 -- $((2 * M)) $((100 * K))
no_qemu=1 edges chain size=5001 layers='
  split kind=sparse piece=2222 grain=16 alloc=mixed:70;
  sparse grain=8 alloc=mixed:50; cowd grain=3 alloc=random:30' -- \
  $((2222 * 512)) $((4444 * 512)) $((8 * K)) $((300 * 512)) $((2 * M))
# One with tables of 512 sectors.
no_qemu=1 edges custom extents='RW 64 sparse grain=8 alloc=all;
  RW 1 flat alloc=all; RW 15 flat alloc=none; RW 3 sparse grain=8 alloc=none;
  RW 1111 sparse grain=1 alloc=mixed:30; RW 100 cowd alloc=mixed:50' -- \
  $((64 * 512)) $((65 * 512)) $((80 * 512)) $((83 * 512)) $((595 * 512)) \
  $((1194 * 512))
edges stream size=10001 alloc=mixed:60 -- read-only $((64 * K)) $((128 * K))
edges sesparse size=40001 alloc=mixed:60 -- read-only $((4 * K)) $((16 * M))
