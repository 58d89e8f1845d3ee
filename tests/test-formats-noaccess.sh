#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# An extent that nobody may access fails the requests that touch it, and only
# these; its place in the disk is kept.

. ./functions.sh
requires nbdinfo --version
requires python3

cd "$scratch"

$vmdkgen custom map=m extents='RW 100 flat alloc=all; NOACCESS 50 flat;
                               RW 100 sparse grain=8' d.vmdk d.raw
# Nor is its file opened.
rm d-flat002.vmdk 2>/dev/null || rm d-f002.vmdk

serve file=d.vmdk
[ "$(nbdinfo --size "$uri")" = 128000 ]
nbd compare 0 51200 d.raw compare 76800 51200 d.raw read 51199 2 \
    read 51200 1 read 76799 1 read 0 128000 compare 76800 1 d.raw \
    cache 51200 1 extents 0 51200 > found
diff -u - found <<'END2' >&2
same
same
error 5
error 5
error 5
error 5
same
ok
0:51200:0
END2
server_errors > errors
[ "$(wc -l < errors)" -ge 4 ]
if grep -v 'd.vmdk: byte [0-9]* of .* NOACCESS was read$' errors; then
  fail "other errors"
fi

# The extents around it can be asked for.
nbdinfo --map --json "$uri" |
  python3 "$srcdir/comparemap.py" m d.raw
