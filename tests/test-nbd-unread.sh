#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A client that leaves while large answers are waiting for it.  nbdkit before
# 1.34 aborts then.  What other clients have flushed must be there, what
# nobody wrote unchanged, and the image sound.

. ./functions.sh
. "$srcdir/overlap-io.sh"

died=0

# leave_answers COUNT LENGTH: with others at work meanwhile.
leave_answers ()
{
  local writers

  serve file=d.vmdk
  disown "$server_pid" # or the shell says how it ended
  : > out
  overlap -m -c 4 -t 500 -w 4 > out &
  writers=$!
  # First it reads, when nothing may go wrong.
  until grep -q changing out; do
    kill -0 $writers || fail "$what: seed $random_seed"
    sleep 0.01
  done
  python3 "$srcdir/nbdrude.py" unread "$sock" "$1" "$2"
  wait "$writers"
  if kill -0 "$server_pid" 2>/dev/null; then
    kill -KILL "$server_pid"
  else
    died=$((died + 1))
  fi
  while kill -0 "$server_pid" 2>/dev/null; do
    sleep 0.01
  done
  grep -F d.vmdk: "$server_log" | grep -v 'warning: .* behind the end' &&
    fail "$what: messages"
  check_result unclean
}

# unread BUILDER...
unread ()
{
  what="$*"
  echo "seed $random_seed: $what"
  new_image "$@"
  leave_answers 8 33554432
  leave_answers 3 33554432
  leave_answers 2000 16384
  leave_answers 20 1048576
  # All of it once more, and to the end.
  serve file=d.vmdk
  overlap -t 100 -w 0
  stop_server
  check_result
  verify_image qemu
}

unread sparse size=135003 alloc=random:10
unread chain size=135003 layers='vmfs alloc=all; cowd alloc=random:10 grain=8'
echo "$died of 8 servers have died"
