#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Parents that are smaller or larger than their child: the child's size is
# the disk's, and beyond the end of a parent it reads as zero.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# chain NR-OF-WARNINGS LAYERS
chain ()
{
  $vmdkgen chain size=1000 layers="$2" map=m d.vmdk d.raw
  serve file=d.vmdk
  [ "$(nbdinfo --size "$uri")" = "$(stat -c %s d.raw)" ]
  check_server d.raw m
  [ "$(server_warnings | wc -l)" = "$1" ] || fail "$(cat "$server_log")"
  [ "$(wc -l < "$server_log")" = "$1" ]
  stop_server
}

chain 0 'sparse grain=8 alloc=all; sparse grain=16 alloc=every:3'
# Ends in the middle of a grain of either.
chain 1 'sparse grain=8 alloc=all size=501; sparse grain=16 alloc=every:3'
chain 1 'flat alloc=all size=501; cowd grain=16 alloc=every:3'
# The last grain of the parent holds bytes that are past its end.
chain 1 'sparse grain=128 alloc=all size=501; sesparse alloc=every:3'
chain 1 'sparse grain=8 alloc=all size=1501; sparse grain=16 alloc=every:3'
# A short one in the middle hides what is below its end.
chain 2 'flat alloc=all; sparse grain=8 alloc=0 size=333; cowd alloc=5'
chain 2 'flat alloc=all size=1; sparse grain=8 alloc=0 size=1033; cowd alloc=5'
