#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# -D vmdk.TOPIC=1: each prints something of its own, and only with -v.

. ./functions.sh
requires nbdinfo --version
requires python3

cd "$scratch"

$vmdkgen chain size=20000 d.vmdk \
         layers='flat; sparse grain=8 alloc=mixed:50; stream alloc=mixed:50'

# prints TOPIC PATTERN
prints ()
{
  serve file=d.vmdk -v -D "vmdk.$1=1"
  nbdinfo --map "$uri" >/dev/null
  nbd read 0 100000 >/dev/null
  stop_server
  grep -q -E "debug: $2" "$server_log" || fail "$1: $(cat "$server_log")"
  cp "$server_log" "log.$1"
}

prints descriptor 'd.vmdk: version 1, 1 extents'
prints chain '.*d.vmdk: parent "d-1.vmdk" is d-1.vmdk'
prints extents '[0-9]+\+[0-9]+: (data|packed|zero|absent)'
prints tables 'd.*.vmdk: loading [0-9]+ bytes at [0-9]+ of grain table 0'
prints stats 'table cache: [0-9]+ hits'

# Nothing of it without the flags.
serve file=d.vmdk -v
nbdinfo --map "$uri" >/dev/null
stop_server
for pattern in 'version 1, 1 extents' 'parent "d-1' 'loading [0-9]' \
               ': (data|packed|absent)' 'table cache:'; do
  if grep -E "debug: .*$pattern" "$server_log"; then
    fail "printed without a flag: $pattern"
  fi
done
