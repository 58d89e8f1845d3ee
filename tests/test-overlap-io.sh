#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Requests that overlap, on several connections: each sector has what one of
# them wrote that can be the last, and all connections agree.

. ./functions.sh
. "$srcdir/overlap-io.sh"

# try [ARGS...] -- BUILDER...: the plugin's arguments, and an image.
try ()
{
  local round

  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  what="${before[*]-} $*"
  echo "seed $random_seed: $what"
  new_image "$@"
  for round in 1 2; do
    serve file=d.vmdk ${before[@]+"${before[@]}"}
    overlap -c $((round * 4)) -t 300 -w 2
    stop_server
    [ ! -s "$server_log" ] || fail "$what: $(cat "$server_log")"
    check_result
    verify_image qemu
  done
}

try -- sparse size=20003 alloc=random:10
try -- sparse size=20003 grain=8 alloc=random:10
try table-cache=64K -- sparse size=40003 grain=1 alloc=none
try -- flat size=8003 alloc=none
try -- cowd size=20003 grain=16 alloc=random:10
try -- chain size=20003 layers='sparse alloc=all; sparse alloc=none'
try zeroed-grains=always -- chain size=20003 \
  layers='sparse alloc=all; sparse alloc=random:10 grain=16'
try -- chain size=20003 layers='vmfs alloc=all; cowd alloc=none grain=128'
