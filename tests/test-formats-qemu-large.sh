#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Large disks that qemu-img makes: 1 GiB, split into pieces of 2 GB, and
# 2 TiB with data here and there.

. ./functions.sh
requires qemu-img --version
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# make_raw SIZE OFFSET...: some bytes at these places.
make_raw ()
{
  rm -f d.raw q*.vmdk
  python3 - "$@" <<'END2'
import sys
with open ("d.raw", "wb") as f:
    f.truncate (int (sys.argv[1]))
    for at in sys.argv[2:]:
        f.seek (int (at))
        f.write ((b"here is %020d " % int (at)) * 99)
END2
}

# served SUBFORMAT: what nbdcopy reads by the extents is d.raw, and little
# of it is said to be data.
served ()
{
  local data

  qemu-img convert -f raw -O vmdk -o "subformat=$1" d.raw q.vmdk
  serve file=q.vmdk
  nbdcopy "$uri" n.raw
  qemu-img compare -f raw -F raw d.raw n.raw >&2 || fail "$1: bytes differ"
  data=$(nbdinfo --map --totals "$uri" | awk '$3 == 0 { print $1 }')
  [ "$data" -le $((20 * 65536)) ] || fail "$1: $data bytes of data"
  [ ! -s "$server_log" ] || fail "$(cat "$server_log")"
  stop_server
  rm -f n.raw
}

G=$((1 << 30))
make_raw $G 0 $((G / 2 - 700)) $((G - 5000))
served monolithicSparse
served streamOptimized

# Pieces have 2047 MiB in some versions of qemu-img and 2 GiB in others.
make_raw $((5 * G + 512)) $((2047 << 20)) $(((2047 << 20) - 1500)) \
  $((2 * G - 2000)) $((4 * G)) $((5 * G - 4000))
served twoGbMaxExtentSparse
served twoGbMaxExtentFlat

# The files of the 2 TiB disk and of its copy are mostly holes.
T=$((2 << 40))
make_raw $T 0 $((T / 3)) $((T / 2)) $((T - 4096))
qemu-img create -q -f vmdk q.vmdk $T
for at in 0 $((T / 3)) $((T / 2)) $((T - 4096)); do
  dd if=d.raw of=piece bs=65536 iflag=skip_bytes,fullblock count=1 \
     skip=$((at / 65536 * 65536)) status=none
  qemu-io -f vmdk q.vmdk \
          -c "write -s piece $((at / 65536 * 65536)) 64k" >/dev/null
done
serve file=q.vmdk
[ "$(nbdinfo --size "$uri")" = $T ]
for at in 0 $((T / 3)) $((T / 2)) $((T - 4096)); do
  [ "$(nbd compare $((at / 65536 * 65536)) 65536 d.raw)" = same ] ||
    fail "differs at $at"
done
[ "$(nbdinfo --map --totals "$uri" | awk '$3 == 0 { print $1 }')" = 262144 ]
