#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Chains of links that mix formats, grain sizes and capacities.

. ./functions.sh

# chain OPTIONS...: about the sizes there are warnings.
chain ()
{
  requires nbdcopy --version
  requires nbdinfo --version
  requires python3
  rm -rf "$scratch/disk"
  mkdir "$scratch/disk"
  cd "$scratch/disk"
  $vmdkgen chain "$@" map=m linkmap=l d.vmdk d.raw
  serve file=d.vmdk
  check_server d.raw m
  [ "$(nbd random 100 d.raw)" = same ]
  [ -z "$(server_errors)" ]
  if grep -v 'has [0-9]* bytes, but its parent .* has' "$server_log"; then
    fail "other messages: $*"
  fi
  stop_server
}

for seed in 1 2 3 4 5; do
  chain depth=4 size=9000 seed=$seed
done
for seed in 6 7 8; do
  chain depth=8 size=9000 seed=$seed
done
chain depth=60 size=500 seed=9

chain size=20000 layers='sparse alloc=random:60 grain=128;
  cowd grain=1 alloc=mixed:30 order=random; sesparse alloc=mixed:30;
  stream grain=16 alloc=mixed:20'
chain size=20000 layers='flat alloc=random:60; split piece=5120 alloc=mixed:30;
  sparse grain=8 alloc=mixed:30; cowd grain=100 alloc=mixed:20'
