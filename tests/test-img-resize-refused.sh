#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img resize: what can't be resized is refused in one line, and isn't
# changed.

. ./functions.sh
requires python3
requires nbdkit --version
cd "$scratch"

make ()
{
  rm -f ./*.vmdk
  $vmdkgen "$@" d.vmdk
}

refuse ()
{
  sha256sum -- *.vmdk > sums
  expect_error "$@"
  sha256sum --quiet -c sums || fail "it was changed"
}

make split kind=sparse size=10000 piece=4096 grain=8 alloc=none
refuse 'd.vmdk: has 5120000 bytes, and can.t be made smaller' \
  "$vmdk_img" resize d.vmdk 4M
[ "$("$vmdk_img" resize d.vmdk 5000K)" = \
  'The disk has 4.883 MiB already.' ] || fail "the same size"
refuse 'resize' "$vmdk_img" resize d.vmdk
refuse 'SIZE 5X: not a size' "$vmdk_img" resize d.vmdk 5X
refuse 'SIZE \+5X|SIZE 5X' "$vmdk_img" resize d.vmdk +5X
refuse 'would have [0-9]+ extents' "$vmdk_img" resize d.vmdk 9000M
# Something is where the next extent would be: our guess is as good as any.
echo data > d-s004.vmdk
refuse 'd-s004.vmdk, and there is such a file already' \
  "$vmdk_img" resize d.vmdk 10M
# An empty one was left by somebody who didn't come to the end.
cp d-s003.vmdk d-s004.vmdk
"$vmdk_img" resize d.vmdk +4096s | grep -q 'now, before' || fail "left over"
"$vmdk_img" check d.vmdk > /dev/null

make sparse size=4000 alloc=random:40
$vmdkgen poke d.vmdk 'gte[3]' 1
refuse 'd.vmdk: can.t be resized, since it is damaged' \
  "$vmdk_img" resize d.vmdk 10M
make sparse size=4000
$vmdkgen poke d.vmdk kdmv.uncleanShutdown 1
refuse 'didn.t close it; run vmdk-img repair' "$vmdk_img" resize d.vmdk 10M
make sparse size=4000 version=3 desc.changeTrackPath=d-ctk.vmdk
refuse '\-\-drop-cbt' "$vmdk_img" resize d.vmdk 10M
"$vmdk_img" resize -q --drop-cbt d.vmdk 10M
! grep -q -a changeTrackPath d.vmdk || fail "tracking goes on"
"$vmdk_img" check d.vmdk > /dev/null
refuse 'it would be too large|more than the 2199023255552 bytes' \
  "$vmdk_img" resize d.vmdk 3T
make stream size=4000
refuse 'convert it first' "$vmdk_img" resize d.vmdk 10M
make cowd size=4000
refuse 'convert it first' "$vmdk_img" resize d.vmdk 10M
make sesparse size=4096
refuse 'convert it first' "$vmdk_img" resize d.vmdk 10M
make flat size=4000 access=RDONLY
refuse 'may not be written' "$vmdk_img" resize d.vmdk 10M
make chain size=4000 layers='sparse; sparse'
refuse 'it has a parent' "$vmdk_img" resize d.vmdk 10M
base=$(ls d-*.vmdk | head -1)
refuse 'it is the parent of "d.vmdk"' "$vmdk_img" resize "$base" 10M
make flat size=4000
serve d.vmdk
nbd write 0 512 1 > /dev/null # it is in use
refuse 'd.*vmdk: .*(in use|lock|opened)' "$vmdk_img" resize d.vmdk 10M
stop_server

# What lies behind the extent in its file isn't ours; zeroes are.
rm -f ./*.vmdk
head -c 3M /dev/urandom > whole.img
$vmdkgen flat size=2048 d.vmdk
sed -i 's/^RW .*/RW 2048 FLAT "whole.img" 1024/' d.vmdk
sha256sum whole.img > whole.sum
refuse 'whole.img: can.t be resized: there are data behind .*1572864' \
  "$vmdk_img" resize d.vmdk 2M
sha256sum --quiet -c whole.sum || fail "whole.img was changed"
truncate -s 1536K whole.img
truncate -s 1600K whole.img
"$vmdk_img" resize -q d.vmdk 2M
[ "$(stat -c %s whole.img)" -eq $((512 * 1024 + (2 << 20))) ] ||
  fail "length of whole.img"
rm whole.img

# A descriptor of several sectors that can't be replaced as a whole: in place
# a crash could leave half of each.  Nothing is made before that is known.
make split kind=sparse size=100000 piece=4096 grain=8 alloc=none
ln d.vmdk other
ls > names
refuse 'd.vmdk: its descriptor can.t be changed:.*it has several names' \
  "$vmdk_img" resize d.vmdk 60M
ls | cmp - names || fail "something is left"
rm other
"$vmdk_img" resize -q d.vmdk 60M
"$vmdk_img" check d.vmdk > /dev/null
# One sector is written in one step.
make flat size=4000
ln d.vmdk other
"$vmdk_img" resize -q d.vmdk 10M
[ "$(stat -c %h d.vmdk)" -eq 2 ] || fail "it was replaced"
"$vmdk_img" check d.vmdk > /dev/null
