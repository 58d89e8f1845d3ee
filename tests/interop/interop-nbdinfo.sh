#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdinfo: its map is that of qemu-img, which reads the disk by itself, and
# that of qemu's NBD client; and what it says of the export.

. ../functions.sh
. "$srcdir/writing.sh"
requires nbdinfo --version

# ranges: from the JSON of either program, START END DATA, coalesced.
ranges ()
{
  python3 -c '
import json, sys
last = None
for e in json.load (sys.stdin):
    nbdinfo = "type" in e
    start = e["offset"] if nbdinfo else e["start"]
    data = e["type"] == 0 if nbdinfo else e["data"]
    if last and last[2] == data:
        last[1] += e["length"]
        continue
    if last:
        print (*last)
    last = [start, start + e["length"], data]
print (*last)'
}

# same_map BUILDER [KEY=VALUE...]
same_map ()
{
  new_disk "$@"
  qemu-img map --output=json -f vmdk d.vmdk > q.json
  ranges < q.json > expected
  serve d.vmdk -r
  nbdinfo --map --json "$uri" | ranges > found
  cmp expected found >&2 || fail "$*: $(diff expected found)"
  qemu-img map --output=json -f raw "$uri" | ranges > found
  cmp expected found >&2 || fail "$*, qemu over NBD: $(diff expected found)"
  stop_server
  echo "$*: $(wc -l < found) ranges"
}

same_map sparse size=200001 alloc=random:30
same_map sparse size=20001 grain=8 alloc=mixed:50 version=2
same_map split kind=sparse piece=65536 size=200001 alloc=random:30
same_map stream size=200001 alloc=random:30
same_map cowd size=20001 alloc=random:30 grain=16
same_map chain size=200001 layers='sparse alloc=random:30; sparse
  alloc=random:10; sparse alloc=none'

# The export.
new_disk stream size=20001 alloc=random:30
nbdinfo --json "[" nbdkit "$plugin" d.vmdk "]" > json
python3 - json <<'END' || fail "$(cat json)"
import json, sys
e = json.load (open (sys.argv[1]))["exports"][0]
assert e["export-size"] == 20001 * 512, 'size'
assert e["is_read_only"] and e["can_multi_conn"] and e["can_flush"], 'flags'
assert e["block_size_minimum"] == 1 and \
    e["block_size_maximum"] == 32 << 20, 'blocks'
assert "base:allocation" in e["contexts"], 'contexts'
END
serve d.vmdk
[ "$(nbdinfo --size "$uri")" = $((20001 * 512)) ]
nbdinfo --is read-only "$uri" || fail 'not read-only'
nbdinfo --can multi-conn "$uri" || fail 'no multi-conn'
nbdinfo --list "$uri" | grep -q 'export=' || fail 'no export'
nbdinfo --map --totals "$uri" > totals
[ "$(awk '{ n += $1 } END { print n }' totals)" = $((20001 * 512)) ] ||
  fail "$(cat totals)"
