#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img rebuild-descriptor: a disk whose descriptor is lost is the same
# again, for us and for qemu, and nothing but the descriptor has changed.

. ./functions.sh
. "$srcdir/writing.sh"
requires jq

# built BUILDER ARGS...: d.vmdk with data, and d.raw
built ()
{
  rm -rf disk
  mkdir disk
  cd disk
  $vmdkgen "$@" size=5001 alloc=mixed:60 d.vmdk d.raw
}

# rebuilt TYPE ARGS...: it is sound, and has the same bytes.
rebuilt ()
{
  local type=$1 found

  shift
  sha256sum d.raw ./*-*.vmdk > ../sums 2>/dev/null || :
  "$vmdk_img" rebuild-descriptor "$@" > ../out 2>&1 || fail "$(cat ../out)"
  ! grep -v 'warning: ' ../out >&2 || fail "it says more"
  qemu_right
  rm -f ../raw
  "$vmdk_img" convert -t raw d.vmdk ../raw
  same_bytes ../raw d.raw
  found=$("$vmdk_img" info --json d.vmdk | jq -r '.links[0]."create-type"')
  [ "$found" = "$type" ] || fail "it is $found, expected $type"
  check_quiet
  sha256sum --quiet -c ../sums >&2 || fail "an extent has changed"
}

# Descriptors of their own: found by name, or given.
built split piece=2000
rm d.vmdk
rebuilt twoGbMaxExtentSparse d.vmdk
mv d-s001.vmdk one
mv d-s002.vmdk two
mv d-s003.vmdk three
rm d.vmdk
rebuilt twoGbMaxExtentSparse d.vmdk one two three
cd ..
built split piece=2000 kind=flat
rm d.vmdk
rebuilt twoGbMaxExtentFlat d.vmdk
cd ..
built vmfs
rm d.vmdk
rebuilt vmfs d.vmdk
grep -q 'adapterType = "lsilogic"' d.vmdk || fail "$(cat d.vmdk)"
grep -q 'adapter type is assumed' ../out || fail "$(cat ../out)"
grep -q 'content ID is a new one' ../out || fail "$(cat ../out)"
# One that is there is replaced only by order.  Its content ID stays, if it
# can be read, for children know the disk by it.
sed -i 's/^CID=.*/CID=abcd1234/; s/^RW.*//' d.vmdk
expect_error 'd.vmdk: exists already; --force' \
  "$vmdk_img" rebuild-descriptor d.vmdk
rebuilt monolithicFlat --force --adapter=ide --hw-version=11 \
        -t monolithicFlat d.vmdk
[ ! -s ../out ] || fail "$(cat ../out)"
grep -q -x 'CID=abcd1234' d.vmdk || fail "$(cat d.vmdk)"
grep -q -x 'ddb.adapterType = "ide"' d.vmdk || fail "$(cat d.vmdk)"
grep -q -x 'ddb.virtualHWVersion = "11"' d.vmdk || fail "$(cat d.vmdk)"
cd ..

# Inside of an extent.  Only the descriptor's sectors may change.
lost_inside ()
{
  cp d.vmdk whole.vmdk
  dd if="$1" of=d.vmdk bs=512 seek=1 count=20 conv=notrunc status=none
  cp d.vmdk ../lost.vmdk
  rm whole.vmdk
  rebuilt "${@:2}" d.vmdk
  cmp -n 512 d.vmdk ../lost.vmdk >&2 || fail "the header has changed"
  cmp -i 10752 d.vmdk ../lost.vmdk >&2 || fail "the extent has changed"
}
built sparse
lost_inside /dev/zero monolithicSparse
head -c 10240 /dev/urandom > ../noise
lost_inside ../noise monolithicSparse
# A sound one is kept.
expect_error 'd.vmdk: has a sound descriptor; --force' \
  "$vmdk_img" rebuild-descriptor d.vmdk
"$vmdk_img" rebuild-descriptor --force d.vmdk 2>/dev/null
qemu_right
cd ..
$vmdkgen stream size=5001 alloc=mixed:60 stream.vmdk stream.raw
rm -rf disk
mkdir disk
cd disk
mv ../stream.vmdk d.vmdk
mv ../stream.raw d.raw
lost_inside /dev/zero streamOptimized
cd ..

# There is little room: what nobody needs is left out.
rm -rf disk
mkdir disk
cd disk
name=$(printf '%0120d' 0).vmdk
"$vmdk_img" create -q 2M "$name"
$vmdkgen poke "$name" kdmv.descriptorSize 1
dd if=/dev/zero of="$name" bs=512 seek=1 count=20 conv=notrunc status=none
"$vmdk_img" rebuild-descriptor "$name" 2> ../rebuild.err ||
  fail "$(cat ../rebuild.err)"
"$vmdk_img" check "$name" > /dev/null || fail "check"
# The advice names options as they are.
$vmdkgen cowd size=2000 d.vmdk
rm d.vmdk
"$vmdk_img" rebuild-descriptor d.vmdk > ../rebuild.err 2>&1 || :
grep -q ' use --parent=FILE' ../rebuild.err || fail "$(cat ../rebuild.err)"
cd ..
