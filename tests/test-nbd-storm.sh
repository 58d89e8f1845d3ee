#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# 64 connections at a time, and storms of flushes and FUA beside writes, once
# to the end, and once until the server is killed.

. ./functions.sh
. "$srcdir/overlap-io.sh"

# kill_server [ARGS...]: in the middle of it.
kill_server ()
{
  serve file=d.vmdk
  disown "$server_pid" # or the shell says how it ended
  overlap -k "$server_pid" "$@"
  while kill -0 "$server_pid" 2>/dev/null; do
    sleep 0.01
  done
  if grep -v 'warning: .* behind the end' "$server_log"; then
    fail "$what: messages"
  fi
  check_result unclean
}

# storm BUILDER...
storm ()
{
  what="$*"
  echo "seed $random_seed: $what"
  new_image "$@"
  kill_server -c 64 -t 300 -w 4
  kill_server -c 16 -t 150 -w 2 -f 45
  kill_server -c 32 -t 150 -w 1 -f 20 -l 8
  serve file=d.vmdk
  overlap -c 64 -t 300 -w 0
  overlap -c 16 -t 200 -w 2 -f 45
  stop_server
  [ ! -s "$server_log" ] || fail "$what: $(cat "$server_log")"
  check_result
  verify_image qemu
}

storm sparse size=40003 grain=8 alloc=random:10
storm chain size=40003 layers='sparse alloc=all; cowd alloc=random:10 grain=16'
