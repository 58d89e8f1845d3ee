#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Flat extents (monolithicFlat, twoGbMaxExtentFlat, vmfs), which may begin
# anywhere in a file, and mixes of all kinds.

. ./functions.sh

check_built flat size=20001
check_built flat size=1
check_built flat size=20001 offset=63
check_built vmfs size=20001
check_built vmfs size=20001 offset=128
check_built split kind=flat size=20000 piece=3333
check_built split kind=flat size=7 piece=2
check_built split size=20000 piece=3333 grain=16 alloc=mixed:50

# Extents of one file, in another order than in the file.
check_built custom extents='RW 700 flat offset=9000 file=x;
  RW 3000 flat offset=64 file=x; RW 1 flat alloc=all file=x'

# The kinds in one disk.  No line may be left out: what follows would shift.
check_built custom extents='RW 63 flat; RW 1000 zero; RW 641 sparse grain=8;
  RW 99 vmfs offset=7; RW 333 cowd; RW 1 zero; RW 1000 sesparse alloc=mixed:50;
  RW 777 stream; RW 17 sparse alloc=all short=1'
check_built custom extents='RDONLY 640 sparse grain=8; RW 5 zero;
  RDONLY 99 flat offset=3; RW 641 stream layout=front; RDONLY 3 cowd alloc=all'

# Any createType with any extents.
check_built custom createtype=monolithicFlat \
            extents='RW 63 sparse grain=8 type=VMFSSPARSE; RW 9 cowd type=SPARSE'
check_built custom createtype=somethingElse \
            extents='RW 640 zero; RW 9 flat'
check_built custom extents='RW 5000 zero'
