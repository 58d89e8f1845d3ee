#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Small images of each kind, cut off at the start of each sector and within
# it: refused with one message, or nothing is read that isn't right or zero.

. ./functions.sh
requires python3
mutate=("${under_valgrind[@]}" "$top_builddir/tests/mutate")
cd "$scratch"

# cut BUILDER OPTIONS...
cut_off ()
{
  local extent

  rm -f o*
  $vmdkgen "$@" o.vmdk o.raw
  extent=$(echo o-*.vmdk)
  [ -e "$extent" ] || extent=
  "${mutate[@]}" truncate o.vmdk o.raw $extent
}

cut_off sparse size=700 grain=8 gtes=128 alloc=mixed:50
cut_off sparse size=700 grain=8 gtes=128 alloc=mixed:50 rgd=0 tables=end
cut_off sparse size=700 grain=16 alloc=all order=reversed
cut_off stream size=2000 grain=16 gtes=128
cut_off stream size=2000 grain=16 gtes=128 layout=front
cut_off stream size=2000 grain=16 gtes=128 layout=qemu
cut_off stream size=2000 grain=16 gtes=128 layout=nomarker
cut_off cowd size=700 grain=2 alloc=mixed:30
cut_off sesparse size=700 alloc=mixed:30
cut_off flat size=200 alloc=all
