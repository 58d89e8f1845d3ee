#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img snapshot: the child has the type and the name that VMware would
# give it, reads as its parent, also when that is written to a chain of
# them, and the parent is not changed.

. ./functions.sh
. "$srcdir/writing.sh"
requires jq

# child FILE: what matters of it.
child ()
{
  "$vmdk_img" info --json "$1" |
    jq -r '[.links[0]."create-type", (.links[0].extents | length),
            .links[0]."parent-hint"] | join (" ")'
}

# snapshot CHILD 'TYPE EXTENTS HINT' ARGS...
snapshot ()
{
  local found before

  before=$(cat ./*.vmdk | sha256sum)
  found=$("$vmdk_img" snapshot "${@:3}")
  [ "$found" = "$1" ] || fail "made $found, expected $1"
  found=$(child "$1")
  [ "$found" = "$2" ] || fail "$1 is $found, expected $2"
  mkdir aside
  mv "${1%.vmdk}".vmdk "${1%.vmdk}"-[a-z]*.vmdk aside 2>/dev/null || :
  [ "$(cat ./*.vmdk | sha256sum)" = "$before" ] || fail "others have changed"
  mv aside/* .
  rmdir aside
}

# Types.  The numbers go on, whatever the parent has for one.
for type in monolithicSparse monolithicFlat streamOptimized; do
  "$vmdk_img" create -t $type 1M m.vmdk
  snapshot m-000001.vmdk 'monolithicSparse 1 m.vmdk' m.vmdk
  snapshot m-000002.vmdk 'monolithicSparse 1 m-000001.vmdk' m-000001.vmdk
  snapshot m-000003.vmdk 'monolithicSparse 1 m.vmdk' m.vmdk
  rm m*.vmdk
done
for type in Sparse Flat; do
  "$vmdk_img" create -t twoGbMaxExtent$type 5000s t.vmdk
  snapshot t-000001.vmdk 'twoGbMaxExtentSparse 1 t.vmdk' t.vmdk
  rm t*.vmdk
done
"$vmdk_img" create -t vmfs 1M v.vmdk
snapshot v-000001.vmdk 'vmfsSparse 1 v.vmdk' v.vmdk
snapshot v-000002.vmdk 'vmfsSparse 1 v-000001.vmdk' v-000001.vmdk
snapshot v-000003.vmdk 'seSparse 1 v.vmdk' -t sesparse v.vmdk
snapshot v-000004.vmdk 'seSparse 1 v-000003.vmdk' v-000003.vmdk
rm -f ./*.vmdk
"$vmdk_img" create -t vmfs 2T w.vmdk
"$vmdk_img" snapshot w.vmdk > out
[ "$(child w-000001.vmdk)" = 'seSparse 1 w.vmdk' ] ||
  fail "of 2 TiB: $(child w-000001.vmdk)"

# Names: what is there is never replaced, be it only an extent.
rm -f ./*.vmdk
"$vmdk_img" create -t vmfs 1M v.vmdk
touch v-000001.vmdk v-000002-delta.vmdk
snapshot v-000003.vmdk 'vmfsSparse 1 v.vmdk' --force v.vmdk
snapshot mine.vmdk 'vmfsSparse 1 v-000003.vmdk' v-000003.vmdk mine.vmdk
expect_error 'mine.vmdk: exists already' \
  "$vmdk_img" snapshot v.vmdk mine.vmdk
cp v.vmdk v-12345.vmdk
snapshot v-12345-000001.vmdk 'vmfsSparse 1 v-12345.vmdk' v-12345.vmdk
rm v-000001.vmdk v-000002-delta.vmdk
# Many at the same time.
for i in 1 2 3 4 5 6 7 8; do
  "$vmdk_img" snapshot v.vmdk > made.$i 2>&1 &
done
wait
[ "$(sort -u made.* | grep -c '^v-00000[1-9]\.vmdk$')" = 8 ] ||
  fail "$(cat made.*)"
[ ! -s made.1 ] || "$vmdk_img" check --quiet "$(cat made.1)"

# Other folders.
mkdir below other
[ "$("$vmdk_img" snapshot "$PWD/v.vmdk" below/c.vmdk 2>err)" = below/c.vmdk ]
grep -q 'outside of its folder, as ../v.vmdk.*--trusted-dir' err ||
  fail "$(cat err)"
mv v.vmdk v-flat.vmdk below
"$vmdk_img" snapshot below/v.vmdk d.vmdk >/dev/null
[ "$(child d.vmdk)" = 'vmfsSparse 1 below/v.vmdk' ] || fail "$(child d.vmdk)"
"$vmdk_img" snapshot -q below/v.vmdk other/d.vmdk >/dev/null
grep -q "^parentFileNameHint=\"$PWD/below/v.vmdk\"$" other/d.vmdk ||
  fail "$(cat other/d.vmdk)"

# The parent's CID is the child's, and what the child lacks it inherits.
rm -r ./*.vmdk below other
"$vmdk_img" create --adapter=ide --hw-version=7 1M a.vmdk
"$vmdk_img" snapshot a.vmdk >/dev/null
key ()
{
  "$vmdk_img" info --json "$1" | jq -r ".links[0].$2"
}
# same KEY [KEY]: of a.vmdk, and of its child
same ()
{
  local expected found

  expected=$(key a.vmdk "$1")
  found=$(key a-000001.vmdk "${2:-$1}")
  [ "$found" = "$expected" ] || fail "$1: $found instead of $expected"
  [ "$expected" != null ] || fail "there is no $1"
}
same cid
same cid '"parent-cid"'
for k in longContentID adapterType virtualHWVersion geometry.heads; do
  same "ddb.\"$k\""
done
[ "$(key a-000001.vmdk ddb.uuid)" = null ] || fail "it has a UUID"

# A broken chain gets no child, nor does a disk that is being written.
"$vmdk_img" snapshot a-000001.vmdk >/dev/null
sed -i 's/^CID=......../CID=12345678/' a.vmdk
expect_error 'CID' "$vmdk_img" snapshot a-000002.vmdk

# The guest's BIOS finds the geometry that it had, and the adapter is the
# parent's, also one that we don't make.
rm -r ./*.vmdk
"$vmdk_img" create -q 20M a.vmdk
sed -i 's/\(geometry.heads = \)"64"/\1"17"/
        s/\(geometry.sectors = \)"32"/\1"63"/' a.vmdk
"$vmdk_img" snapshot a.vmdk > /dev/null
for k in heads sectors cylinders; do
  same "ddb.\"geometry.$k\""
done
[ "$(key a.vmdk 'ddb."geometry.heads"')" = 17 ] || fail "it wasn't changed"
rm ./*.vmdk
"$vmdk_img" create -q -t monolithicFlat 2M a.vmdk
sed -i 's/lsilogic/pvscsi/' a.vmdk
"$vmdk_img" snapshot a.vmdk > /dev/null
same 'ddb."adapterType"'

# A parent whose ID means that there is none; one that isn't closed.
sed -i 's/^CID=......../CID=ffffffff/' a.vmdk
expect_error 'a.vmdk: can.t be a parent: its content ID is ffffffff' \
  "$vmdk_img" snapshot a.vmdk
rm ./*.vmdk
"$vmdk_img" create -q 2M a.vmdk
$vmdkgen poke a.vmdk kdmv.uncleanShutdown 1
"$vmdk_img" snapshot a.vmdk > out 2>&1
grep -q "warning: a.vmdk: .*didn't close it.*vmdk-img check" out ||
  fail "$(cat out)"

# Its name would be a protocol to others.
rm ./*.vmdk
"$vmdk_img" create -q 2M nbd:x.vmdk
"$vmdk_img" snapshot nbd:x.vmdk c.vmdk > /dev/null
grep -a -q -x 'parentFileNameHint="./nbd:x.vmdk"' c.vmdk || fail "the hint"
"$vmdk_img" check c.vmdk > /dev/null || fail "check"

# As create --parent does.
rm ./*.vmdk
"$vmdk_img" create -q --adapter=ide --hw-version=7 1M a.vmdk
"$vmdk_img" create -q --parent=a.vmdk a-000001.vmdk
for k in adapterType virtualHWVersion geometry.heads; do
  same "ddb.\"$k\""
done
