#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The cache request: accepted for any range, and what it prefetches is right.

. ./functions.sh
requires python3

cd "$scratch"

for builder in sparse stream cowd flat; do
  $vmdkgen $builder size=30001 d.vmdk d.raw
  serve file=d.vmdk -D vmdk.stats=1 -v
  [ "$(nbd cache 0 1 cache 0 1000000 cache $((30001 * 512 - 1)) 1 \
           cache 12345 7000000 random 100 d.raw cache $((30001 * 512)) 1)" = \
    $'ok\nok\nok\nok\nsame\nerror 22' ] || fail "$builder"
  grep -q 'vmdk: cache count=7000000 offset=12345' "$server_log"
  stop_server
done

# Grains of a stream are inflated when they are cached, not when they are read.
$vmdkgen stream size=1280 alloc=all d.vmdk d.raw
serve file=d.vmdk -D vmdk.stats=1 -v
[ "$(nbd cache 0 655360 compare 0 655360 d.raw)" = $'ok\nsame' ]
stop_server
grep -q 'grain cache: [0-9]* hits, 10 misses' "$server_log" ||
  fail "$(grep 'grain cache' "$server_log")"
