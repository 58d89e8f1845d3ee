#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Where a parent is looked for: hints that are relative, absolute, in a
# sibling folder, from Windows or from a datastore, and the child's own folder
# when the disk was moved.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"
mkdir vm vm/sub other

# child HINT [OPTIONS...]: vm/c.vmdk over a parent with CID 7, whose bytes are
# those of base.raw.
$vmdkgen sparse size=500 grain=8 alloc=mixed:50 cid=7 seed=1 base.vmdk base.raw
$vmdkgen sparse size=500 grain=8 alloc=all cid=8 seed=2 wrong.vmdk
child ()
{
  $vmdkgen cowd size=500 alloc=none parentcid=7 cid=9 "hint=$1" "${@:2}" \
           vm/c.vmdk
}

# finds PLACE HINT [PLUGIN'S ARGUMENTS]: the parent is found in that place.
finds ()
{
  cp base.vmdk "$1"
  child "$2"
  serve file=vm/c.vmdk "${@:3}"
  check_server base.raw
  [ ! -s "$server_log" ] || fail "$2: $(cat "$server_log")"
  stop_server
  rm "$1"
}

# refuses PATTERN PLACE HINT [PLUGIN'S ARGUMENTS]
refuses ()
{
  cp base.vmdk "$2"
  child "$3"
  expect_error "vm/c.vmdk: its parent .* can.t be opened: .*$1" \
               run_plugin file=vm/c.vmdk "${@:4}"
  rm "$2"
}

out="leads out of the image's folder"

# In the child's folder or below.
finds vm/p.vmdk p.vmdk
finds vm/p.vmdk ./p.vmdk
finds vm/sub/p.vmdk sub/p.vmdk
finds vm/p.vmdk "$scratch/vm/p.vmdk"
finds vm/sub/p.vmdk "$scratch/vm/sub/../sub/p.vmdk"
finds vm/p.vmdk sub/../p.vmdk

# Elsewhere only in a trusted folder.
finds other/p.vmdk /gone/p.vmdk trusted-dir=other
refuses "$out" other/p.vmdk ../other/p.vmdk
refuses "$out" other/p.vmdk "$scratch/other/p.vmdk"
finds other/p.vmdk ../other/p.vmdk trusted-dir=other
finds other/p.vmdk "$scratch/other/p.vmdk" trusted-dir="$scratch/other"
finds other/p.vmdk "$scratch/other/p.vmdk" trusted-dir="$scratch"
finds other/p.vmdk ../other/p.vmdk trusted-dir=vm/sub trusted-dir=other
refuses "$out" other/p.vmdk ../other/p.vmdk trusted-dir=vm/sub
ln -s "$scratch/other/p.vmdk" vm/link.vmdk
refuses . other/p.vmdk link.vmdk
rm vm/link.vmdk

# From Windows, hosts and datastores: by its name in the child's folder, or
# in a folder of the same name beside the child's.
for hint in 'C:\VMs\base vm\p.vmdk' '\\server\share\p.vmdk' 'base\p.vmdk' \
            /vmfs/volumes/4f1e2d3c-11111111/base/p.vmdk /gone/p.vmdk \
            '[datastore1] base/p.vmdk' ../gone/p.vmdk; do
  finds vm/p.vmdk "$hint"
done
finds vm/sub/p.vmdk 'sub\p.vmdk'
finds vm/sub/p.vmdk '[datastore1] sub/p.vmdk'
for hint in 'D:\VMs\other\p.vmdk' /vmfs/volumes/ds/other/p.vmdk \
            '[datastore1] other/p.vmdk' /home/x/other/p.vmdk; do
  finds other/p.vmdk "$hint" trusted-dir=other
  refuses "$out" other/p.vmdk "$hint"
done

# Of several, the one with the right CID.
mkdir vm/base
for hint in 'C:\base\p.vmdk' '[ds] base/p.vmdk' base/p.vmdk; do
  cp wrong.vmdk vm/base/p.vmdk
  finds vm/p.vmdk "$hint"
done
cp base.vmdk vm/base/p.vmdk
cp wrong.vmdk vm/p.vmdk
child 'C:\base\p.vmdk'
check_guest vm/c.vmdk base.raw ''
# And if none is right, the message is about the CID.
cp wrong.vmdk vm/base/p.vmdk
expect_error 'vm/c.vmdk: .*CID 00000007, but vm/.*p.vmdk has CID 00000008' \
             run_plugin file=vm/c.vmdk

# What isn't there, or isn't a file.
rm -r vm/p.vmdk vm/base
child p.vmdk
expect_error 'its parent "p.vmdk" can.t be opened: "vm/p.vmdk": No such file' \
             run_plugin file=vm/c.vmdk
mkdir vm/p.vmdk
expect_error 'its parent "p.vmdk" can.t be opened: .*not a regular file' \
             run_plugin file=vm/c.vmdk
