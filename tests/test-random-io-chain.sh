#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Random requests to disks that have parents, as in test-random-io-sparse.sh:
# what comes up from them is right, and they themselves never change.

. ./functions.sh
. "$srcdir/random-io.sh"

random_io -- chain size=30003 layers='sparse alloc=random:60;
  sparse alloc=none'
random_io -- chain size=30003 layers='sparse alloc=all; sparse alloc=random:10'
random_io -- chain size=30003 layers='sparse alloc=random:60;
  sparse alloc=mixed:30; sparse grain=8 alloc=mixed:30'
random_io zeroed-grains=always -- chain size=30003 \
  layers='sparse alloc=random:60 grain=16; sparse alloc=none'
random_io zeroed-grains=never -- chain size=30003 \
  layers='sparse alloc=random:60 grain=16; sparse alloc=mixed:20'
random_io no-qemu -- chain size=30003 layers='stream alloc=random:60;
  sparse alloc=random:10'
random_io no-qemu -- chain size=30003 layers='cowd alloc=random:60;
  sparse alloc=random:10 grain=8'
random_io no-qemu -- chain size=30000 layers='sesparse alloc=random:60;
  cowd alloc=random:10'
random_io -- chain size=30003 layers='flat alloc=random:60;
  split kind=sparse piece=7040 alloc=random:10'

# One connection makes requests of several MiB.
connections=1 requests=40
random_io no-qemu -- chain size=60003 \
  layers='stream alloc=random:30; sparse alloc=random:10 grain=32;
          sparse alloc=random:10'
