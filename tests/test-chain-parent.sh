#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# parent=FILE: the user says where the parent of the top link is.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"
mkdir a b
cd a
$vmdkgen chain map=m size=999 layers='sparse grain=8 alloc=random:60;
  split piece=333 grain=16 alloc=mixed:30; cowd alloc=mixed:30' d.vmdk d.raw
cd ..
mv a/d-1*.vmdk a/d-0.vmdk b
expect_error 'a/d.vmdk: its parent "d-1.vmdk" can.t be opened' \
             run_plugin file=a/d.vmdk

# That folder is then as good as the image's: for its extents and parents.
check_guest a/d.vmdk a/d.raw a/m parent=b/d-1.vmdk
check_guest a/d.vmdk a/d.raw a/m parent="$scratch/b/d-1.vmdk"
check_guest a/d.vmdk a/d.raw a/m parent=b/../b/d-1.vmdk

# But no better.
mkdir c
mv b/d-0.vmdk c
sed 's|="d-0.vmdk"|="../c/d-0.vmdk"|' b/d-1.vmdk > new
mv new b/d-1.vmdk
expect_error "b/d-1.vmdk: its parent .* leads out of the image's folder" \
             run_plugin file=a/d.vmdk parent=b/d-1.vmdk
check_guest a/d.vmdk a/d.raw a/m parent=b/d-1.vmdk trusted-dir=c

expect_error 'b/gone.vmdk: No such file' \
             run_plugin file=a/d.vmdk parent=b/gone.vmdk
expect_error 'd.vmdk: .*CID .*, but c/d-0.vmdk has CID' \
             run_plugin file=a/d.vmdk parent=c/d-0.vmdk
