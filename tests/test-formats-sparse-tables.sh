#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Hosted sparse extents: missing tables, zeroed grains, any order in the file,
# one copy of the tables, odd capacities.

. ./functions.sh

# Directory entries of 0.
check_built sparse size=200000 grain=8 gdes=used alloc=0,20000-20010/d,24999
check_built sparse size=200000 grain=8 gdes=used alloc=none

# Zeroed grains, alone and between others.
check_built sparse size=2000 grain=8 alloc=all/z
check_built sparse size=2000 grain=8 alloc=every:3/z,every:2
check_built sparse size=2000 grain=8 alloc=all/b

# Grains and tables in any order, and tables behind the grains.
for order in asc reversed random; do
  check_built sparse size=90000 grain=8 order=$order tables=$order \
              alloc=mixed:60
done
check_built sparse size=90000 grain=8 tables=end alloc=mixed:60

# One copy of the tables only.
check_built sparse size=90000 grain=8 rgd=0 alloc=mixed:60

# Capacity.
for size in 1 7 127 129 65535 65537; do
  check_built sparse size=$size alloc=mixed:70
  check_built sparse size=$size alloc=all short=1 align=0
done
