#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img convert: from every kind of disk to every type that can be made,
# the guest sees the same, as we read it and as qemu-img does; what is zero
# takes no grains; and neither the number of threads nor what the source
# was made of shows in the result.

. ./functions.sh
requires qemu-img --version
requires python3
requires jq

cd "$scratch"
types=(raw monolithicSparse monolithicFlat twoGbMaxExtentSparse
       twoGbMaxExtentFlat vmfs vmfsSparse seSparse streamOptimized)

# convert [ARGS...]: which has nothing to say.
convert ()
{
  "$vmdk_img" convert "$@" > convert.out 2>&1 || fail "$*: $(cat convert.out)"
  [ ! -s convert.out ] || fail "$*: it prints $(cat convert.out)"
}

# is_right TYPE FILE RAW: as qemu-img reads it, which takes a grain behind
# the end of a seSparse disk for a part of it.
is_right ()
{
  case $1 in
    raw) same_bytes "$2" "$3" ;;
    *) qemu-img compare -f vmdk -F raw "$2" "$3" > compare.out ||
         fail "$2, $1, isn't $3: $(cat compare.out)" ;;
  esac
}

is_sound ()
{
  "$vmdk_img" check "$1" > check.out 2>&1 &&
    grep -q '^Found no errors, no warnings, no notes' check.out ||
    fail "$1: $(cat check.out)"
}

# convert_to "TYPES" BUILDER...: some sizes are no multiple of a grain, and
# data lie in several tables and pieces.
n=70001
convert_to ()
{
  local t

  rm -rf from to
  mkdir from to
  $vmdkgen "${@:2}" from/s.vmdk s.raw
  for t in $1; do
    convert -t "$t" from/s.vmdk "to/$t.vmdk"
    is_right "$t" "to/$t.vmdk" s.raw
  done
}

convert_to 'raw seSparse monolithicSparse' flat size=$n alloc=random:9
convert_to 'streamOptimized vmfsSparse' \
           split kind=sparse size=$n piece=41984 alloc=random:9
convert_to 'monolithicSparse twoGbMaxExtentFlat vmfs' chain size=$n \
           layers='vmfs alloc=random:9; cowd grain=1 alloc=mixed:1'
convert_to 'streamOptimized twoGbMaxExtentSparse' chain size=70000 \
           layers='sparse alloc=mixed:9; sesparse alloc=mixed:1'
convert_to 'vmfsSparse seSparse monolithicFlat' \
           stream size=$n alloc=mixed:9
convert_to "${types[*]}" sparse size=$n grain=16 alloc=mixed:3

# The last ones, as our check and our plugin see them.
for t in "${types[@]:1}"; do
  is_sound "to/$t.vmdk"
  serve file="to/$t.vmdk"
  check_server s.raw
  [ ! -s "$server_log" ] || fail "$t: $(cat "$server_log")"
  stop_server
done

# Once more, from each of these: it is the same disk.  The descriptors say
# which virtual machine it is for, and where it was; so these are compared
# that have none inside.
rm -rf again
mkdir again
for t in "${types[@]:1}"; do
  convert -t twoGbMaxExtentSparse "to/$t.vmdk" "again/$t.vmdk"
  same_bytes again/monolithicSparse-s001.vmdk "again/$t-s001.vmdk"
done
convert -f raw -t twoGbMaxExtentSparse to/raw.vmdk again/raw.vmdk
same_bytes again/monolithicSparse-s001.vmdk again/raw-s001.vmdk

# All but the descriptor is as qemu-img makes it; so nothing that is zero has
# a grain.
qemu-img convert -f vmdk -O vmdk from/s.vmdk q.vmdk
cmp -n 512 q.vmdk to/monolithicSparse.vmdk
cmp -i 10752 q.vmdk to/monolithicSparse.vmdk
grains=$("$vmdk_img" check --json q.vmdk | jq '."allocated-grains"')
for t in twoGbMaxExtentSparse streamOptimized; do
  found=$("$vmdk_img" check --json "to/$t.vmdk" | jq '."allocated-grains"')
  [ "$found" = "$grains" ] || fail "$t: $found grains, not $grains"
done
# Holes of the raw file are at least those of qemu-img's.
qemu-img convert -f vmdk -O raw from/s.vmdk q.raw
[ "$(stat -c %b to/raw.vmdk)" -le $(($(stat -c %b q.raw) + 8)) ] ||
  fail "the raw disk takes $(stat -c %b to/raw.vmdk) blocks"

# A disk that is larger than a split extent, with data at both ends of them.
$vmdkgen sparse size=8400000 alloc=0,32751-32753,65500-65509,65624 big.vmdk
for t in twoGbMaxExtentSparse twoGbMaxExtentFlat; do
  convert -t $t big.vmdk "big-$t.vmdk"
  [ "$(ls big-$t-?00?.vmdk | wc -l)" -eq 3 ] || fail "$t: $(ls)"
  qemu-img compare -q -f vmdk -F vmdk big.vmdk "big-$t.vmdk"
done

# However many threads there are, and whenever it is made.
for threads in 1 2 5; do
  mkdir t$threads
  for t in streamOptimized monolithicSparse vmfsSparse seSparse; do
    convert -t $t --threads=$threads from/s.vmdk t$threads/$t.vmdk
  done
  convert --threads=$threads from/s.vmdk t$threads/s.ova
done
for threads in 2 5; do
  for same in streamOptimized.vmdk s.ova vmfsSparse-delta.vmdk \
              seSparse-sesparse.vmdk; do
    same_bytes t1/$same t$threads/$same
  done
  cmp -i 10752 t1/monolithicSparse.vmdk t$threads/monolithicSparse.vmdk
done

# An OVA has the same disk in it.
convert t1/s.ova o.raw
same_bytes o.raw s.raw
