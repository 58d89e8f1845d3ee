#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# COWD extents (vmfsSparse): grain sizes, powers of two or not, any order, and
# files longer than freeSector says.

. ./functions.sh

for grain in 1 2 8 16 128 3 100; do
  check_built cowd size=$((grain * 300 + 1)) grain=$grain alloc=mixed:50
  check_built cowd size=$((grain * 300 + 1)) grain=$grain alloc=mixed:50 \
              order=random
done

# Several tables, some of which don't exist.
check_built cowd size=200000 grain=1 alloc=0,1,4095,4096,100000-100100,199999
check_built cowd size=200000 grain=7 alloc=random:10 order=reversed

check_built cowd size=20001 alloc=mixed:30 slack=2000
check_built cowd size=1 alloc=all
check_built cowd size=20001 alloc=none
check_built cowd size=5000 alloc=all/z
