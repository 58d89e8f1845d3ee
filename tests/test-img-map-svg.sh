#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img map --svg: the picture is well-formed, its figures are those of
# the map and of the files, it stays small, and no file is harmed.

. ./functions.sh
requires python3
requires jq

cd "$scratch"

# Reads a picture: cells of the guest's disk and of the files, in bytes.
cat > read.py <<'END'
import re, sys
import xml.etree.ElementTree as ET

SVG = '{http://www.w3.org/2000/svg}'

def cells(path):
    """The cells: (start, end, {kind: bytes}), and y to tell strips apart."""
    root = ET.parse(path).getroot()
    assert root.tag == SVG + 'svg', root.tag
    height = float(root.get('height'))
    assert not root.findall('.//%sscript' % SVG)
    for g in root.iter(SVG + 'g'):
        lines = g.find(SVG + 'title').text.split('\n')
        start, end = map(int, re.match(r'bytes (\d+)-(\d+) \(',
                                       lines[0]).groups())
        shares = {}
        for line in lines[1:]:
            kind, n = re.match(r'(.*): (\d+) bytes, ', line).groups()
            shares[kind] = int(n)
        rects = [{k: float(v) for k, v in r.attrib.items()
                  if k in ('x', 'y', 'width', 'height')}
                 for r in g.iter(SVG + 'rect')]
        top = min((r['y'] for r in rects), default=0)
        for r in rects:
            assert r['height'] > 0 and r['width'] > 0, r
            assert r['y'] + r['height'] <= height + 0.01, 'below the picture'
            assert r['x'] + r['width'] <= 1040, r
        bottom = max((r['y'] + r['height'] for r in rects), default=0)
        assert not rects or bottom - top <= 22.01, ('overflow', lines)
        yield start, end, shares, root

def parts(path):
    """Strips, the grid first: lists of cells that follow each other."""
    strips = []
    for start, end, shares, root in cells(path):
        if start == 0:
            strips.append([])
        strip = strips[-1]
        assert start == (strip[-1][1] if strip else 0), 'a gap'
        assert sum(shares.values()) <= end - start, shares
        strip.append((start, end, shares))
    return strips

def total(strip, kind):
    return sum(n for _, _, shares in strip for k, n in shares.items()
               if k == kind or k.startswith(kind + ','))
END

# same_figures DISK [OPTIONS...]: the grid says what the map says, cell by
# cell.
same_figures ()
{
  rm -f p.svg
  "$vmdk_img" map -q --svg=p.svg "$@" > out 2>err ||
    fail "$*: $(cat err)"
  [ ! -s out ] && [ ! -s err ] || fail "$*: it prints something"
  "$vmdk_img" map -q --json "$@" > map.json
  python3 - <<'END' || fail "$*: the picture is wrong"
import json
import read
grid = read.parts ('p.svg')[0]
ranges = json.load (open ('map.json'))
size = ranges[-1]['start'] + ranges[-1]['length']
assert grid[-1][1] == size, 'it is not all of the disk'
i = 0
for start, end, shares in grid:
    expected = {}
    while ranges[i]['start'] + ranges[i]['length'] <= start:
        i += 1
    j = i
    while j < len (ranges) and ranges[j]['start'] < end:
        r = ranges[j]
        n = min (end, r['start'] + r['length']) - max (start, r['start'])
        kind = r['status']
        if r['data']:
            kind = 'link %d' % r['depth']
        expected[kind] = expected.get (kind, 0) + n
        j += 1
    found = {k.split (',')[0]: n for k, n in shares.items ()}
    if sum (1 for k in expected if k[0] == 'l') <= 3:
        assert found == expected, (start, end, found, expected)
END
}

for build in 'sparse alloc=mixed:30' 'stream alloc=mixed:50' \
             'cowd alloc=mixed:50' 'sesparse alloc=mixed:50' 'flat' \
             'split piece=2000 alloc=mixed:50' 'sparse size=1 alloc=all'; do
  rm -f d*.vmdk
  case $build in
    *size=*) $vmdkgen $build d.vmdk ;;
    *) $vmdkgen $build size=20001 d.vmdk ;;
  esac
  same_figures d.vmdk
done
for seed in 1 2; do
  rm -f d*.vmdk
  $vmdkgen chain depth=5 size=9000 seed=$seed d.vmdk
  same_figures d.vmdk
done

#----------------------------------------------------------------------
# What is in the files: what a child covers, metadata, and a leak.

rm -f d*.vmdk
$vmdkgen chain size=20480 \
  layers='sparse alloc=0-99; sparse alloc=50-69' d.vmdk
"$vmdk_img" map --svg=p.svg --force d.vmdk
python3 - <<'END' || fail "wrong figures of files"
import os, read
grid, child, base = read.parts ('p.svg')
for strip, name in (child, 'd.vmdk'), (base, 'd-0.vmdk'):
    assert strip[-1][1] == os.stat (name).st_size, name
    assert read.total (strip, 'tables and other metadata') > 0
total = read.total
assert total (child, 'link 0') == 20 << 16, total (child, 'link 0')
assert total (child, 'covered by a newer link') == 0
assert total (base, 'link 1') == 80 << 16
assert total (base, 'covered by a newer link') == 20 << 16
assert total (base, 'unused') < 4096, total (base, 'unused')
END

