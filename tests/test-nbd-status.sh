#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Block status near 2 and 4 GiB and their multiples: positions and lengths.

. ./functions.sh
requires python3
cd "$scratch"

GiB=$((1 << 30))
places="$((2 * GiB)) $((4 * GiB))"

# status BUILDER [KEY=VALUE...]: compared with d.map, if that isn't made anew.
status ()
{
  rm -f d*.vmdk
  $vmdkgen "$@" d.vmdk
  serve file=d.vmdk
  # shellcheck disable=SC2086
  python3 "$srcdir/nbdstatus.py" "$sock" d.map $places > found 2>&1 ||
    fail "$*: $(cat found)"
  echo "$* $(cat found)"
  stop_server
}

# 9 GiB and a little, with grains of data before and after the edges.
G=16384 # of 64 KiB
size=$((9 * GiB / 512 + 77))
alloc=none,$((2 * G - 1))-$((2 * G)),$((4 * G)),$((6 * G + 9)),$((9 * G))
status sparse map=d.map size=$size alloc=$alloc
status stream map=d.map size=$size alloc=$alloc
status chain map=d.map size=$size \
  layers="sparse alloc=none,$((2 * G - 1))-$((2 * G));
    cowd grain=128 alloc=none,$((4 * G))-$((4 * G + 9));
    sparse grain=8 alloc=none,$((16 * 6 * G))"
status sesparse map=d.map size=$size \
  alloc=none,$((32 * G - 1))-$((32 * G)),$((64 * G))

# Pieces of 2 GiB, and of 5; the sparse ones tell where the flat ones have
# data.
for piece in 2 5; do
  alloc="alloc=none,0,$((piece * G - 1))"
  split="piece=$((piece * GiB / 512)) size=$((20 * GiB / 512))"
  # shellcheck disable=SC2086
  status split kind=sparse map=d.map $split $alloc
  [ "$(python3 -c 'import os, sys; f = open (sys.argv[1], "w")
f.truncate (1 << 20)
print (os.lseek (f.fileno (), 0, os.SEEK_HOLE))' hole)" = 0 ] || continue
  # shellcheck disable=SC2086
  status split kind=flat $split $alloc
done
