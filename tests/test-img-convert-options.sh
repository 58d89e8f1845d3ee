#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img convert: what its options do, what it takes over from the source,
# and what it refuses, with one clear line and no file left behind.

. ./functions.sh
requires python3
requires jq

cd "$scratch"
mkdir out
$vmdkgen sparse size=20001 alloc=random:30 s.vmdk s.raw

convert ()
{
  "$vmdk_img" convert "$@" > convert.out 2>&1 || fail "$*: $(cat convert.out)"
}

# refused PATTERN ARGS...: of a conversion into out, where then is nothing.
refused ()
{
  expect_error "$1" "$vmdk_img" convert "${@:2}"
  [ -z "$(ls -A out)" ] || fail "${*:2}: it left $(ls -A out)"
}

# type_is TYPE FILE
type_is ()
{
  local found

  found=$("$vmdk_img" info --json "$2" | jq -r '.links[0]."create-type"')
  [ "$found" = "$1" ] || fail "$2: it is $found, expected $1"
}

# The type by the name.
convert s.vmdk by-name.vmdk
type_is monolithicSparse by-name.vmdk
convert s.vmdk by-name.OVA
type_is streamOptimized by-name.OVA
for name in by-name.raw by-name.img; do
  convert s.vmdk $name
  same_bytes s.raw $name
done
convert -t raw s.vmdk by-name
same_bytes s.raw by-name
convert --ova s.vmdk appliance
type_is streamOptimized appliance
convert -t streamOptimized s.vmdk another.ova
tar tf another.ova >/dev/null || fail 'not an OVA'
refused "the end of the name doesn't say what it is" s.vmdk out/d
refused "the disk in an OVA is of type streamOptimized" \
        --ova -t raw s.vmdk out/d.vmdk
refused "the disk in an OVA is of type streamOptimized" \
        -t vmfs s.vmdk out/d.ova

# JSON.
"$vmdk_img" convert --json s.vmdk json.vmdk > json
[ "$(jq -c '[.filename, .type, .size]' json)" = \
  '["json.vmdk","monolithicSparse",10240512]' ] || fail "$(cat json)"

# A file with the guest's bytes: whole sectors, the rest is zero.
convert -f raw -t monolithicFlat s.raw flat.vmdk
same_bytes s.raw flat-flat.vmdk
head -c 1000 s.raw > odd.bin
cp odd.bin odd.raw
truncate -s 1024 odd.raw
convert -f raw odd.bin odd.vmdk
convert odd.vmdk odd2.raw
same_bytes odd.raw odd2.raw

# What a virtual machine must find again, comes from the source; what was
# true for its file alone doesn't.
$vmdkgen sparse size=20001 alloc=random:30 ddb.adapterType=buslogic \
         ddb.virtualHWVersion=9 desc.changeTrackPath=x-ctk.vmdk \
         ddb.uuid=abc tracked.vmdk tracked.raw
# ddb KEY FILE: its value.
ddb ()
{
  "$vmdk_img" info --json "$2" | jq -r ".links[0].ddb.$1"
}
convert tracked.vmdk to.vmdk
machine=$(ddb adapterType to.vmdk; ddb virtualHWVersion to.vmdk)
[ "$machine" = $'buslogic\n9' ] || fail "$("$vmdk_img" info to.vmdk)"
[ "$(ddb uuid to.vmdk)" != abc ] || fail 'two disks have the same UUID'
head -c 10752 to.vmdk | tr '\0' '\n' | grep -a -i 'change' &&
  fail 'changes are tracked in a new disk'
convert --adapter=ide --hw-version=14 tracked.vmdk to2.vmdk
machine=$(ddb adapterType to2.vmdk; ddb virtualHWVersion to2.vmdk)
[ "$machine" = $'ide\n14' ] || fail "$("$vmdk_img" info to2.vmdk)"

# Grains, and all of them.
convert --grain-size=8192 s.vmdk small.vmdk
[ "$("$vmdk_img" info --json small.vmdk | \
       jq '.links[0].extents[0]."grain-size"')" = 8192 ] || fail 'grain size'
for how in metadata full; do
  convert --preallocate=$how s.vmdk pre.vmdk --force
  [ "$("$vmdk_img" check --json pre.vmdk |
         jq -c '[.grains == ."allocated-grains", .errors, .warnings]')" = \
    '[true,0,0]' ] || fail "$how: $("$vmdk_img" check pre.vmdk)"
  convert --force pre.vmdk pre.raw
  same_bytes s.raw pre.raw
done
[ $(($(stat -c %b pre.vmdk) * 512)) -ge "$(stat -c %s pre.vmdk)" ] ||
  fail 'not all has space'

# Harder compression.
convert --level=1 -t streamOptimized s.vmdk 1.vmdk
convert --level=12 -t streamOptimized s.vmdk 12.vmdk
[ "$(stat -c %s 12.vmdk)" -lt "$(stat -c %s 1.vmdk)" ] || fail '--level'

# What is there isn't overwritten, not even when it may be, if it is a part
# of the source.
cp s.vmdk before.vmdk
expect_error 'by-name.raw: exists already' \
             "$vmdk_img" convert s.vmdk by-name.raw
expect_error 'in use|a part of what is converted' \
             "$vmdk_img" convert --force s.vmdk s.vmdk
expect_error 'a part of what is converted' \
             "$vmdk_img" convert -U --force s.vmdk ./s.vmdk
same_bytes s.vmdk before.vmdk
cp small.vmdk other.raw
touch new-flat.vmdk
expect_error 'new-flat.vmdk: exists already' \
             "$vmdk_img" convert -t monolithicFlat s.vmdk new.vmdk
[ ! -e new.vmdk ] || fail 'a descriptor of nothing'
expect_error 'a part of what is converted|in use' "$vmdk_img" convert \
             -U --force flat.vmdk flat-flat.vmdk
same_bytes s.raw flat-flat.vmdk
convert --force -t raw small.vmdk other.raw
same_bytes s.raw other.raw

# Nonsense.
refused 'there is no type|no such type' -t x s.vmdk out/d.vmdk
refused 'not a number from 1 to 12' --level=13 -t streamOptimized s.vmdk \
        out/d.vmdk
refused 'only streamOptimized disks are compressed' --level=3 s.vmdk \
        out/d.vmdk
refused 'not a number from 1 to 64' --threads=0 s.vmdk out/d.vmdk
refused 'there is no adapter type' --adapter=x s.vmdk out/d.vmdk
refused 'No such file' none.vmdk out/d.vmdk
refused "out/no/d.vmdk: .*No such file" s.vmdk out/no/d.vmdk
refused "can't be preallocated" -t streamOptimized --preallocate=full s.vmdk \
        out/d.vmdk
refused 'grains of a seSparse disk' -t seSparse --grain-size=8192 s.vmdk \
        out/d.vmdk
refused 'is missing|needs|two|SRC DST' s.vmdk
$vmdkgen sparse size=5000000000 alloc=none huge.vmdk
refused "since its file can't be larger than 2 TiB" -t vmfsSparse huge.vmdk \
        out/d.vmdk
if [ "$(id -u)" -ne 0 ]; then
  mkdir read-only
  chmod 555 read-only
  expect_error 'Permission denied' "$vmdk_img" convert s.vmdk \
               read-only/d.vmdk
fi
