#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img commit, killed before each step that it takes, and with each of
# these steps failing: the child always reads as before, the chain fits or a
# marker says why not, and to run it again does the rest.

. ./functions.sh
requires_no_sanitizers
requires python3

shim=$top_builddir/tests/.libs/stop-shim.so
[ -e "$shim" ] || skip "there is no $shim"
cd "$scratch"
mkdir made disk

# reads FILE: its guest's view is d.raw.
reads ()
{
  "$vmdk_img" convert -q --cid-check=off -t raw --force "$1" read.raw &&
    cmp read.raw ../made/d.raw
}

# sound: the child reads as before, and fits its parent; or not yet, as the
# marker says, and then nobody can take it for anything else.
sound ()
{
  reads d.vmdk || fail "$what: the child reads something else"
  if [ -e d.vmdk.commit ]; then
    grep -q -x 'newCID=[0-9a-f]\{8\}' d.vmdk.commit || fail "$what: marker"
  else
    "$vmdk_img" info d.vmdk > info.out 2>&1 || fail "$what: $(cat info.out)"
  fi
}

# completed [DELETED]: as if nothing had happened, but for the hidden file
# that was to replace a descriptor, and an extent of a deleted child.
completed ()
{
  local left

  reads d-0.vmdk || fail "$what: the parent isn't what the child was"
  if [ $# -gt 0 ]; then
    [ ! -e d.vmdk ] || fail "$what: the child is still there"
  else
    "$vmdk_img" check d.vmdk > check.out || [ $? -eq 3 ] || fail "$what: check"
    if grep -E ': (error|warning): ' check.out; then
      fail "$what: not in order"
    fi
    "$vmdk_img" info d.vmdk > info.out 2>&1 || fail "$what: $(cat info.out)"
  fi
  left=$(ls | grep -E 'commit$|new$' || :)
  [ -z "$left" ] || fail "$what: left behind: $left"
}

# every_step HOW LAYERS [OPTION]: one step after the other, until there are
# no more; of many of the same kind, some.
every_step ()
{
  local how=$1 layers=$2 n status

  shift 2
  rm -rf made/*
  (cd made; $vmdkgen chain size=1600 layers="$layers" d.vmdk d.raw)
  for ((n = 1;; n += n < 24 ? 1 : 4)); do
    what="$layers $*: $how at step $n"
    rm -rf disk
    cp -r made disk
    cd disk
    status=0
    # The shell has a word to say about each program that is killed.
    { STOP_HOW=$how STOP_AT=$n LD_PRELOAD=$shim \
      "$vmdk_img" commit "$@" d.vmdk > out 2>&1; } 2>/dev/null || status=$?
    if [ "$how" = kill ]; then
      [ "$status" -ne 0 ] || break
      [ "$status" -eq 137 ] || fail "$what: status $status: $(cat out)"
    elif [ "$status" -eq 0 ]; then # there is another way
      [ "$n" -lt 28 ] || break
    else
      [ "$status" -eq 1 ] || fail "$what: status $status: $(cat out)"
      [ -s out ] || fail "$what: failed without a word"
    fi
    if [ "$status" -ne 0 ] && [ -e d.vmdk ]; then
      sound
      "$vmdk_img" commit "$@" d.vmdk > out 2>&1 || fail "$what: $(cat out)"
    fi
    completed "$@"
    cd ..
  done
  completed "$@"
  echo "$what: done"
  [ "$n" -gt 10 ] || fail "$what: only $n steps"
  cd ..
}

every_step kill 'sparse alloc=0-5; sparse alloc=3-7,9/z'
every_step kill 'flat alloc=0-5; cowd alloc=3-7 grain=128' --delete
every_step kill 'sesparse alloc=0-5; sparse alloc=3-7'
every_step kill 'stream alloc=0-5; sparse alloc=3-7' --delete
every_step fail 'sparse alloc=0-5; split piece=800 alloc=3-6'
