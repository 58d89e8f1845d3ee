#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Commands of vmdk-img in a folder that others may write, who exchange it, a
# folder in it or a file for a link that leads elsewhere, while the command
# works; see swap.py.  As root, for whom nothing else is in the way, and as
# another user.

. ./functions.sh
requires_no_sanitizers
requires python3

shim=$top_builddir/tests/.libs/swap-shim.so
[ -e "$shim" ] || skip "there is no $shim"
cd "$scratch"
mkdir made made/{flat,child,over-stream,sesparse,spoiled,repaired,sparse} \
  made/{split,changed,none} root
touch root/a root/b
python3 - <<'END' || skip "there is no RENAME_EXCHANGE here"
import ctypes, sys
sys.exit (ctypes.CDLL (None).renameat2 (-100, b'root/a', -100, b'root/b', 2))
END
rm root/*

$vmdkgen flat size=400 made/flat/d.vmdk
$vmdkgen chain size=400 layers='flat; sparse grain=8 alloc=1-5' \
  made/child/d.vmdk
$vmdkgen chain size=400 layers='stream; sparse alloc=1-2' \
  made/over-stream/d.vmdk
$vmdkgen chain size=400 layers='sparse alloc=0; sesparse alloc=30-40' \
  made/sesparse/d.vmdk
$vmdkgen sparse size=400 alloc=all made/spoiled/d.vmdk 'rgte[1]=0'
cp made/spoiled/d.vmdk made/repaired
"$vmdk_img" repair -q made/repaired/d.vmdk
$vmdkgen sparse size=400 made/sparse/d.vmdk
"$vmdk_img" create -q -t twoGbMaxExtentSparse 5G made/split/d.vmdk
cp made/child/* made/changed
sed -i 's/^CID=.*/CID=87654321/' made/changed/d-0.vmdk

step=4
[ -z "${VMDK_SLOW:-}" ] || step=1
cd root
python3 "$srcdir/swap.py" "$vmdk_img" "$shim" ../made "$step"
cd ..

if [ "$(id -u)" -eq 0 ] && [ -n "${VMDK_SLOW:-}" ]; then
  # That user may not be able to reach the build directory.
  cp "$vmdk_img" "$shim" .
  mkdir user
  chmod 755 .
  if setpriv --reuid=65534 --regid=65534 --clear-groups ./vmdk-img --version \
       >/dev/null; then
    cd user
    python3 "$srcdir/swap.py" "$scratch/vmdk-img" "$scratch/swap-shim.so" \
      ../made "$step" 65534
  fi
fi
