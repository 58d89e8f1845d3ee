#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What nobody flushes is published by itself after some seconds, so that a
# crash of the server doesn't lose the work of an hour.

. ./functions.sh
requires python3

cd "$scratch"
$vmdkgen sparse size=20000 alloc=none d.vmdk
serve file=d.vmdk
[ "$(nbd write 65536 4096 0x55)" = ok ] || fail "the write failed"

# entries: how many grains the file has by itself.
entries ()
{
  "$vmdk_img" map --json --force-share d.vmdk | jq '[.[] | select(.data)] | length'
}

requires jq --version
[ "$(entries)" = 0 ] || fail "the entry was written before its time"
for ((i = 0; i < 150; i++)); do
  [ "$(entries)" = 0 ] || break
  sleep 0.1
done
[ "$(entries)" = 1 ] || fail "the entry wasn't written after 15 s"

kill -9 "$server_pid"
wait "$server_pid" 2>/dev/null || :
serve -r file=d.vmdk
[ "$(nbd read 65536 2 read 69631 2)" = $'5555\n5500' ] || fail "data are lost"
