#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Requests of 32 MiB and of nbdkit's most, 64 MiB, and of more; over the end;
# trims and zeroes as large as 32 bits can say.

. ./functions.sh
. "$srcdir/writing.sh"

# large BUILDER [KEY=VALUE...] -- [read-only]
large ()
{
  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  new_disk "${before[@]}"
  serve d.vmdk
  python3 "$srcdir/nbdcorners.py" large "$sock" d.raw "$@" > found 2>&1 ||
    fail "${before[*]}: $(cat found) $(tail -n 5 "$server_log")"
  stop_server
  [ $# -gt 0 ] || check_quiet
}

large chain size=140001 layers='split kind=sparse piece=66666 alloc=mixed:9;
  sparse alloc=random:3 grain=8' --
large stream size=140001 alloc=mixed:5 -- read-only
