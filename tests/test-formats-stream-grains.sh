#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Compressed extents (streamOptimized): how well the grains are compressed,
# and what the header says of sizes.

. ./functions.sh

# Levels; what can't be compressed is longer than a grain.
for level in 0 1 9; do
  check_built stream size=3001 alloc=all/n level=$level
  check_built stream size=3001 alloc=all/d level=$level
done
for grain in 8 16 64 256; do
  check_built stream size=9001 alloc=mixed:60 grain=$grain
done
check_built stream size=90001 alloc=mixed:60 grain=16 gtes=128
for version in 1 2 3; do
  check_built stream size=3001 alloc=mixed:60 version=$version
done

# Capacity only in the footer: a writer that didn't know it at the start.
check_built stream size=70001 alloc=mixed:40 kdmv.capacity=0
