#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Each field of a COWD header with values that can't be.

. ./functions.sh
. "$srcdir/hostile.sh"

good_image cowd size=3000 grain=2 alloc=mixed:30
try_cases <<'EOF'
cowd.magic=0                 | ! good.vmdk: line [0-9]+: .* magic number .*0x00000000
cowd.magic=0x44574f44        | ! magic number .*0x44574f44
cowd.version=0               | ! COWD header: version is 0, expected 1
cowd.version=-1              | ! version is 4294967295, expected 1
cowd.numSectors=0            | ! numSectors is 0, expected more
cowd.numSectors=-1           | ! numGDEntries is 1, expected at least [0-9]+ for numSectors 4294967295
cowd.numSectors=-1 cowd.numGDEntries=-1 | ! truncated: the grain directory ends at byte
cowd.numSectors=2999         | ! capacity is 2999 sectors.* says 3000
cowd.grainSize=0             | ! grainSize is 0, expected 1 to 2048
cowd.grainSize=-1            | ! grainSize is 4294967295, expected
cowd.grainSize=2049          | ! grainSize is 2049, expected
cowd.grainSize=0x800000      | ! grainSize is 8388608, expected
cowd.gdOffset=0              | ! gdOffset is 0, expected 4 or more
cowd.gdOffset=3              | ! gdOffset is 3, expected
cowd.gdOffset=-1             | ! truncated: the grain directory ends at byte 2199023255552,
cowd.gdOffset=0x800000       | ! truncated: the grain directory ends at byte
cowd.numGDEntries=0          | ! numGDEntries is 0, expected at least 1
cowd.numGDEntries=-1         | =
cowd.freeSector=0            | =
cowd.freeSector=-1           | =
cowd.uncleanShutdown=-1      | =
length=0                     | ! magic number
length=4                     | ! truncated: the file has 4 bytes
length=2047                  | ! truncated: the file has 2047 bytes
length=2048                  | ! truncated: the grain directory ends
EOF
