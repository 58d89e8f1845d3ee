#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Images of each kind, spoiled at random in thousands of ways; mutate.c says
# what must hold.  VMDK_MUTATE="SEED COUNT" asks for others, or more.

. ./functions.sh
requires python3
mutate=("${under_valgrind[@]}" "$top_builddir/tests/mutate")
cd "$scratch"

read -r seed count <<< "${VMDK_MUTATE:-1 1000}"
if [ -n "$sanitizers" ] && [ -z "${VMDK_MUTATE:-}" ]; then
  count=500
  [ "$sanitizers" != valgrind ] || count=50
fi

# spoil BUILDER OPTIONS...: the extent where it is a file of its own, and
# also the descriptor then.
spoil ()
{
  local extent

  rm -f o*
  $vmdkgen "$@" o.vmdk
  "${mutate[@]}" random "$seed" "$count" o.vmdk
  for extent in o-*.vmdk; do
    [ ! -e "$extent" ] ||
      "${mutate[@]}" random "$seed" "$count" o.vmdk "$extent"
  done
}

spoil sparse size=2000 grain=8 gtes=128 alloc=mixed:50
spoil stream size=2000 grain=16 gtes=128
spoil stream size=2000 grain=16 gtes=128 layout=front raw=1
spoil stream size=2000 grain=16 gtes=128 layout=qemu
spoil stream size=2000 grain=16 gtes=128 layout=nomarker
spoil cowd size=2000 grain=2 alloc=mixed:30
spoil sesparse size=2000 alloc=mixed:40
spoil custom 'extents=RW 99 flat offset=3; RW 55 zero; RDONLY 700 sparse grain=8'
spoil chain 'layers=sparse size=900 alloc=all; sparse size=900 grain=8'
