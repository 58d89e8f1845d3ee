#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A hosted sparse extent has its tables twice: where one copy is damaged the
# other is read, and one warning says so; where both are, requests for what
# they cover fail, and no others.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# Tables of 512 grains of 8 sectors: 2 MiB each.
M=$((2 << 20))
build ()
{
  $vmdkgen sparse size=20000 grain=8 alloc=mixed:60 map=m "$@" d.vmdk d.raw
}

# mended: all bytes are right, with one warning.
mended ()
{
  serve file=d.vmdk
  check_server d.raw m
  [ "$(server_warnings | wc -l)" = 1 ] || fail "$1: $(cat "$server_log")"
  server_warnings | grep -q -E "d.vmdk: .*(redundant|the other) copy" ||
    fail "$1: $(cat "$server_log")"
  [ "$(wc -l < "$server_log")" = 1 ]
  stop_server
}

# garbage NAME LENGTH: what no entry can be.
garbage ()
{
  $vmdkgen patch d.vmdk "$1" hex "$(printf 'f1%.0s' $(seq "$2"))"
}

# The whole directory, one entry of it, a whole table, one entry.
build
garbage 'gde[0]' 12
mended directory
build 'gde[1]=0xfffffff0'
mended "directory entry"
build
garbage 'gte[512]' 2048
mended table
build
for grain in 0 513 1400; do
  garbage "gte[$grain]" 4
done
mended "table entries"
build kdmv.gdOffset=0xfffffff
mended gdOffset

# A table that is only in the redundant directory was lost from the other:
# it would read as zero, without a word.
build 'gde[1]=0'
mended "lost directory entry"
build
$vmdkgen patch d.vmdk 'gde[0]' hex "$(printf '00%.0s' $(seq 40))"
mended "lost directory"

# The other copy is not looked at without need.
build
garbage 'rgde[0]' 12
garbage 'rgte[0]' 64
check_guest d.vmdk d.raw m

# Both copies of the second table.
build
garbage 'gte[512]' 2048
garbage 'rgte[512]' 2048
serve file=d.vmdk
nbd compare 0 $M d.raw read $M 1 read $((2 * M - 1)) 1 \
    read $((M - 1)) 2 compare $((2 * M)) $M d.raw extents $M 4096 \
    compare 0 $M d.raw > found
diff - found <<'END2' >&2
same
error 5
error 5
error 5
same
error 5
same
END2
server_errors > errors
[ "$(wc -l < errors)" = 4 ] || fail "$(cat errors)"
if grep -v 'd.vmdk: entry [0-9]* of grain table 1 (grain [0-9]*), 0xf1f1f1f1' \
        errors; then
  fail "other errors"
fi
stop_server

# Both entries of the directory, and the only one.
build 'gde[1]=0xfffffff0' 'rgde[1]=0xfffffff0'
serve file=d.vmdk
[ "$(nbd compare 0 $M d.raw read $M 1 compare $((2 * M)) $M d.raw)" = \
  $'same\nerror 5\nsame' ]
[ "$(server_errors | grep -c 'd.vmdk: entry 1 of the grain directory, 0xff')" \
  = 1 ] || fail "$(cat "$server_log")"
stop_server
build rgd=0 'gde[1]=0xfffffff0'
serve file=d.vmdk
[ "$(nbd compare 0 $M d.raw read $M 1 compare $((2 * M)) $M d.raw)" = \
  $'same\nerror 5\nsame' ]
