#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img pull, killed before one of its steps: the child reads as before,
# and to run it again does the rest.

. ./functions.sh
requires_no_sanitizers
requires python3

shim=$top_builddir/tests/.libs/stop-shim.so
[ -e "$shim" ] || skip "there is no $shim"
cd "$scratch"

# reads FILE RAW: its guest's view.
reads ()
{
  "$vmdk_img" convert -q -t raw --force "$1" read.raw &&
    cmp read.raw "$2"
}

# independent FILE: there are no parents, nor a word about them.
independent ()
{
  ! grep -a -q 'parentFileNameHint' "$1" || fail "$1: there is a hint"
  grep -a -q -x 'parentCID=ffffffff' "$1" || fail "$1: has a parent"
  mkdir away
  mv d-?.vmdk away
  reads "$1" d.raw || fail "$1 reads something else"
  "$vmdk_img" check "$1" > out || [ $? -eq 3 ] || fail "$1: $(cat out)"
  if grep -E ': (error|warning): ' out; then
    fail "$1: not in order"
  fi
  mv away/* .
  rmdir away
}

for layers in 'sparse alloc=0-5; sparse alloc=3-7,9/z' \
              'sparse alloc=0-5; sesparse alloc=30-70'; do
  rm -rf ./*
  mkdir made
  $vmdkgen chain size=1600 layers="$layers" made/d.vmdk d.raw
  for ((n = 1;; n += 2)); do
    rm -f d*.vmdk*
    cp made/* .
    status=0
    { STOP_AT=$n LD_PRELOAD=$shim \
      "$vmdk_img" pull -q d.vmdk > out 2>&1; } 2>/dev/null || status=$?
    [ "$status" -ne 0 ] || break
    [ "$status" -eq 137 ] || fail "$layers: step $n: $(cat out)"
    reads d.vmdk d.raw || fail "$layers: killed at step $n"
    "$vmdk_img" pull -q d.vmdk > out 2>&1 ||
      fail "$layers: step $n: $(cat out)"
    independent d.vmdk
  done
  [ "$n" -gt 8 ] || fail "$layers: only $n steps"
done
