#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img fix-cid: children name the content IDs of their parents, in all
# kinds of descriptors, and nothing else changes.

. ./functions.sh
requires python3
requires jq --version
requires qemu-img --version
cd "$scratch"

# What qemu-img commit breaks can be read again.
$vmdkgen chain size=2560 layers='flat alloc=0-9; sparse alloc=5-12' \
  d.vmdk d.raw
qemu-img commit -d -f vmdk d.vmdk > qemu.out 2>&1 || skip "$(cat qemu.out)"
expect_error 'was made over a parent with CID' "$vmdk_img" info d.vmdk
sha256sum d-0*.vmdk > parent
"$vmdk_img" fix-cid d.vmdk > out
sha256sum --quiet -c parent
grep -q '^d.vmdk: accepted a parent with CID [0-9a-f]\{8\}, now accepts '\
'd-0.vmdk with CID [0-9a-f]\{8\}$' out || fail "$(cat out)"
grep -q '^Nobody has seen whether the data still fit' out || fail "no warning"
"$vmdk_img" convert -q -t raw d.vmdk read.raw
cmp read.raw d.raw
qemu-img compare -f vmdk -F raw d.vmdk d.raw > /dev/null
"$vmdk_img" fix-cid d.vmdk > out
[ "$(cat out)" = 'All content IDs are right; nothing was changed.' ] ||
  fail "$(cat out)"

# All links of a chain, and only those that need it.
rm -rf ./*
$vmdkgen chain size=2560 d.vmdk d.raw layers='flat alloc=0-9; stream alloc=5
  parentcid=11111111; cowd alloc=1 crlf=1 parentcid=22222222;
  sesparse alloc=9; sparse alloc=2 parentcid=44444444 quote=0'
sha256sum ./* > before
"$vmdk_img" fix-cid --dry-run --json d.vmdk > json
sha256sum --quiet -c before
[ "$(jq -c '[."dry-run", .complete]' json)" = '[true,true]' ] ||
  fail "$(cat json)"
[ "$(jq -r '.changes[] | "\(.child) \(.parent) \(."former-parent-cid")"' \
  json | paste -sd ,)" = 'd.vmdk d-3.vmdk 44444444,d-2.vmdk d-1.vmdk '\
'22222222,d-1.vmdk d-0.vmdk 11111111' ] || fail "$(cat json)"
cp -r . ../was
"$vmdk_img" fix-cid --json d.vmdk > json2
jq -c .changes json | cmp - <(jq -c .changes json2) || fail 'a dry run lies'
"$vmdk_img" convert -q -t raw d.vmdk read.raw
cmp read.raw d.raw
for file in d*.vmdk; do
  # Only digits change.
  found=$(cmp -l $file ../was/$file | wc -l) || true
  case $file in
    d.vmdk | d-1.vmdk | d-2.vmdk)
      [ "$found" -ge 1 ] && [ "$found" -le 8 ] || fail "$file: $found bytes" ;;
    *) [ "$found" -eq 0 ] || fail "$file: $found bytes" ;;
  esac
done
rm -rf ../was

# Lines that aren't there, and digits that are too few.
rm -rf ./*
$vmdkgen chain size=2560 layers='flat alloc=0-9; cowd alloc=5' d.vmdk
sed -i '/^parentCID=/d' d.vmdk
"$vmdk_img" fix-cid -q d.vmdk 2>/dev/null
grep -q "^parentCID=$(sed -n 's/^CID=//p' d-0.vmdk)$" d.vmdk || fail "not added"
"$vmdk_img" info -q d.vmdk > /dev/null
sed -i 's/^parentCID=.*/parentCID=7/' d.vmdk
"$vmdk_img" fix-cid -q d.vmdk
"$vmdk_img" info d.vmdk > /dev/null

# Refused.
expect_error 'd-0.vmdk: has no parent' "$vmdk_img" fix-cid d-0.vmdk
sed -i '/^CID=/d' d-0.vmdk
expect_error 'd-0.vmdk: has no content ID' "$vmdk_img" fix-cid d.vmdk

# An ID that stays where it is can be changed in place; but not one that lies
# in two sectors, as a crash could leave half of it.
rm -rf ./*
$vmdkgen chain size=1000 layers='sparse alloc=none; cowd alloc=none' d.vmdk
# wrong AT: another parentCID in all digits, at that place of the text.
wrong ()
{
  python3 - "$1" << 'PY'
import re, sys
with open('d.vmdk', 'rb') as f:
    text = re.sub(rb'(?m)^#x*\n', b'', f.read())
def other(m):
    return m[1] + b''.join(b'%x' % (int(c, 16) ^ 1) for c in m[2].decode())
text = re.sub(rb'(?m)^(parentCID=)(........)', other, text)
at = re.search(rb'(?m)^parentCID=', text).start()
gap = int(sys.argv[1]) - at
text = text[:at] + b'#' + b'x' * (gap - 2) + b'\n' + text[at:]
with open('d.vmdk', 'wb') as f:
    f.write(text)
PY
}
wrong 600
ln d.vmdk other
"$vmdk_img" fix-cid d.vmdk > /dev/null || fail "fix-cid in place"
cmp d.vmdk other || fail "it was replaced"
"$vmdk_img" check d.vmdk > out || fail "$(cat out)"
wrong 498
sha256sum d.vmdk > sums
expect_error 'd.vmdk: its descriptor can.t be changed: .*several names' \
  "$vmdk_img" fix-cid d.vmdk
sha256sum --quiet -c sums || fail "it was changed"
rm other
"$vmdk_img" fix-cid d.vmdk > /dev/null || fail "fix-cid"
"$vmdk_img" check d.vmdk > out || fail "$(cat out)"
