#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Compressed grains that aren't what their table says.

. ./functions.sh
. "$srcdir/hostile.sh"

# grain_of BYTES: a compressed grain of guest sector 64 that inflates to so
# many, as hexadecimal digits.
grain_of ()
{
  python3 -c 'import struct, sys, zlib
data = zlib.compress (b"x" * int (sys.argv[1]), 9)
print ((struct.pack ("<QI", 64, len (data)) + data).hex ())' "$1"
}

good_image stream size=1000 grain=16 alloc=all/n
at=$($vmdkgen where good.vmdk 'grain[4]')
end=$(stat -c %s good.vmdk)
try_cases <<EOF
@$at=41                      | ? case-[0-9]+: compressed grain 4 at offset $at belongs to guest sector 65 by its marker, expected 64
@$((at + 7))=ff              | ? grain 4 .* belongs to guest sector [0-9]{15,} by its marker
@$((at + 8))=00000000        | ? grain 4 .* compressed size of 0, expected 1 to
@$((at + 8))=ffffffff        | ? grain 4 .* compressed size of 4294967295, expected 1 to
@$((at + 8))=f53f0000        | ? grain 4 .* compressed size of 16373, expected 1 to 16372
@$((at + 8))=01000000        | ? grain 4 .* valid zlib or deflate stream
@$((at + 8))=00200000        | ? grain 4 .* (valid|inflates)
@$((at + 12))=ffffffff       | ? grain 4 .* valid zlib or deflate stream
@$((at + 12))=7800           | ? grain 4 .* valid zlib or deflate stream
@$((at + 100))=5555555555555555 | ? grain 4 .* valid zlib or deflate stream
@$at=$(grain_of 8191)        | ? grain 4 .* inflates to 8191 bytes, expected 8192
@$at=$(grain_of 1)           | ? grain 4 .* inflates to 1 bytes, expected 8192
@$at=$(grain_of 0)           | ? grain 4 .* inflates to 0 bytes, expected 8192
@$at=$(grain_of 8193)        | ? grain 4 .* inflates to more than a grain
@$at=$(grain_of 4000000)     | ? grain 4 .* inflates to more than a grain
gte[4]=$((end / 512 - 1))    | ? grain 4 .* (belongs|past|compressed size)
gte[4]=$(($($vmdkgen peek good.vmdk 'gte[5]'))) | ? grain 4 .* belongs to guest sector 80 by its marker, expected 64
EOF

# Without markers a grain has nothing but its size in front.
good_image stream size=1000 grain=16 alloc=all/n layout=nomarker
at=$($vmdkgen where good.vmdk 'grain[4]')
try_cases <<EOF
@$at=00000000                | ? grain 4 .* compressed size of 0, expected 1 to
@$at=ffffffff                | ? grain 4 .* compressed size of 4294967295, expected
@$at=fd3f0000                | ? grain 4 .* compressed size of 16381, expected 1 to 16380
@$((at + 4))=ffffffff        | ? grain 4 .* valid zlib or deflate stream
gte[62]=$(($(stat -c %s good.vmdk) / 512 - 1)) | ? grain 62 .*
EOF

# The end of the file is missing, but for the tables.
good_image stream size=1000 grain=16 alloc=all/n layout=front
at=$($vmdkgen where good.vmdk 'grain[62]')
try_cases <<EOF
length=$((at + 512))         | ? grain 62 at offset $at reaches past the end
length=$((at + 8))           | ? grain 62 at offset $at is cut off
length=$at                   | ? entry 62 of grain table 0 .* past the end
EOF

# A stream to be recovered that is full of what looks like grains, but isn't:
# each of them would cost as much as inflating one.
good_image stream size=1000 grain=16 alloc=all/n
start=$(($($vmdkgen peek good.vmdk kdmv.overHead) * 512))
python3 - "$start" <<'EOF'
import struct, sys
with open ('good.vmdk', 'r+b') as f:
    f.seek (int (sys.argv[1]))
    f.write (struct.pack ('<QII', 0, 0, 99).ljust (512, b'\0'))
    for _ in range (5000):
        f.write (struct.pack ('<QI', 16, 500) + b'\x78\x9c'.ljust (500, b'\xff'))
    f.truncate ()
EOF
expect_error 'good\.vmdk: recover: .* more than 4096 sectors look like' \
  run_plugin good.vmdk recover=true
