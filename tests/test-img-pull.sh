#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img pull: the child reads as before, without its parents, and its own
# children don't notice.

. ./functions.sh
requires python3
requires qemu-img --version
cd "$scratch"

# reads FILE RAW: its guest's view.
reads ()
{
  "$vmdk_img" convert -q -t raw --force "$1" read.raw &&
    cmp read.raw "$2"
}

# content: all of the descriptor that says which content it is.
content ()
{
  grep -a -E '^(CID=|ddb.longContentID)' "$1"
}

# independent FILE: there are no parents, nor a word about them.
independent ()
{
  ! grep -a -q 'parentFileNameHint' "$1" || fail "$1: there is a hint"
  grep -a -q -x 'parentCID=ffffffff' "$1" || fail "$1: has a parent"
  mkdir away
  mv d-?.vmdk away
  reads "$1" d.raw || fail "$1 reads something else"
  "$vmdk_img" check -q "$1" || [ $? -eq 3 ] || fail "$1: check"
  mv away/* .
  rmdir away
}

# pulled LAYERS
pulled ()
{
  rm -rf ./*
  $vmdkgen chain size=5000 layers="$1" d.vmdk d.raw
  content d.vmdk > before
  sha256sum d-?.vmdk > parents
  "$vmdk_img" pull d.vmdk > out || fail "$1"
  grep -q -x 'd.vmdk has no parent, and all data.' out || fail "$(cat out)"
  content d.vmdk | cmp before
  sha256sum --quiet -c parents
  [ "$(ls | grep -c 'new$')" -eq 0 ] || fail "$1: $(ls)"
  independent d.vmdk
}

qemu ()
{
  qemu-img compare -f vmdk -F raw d.vmdk d.raw > qemu.out 2>&1 ||
    fail "qemu: $(cat qemu.out)"
}

pulled 'flat alloc=all; sparse alloc=mixed:30'
qemu
pulled 'sparse alloc=random:60 grain=8; split piece=2048 alloc=mixed:30'
qemu
pulled 'vmfs alloc=random:60; cowd alloc=random:30'
qemu
pulled 'cowd alloc=random:60; sesparse alloc=mixed:30'
pulled 'sesparse alloc=mixed:50; stream alloc=random:30'
pulled 'stream alloc=mixed:60; sparse alloc=mixed:20 grain=16; sparse
  alloc=mixed:30'
pulled 'sparse alloc=all size=3001; sparse alloc=none'

# Children of the disk stay valid, and so does a disk that nobody can see.
rm -rf ./*
$vmdkgen chain size=5000 \
  layers='flat alloc=all; sparse alloc=mixed:30; sparse alloc=0-3' \
  d.vmdk d.raw
"$vmdk_img" pull -q d-1.vmdk
rm d-0*.vmdk
reads d.vmdk d.raw || fail "the child's child reads something else"
qemu

# To a new file, of the same type.
rm -rf ./*
$vmdkgen chain size=5000 layers='flat alloc=0-9; split piece=5000 alloc=3-4' \
  d.vmdk d.raw
sha256sum d*.vmdk > before
"$vmdk_img" pull --json d.vmdk new.vmdk > out
grep -q '"filename": "new.vmdk"' out || fail "$(cat out)"
sha256sum --quiet -c before
grep -q 'createType="twoGbMaxExtentSparse"' new.vmdk || fail "another type"
independent new.vmdk
expect_error 'new.vmdk: exists already; --force' \
             "$vmdk_img" pull d.vmdk new.vmdk
"$vmdk_img" pull -q --force d.vmdk new.vmdk

# Without a parent there is nothing to do.
sha256sum new*.vmdk > before
"$vmdk_img" pull -q new.vmdk
sha256sum --quiet -c before

# Refused.
expect_error "^vmdk-img: d.vmdk: its parent wasn't opened" \
             "$vmdk_img" pull --single-link d.vmdk
printf 'changeTrackPath="x-ctk.vmdk"\n' >> d.vmdk
expect_error 'd.vmdk: .*--drop-cbt' "$vmdk_img" pull d.vmdk

# A descriptor of several sectors that can't be replaced as a whole isn't
# changed in place, where a crash could leave half of each.
rm -rf ./*
$vmdkgen chain size=40000 layers='split piece=2000 kind=sparse alloc=all;
  split piece=2000 kind=sparse alloc=none,0-5/b,6-8/d' d.vmdk d.raw
ln d.vmdk other
sha256sum -- *.vmdk > sums
expect_error 'd.vmdk: its descriptor can.t be changed: .*several names' \
             "$vmdk_img" pull d.vmdk
sha256sum --quiet -c sums || fail "it was changed"
rm other
ln -s d.vmdk link.vmdk
expect_error 'link.vmdk: its descriptor can.t be changed: .*or a link' \
             "$vmdk_img" pull link.vmdk
rm link.vmdk
sha256sum --quiet -c sums || fail "it was changed"
"$vmdk_img" pull -q d.vmdk
reads d.vmdk d.raw || fail "it reads something else"

# A new extent gets a name of its own, not one that somebody else may use.
rm -rf ./*
$vmdkgen chain size=1600 layers='sparse alloc=0-5; sesparse alloc=30-70' \
         d.vmdk d.raw
for f in d*.vmdk; do
  echo precious > "$f.new"
done
"$vmdk_img" pull -q d.vmdk
reads d.vmdk d.raw || fail "it reads something else"
for f in d*.vmdk; do
  [ "$(cat "$f.new")" = precious ] || fail "$f.new was replaced"
done
[ -z "$(find . -name '.?*')" ] || fail "something is left"
expect_error '.*--force is for NEWFILE' "$vmdk_img" pull --force d.vmdk
