#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Random requests to hosted sparse disks in one file, on several connections,
# end with what the model says, for us and for other programs.

. ./functions.sh
. "$srcdir/random-io.sh"

# The end is within a grain, and within a page of it.
random_io -- sparse size=40003 alloc=random:30
random_io -- sparse size=40000 alloc=none
random_io -- sparse size=20011 grain=8 alloc=mixed:30
random_io zeroed-grains=always -- sparse size=30000 alloc=random:20
random_io zeroed-grains=never -- sparse size=30000 alloc=mixed:50

# Entries are written back because there are too many of them.
random_io table-cache=64K -- sparse size=40003 grain=1 alloc=random:3

# One connection makes requests of several MiB.
connections=1 requests=50
random_io -- sparse size=60003 alloc=random:5
random_io table-cache=64K -- sparse size=60003 grain=16 alloc=random:5
connections=16 requests=50
random_io -- sparse size=40003 alloc=random:5
