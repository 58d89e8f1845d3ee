#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The images that vmdkgen.py builds are what it says they are: qemu-img, which
# shares nothing with it, reads the same bytes where it knows the format, and
# the structures stand where the examples of the format reference have them.

. ./functions.sh
requires qemu-img --version
requires python3

cd "$scratch"

# agrees BUILDER OPTIONS...: qemu-img converts to what vmdkgen.py expects.
agrees ()
{
  $vmdkgen "$@" o.vmdk o.raw
  qemu-img convert -f vmdk -O raw o.vmdk q.raw || fail "qemu-img: $*"
  cmp o.raw q.raw >&2 || fail "qemu-img reads something else: $*"
  rm -f o.* o-* q.raw
}

# hex FILE SECTOR EXPECTED: the bytes at the start of a sector.
hex ()
{
  local found

  found=$(od -An -v -tx1 -j $(($2 * 512)) -N $((${#3} / 2)) "$1" |
            tr -d ' \n')
  [ "$found" = "$3" ] || fail "$1: sector $2: $found, expected $3"
}

# value FILE NAME EXPECTED: what vmdkgen.py peek finds.
value ()
{
  local found

  found=$($vmdkgen peek "$1" "$2")
  [ "$found" = "$3" ] || fail "$1: $2 is $found, expected $3"
}

# length FILE SECTORS
length ()
{
  [ "$(stat -c %s "$1")" -eq $(($2 * 512)) ] ||
    fail "$1: $(stat -c %s "$1") bytes, expected $2 sectors"
}

# map_is FILE "OFFSET STATUS..." : where each run of a map starts.
map_is ()
{
  local found

  found=$(python3 -c 'import json, sys
print (*("%(offset)d %(status)s" % r for r in json.load (sys.stdin)))' \
            < "$1")
  [ "$found" = "$2" ] || fail "$1: $found, expected $2"
}

#----------------------------------------------------------------------
# qemu-img reads the same.

agrees sparse size=20000
agrees sparse size=1 alloc=all
agrees sparse size=20001 grain=1 gtes=128 alloc=mixed:40 order=random
agrees sparse size=20001 grain=8 gtes=256 alloc=mixed:50 order=reversed \
       tables=random gdes=used
agrees sparse size=70001 grain=128 alloc=all short=1 rgd=0
agrees sparse size=70001 grain=32768 alloc=0/n,2 version=3 align=0
agrees sparse size=70001 grain=64 tables=end descsize=7
agrees stream size=100001 alloc=mixed:40
agrees stream size=300001 alloc=0-9/n,600,2000-2340/b level=9 emptygts=1 pad=0
agrees stream size=100001 alloc=mixed:40 progress=3 level=0 grain=64
agrees stream size=100001 alloc=mixed:40 layout=qemu pad=0
agrees stream size=100001 alloc=mixed:40 layout=qemu order=random
agrees stream size=100001 alloc=mixed:40 layout=front order=reversed
agrees split size=20000 piece=3328 alloc=mixed:30 grain=16
agrees split size=20000 piece=3333 kind=flat
agrees split size=20 kind=flat
agrees cowd size=20001 alloc=mixed:30 order=random
agrees cowd size=200001 alloc=random:30 grain=16 order=reversed slack=99
agrees sesparse size=200001 alloc=mixed:30 order=random
agrees sesparse size=200000 alloc=mixed:30 order=reversed tail=full
agrees sesparse size=70000 alloc=mixed:30 tail=cut txn=9
agrees flat size=1001 alloc=every:3/n offset=7
agrees vmfs size=1001
# qemu-img knows no custom disks, but takes any mix under another name (and
# looks for a stream's footer in the descriptor's file, so not that layout).
agrees custom createtype=twoGbMaxExtentSparse extents='
  RW 640 sparse grain=8; RW 99 flat offset=3 file=o-x;
  RW 99 flat offset=102 file=o-x; RW 640 cowd;
  RW 641 stream layout=front'
agrees chain size=20000 layers='
  sparse size=15000 grain=8 alloc=mixed:60; cowd alloc=mixed:30 size=19000;
  sesparse alloc=mixed:30; sparse alloc=random:30 grain=64 size=20077;
  stream grain=16 alloc=mixed:20; split piece=5120 alloc=mixed:20 grain=16'

# An odd size in the middle: qemu-img is right only as long as no request
# crosses the end of an extent.
$vmdkgen split size=2001 piece=333 grain=16 alloc=mixed:50 o.vmdk o.raw
qemu-img dd -f vmdk -O raw bs=512 if=o.vmdk of=q.raw
same_bytes o.raw q.raw
rm -f o.* o-* q.raw

# The test above can fail.
$vmdkgen sparse size=1000 alloc=all grain=8 o.vmdk o.raw
$vmdkgen poke o.vmdk 'gte[5]' "$($vmdkgen peek o.vmdk 'gte[6]')"
qemu-img convert -f vmdk -O raw o.vmdk q.raw
if cmp -s o.raw q.raw; then
  fail "two grains hold the same bytes"
fi
rm -f o.* q.raw

#----------------------------------------------------------------------
# The examples of the format reference, by section.

# 14.1
$vmdkgen sparse size=81920 alloc=0,513 a.vmdk a.raw
hex a.vmdk 0 \
    "4b444d56010000000300000000400100""00000000800000000000000001000000""\
00000000140000000000000000020000""15000000000000001e00000000000000""\
8000000000000000000a200d0a000000"
hex a.vmdk 21 160000001a000000
hex a.vmdk 30 1f00000023000000
for t in 22 31; do
  hex a.vmdk $t 8000000000000000
  hex a.vmdk $((t + 4)) 0000000000010000
done
value a.vmdk 'gte[513]' 256
value a.vmdk 'rgte[513]' 256
length a.vmdk 384
cmp -n 65536 -i 131072:33619968 a.vmdk a.raw

# 14.2
$vmdkgen sparse size=2048 alloc=0/z a.vmdk
hex a.vmdk 0 4b444d56020000000700000000080000
hex a.vmdk 22 0100000000000000
hex a.vmdk 27 0100000000000000

# 14.3, but each grain takes one sector
$vmdkgen stream size=131072 alloc=0-1/b,600/b a.vmdk map=m
hex a.vmdk 0 4b444d56030000000100030000000200
hex a.vmdk 128 00000000000000005400000078
hex a.vmdk 129 80000000000000005400000078
hex a.vmdk 130 04000000000000000000000001000000
hex a.vmdk 131 80000000810000000000000000000000
hex a.vmdk 135 002c0100000000005400000078
hex a.vmdk 136 04000000000000000000000001000000
hex a.vmdk 142 83000000890000000000000000000000
hex a.vmdk 141 01000000000000000000000002000000
hex a.vmdk 143 01000000000000000000000003000000
hex a.vmdk 144 4b444d56030000000100030000000200
hex a.vmdk 145 00000000000000000000000000000000
value a.vmdk kdmv.gdOffset 18446744073709551615
value a.vmdk kdmv.compressAlgorithm 1
value a.vmdk footer.gdOffset 142
value a.vmdk 'gte[600]' 135
length a.vmdk 146
map_is m "0 packed 131072 absent 39321600 packed 39387136 absent"

# 14.4
$vmdkgen stream layout=qemu size=2048 alloc=0/b,2/n,15/b a.vmdk
hex a.vmdk 0 4b444d56030000000300030000080000
hex a.vmdk 21 16000000
hex a.vmdk 26 1b000000
for t in 22 27; do
  hex a.vmdk $t 80000000000000008100000000000000
  value a.vmdk 'gte[15]' 258
done
hex a.vmdk 129 00010000000000001a000100789c
hex a.vmdk 258 800700000000000054000000789c
length a.vmdk 386

# 14.5
$vmdkgen cowd size=204800 alloc=0,5000 a.vmdk
hex a-delta.vmdk 0 434f5744010000000300000000200300
value a-delta.vmdk cowd.freeSector 71
value a-delta.vmdk cowd.numGDEntries 50
hex a-delta.vmdk 4 0500000026000000
hex a-delta.vmdk 5 2500000000000000
[ "$($vmdkgen where a-delta.vmdk 'gte[5000]')" -eq 23072 ]
value a-delta.vmdk 'gte[5000]' 70
length a-delta.vmdk 71
grep -q '^RW 204800 VMFSSPARSE "a-delta.vmdk"$' a.vmdk

# 14.6
$vmdkgen sesparse size=204800 alloc=0,1/z,2/u,5,4097 \
         indexes=0:0,2:3,5:1,4097:4100 a.vmdk map=m
hex a-sesparse.vmdk 0 \
    "bebafeca000000000100000002000000""00200300000000000800000000000000""\
40000000000000000000000000000000"
for x in volatileHeader:1:1 journalHeader:2:2 journal:2048:2048 \
         grainDirectory:4096:2048 grainTables:6144:2048 freeBitmap:8192:2048 \
         backMap:10240:2048 grains:12288:204800; do
  IFS=: read -r name offset size <<< "$x"
  value a-sesparse.vmdk "sesparse.${name}Offset" "$offset"
  value a-sesparse.vmdk "sesparse.${name}Size" "$size"
done
hex a-sesparse.vmdk 1 fecafeca000000000200000000000000
hex a-sesparse.vmdk 4096 00000000000000100100000000000010
hex a-sesparse.vmdk 6144 \
    "00000000000000300000000000000020""00000000000003100000000000000000"
[ "$($vmdkgen where a-sesparse.vmdk 'gte[4097]')" -eq $((6208 * 512 + 8)) ]
value a-sesparse.vmdk 'gte[5]' $((0x3001000000000000))
value a-sesparse.vmdk 'gte[4097]' $((0x3004000000000001))
[ "$($vmdkgen where a-sesparse.vmdk 'grain[4097]')" -eq 23085056 ]
# Bitmap and back map of grains 0, 1, 3 and 4100, as in 7.9.
hex a-sesparse.vmdk 8192 0b00
hex a-sesparse.vmdk 8193 10
hex a-sesparse.vmdk 10240 \
    "00000000000000100000000000000510""00000000000000000000000000000210"
map_is m "0 data 4096 zero 12288 absent 20480 data 24576 absent \
16781312 data 16785408 absent"

# 14.7
$vmdkgen split size=10485760 piece=4194304 alloc=none cid=57f508e1 disk.vmdk
diff -u disk.vmdk - <<'END'
# Disk DescriptorFile
version=1
CID=57f508e1
parentCID=ffffffff
createType="twoGbMaxExtentSparse"

# Extent description
RW 4194304 SPARSE "disk-s001.vmdk"
RW 4194304 SPARSE "disk-s002.vmdk"
RW 2097152 SPARSE "disk-s003.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "10402"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.adapterType = "ide"
ddb.toolsVersion = "2147483647"
END
length disk-s002.vmdk 640
length disk-s003.vmdk 384

#----------------------------------------------------------------------
# What qemu-img doesn't know: maps, and what it gets wrong.

$vmdkgen custom extents='RW 10 flat grain=1 alloc=2; RW 5 zero;
                         RDONLY 20 sparse grain=4 alloc=1,2/z;
                         NOACCESS 8 flat' a.vmdk a.raw map=m
map_is m "0 data 5120 zero 7680 absent 9728 data 11776 zero 13824 absent \
17920 noaccess"
[ "$(stat -c %s a.raw)" -eq $((43 * 512)) ]
[ "$(dd if=a.raw bs=512 skip=19 count=1 status=none | head -c 32)" = \
  "s00000001 @00000000000000000013" ]
[ "$(tr -d '\0' < a.raw | wc -c)" -eq $((5 * 512)) ]

# Payloads without markers, and without the zlib wrapping.
$vmdkgen stream layout=nomarker raw=1 grain=8 size=20 alloc=2/n,0 pad=0 \
         a.vmdk a.raw
value a.vmdk kdmv.flags $((0x10001))
python3 - "$($vmdkgen where a.vmdk 'grain[0]')" \
          "$($vmdkgen where a.vmdk 'grain[2]')" <<'END'
import struct, sys, zlib
image, raw = open ("a.vmdk", "rb").read (), open ("a.raw", "rb").read ()
for place, start, end in ((sys.argv[1], 0, 4096), (sys.argv[2], 8192, 10240)):
    at = int (place)
    size, = struct.unpack_from ("<I", image, at)
    data = zlib.decompress (image[at + 4:at + 4 + size], -15)
    assert data == raw[start:end], place
END

# Over a chain: an entry hides what is below, the end of a short parent reads
# as zero, and only what no layer has is absent.
$vmdkgen chain size=40 layers='sparse grain=8 alloc=0,2 size=24;
         cowd grain=4 alloc=1/z,9' a.vmdk a.raw map=m linkmap=l
map_is l "0 absent 2048 zero 4096 absent 18432 data"
map_is m "0 data 2048 zero 4096 absent 8192 data 12288 zero 18432 data"

# Descriptor options.
$vmdkgen vmfs size=9 crlf=1 case=lower quote=0 eol=0 encoding=windows-1252 \
         cid=c1d file=ä.vmdk desc.isNativeSnapshot=no ddb=0 spaces=1 offset=4 \
         keys=version,parentCID,CID,extents,createType a.vmdk
diff -u <(printf '%s\r\n' '# Disk DescriptorFile' version=1 \
                 'parentcid = ffffffff' 'cid = 00000c1d' \
                 'isnativesnapshot = no' '' '# Extent description' \
                 $'rw 9 vmfs "\xe4.vmdk" 4' ''
          printf 'createtype = vmfs') a.vmdk
[ -e ä.vmdk ]

#----------------------------------------------------------------------
# Damage.

$vmdkgen sparse size=81920 alloc=3 kdmv.capacity=77 'rgde[1]=0x12345' a.vmdk
value a.vmdk kdmv.capacity 77
value a.vmdk 'rgde[1]' $((0x12345))
$vmdkgen poke a.vmdk 'rgte[3]' -1
hex a.vmdk 22 000000000000000000000000ffffffff
value a.vmdk 'gte[3]' 128
$vmdkgen patch a.vmdk 'grain[3]+512' hex cafe
hex a.vmdk 129 cafe
$vmdkgen patch a.vmdk 0 u16 0x4142
hex a.vmdk 0 42414d56
$vmdkgen truncate a.vmdk 1000
$vmdkgen truncate a.vmdk -100
[ "$(stat -c %s a.vmdk)" -eq 900 ]
