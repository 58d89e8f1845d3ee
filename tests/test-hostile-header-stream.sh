#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The same for the header of a stream and for its footer, which is the one
# that counts; and for the markers around the footer.

. ./functions.sh
. "$srcdir/hostile.sh"

good_image stream size=3000 grain=16 gtes=128
end=$(stat -c %s good.vmdk)
try_cases <<EOF
footer.magic=0               | ! truncated.* no footer.* recover=true
footer.version=0             | ! footer: version is 0, expected
footer.version=-1            | ! footer: version is 4294967295, expected
footer.flags=0               | ! footer: compressAlgorithm is 1.* 0x0
footer.flags=-1              | ! footer: flags 0xffffffff have unknown bits
footer.capacity=0            | =
footer.capacity=-1           | ! footer: capacity is 18446744073709551615 sectors
footer.capacity=0x80000000000000 | ! footer: capacity is 36028797018963968 sectors
footer.capacity=0x3fffffffffffff | ! needs [0-9]+ bytes, which don't fit
footer.capacity=2999         | ! capacity is 2999 sectors.* says 3000
footer.grainSize=0           | ! footer: grainSize is 0 sectors
footer.grainSize=-1          | ! footer: grainSize is 18446744073709551615 sectors
footer.grainSize=17          | ! footer: grainSize is 17 sectors
footer.grainSize=8           | ? belongs to guest sector [0-9]+ by its marker, expected
footer.descriptorOffset=-1   | ! footer: descriptorOffset is 0xffff
footer.descriptorSize=-1     | ! footer: descriptorSize is 0xffff
footer.numGTEsPerGT=0        | ! footer: numGTEsPerGT is 0
footer.numGTEsPerGT=-1       | ! footer: numGTEsPerGT is 4294967295
footer.gdOffset=0            | ! gdOffset 0
footer.gdOffset=1            | ! gdOffset 1
footer.gdOffset=-1           | ! footer at offset $((end - 1024)) doesn't say
footer.gdOffset=-2           | ! footer: gdOffset is 0xfffffffffffffffe
footer.gdOffset=0x7fffffffffffff | ! gdOffset 36028797018963967
footer.gdOffset=$((end / 512)) | ! gdOffset $((end / 512))
footer.overHead=-1           | ! footer: overHead is 0xffff
footer.compressAlgorithm=0   | ! footer: compressAlgorithm is 0
footer.compressAlgorithm=2   | ! footer: compressAlgorithm is 2
@$((end - 1528))=01          | ! truncated.* no footer
@$((end - 1524))=02          | ! truncated.* no footer
kdmv.flags=0                 | ! header: compressAlgorithm is 1
kdmv.grainSize=0             | ! header: grainSize is 0
kdmv.capacity=0              | =
kdmv.overHead=$((end / 512 + 1)) | ! overHead is
kdmv.overHead=$((end / 512)) | ? points into the metadata
length=$((end - 1024))       | ! truncated.* no footer
length=512                   | ! truncated.* descriptor
EOF