rm -f d*.vmdk p.svg
$vmdkgen sparse size=20480 alloc=0-99 'gte[7]=0' 'rgte[7]=0' \
         'gte[8]=0' 'rgte[8]=0' d.vmdk
"$vmdk_img" map --svg=p.svg d.vmdk
python3 -c "
import read
grid, strip = read.parts ('p.svg')
unused = read.total (strip, 'unused')
assert unused in range (2 << 16, (2 << 16) + 4096), unused" ||
  fail "a leak is not shown"

#----------------------------------------------------------------------
# Large disks and deep chains: small pictures, quickly.

rm -f d*.vmdk p.svg
$vmdkgen sesparse size=$((60 << 31)) alloc=scatter:300 d.vmdk
timeout 20 "$vmdk_img" map --svg=p.svg d.vmdk || fail "60 TiB take too long"
python3 -c "
import read
grid = read.parts ('p.svg')[0]
assert grid[-1][1] == 60 << 40, grid[-1]
assert sum (1 for c in grid if 'link 0' in c[2]) > 200" || fail "60 TiB"
[ "$(stat -c %s p.svg)" -lt 1000000 ] || fail "a large picture"

mkdir deep
$vmdkgen chain depth=60 size=6000 deep/d.vmdk
"$vmdk_img" map -q --svg=deep.svg deep/d.vmdk
python3 -c "
import read
assert len (read.parts ('deep.svg')) <= 49, 'so many strips'" || fail deep
grep -q 'and [0-9]* more files' deep.svg || fail "the other files are missing"

#----------------------------------------------------------------------
# Names are text, whatever is in them.

rm -f d*.vmdk p.svg
name=$'a<b>&"\'\x01\xff\xef\xbf\xbf]]>.vmdk'
$vmdkgen sparse size=2048 alloc=1 d.vmdk
mv d.vmdk "$name"
"$vmdk_img" map --svg=- "$name" > p.svg
python3 -c "
import read, xml.etree.ElementTree as ET
read.parts ('p.svg')
title = ET.parse ('p.svg').getroot ().find (read.SVG + 'title').text
assert title == 'a<b>&\"\'?\ufffd\ufffd]]>.vmdk', ascii (title)" ||
  fail "a name is not escaped"
! command -v xmllint >/dev/null || xmllint --noout p.svg || fail "xmllint"

#----------------------------------------------------------------------
# Nothing is overwritten, and nothing half done is left.

mv "$name" d.vmdk
sha256sum d.vmdk > sum
echo old > old.svg
expect_error '^vmdk-img: old.svg: .*--force' \
  "$vmdk_img" map --svg=old.svg d.vmdk
[ "$(cat old.svg)" = old ] || fail "it was overwritten"
"$vmdk_img" map --svg=old.svg --force d.vmdk
cmp -s <("$vmdk_img" map --svg=- d.vmdk) old.svg || fail "it was not replaced"
ln -s d.vmdk link.svg
ln d.vmdk hard.svg
mkdir folder
expect_error '^vmdk-img: d.vmdk: ' "$vmdk_img" map --svg=d.vmdk --force d.vmdk
expect_error '^vmdk-img: hard.svg: is a file of the disk' \
  "$vmdk_img" map --svg=hard.svg --force d.vmdk
expect_error '^vmdk-img: link.svg: .*no regular file' \
  "$vmdk_img" map --svg=link.svg --force d.vmdk
expect_error '^vmdk-img: folder: .*no regular file' \
  "$vmdk_img" map --svg=folder --force d.vmdk
expect_error '^vmdk-img: none/p.svg: No such file or directory$' \
  "$vmdk_img" map --svg=none/p.svg d.vmdk
expect_error '^vmdk-img: : No such file or directory$' \
  "$vmdk_img" map --svg= d.vmdk
expect_error '^vmdk-img: none.vmdk: ' "$vmdk_img" map --svg=n.svg none.vmdk
[ ! -e n.svg ] || fail "a picture of nothing"
sha256sum -c --quiet sum || fail "the disk was changed"

# With tables that are wrong there is no picture.
$vmdkgen sparse size=20480 alloc=all 'gte[9]=0xfffffff' 'rgte[9]=0xfffffff' \
         broken.vmdk
expect_error '^vmdk-img: broken.vmdk: ' \
  "$vmdk_img" map --svg=n.svg broken.vmdk
[ ! -e n.svg ] || fail "half a picture"
! ls -A | grep '[.]svg[.].' || fail "a file was left behind"

#----------------------------------------------------------------------
# Options that contradict each other.

for args in '--json' '--offset=1M' '--length=1M'; do
  expect_error "^vmdk-img: --svg .*Try 'vmdk-img map --help'\$" \
    "$vmdk_img" map --svg=n.svg $args d.vmdk
done
expect_error "^vmdk-img: --force .*Try 'vmdk-img map --help'\$" \
  "$vmdk_img" map --force d.vmdk
if [ -e /dev/full ]; then
  full ()
  {
    "$vmdk_img" map --svg=- d.vmdk >/dev/full
  }
  expect_error '^vmdk-img: writing to standard output: No space left' full
fi
