#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img create: each type has the files that VMware gives it, is sound,
# and is empty, as we and qemu read it.

. ./functions.sh
. "$srcdir/writing.sh"
requires jq

# is_empty SIZE: d.vmdk is, as qemu reads it and as we do.  It takes long to
# see that much isn't there.
is_empty ()
{
  local found

  if [ "$1" -lt 100000000 ]; then
    rm -f d.raw
    truncate -s "$1" d.raw
    qemu_right
  else
    found=$(qemu-img info --output=json d.vmdk | jq '."virtual-size"')
    [ "$found" = "$1" ] || fail "qemu: it has $found bytes"
  fi
  found=$("$vmdk_img" map --json d.vmdk |
            jq -c '[.[-1].start + .[-1].length, any(.data)]')
  [ "$found" = "[$1,false]" ] || fail "not empty: $found"
  check_quiet
}

# made TYPE SIZE FILES: all files without ".vmdk", in the order of ls.
made ()
{
  rm -rf disk
  mkdir disk
  cd disk
  "$vmdk_img" create -t "$1" "$2" d.vmdk > ../out 2>&1 ||
    fail "$(cat ../out)"
  [ ! -s ../out ] || fail "$(cat ../out)"
  [ "$(ls -A | sed 's/\.vmdk$//' | tr '\n' ' ')" = "$3 " ] ||
    fail "$1, $2: $(ls -A)"
  [ "$(stat -c %a ./*.vmdk | sort -u)" = \
    "$(printf %o $((0666 & ~0$(umask))))" ] || fail "$(ls -l)"
  is_empty "$2"
  cd ..
}

# 5 GiB need three parts; an odd number of sectors.
big=5368709120
odd=71680512
made monolithicSparse $big d
made monolithicSparse $odd d
made monolithicSparse 512 d
made monolithicFlat $odd 'd-flat d'
made twoGbMaxExtentSparse $big 'd-s001 d-s002 d-s003 d'
made twoGbMaxExtentSparse $odd 'd-s001 d'
made twoGbMaxExtentFlat $big 'd-f001 d-f002 d-f003 d'
made vmfs $odd 'd-flat d'
made vmfsSparse $odd 'd-delta d'
made seSparse $odd 'd-sesparse d'
made streamOptimized $odd d

# Raw ones, and names without the usual end.
"$vmdk_img" create -t raw 1000 x
[ "$(stat -c %s x)" = 1024 ] || fail "not rounded up: $(stat -c %s x)"
"$vmdk_img" create -t 2gbmaxextentflat 1M disk/vm.VMDK
[ -e disk/vm-f001.vmdk ] || fail "$(ls disk)"

# Either order of the words; sizes with suffixes.
"$vmdk_img" create 1M order1.vmdk
"$vmdk_img" create order2.vmdk 1M
"$vmdk_img" create 0x100000 3
"$vmdk_img" create 2048s 4s # the second word is the file
for file in order1.vmdk order2.vmdk 3 4s; do
  [ "$("$vmdk_img" info --json $file | jq '."virtual-size"')" = 1048576 ] ||
    fail "$("$vmdk_img" info $file)"
done

# JSON names all files.
rm -f d*.vmdk
[ "$("$vmdk_img" create --json -t twoGbMaxExtentFlat 3G d.vmdk |
     jq -c '[.filename, .type, .size, .files]')" = \
  '["d.vmdk","twoGbMaxExtentFlat",3221225472,["d.vmdk","d-f001.vmdk","d-f002.vmdk"]]' ] ||
  fail "$("$vmdk_img" create --json --force -t twoGbMaxExtentFlat 3G d.vmdk)"

# What is left of a disk that was replaced: only a text names it for sure.
# What is inside of an extent may be of former times.
rm -rf "$scratch/left"
mkdir "$scratch/left"
cd "$scratch/left"
"$vmdk_img" create -q 10M s.vmdk
cp s.vmdk old.vmdk
"$vmdk_img" create --force 5M old.vmdk > out 2>&1
! grep -q warning out || fail "$(cat out)"
"$vmdk_img" create -q -t monolithicFlat 3M f.vmdk
"$vmdk_img" create --force 3M f.vmdk > out 2>&1
grep -q 'warning: f.vmdk: .*also had f-flat.vmdk.*unless' out ||
  fail "$(cat out)"
printf '%s\n' '# Disk DescriptorFile' version=1 CID=12345678 \
       parentCID=ffffffff 'createType="monolithicSparse"' \
       'RW 20480 SPARSE "s.vmdk"' > t.vmdk
"$vmdk_img" create --force 3M t.vmdk > out 2>&1
! grep -q warning out || fail "$(cat out)"
