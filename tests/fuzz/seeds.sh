#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Makes small images of every kind with the project's own tools, and inputs
# of them, for the fuzzer to begin with:
#     seeds.sh VMDK_IMG VMDKGEN PACK FOLDER

set -euo pipefail
vmdk_img=$1 vmdkgen=$2 pack=$3 folder=$4
mkdir -p "$folder"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Requests that read and write here and there, with some flushes.
requests=$(printf '%02x' 0 16 0 0 8 0 1 9 0 0 32 0 2 0 0 0 255 3 3 1 0 0 1 0 \
               0 40 0 0 1 0 4 60 0 0 8 0 3 1 0 0 3 0 5 2 0 0 128 2)

# seed NAME [OPTIONS]: what is in $dir is an input.
seed ()
{
  "$pack" "$dir" "$folder/$1" "${2:-210000000000}" "$requests"
}

# begin: nothing is there.
begin ()
{
  rm -rf "${dir:?}"/*
}

# gen NAME BUILDER [KEY=VALUE...]: an image of the tests' own builder.
gen ()
{
  local name=$1
  shift
  begin
  python3 "$vmdkgen" "$@" "$dir/d.vmdk" > /dev/null ||
    { echo "no seed $name"; return 0; }
  seed "$name"
}

# A few sectors of data; most of it is nothing.
base ()
{
  python3 - "$dir/raw" "${1:-2097152}" <<'END'
import sys
name, size = sys.argv[1], int (sys.argv[2])
with open (name, "wb") as f:
    f.truncate (size)
    for at in 0, 65536, 70144, size // 2, size - 512:
        f.seek (at // 512 * 512)
        f.write (b"data of %9d" % at + b"\1\2\3" * 5)
END
}

# convert ARGS...: a disk with the bytes of base.
convert ()
{
  base
  "$vmdk_img" convert --format=raw "$@" > /dev/null 2>&1
  rm "$dir/raw"
}

for type in monolithicSparse monolithicFlat twoGbMaxExtentSparse \
            twoGbMaxExtentFlat vmfs vmfsSparse seSparse streamOptimized; do
  begin
  convert --type=$type "$dir/raw" "$dir/d.vmdk"
  seed "convert-$type"
  begin
  ! "$vmdk_img" create --type=$type 3M "$dir/d.vmdk" > /dev/null 2>&1 ||
    seed "create-$type"
done
begin
convert --type=monolithicSparse --grain-size=8k "$dir/raw" "$dir/d.vmdk"
seed convert-grain-8k
begin
convert --type=streamOptimized --ova "$dir/raw" "$dir/d.ova"
mv "$dir/d.ova" "$dir/d.vmdk"
seed ova 018000000000

for type in monolithicSparse twoGbMaxExtentSparse vmfsSparse seSparse; do
  for parent in monolithicSparse monolithicFlat; do
    begin
    convert --type=$parent "$dir/raw" "$dir/p.vmdk"
    "$vmdk_img" snapshot --type=$type "$dir/p.vmdk" "$dir/d.vmdk" > /dev/null
    seed "child-$type-$parent"
  done
done

gen sparse sparse size=300 grain=8 alloc=none,0,3,7/z,20
gen sparse-v2 sparse size=300 grain=1 gtes=128 alloc=0-3,140/b,200
gen extent extent size=256 grain=8 alloc=1,5
gen stream stream size=300 grain=8 alloc=0,2,9,30
gen stream-128 stream size=1000 alloc=0,3
gen cowd cowd size=300 alloc=0,7,200
gen sesparse sesparse size=300 alloc=0,3/z,7/u,20
gen split split size=400 piece=200 kind=sparse grain=8 alloc=0,3,20
gen split-flat split size=64 piece=32 kind=flat alloc=0
gen flat flat size=64 alloc=0
gen custom custom \
    'extents=RW 10 flat offset=63; RW 5 zero; RDONLY 77 sparse grain=8'

# Undo files, beside the disks that they were made for.
for spoil in 'gte[3]=77777' 'kdmv.rgdOffset=1' 'rgte[3]=5' \
             'kdmv.uncleanShutdown=1'; do
  begin
  python3 "$vmdkgen" sparse size=300 grain=8 alloc=0,3,20 "$dir/d.vmdk" \
      > /dev/null
  python3 "$vmdkgen" poke "$dir/d.vmdk" "${spoil%=*}" "${spoil#*=}" \
      > /dev/null || continue
  seed "spoilt-${spoil%%[[=]*}"
  "$vmdk_img" repair "$dir/d.vmdk" > /dev/null 2>&1 || :
  [ ! -e "$dir/d.vmdk.undo" ] || seed "undo-${spoil%%[[=]*}"
done
begin
convert --type=monolithicFlat "$dir/raw" "$dir/d.vmdk"
sed -i -e '/^CID/d' -e '/^version/d' "$dir/d.vmdk"
"$vmdk_img" repair "$dir/d.vmdk" > /dev/null 2>&1 || :
[ ! -e "$dir/d.vmdk.undo" ] || seed undo-text

# Archives as others make them.
begin
convert --type=streamOptimized --ova "$dir/raw" "$dir/d.ova"
python3 - "$dir" <<'END'
import gzip, io, sys, tarfile
dir = sys.argv[1]
with tarfile.open (dir + "/d.ova") as t:
    members = [(m.name, t.extractfile (m).read ()) for m in t]
disk = next (n for n, b in members if n.endswith (".vmdk"))

def write (name, format, members):
    with tarfile.open (dir + "/" + name, "w", format=format) as t:
        for n, b in members:
            m = tarfile.TarInfo (n)
            m.size = len (b)
            t.addfile (m, io.BytesIO (b))

def change (old, new, rename=None):
    for n, b in members:
        if n.endswith (".ovf"):
            b = b.replace (old, new)
        if n == disk and rename:
            yield from rename (b)
        else:
            yield n, b

name = disk.encode ()
write ("pax", tarfile.PAX_FORMAT, change (b"\n", b"\n", lambda b: [
    ("a" * 120 + disk, b)]))
write ("gnu", tarfile.GNU_FORMAT, change (b"\n", b"\n", lambda b: [
    ("a" * 120 + disk, b)]))
write ("gzip", tarfile.USTAR_FORMAT, change (
    b'ovf:href="' + name, b'ovf:compression="gzip" ovf:href="' + name,
    lambda b: [(disk, gzip.compress (b))]))
write ("chunks", tarfile.USTAR_FORMAT, change (
    b'ovf:href="' + name, b'ovf:chunkSize="1024" ovf:href="' + name,
    lambda b: [("%s.%09d" % (disk, i), b[i * 1024:(i + 1) * 1024])
               for i in range ((len (b) + 1023) // 1024)]))
write ("two", tarfile.USTAR_FORMAT, change (b"\n", b"\n", lambda b: [
    (disk, b), ("e" + disk, b)]))
END
for kind in pax gnu gzip chunks two; do
  mv "$dir/$kind" "$dir/d.vmdk"
  seed "ova-$kind" 018000000000
done
