#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Random requests to COWD disks, as in test-random-io-sparse.sh.

. ./functions.sh
. "$srcdir/random-io.sh"

random_io -- cowd size=20003 alloc=random:30
random_io -- cowd size=20003 alloc=none
random_io -- cowd size=20003 grain=100 alloc=random:10
random_io -- cowd size=20003 grain=8 alloc=random:30 order=random
random_io table-cache=64K -- cowd size=40003 grain=1 alloc=random:10
random_io -- chain size=20000 layers='vmfs alloc=random:50;
  cowd alloc=random:10'
random_io -- chain size=20003 layers='vmfs alloc=random:50;
  cowd grain=16 alloc=random:20; cowd alloc=random:10'
