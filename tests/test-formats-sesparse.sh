#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# seSparse extents: the four states of an entry, tables and grains in any
# order, and the ends that files have.

. ./functions.sh

for state in d n b z u; do
  check_built sesparse size=1000 alloc=all/$state
  check_built sesparse size=1000 alloc=every:3/$state
done
check_built sesparse size=100000 alloc=mixed:50
for order in asc reversed random; do
  check_built sesparse size=100001 alloc=mixed:40 order=$order
done
# Two tables of 4096 grains, and one that doesn't exist between them.
check_built sesparse size=100000 alloc=0,1/z,4095/u,8192-8200,12499
check_built sesparse size=1000 alloc=0,1/z,2/u,5,70 indexes=0:0,2:3,5:1,70:88

for tail in group full cut; do
  check_built sesparse size=70001 alloc=mixed:30 tail=$tail
done
check_built sesparse size=70001 alloc=none
check_built sesparse size=70000 alloc=mixed:30 txn=9
check_built sesparse size=1 alloc=all
