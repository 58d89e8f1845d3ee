#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Random requests to disks of several extents and to flat ones, as in
# test-random-io-sparse.sh.

. ./functions.sh
. "$srcdir/random-io.sh"

random_io -- split kind=sparse piece=9088 size=40003 alloc=random:20
random_io -- flat size=20003 alloc=random:20
random_io -- vmfs size=20003 alloc=random:20
random_io -- split kind=flat piece=7777 size=20003 alloc=random:20

# Extents begin and end where no grain does, nor a page of the file.  qemu
# reads on in the next extent when a grain is cut short.
random_io no-qemu -- split kind=sparse piece=9003 size=40003 alloc=random:20
random_io no-qemu -- custom \
  extents="RW 777 flat offset=63 alloc=random:20; RW 5001 sparse grain=64;
           RW 3 flat; RW 9000 sparse grain=8; RW 5219 cowd"
connections=1 requests=60
random_io no-qemu -- custom \
  extents="RW 7 sparse; RW 30001 sparse grain=64; RW 9992 sparse grain=32"
