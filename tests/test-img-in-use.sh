#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img looks for others that depend on a disk: VMware's locks, and
# children, however their hints are written.

. ./functions.sh
requires python3
cd "$scratch"

refused ()
{
  sha256sum d*.vmdk > sums
  expect_error "$1" "$vmdk_img" "${@:2}"
  sha256sum --quiet -c sums || fail "${*:2}: it was changed"
}

# A lock of the descriptor, or of an extent.  An empty folder is none.
$vmdkgen flat size=4000 d.vmdk
for name in d.vmdk d-flat.vmdk; do
  mkdir $name.lck
  "$vmdk_img" resize -q d.vmdk +8s || fail "an empty $name.lck"
  touch $name.lck/M00001.lck
  refused "d.vmdk: can.t be written: a virtual machine .*\"$name.lck" \
    resize d.vmdk 10M
  "$vmdk_img" info d.vmdk > out 2> err
  grep -q "warning: d.vmdk: a virtual machine of VMware .*$name.lck" err ||
    fail "$name.lck: $(cat err)"
  rm -r $name.lck
done
mkdir other.vmdk.lck
touch other.vmdk.lck/M00001.lck
"$vmdk_img" resize -q d.vmdk +8s || fail "another one's lock"

# A child that was made on another system, or elsewhere; and what isn't one.
"$vmdk_img" snapshot -t vmfsSparse d.vmdk c.vmdk > out
for hint in d.vmdk /vms/here/d.vmdk 'C:\vms\D.VMDK' 'é\é\d.vmdk'; do
  h=${hint//\\/\\\\}
  sed -i "s|^parentFileNameHint=.*|parentFileNameHint=\"$h\"|" c.vmdk
  refused 'd.vmdk: .* parent of "c.vmdk"' resize d.vmdk 10M
done
for hint in x.vmdk d.vmdkx 'C:\\vms\\d.vmdk.old'; do
  sed -i "s|^parentFileNameHint=.*|parentFileNameHint=\"$hint\"|
          s|^parentCID=.*|parentCID=$(sed -n 's/^CID=//p' d.vmdk)|" c.vmdk
  "$vmdk_img" resize -q d.vmdk +8s || fail "the hint $hint"
done
