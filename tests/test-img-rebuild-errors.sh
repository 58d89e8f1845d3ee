#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img rebuild-descriptor: children name their parent again, or it is said
# that they don't; what can't be rebuilt is refused, and nothing is changed.

. ./functions.sh
requires python3
cd "$scratch"

# Children: their parent must be named, or it is said what that means.
"$vmdk_img" create -t vmfs 3M p.vmdk
"$vmdk_img" snapshot p.vmdk > /dev/null
cp p-000001.vmdk was
rm p-000001.vmdk
"$vmdk_img" rebuild-descriptor p-000001.vmdk 2> out
grep -q 'warning: p-000001.vmdk: vmfsSparse extents mostly.*--parent' out ||
  fail "$(cat out)"
"$vmdk_img" rebuild-descriptor --force --parent=p.vmdk p-000001.vmdk 2> out
grep -v -E '^(CID|ddb.longContentID)' was |
  diff - <(grep -v -E '^(CID|ddb.longContentID)' p-000001.vmdk) >&2 ||
  fail "another descriptor"
"$vmdk_img" check --quiet p-000001.vmdk
cp was p-000001.vmdk
"$vmdk_img" rebuild-descriptor --force p-000001.vmdk 2> out
grep -q 'former descriptor named a parent' out || fail "$(cat out)"
"$vmdk_img" create -t vmfs 4M other.vmdk
expect_error 'it has 3145728 bytes, and that has 4194304' \
  "$vmdk_img" rebuild-descriptor --force --parent=other.vmdk p-000001.vmdk
expect_error "can't have a parent" \
  "$vmdk_img" rebuild-descriptor --force --parent=other.vmdk p.vmdk

# What can't be.
mkdir e
cd e
refused ()
{
  expect_error "$1" "$vmdk_img" rebuild-descriptor "${@:2}"
}
refused 'x\.vmdk: there are no extents beside it' x.vmdk
refused 'y: No such file' x.vmdk y
"$vmdk_img" create -t twoGbMaxExtentFlat 7G s.vmdk
rm s-f002.vmdk s.vmdk
refused 's-f002\.vmdk: No such file' s.vmdk
truncate -s 1M s-flat.vmdk
refused 'more than one disk' s.vmdk
"$vmdk_img" create 1M m.vmdk
"$vmdk_img" create -t twoGbMaxExtentSparse 1M t.vmdk
refused 'has another format' x.vmdk m.vmdk s-flat.vmdk
refused 'no space for a descriptor' t-s001.vmdk
refused 'those of a twoGbMaxExtentSparse disk, not seSparse' \
        -t seSparse x.vmdk t-s001.vmdk
"$vmdk_img" create -t seSparse 1M se.vmdk
refused "can't have a descriptor inside" se-sesparse.vmdk
refused 'only have one extent' x.vmdk se-sesparse.vmdk ./se-sesparse.vmdk
refused 'in use' --force s-flat.vmdk s-flat.vmdk
refused 'a descriptor already' x.vmdk se.vmdk
mkdir f
refused 'outside of' f/x.vmdk s-flat.vmdk
# A table where the header has the descriptor.
cp m.vmdk odd.vmdk
$vmdkgen poke odd.vmdk 'gde[0]' 2
cp odd.vmdk odd.before
refused 'tables or grains lie' --force odd.vmdk
same_bytes odd.vmdk odd.before
[ -z "$(find . -name '.*.*' -type f)" ] || fail "left: $(ls -A)"
