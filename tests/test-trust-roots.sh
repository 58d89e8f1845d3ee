#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What trusted-dir, extent=, parent= and fd= open, and what they don't.

. ./functions.sh
. "$srcdir/hostile.sh"

mkdir disk store store/sub other
head -c 4096 /dev/urandom > good.raw
for place in store store/sub other; do
  cp good.raw $place/flat
done
ln -s ../other/flat store/link-out
ln -s sub/flat store/link-in

# extent NAME: disk/d.vmdk has one extent of this name.
extent ()
{
  write_descriptor disk/d.vmdk "RW 8 FLAT \"$1\" 0"
}

refused ()
{
  expect_error "$1" run_plugin disk/d.vmdk "${@:2}"
}

# Extents.
out='disk/d\.vmdk: line 6: extent .* leads out of the image.s folder'
for name in ../store/flat "$PWD/store/flat" "$PWD/store/sub/flat" \
            "$PWD/store/link-in" "$PWD/other/../store/flat"; do
  extent "$name"
  refused "$out"
  refused "$out" trusted-dir=other trusted-dir=disk
  served_right disk/d.vmdk trusted-dir=store
  served_right disk/d.vmdk trusted-dir="$PWD/store/"
  served_right disk/d.vmdk trusted-dir=other trusted-dir=store
  served_right disk/d.vmdk "extent=$name=other/flat"
done
for name in ../other/flat "$PWD/store/../other/flat" "$PWD/store/link-out" \
            "$PWD/storeflat" "$PWD/store"; do
  extent "$name"
  refused 'disk/d\.vmdk: line 6: extent' trusted-dir=store
done
refused 'none: opening the folder: No such file' trusted-dir=none
refused 'flat: opening the folder: Not a directory' trusted-dir=store/flat

# What the user names is used as it is: links, absolute paths, anything.
ln -s "$PWD/other/flat" anywhere
extent x
served_right disk/d.vmdk extent=x=anywhere
served_right disk/d.vmdk extent=y=none extent=x="$PWD/other/flat"
refused 'none: No such file' extent=x=none
refused 'extent=x: expected extent=NAME=PATH' extent=x
refused 'extent==x: expected extent=NAME=PATH' extent==x

# fd: nobody knows where the file lies, so names lead nowhere.
by_number ()
{
  run_plugin "$@" 7< disk/d.vmdk
}
expect_error 'say where its extents are with extent=NAME=PATH' by_number fd=7
extent "$PWD/store/flat"
expect_error 'say where its extents are' by_number fd=7 trusted-dir=store
extent x
serve fd=7 extent=x=other/flat 7< disk/d.vmdk
[ "$(client compare 0 4096 good.raw)" = same ]
stop_server
$vmdkgen sparse size=100 grain=8 disk/s.vmdk s.raw
serve fd=7 7< disk/s.vmdk
[ "$(client compare 0 51200 s.raw)" = same ]
stop_server
expect_error "file= and fd= can't be used together" \
  run_plugin disk/s.vmdk fd=0

# Parents.
child ()
{
  print_descriptor "RW 8 FLAT \"none\" 0" |
    sed -e 's/^parentCID=.*/parentCID=12345678/' \
        -e 's/^RW.*/RW 8 SPARSE "c.vmdk"/' > text
  echo "parentFileNameHint=\"$1\"" >> text
  $vmdkgen extent size=8 grain=8 alloc=none disk/c.vmdk
  cp text disk/d.vmdk
}
for place in store other; do
  write_descriptor $place/base.vmdk 'RW 8 FLAT "flat" 0'
done
lost='disk/d\.vmdk: its parent .* can.t be opened: .*leads out'
for hint in ../store/base.vmdk "$PWD/store/base.vmdk"; do
  child "$hint"
  refused "$lost"
  mkdir -p elsewhere
  refused "$lost" trusted-dir=elsewhere
  served_right disk/d.vmdk trusted-dir=store
  served_right disk/d.vmdk parent=store/base.vmdk
done

# The parent's own extents: in its folder, and in trusted ones; nowhere else.
child "$PWD/store/base.vmdk"
write_descriptor store/base.vmdk 'RW 8 FLAT "sub/flat" 0'
served_right disk/d.vmdk trusted-dir=store
write_descriptor store/base.vmdk 'RW 8 FLAT "../other/flat" 0'
for args in trusted-dir=store parent=store/base.vmdk; do
  refused 'store/base\.vmdk: line 6: extent "\.\./other/flat" leads out' $args
done
served_right disk/d.vmdk trusted-dir=store trusted-dir=other
served_right disk/d.vmdk parent=store/base.vmdk extent=../other/flat=other/flat

# A child that was opened by its number needs parent=.
child ../store/base.vmdk
expect_error 'say where' by_number fd=7 extent=c.vmdk=disk/c.vmdk
write_descriptor store/base.vmdk 'RW 8 FLAT "flat" 0'
serve fd=7 extent=c.vmdk=disk/c.vmdk parent=store/base.vmdk 7< disk/d.vmdk
[ "$(client compare 0 4096 good.raw)" = same ]
stop_server
