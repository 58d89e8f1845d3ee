#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Each field of a hosted sparse header with values that can't be: zero, huge,
# odd, and such that sectors become 0 when they are counted in bytes.  It is
# refused by name, or the redundant copy does, or it doesn't matter.

. ./functions.sh
. "$srcdir/hostile.sh"

good_image sparse size=3000 grain=8 gtes=128 alloc=mixed:50
try_cases <<'EOF'
kdmv.magic=0                 | ! neither a VMDK descriptor nor
kdmv.magic=0x766d646b        | ! didn't finish
kdmv.version=0               | ! version is 0, expected 1, 2 or 3
kdmv.version=4               | ! version is 4, expected
kdmv.version=-1              | ! version is 4294967295, expected
kdmv.flags=0                 | =
kdmv.flags=-1                | ! flags 0xffffffff have unknown bits 0xfffc0000
kdmv.flags=0x20003           | ! flags 0x20003 .*markers
kdmv.flags=0x10003           | ! compressAlgorithm is 0.* 0x10003
kdmv.capacity=-1             | ! capacity is 18446744073709551615 sectors, expected
kdmv.capacity=0x80000000000000 | ! capacity is 36028797018963968 sectors, expected
kdmv.capacity=0x40000000000000 | ! capacity is 18014398509481984 sectors, expected
kdmv.capacity=0x3fffffffffffff | ! needs [0-9]+ bytes, which don't fit
kdmv.capacity=2999           | ! capacity is 2999 sectors.* says 3000
kdmv.grainSize=0             | ! grainSize is 0 sectors, expected a power of 2
kdmv.grainSize=-1            | ! grainSize is 18446744073709551615 sectors, expected
kdmv.grainSize=0x80000000000000 | ! grainSize is 36028797018963968 sectors, expected
kdmv.grainSize=12            | ! grainSize is 12 sectors, expected
kdmv.grainSize=65536         | ! grainSize is 65536 sectors, expected
kdmv.descriptorOffset=0      | =
kdmv.descriptorOffset=-1     | ! descriptorOffset is 0xffffffffffffffff sectors
kdmv.descriptorOffset=0x80000000000000 | ! descriptorOffset is 0x80000000000000
kdmv.descriptorOffset=0x7fffffffffffff | ! embedded descriptor at sector 36028797018963967
kdmv.descriptorSize=0        | =
kdmv.descriptorSize=-1       | ! descriptorSize is 0xffffffffffffffff sectors
kdmv.descriptorSize=0x7fffffffffffff | ! embedded descriptor at sector 1 has
kdmv.descriptorSize=1        | =
kdmv.numGTEsPerGT=0          | ! numGTEsPerGT is 0, expected a power of 2
kdmv.numGTEsPerGT=-1         | ! numGTEsPerGT is 4294967295, expected
kdmv.numGTEsPerGT=129        | ! numGTEsPerGT is 129, expected
kdmv.numGTEsPerGT=64         | ! numGTEsPerGT is 64, expected
kdmv.rgdOffset=0             | =
kdmv.rgdOffset=-1            | ! rgdOffset is 0xffffffffffffffff sectors
kdmv.rgdOffset=0x7fffffffffffff | =
kdmv.rgdOffset=1             | =
kdmv.gdOffset=0              | =
kdmv.gdOffset=-1             | ! truncated.* no footer
kdmv.gdOffset=-2             | ! gdOffset is 0xfffffffffffffffe sectors
kdmv.gdOffset=0x80000000000000 | ! gdOffset is 0x80000000000000 sectors
kdmv.gdOffset=0x7fffffffffffff | =
kdmv.gdOffset=0 kdmv.rgdOffset=0 | ! gdOffset 0
kdmv.gdOffset=5 kdmv.rgdOffset=0x7ffff | ! gdOffset 5
kdmv.gdOffset=0x7fffffffffffff kdmv.rgdOffset=3 | ! gdOffset 36028797018963967
kdmv.overHead=0              | =
kdmv.overHead=-1             | ! overHead is 0xffffffffffffffff sectors
kdmv.overHead=0x7fffffffffffff | ! truncated.* overHead is 36028797018963967
kdmv.uncleanShutdown=255     | =
kdmv.singleEndLineChar=0x0d  | ! newline bytes are 0d 20 0d 0a, expected 0a 20
kdmv.doubleEndLineChar2=0    | ! newline bytes are 0a 20 0d 00, expected 0a 20
kdmv.compressAlgorithm=1     | ! compressAlgorithm is 1
kdmv.compressAlgorithm=-1    | ! compressAlgorithm is 65535
EOF
