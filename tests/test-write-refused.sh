#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Disks that others depend on aren't written: those that VMware has open,
# and those that are a parent of another disk in their folder.

. ./functions.sh
requires qemu-img --version
requires python3

cd "$scratch"

# Each case begins with a folder of its own.
fresh ()
{
  cd "$scratch"
  rm -rf disk
  mkdir disk
  cd disk
}

sums ()
{
  find . -name '*.[vV]*' -type f -size -100M -exec sha256sum {} + | sort
}

# not_written DISK PATTERN [PLUGIN'S ARGUMENTS]: the write fails, the message
# matches, and nothing changes.
not_written ()
{
  local before

  before=$(sums)
  serve file="$1" "${@:3}"
  nbd write 0 512 0x42 >../nbd.out 2>&1 || :
  ! grep -q -x ok ../nbd.out || fail "$1 was written"
  server_errors | grep -q -E -e "$2" ||
    fail "no message that matches: $2: $(cat "$server_log")"
  stop_server
  [ "$before" = "$(sums)" ] || fail "$1: files have changed"
}

# written DISK [PLUGIN'S ARGUMENTS]: it doesn't, and there is nothing to say.
written ()
{
  serve file="$1" "${@:2}"
  nbd write 0 512 0x42 read 511 1 >../nbd.out 2>&1 || :
  [ "$(cat ../nbd.out)" = $'ok\n42' ] ||
    fail "$1: $(cat ../nbd.out "$server_log")"
  stop_server
  [ ! -s "$server_log" ] || fail "$1: $(cat "$server_log")"
}

#----------------------------------------------------------------------
# VMware's locks.

vmware='seems to have it open: beside it is "%s"; close the machine'

# lock NAME: as VMware leaves it.
lock ()
{
  mkdir "$1"
  echo 'xVmMvirtualMachine' > "$1/M43210.lck"
}

# locked DISK LOCK: only readers are served, with a warning.
locked ()
{
  local warning

  not_written "$1" "$1: can't be written: .*${vmware/\%s/$2}"
  serve file="$1" -r
  [ "$(nbd read 0 1)" = 00 ]
  warning=$(server_warnings)
  [[ $warning = *"$1: a virtual machine of VMware seems to have it open: "*"\"$2\""* ]] ||
    fail "no warning: $(cat "$server_log")"
  stop_server
}

