#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A file that becomes shorter while it is served fails the requests for what
# is gone, and no others.

. ./functions.sh
requires python3

cd "$scratch"

# shrinks FILE CUT: grain 0 stays, grain 9 goes.  LAST is where it is.
shrinks ()
{
  serve file=d.vmdk
  [ "$(nbd compare 0 4096 d.raw compare $LAST 4096 d.raw)" = $'same\nsame' ]
  $vmdkgen truncate "$1" "$2"
  [ "$(nbd compare 0 4096 d.raw read $((LAST + 512)) 4096 \
           compare 0 4096 d.raw)" = $'same\nerror 5\nsame' ] ||
    fail "$1: $(nbd read $((LAST + 512)) 16)"
  server_errors |
    grep -q "$1: the file has become shorter: nothing at offset [0-9]*" ||
    fail "$(cat "$server_log")"
  stop_server
}

LAST=$((9 * 65536))
$vmdkgen sparse size=1280 alloc=all d.vmdk d.raw
shrinks d.vmdk 'grain[9]'
$vmdkgen flat size=1280 alloc=all d.vmdk d.raw
shrinks d-flat.vmdk $LAST
$vmdkgen cowd size=1280 grain=128 alloc=all d.vmdk d.raw
shrinks d-delta.vmdk 'grain[9]'
$vmdkgen stream layout=front size=1280 alloc=all/n d.vmdk d.raw
# Not from the cache of inflated grains.
serve file=d.vmdk
$vmdkgen truncate d.vmdk 'grain[9]'
[ "$(nbd compare 0 4096 d.raw read $LAST 4096 compare 0 4096 d.raw)" = \
  $'same\nerror 5\nsame' ]
server_errors | grep -q 'd.vmdk: ' || fail "$(cat "$server_log")"
