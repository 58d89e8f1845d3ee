#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img commit: the parent becomes what the child is, and nothing else
# changes; the content IDs of the whole chain are right; and what would do
# harm is refused.

. ./functions.sh
requires python3
requires jq --version
requires qemu-img --version
cd "$scratch"

# cid FILE, parent_cid FILE: as the descriptor has it.
cid ()
{
  grep -a -m1 '^CID=' "$1" | cut -d= -f2
}

parent_cid ()
{
  grep -a -m1 '^parentCID=' "$1" | cut -d= -f2
}

# reads FILE RAW: its guest's view.
reads ()
{
  "$vmdk_img" convert -q -t raw --force "$1" read.raw
  cmp read.raw "$2" >&2 || fail "$1 reads something else"
}

# chain LAYERS: d.vmdk is the child, d-$parent.vmdk its parent.
chain ()
{
  rm -rf ./*
  $vmdkgen chain size=5000 layers="$1" d.vmdk d.raw
  parent=$(ls d-?.vmdk | tail -1)
}

# committed LAYERS: with what is to be seen by all programs in d.raw.
committed ()
{
  local own before

  chain "$1"
  own=$(cid d.vmdk)
  before=$(cid "$parent")
  [ "$parent" = d-0.vmdk ] || sha256sum d-0*.vmdk > grandparent
  "$vmdk_img" commit --json d.vmdk > json || fail "$1"
  [ "$(jq -c '[.filename, .parent, .deleted]' json)" = \
    "[\"d.vmdk\",\"$parent\",false]" ] || fail "$(cat json)"

  reads d.vmdk d.raw
  reads "$parent" d.raw
  [ ! -e grandparent ] || sha256sum --quiet -c grandparent
  [ "$(cid d.vmdk)" = "$own" ] || fail "$1: the child's CID has changed"
  [ "$(cid "$parent")" != "$before" ] || fail "$1: the parent's CID hasn't"
  [ "$(cid "$parent")" = "$(parent_cid d.vmdk)" ] || fail "$1: parentCID"
  [ ! -e d.vmdk.commit ] || fail "$1: the marker remains"
  "$vmdk_img" check -q d.vmdk || [ $? -eq 3 ] || fail "$1: check"
}

# qemu: reads both.  Its own commit leaves a child that it can't open.
qemu ()
{
  local file

  for file in d.vmdk "$parent"; do
    qemu-img compare -f vmdk -F raw $file d.raw > qemu.out 2>&1 ||
      fail "qemu: $file: $(cat qemu.out)"
  done
}

# Each kind of parent, and of child.
committed 'flat alloc=random:60; sparse alloc=mixed:40'
qemu
committed 'vmfs alloc=random:60; cowd alloc=random:40'
qemu
committed 'sparse alloc=random:60; sparse grain=8 alloc=mixed:40'
qemu
committed 'split piece=2048 alloc=random:60; split piece=1280 alloc=mixed:40'
qemu
committed 'sparse grain=8 alloc=random:60; stream alloc=mixed:40'
committed 'cowd alloc=random:60; sesparse alloc=mixed:40'
committed 'sesparse alloc=random:60; sparse alloc=mixed:40'
committed 'stream alloc=random:60; cowd alloc=mixed:20 grain=8'

# What is zero in the child hides what the grandparent has.
committed 'flat alloc=all; sparse alloc=random:30; sparse alloc=mixed:40'
qemu
committed 'sparse alloc=all; cowd alloc=random:30; cowd alloc=mixed:10'
committed 'sparse alloc=all; sesparse alloc=mixed:30; sparse alloc=mixed:40'

# A disk's long content ID goes with the CID; its other lines stay.
rm -rf ./*
$vmdkgen chain size=5000 layers='sparse alloc=0-9
  ddb.longContentID=00112233445566778899aabbccddeeff; sparse alloc=5-12' \
  d.vmdk d.raw
"$vmdk_img" commit -q d.vmdk
grep -a -q "^ddb.longContentID = \"0*112233445566778899aabb$(cid d-0.vmdk)\"" \
     d-0.vmdk || fail "$(grep -a longContentID d-0.vmdk)"

# A child that says nothing changes nothing.
chain 'sparse alloc=0-9; sparse alloc=none'
sha256sum d*.vmdk > before
"$vmdk_img" commit d.vmdk > out
sha256sum --quiet -c before
grep -q -x 'd.vmdk was committed to d-0.vmdk.' out || fail "$(cat out)"

# Deleting takes the child's files, and no others.
for kind in 'sparse' 'split piece=2048' 'cowd'; do
  chain "flat alloc=0-9; $kind alloc=5-7"
  touch d-s009.vmdk other.vmdk
  "$vmdk_img" commit -q --delete d.vmdk
  reads d-0.vmdk d.raw
  [ "$(echo d*.vmdk)" = 'd-0-flat.vmdk d-0.vmdk d-s009.vmdk' ] ||
    fail "$kind: $(echo d*.vmdk)"
done

# refused PATTERN [ARGS...]: and no file is another one than before.
refused ()
{
  sha256sum ./*.vmdk > before
  expect_error "$1" "$vmdk_img" commit "${@:2}" "${child:-d.vmdk}"
  sha256sum --quiet -c before
  [ ! -e d.vmdk.commit ] || fail "$1: there is a marker"
}

# Other children.
chain 'sparse alloc=0-9; sparse alloc=5-12'
cp d.vmdk sibling.vmdk
refused '^vmdk-img: d-0.vmdk: .*is the parent of "sibling.vmdk" .*--allow-par'
"$vmdk_img" commit -q --allow-parent-write d.vmdk
reads d-0.vmdk d.raw
expect_error 'was made over a parent with CID' "$vmdk_img" info sibling.vmdk

chain 'sparse alloc=0-9; sparse alloc=5-12; sparse alloc=1-2'
child=d-1.vmdk refused \
  "d-1.vmdk: can't be deleted: .*the parent of \"d.vmdk\".*leave out --delete" \
  --delete --allow-parent-write
"$vmdk_img" commit -q d-1.vmdk
reads d.vmdk d.raw

# No parent, not the right one, and sizes.
chain 'sparse alloc=0-9; sparse alloc=5-12'
mv d.vmdk e.vmdk; mv d-0.vmdk d.vmdk
refused "^vmdk-img: d.vmdk: can't be committed: it has no parent"
chain 'sparse alloc=0-9; sparse alloc=5-12 parentcid=17'
refused 'CID 00000017, but d-0.vmdk has CID .*fix-cid'
"$vmdk_img" fix-cid -q d.vmdk
"$vmdk_img" commit -q d.vmdk
reads d-0.vmdk d.raw
chain 'sparse alloc=0-9 size=4000; sparse alloc=5-12'
refused 'd.vmdk: .*has 2560000 bytes, but its parent d-0.vmdk has 2048000'

# Extents that can't be written, with data for them or without.
for second in 'RDONLY 1280 sparse' 'RW 1280 zero'; do
  rm -rf ./*
  $vmdkgen custom extents="RW 1280 sparse; $second" d-0.vmdk
  for alloc in 0-19 0-5; do
    $vmdkgen sparse size=2560 alloc=$alloc hint=d-0.vmdk \
             parentcid="$(cid d-0.vmdk)" d.vmdk
    "$vmdk_img" convert -q -t raw --force d.vmdk d.raw
    if [ $alloc = 0-19 ]; then
      refused "d-0.vmdk: can't be written: there are data for an extent"
    else
      "$vmdk_img" commit -q d.vmdk
      reads d-0.vmdk d.raw
    fi
  done
done

# In use.
requires nbdkit --version
for file in d.vmdk d-0.vmdk; do
  chain 'sparse alloc=0-9; sparse alloc=5-12'
  serve file=$file -r
  nbd read 0 1 > /dev/null
  refused 'is in use by another program|is in use'
  stop_server
done

# Markers: of each moment of the protocol, and such as don't fit.
state ()
{
  chain 'sparse alloc=0-9; sparse alloc=5-12'
  was=$(cid d-0.vmdk) now=$(printf %08x $((0x$(cid d-0.vmdk) ^ 0x11111111)))
  printf '# x\nchild=d.vmdk\nparent=d-0.vmdk\noldCID=%s\nnewCID=%s\nend\n' \
         "$was" "$now" > d.vmdk.commit
  [ "$1" = was ] || sed -i "s/^CID=$was/CID=$now/" d-0.vmdk
  [ "$2" = was ] || sed -i "s/^parentCID=$was/parentCID=$now/" d.vmdk
}

for both in 'was was' 'now was' 'now now'; do
  state $both
  "$vmdk_img" commit -q d.vmdk || fail "marker: $both"
  [ "$(cid d-0.vmdk)" = "$now" ] || fail "$both: not what the marker said"
  [ ! -e d.vmdk.commit ] || fail "$both: the marker remains"
  reads d.vmdk d.raw
  reads d-0.vmdk d.raw
done
odd="^vmdk-img: d.vmdk.commit: says that a commit .*; if they are .* remove it"
state was now
expect_error "$odd" "$vmdk_img" commit d.vmdk
state was was
sed -i 's/^newCID=.*//' d.vmdk.commit
expect_error "$odd" "$vmdk_img" commit d.vmdk
state now was
sed -i "s/^CID=$now/CID=1234abcd/" d-0.vmdk
expect_error "$odd" "$vmdk_img" commit d.vmdk

# A parent that is reached by a symbolic link has children where it is, too.
rm -rf ./*
$vmdkgen chain size=1000 \
  layers='sparse alloc=random:50; sparse grain=8 alloc=mixed:40' d.vmdk d.raw
mkdir x
mv d-0.vmdk x/p.vmdk
ln -s x/p.vmdk d-0.vmdk
cp d.vmdk x/sib.vmdk
hint=$(grep -a -m 1 '^parentFileNameHint=' d.vmdk)
sed -i "s/^$hint/parentFileNameHint=\"p.vmdk\"  /" x/sib.vmdk
sha256sum x/* > sums
expect_error 'is the parent of "sib.vmdk"' \
  "$vmdk_img" commit --trusted-dir="$PWD/x" d.vmdk
sha256sum --quiet -c sums || fail "it was changed"
expect_error 'its parent wasn.t opened' "$vmdk_img" commit --single-link d.vmdk
