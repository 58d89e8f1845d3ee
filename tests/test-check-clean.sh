#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img check finds nothing wrong with sound images: those of our
# generator and of qemu-img not even something odd, those of other
# programs no errors.  And it is quick where there is little to look at.

. ./functions.sh
requires python3
requires jq --version

mkdir "$scratch/d"
cd "$scratch/d"

# clean JQ FILE: the defects that the filter leaves are too many.
clean ()
{
  local status=0

  "$vmdk_img" check --json "$2" >out 2>err || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || {
    cat out err >&2
    fail "$2: status $status"
  }
  jq -e "(.defects | map (select ($1)) | length) == 0 and .complete" out \
    >/dev/null || {
    cat out >&2
    fail "$2 has defects"
  }
}

generated ()
{
  rm -f ./*
  $vmdkgen "$@" x.vmdk
  clean true x.vmdk
}

for order in asc reversed random; do
  generated sparse size=200001 order=$order alloc=mixed:40
  generated cowd size=20001 order=$order
  generated sesparse size=200001 order=$order alloc=mixed:40
done
for option in alloc=none alloc=all rgd=0 grain=1 grain=8 gtes=128 short=1 \
  tables=reversed tables=random tables=end align=0
do
  generated sparse size=200001 $option
done
for option in alloc=none alloc=all layout=front layout=qemu layout=nomarker \
  raw=1 pad=0 progress=3 emptygts=1 gtes=128 grain=16
do
  generated stream size=200001 $option
done
for option in alloc=none alloc=all grain=8 grain=5 slack=100; do
  generated cowd size=20001 $option
done
for option in alloc=none alloc=all tail=full tail=cut txn=5; do
  generated sesparse size=200001 $option
done
generated split size=200000 piece=70016
generated vmfs size=1000
generated custom extents="RW 100 flat offset=63; RW 5 zero; NOACCESS 9 flat;
  RDONLY 77 sparse grain=8"
generated chain size=20000 layers="vmfs; cowd; sesparse; split piece=7040"

# Nearly empty and as large as it gets: holes aren't read.
start=$SECONDS
generated sesparse size=0x1f00000000 alloc=scatter:20
generated sparse size=0x1000000000 alloc=scatter:20
[ $((SECONDS - start)) -lt 60 ] || fail "took $((SECONDS - start)) s"

if [ -d "$VMDK_IMAGES" ]; then
  requires_images ext2.vmdk esxi-sesparse.vmdk.gz v3-stream-16g.vmdk.bz2
  rm -f ./*
  for name in export-progress-markers ext2 stream-front-directory \
    unquoted-createType virtualbox-stream vmdktool-streamOptimized \
    vmware-2gbsparse vmware-monolithicSparse vmware-streamOptimized \
    workstation-fs workstation-monolithicSparse workstation-streamOptimized \
    mkimg-512-mbr.vmdk.gz mkimg-4096-vtoc8.vmdk.gz v3-stream-16g.vmdk.bz2
  do
    [ "${name%.vmdk*}" != "$name" ] || name=$name.vmdk
    clean '.severity == "error"' "$(image "$name")"
  done
  # What a host wrote is exactly what we expect of bitmap and back map.
  cp "$(image esxi-sesparse.vmdk.gz)" x-sesparse.vmdk
  printf '%s\n' '# Disk DescriptorFile' version=1 CID=12345678 \
    parentCID=ffffffff 'createType="seSparse"' \
    'RW 1048576 SESPARSE "x-sesparse.vmdk"' >x.vmdk
  clean true x.vmdk
fi

requires qemu-img --version
rm -f ./*
head -c 3M /dev/urandom >raw
truncate -s 100M raw
for format in monolithicSparse monolithicFlat twoGbMaxExtentSparse \
  twoGbMaxExtentFlat streamOptimized
do
  qemu-img convert -O vmdk -o subformat=$format raw x-$format.vmdk
  clean true x-$format.vmdk
  qemu-img create -q -f vmdk -o subformat=$format y-$format.vmdk 5G
  clean true y-$format.vmdk
done
qemu-img create -q -f vmdk -b x-monolithicSparse.vmdk -F vmdk child.vmdk
clean true child.vmdk
