#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Requests at any place and of any length, on several connections at once.

. ./functions.sh
requires python3

cd "$scratch"

odd ()
{
  local pids=() i pid size

  $vmdkgen "$@" d.vmdk d.raw
  size=$(stat -c %s d.raw)
  serve file=d.vmdk table-cache=64K grain-cache=256K
  [ "$(nbd compare 0 1 d.raw compare $((size - 1)) 1 d.raw \
           compare 1 $((size < 9999999 ? size - 2 : 9999999)) d.raw \
           compare 511 2 d.raw compare 65535 2 d.raw)" = \
    $'same\nsame\nsame\nsame\nsame' ] || fail "$*"
  # What is behind the end is nobody's.
  [ "$(nbd read $((size - 1)) 2 read $size 1)" = $'error 22\nerror 22' ]
  for i in 1 2 3 4; do
    nbd random $((200 + i)) d.raw > found.$i &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid"
  done
  for i in 1 2 3 4; do
    [ "$(cat found.$i)" = same ] || fail "$*: $(cat found.$i)"
  done
  if grep -v -e 'invalid request' -e 'has .* bytes, but its parent' \
          "$server_log"; then
    fail "$*"
  fi
  stop_server
}

odd sparse size=30001 grain=8 alloc=mixed:60 order=random
odd stream size=30001 alloc=mixed:80
odd cowd size=30001 alloc=mixed:60 order=random
odd sesparse size=30001 alloc=mixed:60
odd split size=30001 piece=777 grain=8 alloc=mixed:60
odd chain depth=4 size=30001 seed=5
