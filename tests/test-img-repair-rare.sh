#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img repair: damage that is seldom seen, in headers and descriptors.

. ./functions.sh
. "$srcdir/repair.sh"

grain=4096

# The lost directory isn't where it would be, so that a copy is made.
$vmdkgen sparse size=20000 grain=8 tables=random alloc=random:70 \
  base.vmdk base.raw
spoiled directory-misplaced same kdmv.rgdOffset=99999999
spoiled directory-misplaced same kdmv.gdOffset=99999999
spoiled capacity-mismatch same kdmv.capacity=20400
repair_cases base.vmdk

# seSparse that ends in the middle of its empty metadata; a stream with an
# entry that it can't have.
$vmdkgen sesparse size=20480 alloc=none base.vmdk base.raw
part=base-sesparse.vmdk
spoiled region-past-end same "length=$(($(stat -c %s $part) - 4096))"
repair_cases $part
rm base*.vmdk
$vmdkgen stream size=20000 alloc=random:70 base.vmdk base.raw
grain=65536
spoiled zeroed-without-flag zero:7 'gte[7]=1'
repair_cases base.vmdk

# described CODE [KEY=VALUE...]: the descriptor has that fault, which is
# repaired and can be taken back; $said is what repair says of it.
described ()
{
  rm -f d.vmdk* d-flat.vmdk
  $vmdkgen flat size=4000 "${@:2}" d.vmdk d.raw
  cp d.vmdk before
  "$vmdk_img" repair --json d.vmdk > json 2> err || fail "$*: $(cat err)"
  said=$(jq -r ".repairs[] | select (.code == \"$1\") | .text" json)
  [ -n "$said" ] || fail "$*: $(cat json)"
  "$vmdk_img" check d.vmdk > check.out || fail "$*: $(cat check.out)"
  qemu-img compare -f vmdk -F raw d.vmdk d.raw > qemu || fail "$*: $(cat qemu)"
  cp d.vmdk after
  "$vmdk_img" repair -q --undo d.vmdk
  cmp before d.vmdk
}

described long-content-id 'ddb.longContentID=no such number'
! grep longContentID after || fail "it is still there"
described geometry ddb.geometry.cylinders=99999999
grep -q 'geometry.cylinders = "3"$' after || fail "$(cat after)"
described parent-contradiction hint=gone.vmdk
! grep parentFileNameHint after || fail "the hint is still there"
described change-tracking version=3
grep -q -x 'version=1' after || fail "$(cat after)"

# left CODE PATTERN [KEY=VALUE...]: what only the user can know is told.
left ()
{
  local status=0

  rm -f d.vmdk* d-flat.vmdk
  $vmdkgen flat size=4000 "${@:3}" d.vmdk
  cp d.vmdk before
  "$vmdk_img" repair --json d.vmdk > json 2> err || status=$?
  [ $status -eq 2 ] || fail "$*: status $status: $(cat err json)"
  jq -e ".left[] | select (.code == \"$1\")" json > /dev/null ||
    fail "$*: $(cat json)"
  grep -q -e "$2" err || fail "$*: $(cat err)"
  cmp before d.vmdk
}

cp d.vmdk there.vmdk
left parent-contradiction 'its parent is there.*fix-cid' \
  hint=there.vmdk

# Two directories of which a part is the same: an entry of one would also be
# another one of the other.
rm -f d.vmdk*
$vmdkgen sparse size=70000 grain=1 alloc=random:10 kdmv.rgdOffset=572 \
         d.vmdk d.raw
if "$vmdk_img" resize -q d.vmdk 80000s 2> err; then
  fail "overlapping directories are written"
fi
grep -q 'one of its two grain directories is damaged' err || fail "$(cat err)"
"$vmdk_img" repair -q d.vmdk
"$vmdk_img" check -q d.vmdk || fail "overlapping directories: not repaired"
"$vmdk_img" convert -q -t raw d.vmdk out.raw
cmp d.raw out.raw
qemu-img check -q d.vmdk
rm d.raw out.raw

# Undo files that aren't sound, though their checksums are right.
rm -f d.vmdk* d-flat.vmdk
$vmdkgen sparse size=4000 kdmv.uncleanShutdown=1 d.vmdk
"$vmdk_img" repair -q d.vmdk
cp d.vmdk repaired
python3 - <<'EOF'
import struct, zlib
good = open ('d.vmdk.undo', 'rb').read ()
def save (name, body, more = b''):
    open (name, 'wb').write (
        body + good[-12:-4] + struct.pack ('<I', zlib.crc32 (body)) + more)
body = good[:-12]
kind, length = struct.unpack_from ('<II', body, 16)
at = 16 + 8 + length        # the first BYTES
save ('magic.undo', b'vmdkUNDO' + body[8:])
save ('version.undo', body[:8] + b'\2' + body[9:])
save ('more.undo', body, b'more')
save ('piece.undo', body[:at + 16] + struct.pack ('<I', 70000) +
      body[at + 20:])
save ('orphan.undo', body[:16] + body[at:])
EOF
while read -r name pattern; do
  cp d.vmdk was
  expect_error "$name.undo: not a sound undo file: $pattern" \
    "$vmdk_img" repair --undo=$name.undo d.vmdk
  cmp was d.vmdk
done <<'EOF'
magic it doesn't begin with "VMDKundo"
version its version is 2, expected 1
more something follows its end at offset
piece before offset [0-9]* there is a piece of
orphan before offset [0-9]* there is a piece of
EOF
