#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img map: each range has the status that the image was built with,
# and its bytes are where the map says they are.

. ./functions.sh
requires python3
requires jq

cd "$scratch"

# Compares a map with the model's, and the files with the raw disk.
cat > compare.py <<'END'
import json, struct, sys, zlib

ranges = json.load(open(sys.argv[1]))
model = json.load(open(sys.argv[2]))
raw = open(sys.argv[3], 'rb').read()
files = {}

def stored(r):
    if r['file'] not in files:
        files[r['file']] = open(r['file'], 'rb').read()
    return files[r['file']]

def check_bytes(r):
    start, length = r['start'], r['length']
    expected = raw[start:start + length]
    if r['status'] == 'data':
        found = stored(r)[r['offset']:r['offset'] + length]
        # The last grain of a file may be cut off.
        found = found.ljust(length, b'\0')
    elif r['status'] == 'packed':
        at = r['compressed-offset']
        if struct.unpack_from('<I', stored(r), at + 8)[0]:
            lba, size = struct.unpack_from('<QI', stored(r), at)
            assert lba * 512 <= start, r
            grain = zlib.decompress(stored(r)[at + 12:at + 12 + size])
            found = grain[start - lba * 512:][:length]
    else:
        found = bytes(length)
    assert found == expected, ('bytes differ', r)

at = 0
for r in ranges:
    assert r['start'] == at and r['length'] > 0, ('gap', r)
    at += r['length']
    assert r['present'] == (r['status'] != 'absent'), r
    assert r['data'] == (r['status'] in ('data', 'packed')), r
    assert r['zero'] == (not r['data']), r
    assert r['compressed'] == (r['status'] == 'packed'), r
    assert ('offset' in r) == (r['status'] == 'data'), r
    check_bytes(r)
assert at == len(raw), ('the map ends at', at, 'the disk at', len(raw))

# Pieces of both that are in one range of each.
i = 0
for m in model:
    end = m['offset'] + m['length']
    while i < len(ranges) and ranges[i]['start'] < end:
        r = ranges[i]
        # Zeroes that are data may be a hole in the file.
        assert r['status'] == m['status'] or (
            m['status'] == 'data' and r['status'] == 'zero'), (m, r)
        if r['start'] + r['length'] > end:
            break
        i += 1
if any(m['status'] == 'data' for m in model):
    assert any(r['status'] == 'data' for r in ranges), 'no data at all'
END

# same_map BUILDER [OPTIONS...]
same_map ()
{
  rm -f disk*
  $vmdkgen "$@" map=model disk.vmdk disk.raw
  "$vmdk_img" map -q --json disk.vmdk > map.json
  python3 compare.py map.json model disk.raw || fail "wrong map of: $*"
}

same_map sparse size=6145 alloc=mixed:50
same_map sparse size=6000 grain=8 alloc=mixed:50 order=random
same_map stream size=5000 alloc=mixed:50
same_map cowd size=3001 alloc=mixed:50
same_map sesparse size=6000 alloc=mixed:50
same_map flat size=2000
same_map vmfs size=2000 offset=5
same_map split size=9000 piece=2000 alloc=mixed:50
same_map custom \
  'extents=RW 100 flat offset=63; RW 5 zero; RDONLY 77 sparse grain=8'
for seed in 1 2 3; do
  same_map chain depth=4 size=5000 seed=$seed
done

#----------------------------------------------------------------------
# A delta over a base: which link says so.

same_map chain size=512 layers='sparse alloc=0,1; sparse alloc=1,3'
jq -c '.[] | [.start / 65536, .length / 65536, .depth, .status, .file]' \
  map.json > found
cat > expected <<'END'
[0,1,1,"data","disk-0.vmdk"]
[1,1,0,"data","disk.vmdk"]
[2,1,1,"absent",null]
[3,1,0,"data","disk.vmdk"]
END
diff expected found >&2 || fail "wrong links"

"$vmdk_img" map --single-link --json disk.vmdk |
  jq -c '.[] | [.start / 65536, .length / 65536, .depth, .status]' > found
cat > expected <<'END'
[0,1,0,"absent"]
[1,1,0,"data"]
[2,1,0,"absent"]
[3,1,0,"data"]
END
diff expected found >&2 || fail "wrong map of a single link"

#----------------------------------------------------------------------
# Text and JSON say the same.

same_map chain depth=4 size=5000 seed=4
"$vmdk_img" map -q disk.vmdk > map.txt
head -n 1 map.txt |
  grep -q -E '^Offset +Length +Status +Link +Mapped to +File$' ||
  fail "no headline"
tail -n +2 map.txt | python3 -c '
import sys
for line in sys.stdin:
    start, length, status, link, offset, name = line.split()
    print(int(start, 16), int(length, 16), status,
          0 if status == "absent" else link,
          0 if offset == "-" else int(offset, 16), name)' > from-text
jq -r '.[] | [.start, .length, .status,
              if .status == "absent" then 0 else .depth end,
              .offset // .["compressed-offset"] // 0, .file // "-"] |
       map(tostring) | join(" ")' map.json > from-json
diff from-text from-json >&2 || fail "text and JSON differ"

#----------------------------------------------------------------------
# A part of the disk is that part of the map.

same_map sparse size=6145 alloc=every:2
part ()
{
  "$vmdk_img" map --json --offset="$1" --length="$2" disk.vmdk > found
  jq --argjson from "$3" --argjson to "$4" '
    [.[] | select(.start < $to and .start + .length > $from) |
     (if .start < $from then ($from - .start) else 0 end) as $skip |
     .start += $skip | .length -= $skip |
     if .offset then .offset += $skip else . end |
     if .start + .length > $to then .length = $to - .start else . end]' \
    map.json > expected
  jq . found | diff expected - >&2 || fail "wrong part: $1 $2"
}
part 0 64K 0 65536
part 100K 100s 102400 153600
part 1m 0x80000 1048576 1572864
part 3M 1T 3145728 3146240
part 3146240 1 3146240 3146240
part 1000 1 1000 1001
part 0 0 0 0
expect_error 'disk.vmdk: offset 3146241 is past the end .* 3146240 bytes' \
  "$vmdk_img" map --offset=3146241 disk.vmdk

#----------------------------------------------------------------------
# Who has seen enough gets no error message, also where SIGPIPE is ignored.

$vmdkgen sparse size=800000 grain=8 alloc=every:2 large.vmdk
python3 - "$vmdk_img" <<'END'
import signal, subprocess, sys

for ignored in False, True:
    if ignored:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for option in '-q', '--json':
        p = subprocess.Popen([sys.argv[1], 'map', option, 'large.vmdk'],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             restore_signals=not ignored)
        p.stdout.read(100)
        p.stdout.close()
        error = p.stderr.read()
        assert error == b'', error
        assert p.wait() == (1 if ignored else -signal.SIGPIPE), p.returncode
END

#----------------------------------------------------------------------
# It isn't collected: the map of a disk with 100000 ranges in 4 MiB more
# than that of a small disk.

memory ()
{
  python3 - "$vmdk_img" "$1" <<'END'
import resource, subprocess, sys
subprocess.run([sys.argv[1], 'map', '--json', sys.argv[2]], check=True,
               stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
END
}

# Sanitizers need memory themselves.
if [ -z "$sanitizers" ]; then
  small=$(memory disk.vmdk)
  large=$(memory large.vmdk)
  [ "$large" -lt $((small + 4096)) ] ||
    fail "a large map takes $large KiB, a small one $small KiB"
fi
