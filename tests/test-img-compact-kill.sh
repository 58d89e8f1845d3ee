#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img compact and resize, killed before each of the changes that they
# make to files, or with that one change failing: what is left is sound and
# has the old content, with the old size or the new one; and done again,
# they come to their end.  What a loss of power leaves in addition, the crash
# simulator looks at.

. ./functions.sh
. "$srcdir/writing.sh"
shim=$top_builddir/tests/.libs/stop-shim.so
[ -e "$shim" ] || skip "there is no $shim"
requires_no_sanitizers

# sound: no errors, but copies of tables that differ in an extent which says
# that it is unclean; and qemu reads d.raw, with zeroes behind if it is longer.
sound ()
{
  "$vmdk_img" check d.vmdk > check.out || [ $? -eq 3 ] ||
    { grep -q '\[unclean\]$' check.out && ! grep ': error: ' check.out |
        grep -v '\[mirror-differs\]$'
    } || fail "$what: $(cat check.out)"
  qemu-img compare -f vmdk -F raw d.vmdk d.raw > qemu.out 2>&1 ||
    fail "$what: $(cat qemu.out)"
}

# stop_at STATUS N COMMAND...: false once it comes to its end.
stop_at ()
{
  local status=0

  what="change $2 of ${*:3} ($how)"
  rm -f d*.vmdk
  cp orig/* .
  { STOP_HOW=$how STOP_AT=$2 LD_PRELOAD=$shim "$vmdk_img" "${@:3}" > out 2>&1
  } 2>/dev/null || status=$?
  sound
  if [ "$status" = 0 ]; then
    return 1
  fi
  [ "$status" = "$1" ] || fail "$what: status $status: $(cat out)"
  [ "$how" = kill ] || [ -s out ] || fail "$what: not a word"
}

# everywhere STEP COMMAND...: on the disk in orig; of every STEP-th change.
everywhere ()
{
  local n points=0

  for ((n = 1 + RANDOM % $1; ; n += $1)); do
    how="kill"
    stop_at 137 $n "${@:2}" || break
    "$vmdk_img" "${@:2}" > out 2>&1 || fail "$what: again: $(cat out)"
    sound
    ! grep -q error: check.out || fail "$what: $(cat check.out)"
    [ "$2" = compact ] || "$vmdk_img" info d.vmdk | grep -q "$expected" ||
      fail "$what: it isn't resized"
    points=$((points + 1))
  done
  [ $points -ge 5 ] || fail "only $points changes of ${*:2}"
  how=fail
  for n in 1 2 $((points * $1 / 2)) $((points * $1 - 1)); do
    stop_at 1 $n "${@:2}" || :
  done
}

# disk BUILDER [KEY=VALUE...]
disk ()
{
  rm -rf ./*.vmdk d.raw orig
  $vmdkgen "$@" d.vmdk d.raw
  mkdir orig
  cp -- *.vmdk orig
}

disk sparse size=2000 grain=8 gtes=128 alloc=random:50,every:3/b order=random
everywhere 5 compact d.vmdk
disk cowd size=1000 alloc=random:50,every:3/b order=random
everywhere 31 compact d.vmdk
disk sparse size=4000 alloc=random:50,31
expected=', 100 MiB,'
everywhere 1 resize -q d.vmdk 100M
disk split kind=sparse size=10000 piece=4096 grain=8 alloc=random:30
expected=', 9 MiB,'
everywhere 2 resize -q d.vmdk 9M
