#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The benchmark, with the smallest images: it writes what it should, and it
# notices wrong answers.  How fast anything is isn't looked at.

. ./functions.sh
requires_no_sanitizers
requires nbdkit --version
requires qemu-nbd --version
requires qemu-img --version
requires nbdinfo --version
requires nbdcopy --version
requires python3
load=$top_builddir/bench/load
make -s -C "$top_builddir/bench" load >/dev/null 2>&1 ||
  skip "$load was not built: there is no libnbd"
export BENCH_DIR=$scratch/bench BENCH_BUILD=$top_builddir
unset PLUGIN
cd "$scratch"

# bench NAME ARGS...: results are in NAME.*.
bench ()
{
  python3 -B "$top_srcdir/bench/bench.py" --scale 256 --quick \
    --seconds 0.05 --out "$scratch/$1" "${@:2}" > "$1.out" 2> "$1.err"
}

bench good --only '^(read-16|map-1t|copy-on-write|plot-depth-1)$' \
  --servers ours,raw,qemu || fail "$(cat good.err)"
python3 - <<'EOF'
import json
import xml.dom.minidom
with open ('good.json') as f:
    rows = json.load (f)['rows']
names = [row['name'] for row in rows]
assert names == ['read-16', 'map-1t', 'copy-on-write', 'plot-depth-1'], names
for row in rows:
    assert sorted (row['samples']) == ['ours', 'qemu', 'raw'], row
    assert all (s[0]['value'] > 0 for s in row['samples'].values ()), row
with open ('good.md') as f:
    lines = f.read ().splitlines ()
assert sum (line.startswith ('| copy-on-write') for line in lines) == 1
text = xml.dom.minidom.parse ('good.svg').toxml ()
assert all (name in text for name in ('nbdkit-vmdk', 'qemu, io_uring'))
EOF

# The tables go into a document, and only there.
printf '%s\n' before '<!-- results -->' old '<!-- end of results -->' after \
  > doc.md
python3 -B "$top_srcdir/bench/report.py" doc.md good.json >/dev/null
[ "$(head -n 2 doc.md)" = 'before
<!-- results -->' ]
[ "$(tail -n 2 doc.md)" = '<!-- end of results -->
after' ]
[ "$(grep -c -e '^| copy-on-write' -e '^old' doc.md)" = 1 ]
[ -s doc.svg ]

# A server of other bytes fails, whatever its speed; so does one that is wrong
# about its holes.
images=$BENCH_DIR/images-256
python3 - "$images/full.vmdk" "$images/sparse1t.raw" <<'EOF'
import os, sys
with open (sys.argv[1], 'r+b') as f:
    f.seek (3 << 20)
    f.write (b'other' * 20000)
with open (sys.argv[2], 'r+b') as f:
    f.seek (-65536, os.SEEK_END)
    f.write (b'data' * 16384)
EOF
status=0
bench bad --only '^(read-16|map-1t|copy-on-write)$' --servers ours ||
  status=$?
[ $status = 1 ] || fail "exit status $status: $(cat bad.err)"
grep 'FAILED: read-16, ours: .*wrong bytes at' bad.err
grep 'FAILED: map-1t, ours: wrong block status' bad.err
grep 'FAILED: copy-on-write, ours: .*wrong bytes at' bad.err
[ "$(grep -c '^| .* | failed | ' bad.md)" = 3 ]

# And one that loses a write.
options='--size 4194304 --operation write --pattern shuffled --count'
"${nbdkit_command[@]}" -U - memory 4M --run "
  '$load' $options 100 run \"\$unixsocket\" > run.json &&
  '$load' $options 100 check \"\$unixsocket\" &&
  ! '$load' $options 101 check \"\$unixsocket\" 2> lost"
grep '"requests": 100, "issued": 100, "errors": 0' run.json
grep 'wrong bytes at' lost
