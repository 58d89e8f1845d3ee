#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Raw files: their bytes are the guest's, whatever they look like.

. ./functions.sh
requires python3
requires jq

cd "$scratch"

$vmdkgen sparse size=3000 alloc=every:3 a.vmdk a.raw
$vmdkgen flat size=100 flat.vmdk
python3 -c 'import sys; sys.stdout.buffer.write (bytes (range (256)) * 999)' > c
tail -c 12345 c > odd
truncate -s 1M hole
: > empty

# Disks, a descriptor, an archive: nothing of it is understood, and what is
# missing in the last sector is zero.
python3 - <<'EOF'
import tarfile
with tarfile.open ('x.ova', 'w', format = tarfile.USTAR_FORMAT) as t:
    t.add ('a.vmdk')
EOF
for f in a.vmdk flat.vmdk x.ova c odd hole; do
  cp "$f" expected
  truncate -s %512 expected
  rm -f out
  "$vmdk_img" convert -q -f raw -t raw "$f" out || fail "convert $f"
  same_bytes expected out
  "$vmdk_img" info -f raw --json "$f" > info.json
  [ "$(jq -c '[.format, ."virtual-size", (.links | length),
       .links[0]."has-descriptor", .links[0].extents[0].format]' \
       info.json)" = "[\"raw\",$(stat -c %s expected),1,false,\"raw\"]" ] ||
    fail "$f: $(cat info.json)"
  "$vmdk_img" check -f raw "$f" > text || fail "check $f: $(cat text)"
done
"$vmdk_img" info -f raw odd > text
grep -q '^description: raw, 12800 bytes$' text || fail "$(cat text)"
"$vmdk_img" info -f raw empty > text || fail "an empty file"
"$vmdk_img" map -f raw empty > text || fail "an empty file"

# Without a word they are what they look like.
expect_error 'c: this is neither' "$vmdk_img" info c
expect_error 'hole: ' "$vmdk_img" info hole
expect_error 'empty: the file is empty' "$vmdk_img" info empty

# Holes are seen.
"$vmdk_img" map -f raw hole > text
grep -q '^0 *0x100000 *zero ' text || fail "no hole: $(cat text)"

# There is nothing beside it.
expect_error 'a.raw: a raw disk has no parent' \
             "$vmdk_img" info -f raw a.raw --parent=a.vmdk
mkdir folder
expect_error 'folder: is a directory' "$vmdk_img" info -f raw folder
expect_error 'none: No such file' "$vmdk_img" info -f raw none

# To each format and back.
for type in monolithicSparse streamOptimized monolithicFlat; do
  rm -f out
  "$vmdk_img" convert -q -f raw -t $type c $type.vmdk || fail "to $type"
  "$vmdk_img" convert -q -t raw $type.vmdk out || fail "from $type"
  cp c expected
  truncate -s %512 expected
  same_bytes expected out
done
