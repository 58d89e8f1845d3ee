#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A server that is killed while clients write, again and again: what was
# flushed is there, what nobody wrote hasn't changed, and the image is sound.

. ./functions.sh
. "$srcdir/overlap-io.sh"
kills=25
[ -z "${VMDK_SLOW:-}" ] || kills=250
[ -z "$sanitizers" ] || kills=5 # they are slow, and see more in other tests

kill_server ()
{
  serve file=d.vmdk
  disown "$server_pid" # or the shell says how it ended
  overlap -c 6 -t 100 -w 4 -k "$server_pid"
  while kill -0 "$server_pid" 2>/dev/null; do
    sleep 0.01
  done
  if grep -v 'warning: .* behind the end' "$server_log"; then
    fail "$what: messages"
  fi
  check_result unclean
}

# kill_often BUILDER...
kill_often ()
{
  local i

  what="$*"
  echo "seed $random_seed: $what"
  new_image "$@"
  for ((i = 0; i < kills; i++)); do
    kill_server
  done
  # Once more everywhere, and to the end: it has recovered.
  serve file=d.vmdk
  overlap -t 100 -w 0
  stop_server
  check_result
  verify_image qemu
}

kill_often sparse size=200003 alloc=random:10
kill_often split kind=sparse piece=64000 size=200000 grain=16 alloc=random:10
kill_often chain size=100003 layers='sparse alloc=all; sparse alloc=random:10'
kill_often chain size=100003 \
  layers='vmfs alloc=all; cowd alloc=random:10 grain=8'
