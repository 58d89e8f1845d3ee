#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Hosted sparse extents: grain sizes, table sizes and header versions.

. ./functions.sh

# Grain size, entries in a table.
for grain in 1 2 8 16 128 1024 32768; do
  check_built sparse size=$((grain * 20 + 1)) grain=$grain alloc=mixed:50
done
for gtes in 128 256 512 1024 4096; do
  check_built sparse size=$((gtes * 20 + 77)) grain=8 gtes=$gtes \
              alloc=mixed:40 order=random
done
check_built sparse size=70001 grain=1 gtes=128 alloc=mixed:40

# Header version, with and without what it is for.
for version in 1 2 3; do
  check_built sparse size=2001 grain=8 version=$version alloc=random:50
  check_built sparse size=2001 grain=8 version=$version alloc=mixed:50
done
