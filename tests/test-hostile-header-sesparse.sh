#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Each field of both seSparse headers with values that can't be.

. ./functions.sh
. "$srcdir/hostile.sh"

good_image sesparse size=3000 alloc=mixed:30
try_cases <<'EOF'
sesparse.magic=0             | ! good.vmdk: line [0-9]+: .* magic number
sesparse.magic=0x1cafebabe   | ! magic number
sesparse.version=0           | ! const header: version is 0x0, expected 0x200000001
sesparse.version=-1          | ! version is 0xffffffffffffffff, expected
sesparse.capacity=0          | ! capacity is 0 sectors, expected 1 to
sesparse.capacity=-1         | ! capacity is 18446744073709551615 sectors, expected
sesparse.capacity=0x40000000000000 | ! capacity is 18014398509481984 sectors, expected
sesparse.capacity=0x3fffffffffffff | ! grainDirectory .* too small
sesparse.capacity=2999       | ! capacity is 2999 sectors.* says 3000
sesparse.grainSize=0         | ! grainSize is 0x0, expected 0x8
sesparse.grainSize=-1        | ! grainSize is 0xffffffffffffffff, expected 0x8
sesparse.grainSize=0x80000000000008 | ! grainSize is 0x80000000000008, expected
sesparse.grainTableSize=0    | ! grainTableSize is 0x0, expected 0x40
sesparse.grainTableSize=-1   | ! grainTableSize is 0xffff
sesparse.flags=1             | ! flags is 0x1, expected 0x0
sesparse.reserved1=1         | ! reserved1 is 0x1, expected
sesparse.reserved4=-1        | ! reserved4 is 0xffff
@511=01                      | ! const header: padding
@1023=01                     | ! volatile header: padding
sesparse.volatileHeaderSize=0 | ! volatileHeader .* too small
sesparse.volatileHeaderOffset=0x4000 | ! volatile header: magic|overlaps
sesparse.volatileMagic=0     | ! volatile header: magic is 0x0, expected 0xcafecafe
sesparse.volatileMagic=-1    | ! volatile header: magic is 0xffff
sesparse.freeGTNumber=-1     | =
sesparse.nextTxnSeqNumber=-1 | =
sesparse.replayJournal=1     | ! dirty \(replayJournal is 1\)
sesparse.replayJournal=-1    | ! dirty \(replayJournal is 18446744073709551615\)
sesparse.grainDirectorySize=0 | ! grainDirectory .* too small
sesparse.grainTablesSize=0   | ? entry 0 of the grain directory.* past the end of their region
sesparse.grainTablesSize=63  | ? entry 0 of the grain directory.* past the end of their region
sesparse.grainsSize=0        | ! grains .* too small
sesparse.grainsSize=2999     | ! grains .* too small
sesparse.grainDirectoryOffset=0x100000 | ! grainDirectory .* truncated
sesparse.grainTablesOffset=0x100000 | ? entry 0 of the grain directory.* truncated
sesparse.grainsOffset=0x100000 | ? entry [0-9]+ of grain table 0.* truncated
sesparse.freeBitmapSize=0    | =
sesparse.backMapSize=0       | =
length=8                     | ! truncated: the file has 8 bytes
length=1023                  | ! truncated: the file has 1023 bytes
length=1024                  | ! grainDirectory .* truncated
EOF

# Each region: in the header, in another region, and too large in each way.
for region in volatileHeader journalHeader journal grainDirectory grainTables \
              freeBitmap backMap grains; do
  cat <<EOF
sesparse.${region}Offset=0   | ! region $region \\([0-9]+ bytes at 0\\) overlaps the header
sesparse.${region}Offset=-1  | ! region $region \\([0-9]+ sectors at 18446744073709551615\\) is too large
sesparse.${region}Offset=0x80000000000000 | ! region $region .* is too large
sesparse.${region}Size=0x7fffffffffffff | ! region $region \\(36028797018963967 sectors
EOF
  [ $region = volatileHeader ] || echo "sesparse.${region}Offset=1 | ! overlaps"
done | try_cases
