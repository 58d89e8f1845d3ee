#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Entries of directories and tables that point nowhere: the request fails
# with a message that names file, table and entry, or the redundant copy has
# the right one; the server goes on.

. ./functions.sh
. "$srcdir/hostile.sh"

end_sector ()
{
  echo $(($(stat -c %s "$target") / 512))
}

# Without a redundant copy.  Table 1 is that of grains 128 to 255.
good_image sparse size=3000 grain=8 gtes=128 rgd=0 alloc=all
end=$(end_sector)
try_cases <<EOF
gde[1]=-1                    | ? case-[0-9]+: entry 1 of the grain directory, 0xffffffff, points past the end
gde[1]=1                     | ? entry 1 of the grain directory, 0x1, points into the header or
gde[1]=20                    | ? entry 1 of the grain directory, 0x14, points into the header or
gde[1]=$end                  | ? entry 1 of the grain directory, .* past the end
gde[1]=0x800000              | ? entry 1 of the grain directory, 0x800000, .* past the end
gte[200]=-1                  | ? case-[0-9]+: entry 72 of grain table 1 \\(grain 200\\), 0xffffffff, points past the end
gte[200]=2                   | ? entry 72 of grain table 1 .*, 0x2, points into the metadata
gte[200]=23                  | ? entry 72 of grain table 1 .* points into the metadata
gte[200]=$end                | ? entry 72 of grain table 1 .* points past the end
gte[0]=0x800000              | ? entry 0 of grain table 0 .*, 0x800000, points past the end
gte[374]=0x7fffffff          | ? entry 118 of grain table 2 .* points past the end
EOF

# With one.  Only when both are wrong there is nothing to read.
good_image sparse size=3000 grain=8 gtes=128 alloc=mixed:60
try_cases <<'EOF'
gde[1]=-1                    | =
gde[1]=3                     | =
rgde[1]=-1                   | =
gde[0]=-1 rgde[2]=-1         | =
gte[200]=-1                  | =
gte[200]=-1 gte[201]=5       | =
rgte[200]=-1                 | =
gde[1]=-1 rgde[1]=-1         | ? entry 1 of the grain directory, 0xffffffff
gte[200]=-1 rgte[200]=3      | ? entry 72 of grain table 1 .*, 0xffffffff
gde[1]=-1 rgte[200]=-1       | ? entry 72 of grain table 1 .*, 0xffffffff
EOF

good_image cowd size=5000 grain=1 alloc=all
end=$(end_sector)
try_cases <<EOF
gde[1]=-1                    | ? entry 1 of the grain directory, 0xffffffff, .* past the end
gde[1]=1                     | ? entry 1 of the grain directory, 0x1, points into the header
gde[1]=4                     | ? entry 1 of the grain directory, 0x4, points into the header or the directory
gde[1]=$((end - 31))         | ? entry 1 of the grain directory, .* past the end
gde[1]=0x800000              | ? entry 1 of the grain directory, 0x800000, .* past the end
gte[4500]=-1                 | ? entry 404 of grain table 1 \\(grain 4500\\), 0xffffffff, .* past the end
gte[4500]=4                  | ? entry 404 of grain table 1 .*, 0x4, points into the header or the directory
gte[4500]=$end               | ? entry 404 of grain table 1 .* past the end
EOF

good_image sesparse size=40000 alloc=0-10,4097
try_cases <<'EOF'
gde[1]=1                     | ? entry 1 of the grain directory, 0x1, has an unknown type
gde[1]=0x2000000000000001    | ? entry 1 of the grain directory, .* has an unknown type
gde[1]=0x1000000100000001    | ? entry 1 of the grain directory, .* has an unknown type
gde[1]=0x10000000ffffffff    | ? entry 1 of the grain directory, .* past the end of their region
gde[1]=-1                    | ? entry 1 of the grain directory, 0xffffffffffffffff, has
gte[4097]=1                  | ? entry 1 of grain table 1 \(grain 4097\), 0x1, has an unknown type
gte[4097]=0x4000000000000000 | ? entry 1 of grain table 1 .* has an unknown type
gte[4097]=-1                 | ? entry 1 of grain table 1 .* has an unknown type
gte[4097]=0x3fffffffffffffff | ? entry 1 of grain table 1 .* past the end of their region
gte[4097]=0x3000000000000002 | ? entry 1 of grain table 1 .* past the end of their region
gte[4097]=0x3388000000000001 | ? entry 1 of grain table 1 .* past the end of their region
length=0x300100              | ? entry 0 of the grain directory, .* truncated
EOF
