#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img create, killed before each of the system calls that change
# something: there is no half of a disk, and with --force the former one is
# there until it is replaced.

. ./functions.sh
requires strace --version
requires_no_sanitizers
cd "$scratch"
strace -o /dev/null -e trace=fsync true 2>/dev/null ||
  skip "strace can't trace here"
requires python3 -c 'import os; os.open (".", os.O_TMPFILE | os.O_RDWR)'

calls='pwrite64 ftruncate fdatasync fsync linkat renameat unlinkat'

# killed_at CALL N ARGS...: of create.  Fails when there is no such call any
# more.
killed_at ()
{
  local status=0

  # It is the shell that says "Killed".
  (
    strace -qq -f -o /dev/null -e trace="$1" \
           -e inject="$1":signal=KILL:when="$2" \
           "$vmdk_img" create "${@:3}" > out 2>&1
    exit $?
  ) 2>/dev/null || status=$?
  [ $status -eq 0 ] || [ $status -eq 137 ] || fail "$status: $(cat out)"
  [ $status -eq 137 ]
}

# What has the name is a whole disk.
whole ()
{
  "$vmdk_img" check --quiet d.vmdk > check 2>&1 || fail "$1: $(cat check)"
}

# everywhere TYPE: without a former disk, and in place of one.
everywhere ()
{
  local call n where runs=0

  for call in $calls; do
    for ((n = 1; ; n++)); do
      where="$1, $call $n"
      rm -f d*.vmdk
      killed_at $call $n -t "$1" 4G d.vmdk || break
      [ -z "$(find . -name '.d*')" ] || fail "$where: left $(ls -A)"
      [ ! -e d.vmdk ] || whole "$where"
      runs=$((runs + 1))
    done
    for ((n = 1; ; n++)); do
      where="$1 --force, $call $n"
      rm -f d*.vmdk .d*
      "$vmdk_img" create -t "$1" 3G d.vmdk
      killed_at $call $n --force -t "$1" 4G d.vmdk || break
      [ -e d.vmdk ] || [ "$1" != monolithicSparse ] || fail "$where: no disk"
      [ ! -e d.vmdk ] || whole "$where"
      runs=$((runs + 1))
    done
    whole "$where"
  done
  [ $runs -gt 12 ] || fail "$1: it was killed only $runs times"
}

everywhere monolithicSparse
everywhere twoGbMaxExtentFlat
