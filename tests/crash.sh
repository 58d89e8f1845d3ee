# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Sourced by the tests that run the crash simulator: makes its images.

crash_sim=("${under_valgrind[@]}" "$top_builddir/tests/crash-sim")

# make_image NAME BUILDER [OPTION...]
make_image ()
{
  mkdir -p "$scratch/images/$1"
  (
    cd "$scratch/images/$1"
    $vmdkgen "${@:2}" d.vmdk || fail "vmdkgen ${*:2}"
  ) || fail "image $1"
}

# make_qemu_image NAME SIZE: as qemu-img makes them, with some data.
make_qemu_image ()
{
  mkdir -p "$scratch/images/$1"
  if ! { qemu-img create -f vmdk "$scratch/images/$1/d.vmdk" "$2" &&
         qemu-io -f vmdk -c 'write -P 7 3k 99k' "$scratch/images/$1/d.vmdk"
       } >/dev/null 2>&1; then
    make_image "$1" sparse size=4096 grain=128
  fi
}

# What the workloads of crash-sim are done to: small, so that states are
# opened fast, but with several tables, extents or links.
make_crash_images ()
{
  local parent='sparse grain=8 gtes=128 alloc=random:60' i

  make_image mono sparse size=4091 grain=8 gtes=128 alloc=random:30
  make_image flagged sparse size=2048 grain=8 gtes=128 \
    alloc=every:3,5/z,9-30/z version=2 flags=7
  make_image empty sparse size=4096 grain=8 gtes=128 gdes=used alloc=none
  make_image device sparse size=2048 grain=8 gtes=128 gdes=used \
    alloc=random:20
  make_image tracked sparse size=2048 grain=8 gtes=128 version=3 \
    alloc=random:20 desc.changeTrackPath=d-ctk.vmdk
  make_image trackedsplit split piece=1100 kind=sparse size=2048 grain=2 \
    gtes=128 alloc=random:20 version=3 desc.changeTrackPath=d-ctk.vmdk
  make_image single sparse size=2048 grain=4 gtes=128 rgd=0 gdes=used \
    alloc=0-3
  make_image split split piece=1100 kind=sparse size=2048 grain=2 gtes=128 \
    alloc=random:30
  make_image flat flat size=1024
  make_image splitflat split piece=500 kind=flat size=1200
  make_image cowd cowd size=2048 alloc=random:30
  make_image cowdempty cowd size=2048 grain=8 alloc=none
  make_image chain chain size=2048 \
    layers="$parent; $parent; sparse grain=16 gtes=128 alloc=random:20"
  make_image chainflagged chain size=2048 \
    layers="$parent; sparse grain=8 gtes=128 alloc=every:4,7/z version=2
            flags=7"
  make_image chaindevice chain size=2048 \
    layers="$parent; sparse grain=8 gtes=128 alloc=random:20"
  make_image chaincowd chain size=2048 \
    layers="vmfs alloc=random:60; cowd grain=1 alloc=random:20"
  make_image chainsplit chain size=2048 \
    layers="$parent; split piece=1100 kind=sparse grain=4 gtes=128
            alloc=random:20"
  make_image big sparse size=131072 grain=2048 alloc=0,3
  make_image bigcowd cowd size=131072 grain=2048 alloc=0,3
  make_image many sparse size=7680 grain=1 gtes=128 alloc=random:2
  make_image holes sparse size=2047 grain=8 gtes=128 order=random \
    alloc=random:50,every:3/b
  make_image holestables sparse size=2048 grain=8 gtes=128 order=random \
    alloc=random:50,every:3/b tables=end
  make_image holessplit split piece=1024 kind=sparse size=2048 grain=8 \
    gtes=128 alloc=random:50,every:3/b order=random
  make_image holescowd cowd size=9000 alloc=random:5,every:9/b
  make_qemu_image qemu 2M
  # A device has something behind what is used.
  for i in device chaindevice; do
    head -c 3000000 /dev/zero | tr '\0' j >> "$scratch/images/$i/d.vmdk"
  done
}
