#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img create: headers and descriptors have the values that VMware's
# tools write, as images of theirs have them, and else as the documentation
# of the formats says.

. ./functions.sh
requires python3
cd "$scratch"

# Prints the fields of a header, after it has seen to the constant ones.
cat > fields.py <<'EOP'
import struct, sys

def header(name):
    with open(name, 'rb') as f:
        return f.read(512)

def kdmv(name):
    """capacity, numGT, gdSectors, rgdOffset, gdOffset, overHead, bytes"""
    h = header(name)
    capacity, grain, doff, dsize = struct.unpack_from('<4Q', h, 12)
    gtes, rgd, gd, overhead = struct.unpack_from('<I3Q', h, 44)
    assert h[:12] == b'KDMV' + struct.pack('<II', 1, 3), h[:12]
    assert (grain, gtes) == (128, 512) and h[72:79] == b'\0\n \r\n\0\0', h
    assert not any(h[79:]) and (doff, dsize) in ((1, 20), (0, 0)), h
    with open(name, 'rb') as f:
        size = f.seek(0, 2)
        tables = -(-capacity // 65536)
        for directory in rgd, gd:
            f.seek(directory * 512)
            gds = struct.unpack('<%dI' % tables, f.read(4 * tables))
            first = directory + -(-tables * 4 // 512)
            assert gds == tuple(range(first, first + 4 * tables, 4)), gds
    return capacity, tables, -(-tables * 4 // 512), rgd, gd, overhead, size

def cowd(name):
    """numSectors, grainSize, gdOffset, numGDEntries, freeSector"""
    h = header(name)
    assert h[:12] == b'COWD' + struct.pack('<II', 1, 3), h[:12]
    assert not any(h[32:]), h
    return struct.unpack_from('<5I', h, 12)

def sesparse(name):
    """GD, GTs, FB, BM: offset and size of each, and where grains are"""
    h = header(name)
    q = struct.unpack('<64Q', h)
    assert q[:2] == (0xcafebabe, 0x200000001), q
    assert q[3:16] == (8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2048, 2048), q
    assert q[25] == q[2] and not any(q[26:]), q
    with open(name, 'rb') as f:
        f.seek(512)
        assert struct.unpack('<64Q', f.read(512)) == (0xcafecafe,) + 63 * (0,)
    return q[16:25]

print(*globals()[sys.argv[1]](sys.argv[2]))
EOP

# has KIND FILE NUMBER...
has ()
{
  local found

  found=$(python3 fields.py "$1" "$2")
  [ "$found" = "${*:3}" ] || fail "$2 has $found, expected ${*:3}"
}

# Hosted sparse extents: the values of the formats' documentation.
sparse ()
{
  rm -f x*.vmdk
  "$vmdk_img" create "$1" x.vmdk
  has kdmv x.vmdk "${@:2}"
}
sparse 512 1 1 1 21 26 128 65536
sparse 40M 81920 2 1 21 30 128 65536
sparse 100000K 200000 4 1 21 38 128 65536
sparse 1G 2097152 32 1 21 150 384 196608
sparse 5G 10485760 160 2 21 663 1408 720896
sparse 10G 20971520 320 3 21 1304 2688 1376256
# Parts of split disks have no descriptor, and VMware's size.
"$vmdk_img" create -t twoGbMaxExtentSparse 5G s.vmdk
has kdmv s-s001.vmdk 4192256 64 1 1 258 640 327680
has kdmv s-s002.vmdk 4192256 64 1 1 258 640 327680
has kdmv s-s003.vmdk 2101248 33 1 1 134 384 196608
[ "$(od -A n -t x8 -j 28 -N 16 s-s001.vmdk | tr -d ' 0\n')" = '' ] ||
  fail "space for a descriptor"

# COWD.
"$vmdk_img" create -t vmfsSparse 100M c.vmdk
has cowd c-delta.vmdk 204800 1 4 50 5
"$vmdk_img" create -t vmfsSparse 20G c2.vmdk
has cowd c2-delta.vmdk 41943040 1 4 10240 84

# seSparse: of the first, a host has printed these numbers.
"$vmdk_img" create -t seSparse 100M e.vmdk
has sesparse e-sesparse.vmdk 4096 2048 6144 2048 8192 2048 10240 2048 12288
"$vmdk_img" create -t seSparse 50G e2.vmdk
has sesparse e2-sesparse.vmdk \
    4096 2048 6144 204800 210944 4096 215040 204800 419840
"$vmdk_img" create -t seSparse 2T e3.vmdk
has sesparse e3-sesparse.vmdk \
    4096 2048 6144 8388608 8394752 131072 8525824 8388608 16914432

# geometry ADAPTER SIZE TYPE CYLINDERS HEADS SECTORS
geometry ()
{
  rm -f g*.vmdk
  "$vmdk_img" create --adapter="$1" -t "$3" "$2" g.vmdk
  [ "$(sed -n 's/^ddb.geometry.* = "\(.*\)"$/\1/p' g.vmdk | tr '\n' ' ')" = \
    "$4 $5 $6 " ] || fail "$*: $(cat g.vmdk)"
  grep -q -x "ddb.adapterType = \"${1,,}\"" g.vmdk || fail "$(cat g.vmdk)"
}
geometry ide 100M monolithicFlat 203 16 63
geometry IDE 18432000s twoGbMaxExtentFlat 16383 16 63
geometry ide 75497472s vmfs 74898 16 63
geometry buslogic 83886080s vmfs 5221 255 63
geometry lsilogic 1023M monolithicFlat 1023 64 32
geometry lsilogic 1G monolithicFlat 512 128 32
geometry lsilogic 2G monolithicFlat 261 255 63

# The descriptor as such: what stumbles over it otherwise.
"$vmdk_img" create --adapter=legacyesx --hw-version=13 -t vmfs 1M v.vmdk
sed -e 's/^CID=[0-9a-f]\{8\}$/CID=1/' -e 's/"[0-9a-f]\{32\}"/"2"/' \
    -e 's/"60 00 C2 9[0-9a-f]\( [0-9a-f][0-9a-f]\)\{4\}-\([0-9a-f ]\{3\}\)\{7\}[0-9a-f]\{2\}"/"3"/' \
    v.vmdk > v
diff v - >&2 <<'EOD' || fail "another descriptor"
# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=1
parentCID=ffffffff
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 2048 VMFS "v-flat.vmdk"

# The Disk Data Base 
#DDB

ddb.adapterType = "legacyESX"
ddb.geometry.cylinders = "1"
ddb.geometry.heads = "64"
ddb.geometry.sectors = "32"
ddb.longContentID = "2"
ddb.thinProvisioned = "1"
ddb.toolsVersion = "2147483647"
ddb.uuid = "3"
ddb.virtualHWVersion = "13"
EOD
cid=$(sed -n 's/^CID=//p' v.vmdk)
grep -q "^ddb.longContentID = \"[0-9a-f]*$cid\"$" v.vmdk || fail "$(cat v.vmdk)"
# A stream is always the same.
"$vmdk_img" create -t streamOptimized 1M t.vmdk
mkdir once
"$vmdk_img" create -t streamOptimized 1M once/t.vmdk
same_bytes t.vmdk once/t.vmdk
# Two other disks never are.
"$vmdk_img" create -t vmfs 1M once/v.vmdk
! grep -F -x -f once/v.vmdk v.vmdk | grep -E 'CID=[^f]|uuid|ContentID' >&2 ||
  fail "not random"

# What is left here needs images that VMware has made.
requires_images vmware-monolithicSparse.vmdk twoGbMaxExtentSparse-s001.vmdk \
                workstation-monolithicSparse.vmdk workstation-fs.vmdk \
                esxi-vmfs-thick.vmdk esxi-sesparse.vmdk.gz

# like IMAGE FILE ARGS...: the first sector is the same.
like ()
{
  rm -f like*.vmdk
  "$vmdk_img" create "${@:3}" like.vmdk
  cmp -n 512 "$(image "$1")" "$2" >&2 || fail "not like $1"
}
like vmware-monolithicSparse.vmdk like.vmdk 10M
like twoGbMaxExtentSparse-s001.vmdk like-s001.vmdk -t twoGbMaxExtentSparse 10M
like workstation-monolithicSparse.vmdk like.vmdk 10G
like workstation-fs.vmdk like.vmdk 512M
like esxi-sesparse.vmdk.gz like-sesparse.vmdk -t seSparse 512M

# same_lines IMAGE NAME ARGS...: so are the lines of the descriptor, but for
# names and numbers that nobody has twice.
normal ()
{
  tr -d '\0' < "$1" | grep -a -o -E \
    '^(# .*|#DDB|version=.*|parentCID=.*|createType=.*|RW .*|ddb\.[a-zA-Z.]+ = .*|)$' |
    sed -e 's/"[^"]*\.vmdk"/"x"/' -e 's/\(uuid\|longContentID\) = .*/\1/' |
    sort
}
same_lines ()
{
  local lost

  rm -f like*.vmdk
  "$vmdk_img" create "${@:2}" like.vmdk
  normal <(head -c 10752 "$(image "$1")") > theirs
  normal <(head -c 10752 like.vmdk) > ours
  lost=$(comm -23 theirs ours)
  [ -z "$lost" ] || fail "$1 has: $lost"
}
same_lines workstation-monolithicSparse.vmdk --hw-version=10 10G
same_lines workstation-fs.vmdk --adapter=ide --hw-version=21 512M
same_lines esxi-vmfs-thick.vmdk -t vmfs --hw-version=14 2M
