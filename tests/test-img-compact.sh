#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img compact: the guest finds what it had, by us and by qemu, the files
# have nothing in them that isn't needed, and the content ID is the same.

. ./functions.sh
. "$srcdir/writing.sh"
requires jq
requires qemu-io --version

# make BUILDER [KEY=VALUE...]: d.vmdk and d.raw
make ()
{
  rm -f ./*.vmdk d.raw
  $vmdkgen "$@" d.vmdk d.raw
}

# compact FILE [ARGS...]: sets $freed, and $length of all files.  Nothing is
# left to do, and what it says is right.
compact ()
{
  local before cid

  cid=$(grep -a -m 1 '^CID=' "$1")
  before=$(sum_of %b ./*.vmdk)
  "$vmdk_img" compact --json "${@:2}" "$1" > json || fail "compact $*"
  freed=$(jq '."freed-bytes"' json)
  length=$(sum_of %s ./*.vmdk)
  [ $((before - $(sum_of %b ./*.vmdk))) -eq $((freed / 512)) ] ||
    fail "$freed bytes are not what was freed"
  [ "$cid" = "$(grep -a -m 1 '^CID=' "$1")" ] || fail "another content ID"
}

# sound: check finds no leaks either, and again there is nothing to give back.
sound ()
{
  "$vmdk_img" check d.vmdk > check.out || fail "check: $(cat check.out)"
  sha256sum -- *.vmdk > sums
  "$vmdk_img" compact d.vmdk > again
  sha256sum --quiet -c sums || fail "it was changed again"
  grep -q -x 'No space was given back\.' again || fail "$(cat again)"
}

# same: we and qemu read d.raw.
same ()
{
  [ -n "${no_qemu:-}" ] || qemu_right
  serve -r d.vmdk
  right
  stop_server
}

# used: and it can be written.
used ()
{
  serve d.vmdk
  change write 4000 90000 0x77 write 700000 1500 0x78 flush
  stop_server
  same
  "$vmdk_img" check -q d.vmdk || fail "check after writing"
}

# A third of the grains is zero, and others are lost.
make sparse size=20000 alloc=random:50,every:3/b,7,20-25 order=random
for i in 7 22; do
  $vmdkgen poke d.vmdk "gte[$i]" 0
  $vmdkgen poke d.vmdk "rgte[$i]" 0
done
$written model d.raw zero $((7 * 65536)) 65536 zero $((22 * 65536)) 65536
before=$(stat -c %s d.vmdk)
needed=$(python3 - << 'END'
with open('d.raw', 'rb') as f:
    print(sum(any(g) for g in iter(lambda: f.read(65536), b'')))
END
      )
compact d.vmdk
[ "$length" -eq $((65536 * (1 + needed))) ] ||
  fail "$length bytes for $needed grains, it had $before"
[ "$freed" -ge $((30 * 65536)) ] || fail "only $freed bytes were freed"
sound
same
used

# Grains keep their places.
make sparse size=20000 grain=128 alloc=random:50,every:3/b order=random
$written places d.vmdk > places
before=$(stat -c %s d.vmdk)
compact d.vmdk --punch
$written places d.vmdk | cmp -s - places || fail "a grain was moved"
[ "$freed" -gt 1000000 ] || fail "only $freed bytes were freed"
used

# A disk of which nothing is left; entries that say zero; a last grain that
# isn't a whole one; no redundant tables.
make sparse size=4001 alloc=all/b
compact d.vmdk
[ "$length" -eq 65536 ] || fail "$length bytes of an empty disk"
sound
make sparse size=4001 alloc=all,every:4/b,every:5/z order=random short=1 \
     grain=8 gtes=128 rgd=0 version=2 flags=5 align=0
compact d.vmdk
sound
no_qemu=1 same # qemu wants the redundant tables for zeroes

# Split ones, and flat ones.
make split piece=8192 kind=sparse size=20000 grain=16 order=random \
     alloc=random:40,every:3/b
compact d.vmdk
[ "$freed" -gt 1000000 ] || fail "only $freed bytes were freed"
sound
same
make vmfs size=20000 alloc=random:40,every:3/b
compact d.vmdk
[ "$freed" -gt 1000000 ] || fail "only $freed bytes were freed"
sound
same

# A child hides what its parent has with zeroes; so it needs their entries.
make chain size=10000 layers='sparse alloc=all;
                              sparse alloc=random:40,every:3/b order=random'
compact d.vmdk
[ "$freed" -gt 1000000 ] || fail "only $freed bytes were freed"
sound
same
# The parent as well: its content, and so the chain, remains what it is.
base=$(grep -a -o -m 1 'parentFileNameHint="[^"]*' d.vmdk)
compact "${base#*\"}"
used
make chain size=10000 layers='vmfs alloc=all;
                              cowd grain=8 alloc=random:40,200-600/b'
compact d.vmdk
[ "$freed" -gt 500000 ] || fail "only $freed bytes were freed"
sound
same
# By itself, as old disks of ESX were.
make cowd size=10000 alloc=random:40,every:3/b order=random
compact d.vmdk
[ "$freed" -gt 500000 ] || fail "only $freed bytes were freed"
sound
same

# After it was resized, and written: with tables among the grains.
make sparse size=4000 alloc=random:50,every:3/b order=random
"$vmdk_img" resize -q d.vmdk 60M
truncate -s 60M d.raw
serve d.vmdk
change write $((40 << 20)) $((6 << 20)) 0x55 flush \
       zero $((42 << 20)) $((3 << 20))
stop_server
compact d.vmdk
[ "$freed" -gt 1000000 ] || fail "only $freed bytes were freed"
sound
used

# --- What can't be compacted, and isn't changed. ---

refuse ()
{
  sha256sum -- *.vmdk > sums
  expect_error "$1" "$vmdk_img" compact d.vmdk
  sha256sum --quiet -c sums || fail "it was changed"
}

make stream size=4000
refuse 'd.vmdk: can.t be compacted: .*vmdk-img convert'
make sesparse size=4096
refuse 'd.vmdk: can.t be compacted: .*vmdk-img convert'
make sparse size=4000 alloc=all
$vmdkgen poke d.vmdk 'gte[3]' "$(field d.vmdk 'gte[4]')"
refuse 'd.vmdk: can.t be compacted, since it is damaged: .*repair'
make sparse size=4000 version=3 desc.changeTrackPath=d-ctk.vmdk alloc=all/b
refuse 'd.vmdk: .*--drop-cbt'
compact d.vmdk --drop-cbt
! grep -q -a changeTrackPath d.vmdk || fail "tracking goes on"
sound

# The zeroes of an extent may hide what a parent has, of which it knows
# nothing by itself.
make chain size=4000 layers='split piece=2000 kind=sparse alloc=all;
  split piece=2000 kind=sparse alloc=none,0-5/b,6-8/d'
sha256sum -- *.vmdk > sums
for f in d-*s0*.vmdk; do
  expect_error "$f: can't be written: .*open the descriptor that names it" \
               "$vmdk_img" compact "$f"
done
sha256sum --quiet -c sums || fail "it was changed"
compact d.vmdk
same