fresh
$vmdkgen sparse size=2000 alloc=none d.vmdk
lock d.vmdk.lck
locked d.vmdk d.vmdk.lck
rm d.vmdk.lck/*
written d.vmdk
rmdir d.vmdk.lck
: > d.vmdk.lck
not_written d.vmdk 'd.vmdk: .*"d.vmdk.lck"'
rm d.vmdk.lck
ln -s nowhere d.vmdk.lck
not_written d.vmdk 'd.vmdk: .*"d.vmdk.lck"'
rm d.vmdk.lck

# Locks of other disks, and other things called so.
lock other.vmdk.lck
lock d.lck
lock d.vmdk.old.lck
lock xd.vmdk.lck
lock .lck
written d.vmdk

# Of extents, from another folder.
for kind in sparse flat; do
  fresh
  $vmdkgen split kind=$kind size=2000 piece=1000 alloc=none d.vmdk
  extents=(d-*.vmdk)
  extent=${extents[-1]}
  lock "$extent.lck"
  locked d.vmdk "$extent.lck"
  cd ..
  serve file=disk/d.vmdk
  nbd write 0 512 1 >nbd.out 2>&1 || :
  ! grep -q -x ok nbd.out || fail "it was written"
  server_errors | grep -q 'disk/d.vmdk: can.t be written: '

  # It is looked at again when the next one connects.
  rm -r "disk/$extent.lck"
  [ "$(nbd write 0 512 1)" = ok ]
  stop_server
done

#----------------------------------------------------------------------
# Children.

destroyed ()
{
  echo "base.vmdk: can't be written: it is the parent of \"$1\" beside it,.*allow-parent-write=true"
}

# base [OPTIONS]: the disk that is to be written, with CID 12345678.
base ()
{
  fresh
  $vmdkgen sparse size=2000 alloc=none cid=0x12345678 "$@" base.vmdk
}

# child NAME HINT [OPTIONS]: its descriptor is a file of its own.
child ()
{
  $vmdkgen cowd size=2000 alloc=none parentcid=0x12345678 cid=9 "hint=$2" \
           "${@:3}" "$1"
}

# As qemu makes them: its hints are what it is given.  Once the parent was
# written, the child is no longer any disk, and nothing to respect.
for hint in base.vmdk "$scratch/disk/base.vmdk" ../disk/base.vmdk; do
  fresh
  qemu-img create -q -f vmdk base.vmdk 1M
  qemu-img create -q -f vmdk -b "$hint" -F vmdk child.vmdk
  not_written base.vmdk "$(destroyed child.vmdk)"
  written child.vmdk
  not_written base.vmdk "$(destroyed child.vmdk)"
  written base.vmdk allow-parent-write=true
  written base.vmdk
  expect_error 'child.vmdk: was made over a parent with CID' \
               run_plugin file=child.vmdk
done

# Of a chain only the top is written.
fresh
qemu-img create -q -f vmdk base.vmdk 1M
qemu-img create -q -f vmdk -b base.vmdk -F vmdk middle.vmdk
qemu-img create -q -f vmdk -b middle.vmdk -F vmdk top.vmdk
not_written base.vmdk "$(destroyed middle.vmdk)"
not_written middle.vmdk 'it is the parent of "top.vmdk" beside it'
written top.vmdk
ln -s base.vmdk other.vmdk
not_written other.vmdk 'it is the parent of "middle.vmdk" beside it'

# However the child is called, and wherever it thinks that it is.
for hint in base.vmdk 'C:\VMs\a\base.vmdk' 'BASE.VMDK' '..\x\Base.vmdk' \
            /gone/base.vmdk '[datastore1] vm/base.vmdk'; do
  base
  child CHILD.VMDK "$hint"
  not_written base.vmdk "$(destroyed CHILD.VMDK)"
done

# A parent of any kind.
base
rm base.vmdk
$vmdkgen split kind=flat size=2000 piece=900 cid=0x12345678 base.vmdk
child c.vmdk base.vmdk
not_written base.vmdk "$(destroyed c.vmdk)"

# Names in another encoding.
base
mv base.vmdk 'Bücher.vmdk'
child c.vmdk base.vmdk encoding=windows-1252
python3 - <<'END'
with open('c.vmdk', 'rb') as f:
    text = f.read()
assert b'base.vmdk' in text
with open('c.vmdk', 'wb') as f:
    f.write(text.replace(b'base.vmdk', b'B\xfccher.vmdk'))
END
not_written 'Bücher.vmdk' 'it is the parent of "c.vmdk" beside it'

# Those that aren't made over it, as it is now.
base
child c1.vmdk base.vmdk parentcid=0x12345679
child c2.vmdk other.vmdk
child c3.vmdk "$scratch/copy/base.vmdk"
child c4.txt base.vmdk
child c5.vmdk xbase.vmdk
child c6.vmdk base.vmdk parentcid=0xffffffff
mkdir ../copy
cp base.vmdk ../copy
written base.vmdk

# Other names and copies of itself, and whatever isn't a disk.
base
ln base.vmdk hardlink.vmdk
ln -s base.vmdk symlink.vmdk
ln -s nowhere dangling.vmdk
cp base.vmdk copy.vmdk
mkfifo fifo.vmdk
mkdir folder.vmdk
: > empty.vmdk
echo KDMV > short.vmdk
truncate -s 1T large.vmdk
head -c 5000 /dev/urandom > noise.vmdk
written base.vmdk

# One of many, and a folder that is elsewhere.
base
$vmdkgen sparse size=100 alloc=none cid=7 other.vmdk
for i in {1..50}; do
  cp other.vmdk "other$i.vmdk"
done
child zzz.vmdk base.vmdk
cd ..
not_written disk/base.vmdk "disk/$(destroyed zzz.vmdk)"

#----------------------------------------------------------------------
# An extent by itself, which may be one of a child.

fresh
$vmdkgen split kind=sparse size=2000 piece=1000 alloc=all d.vmdk
for extent in d-*.vmdk; do
  not_written "$extent" 'write request on readonly connection'
done
written d.vmdk
