#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Each subformat that qemu-img can make, in sizes from one sector up: the
# bytes and extents are those that qemu-img reads.

. ./functions.sh
requires qemu-img --version
requires nbdcopy --version
requires nbdinfo --version
requires python3
requires jq --version

cd "$scratch"

# same_as_qemu IMAGE RAW
same_as_qemu ()
{
  qemu-img map -f vmdk --output=json "$1" |
    jq '[.[] | { offset: .start, length: .length,
                 status: (if .data then "data" else "zero" end) }]' > model
  check_guest "$1" "$2" model
}

# Some data, some stored zeroes and some nothing; SIZE in sectors.
make_raw ()
{
  python3 - "$1" <<'END2'
import random, sys
size = int (sys.argv[1]) * 512
rng = random.Random (size)
with open ("d.raw", "wb") as f:
    f.truncate (size)
    for at in (0, 70000, 3 << 20, size // 2, (1 << 31) - 1024, size - 700):
        if 0 <= at < size:
            f.seek (at)
            f.write (rng.randbytes (min (size - at, 1 + at % 200000)))
    f.seek (max (0, size - 700))
    f.write (rng.randbytes (min (size, 700)))
END2
}

for sectors in 1 3 127 128 129 20001 65537; do
  make_raw $sectors
  for subformat in monolithicSparse monolithicFlat twoGbMaxExtentSparse \
                   twoGbMaxExtentFlat streamOptimized; do
    rm -f q*.vmdk
    qemu-img convert -f raw -O vmdk -o subformat=$subformat d.raw q.vmdk
    same_as_qemu q.vmdk d.raw
  done
done

# What other options of qemu-img change in the header.
qemu-img convert -f raw -O vmdk -o zeroed_grain=on d.raw q.vmdk
qemu-io -f vmdk -c 'write -z 0 1M' q.vmdk >/dev/null
qemu-img convert -f vmdk -O raw q.vmdk q.raw
same_as_qemu q.vmdk q.raw

# qemu-img prints CIDs without leading zeroes.  One that is shorter than the
# former leaves a piece of the former text behind a NUL.
qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat d.raw q.vmdk
tr -d '\0' < q.vmdk | sed 's/^CID=.*/CID=abcde/' > descriptor
{ cat descriptor; printf '\0"\n'; } > q.vmdk
same_as_qemu q.vmdk d.raw
