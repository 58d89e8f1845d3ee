#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Compressed extents (streamOptimized), with all the differences between the
# programs that write them.

. ./functions.sh

# Footer, directory in front, tables twice in front, grains without markers.
for layout in vmware front qemu nomarker; do
  check_built stream layout=$layout size=70001 alloc=mixed:40
  check_built stream layout=$layout size=70000 alloc=every:3/n,every:7/b
done
check_built stream layout=front order=random size=70001 alloc=mixed:40
check_built stream layout=qemu order=reversed size=70001 alloc=mixed:40

# Markers of type 4 between the grains.
check_built stream size=70001 alloc=mixed:40 progress=1
check_built stream size=70001 alloc=mixed:40 progress=3

# Tables without entries, present or not.
check_built stream size=400001 alloc=0,3000 emptygts=1
check_built stream size=400001 alloc=0,3000
check_built stream size=400001 alloc=none emptygts=1
check_built stream size=400001 alloc=none

# The last grain, as long as the others or as short as the disk.
check_built stream size=1001 alloc=all pad=1
check_built stream size=1001 alloc=all pad=0
check_built stream size=1 alloc=all pad=0

# Deflate data without the zlib wrapping, as flag bit 16 alone may mean.
check_built stream layout=nomarker raw=1 size=3001 alloc=mixed:60
check_built stream layout=front raw=1 size=3001 alloc=mixed:60
