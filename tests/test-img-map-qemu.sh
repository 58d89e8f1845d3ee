#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img map --json says what qemu-img map --output=json says, so that
# scripts can use either.

. ./functions.sh
requires python3
requires jq
requires qemu-img

cd "$scratch"
python3 - <<'END'
import random
random.seed(5)
with open('raw', 'wb') as f:
    f.truncate(20 << 20)
    for i in range(60):
        f.seek(random.randrange(0, 20 << 20, 4096))
        f.write(random.randbytes(random.randrange(4096, 300000, 4096)))
    f.truncate(20 << 20)
END

# Neighbours that differ in nothing else become one range.
merged='reduce .[] as $r ([];
  if length > 0 and .[-1][2:] == $r[2:] and .[-1][0] + .[-1][1] == $r[0]
  then .[-1][1] += $r[1] else . + [$r] end) | .[]'

# same_as_qemu COLUMNS FILE
same_as_qemu ()
{
  qemu-img map --output=json "$2" | jq -c "[.[] | $1] | $merged" > from-qemu
  "$vmdk_img" map --json "$2" | jq -c "[.[] | $1] | $merged" > from-us
  [ "$(wc -l < from-us)" -gt 10 ] || fail "$2: hardly any ranges"
  diff from-qemu from-us >&2 || fail "$2: not the map that qemu-img prints"
}

for type in monolithicSparse twoGbMaxExtentSparse; do
  qemu-img convert -O vmdk -o subformat=$type raw $type.vmdk
  same_as_qemu '[.start, .length, .depth, .present, .zero, .data, .offset]' \
    $type.vmdk
done

# qemu-img doesn't say where compressed grains are.
qemu-img convert -O vmdk -o subformat=streamOptimized raw stream.vmdk
same_as_qemu '[.start, .length, .depth, .present, .zero, .data]' stream.vmdk

# qemu-img 7 says that holes of flat files are data; both say zero.
qemu-img convert -O vmdk -o subformat=monolithicFlat raw flat.vmdk
same_as_qemu '[.start, .length, .depth, .present, .zero]' flat.vmdk

# A chain.
qemu-img create -q -f vmdk -b monolithicSparse.vmdk -F vmdk delta.vmdk
qemu-io -f vmdk -c 'write -P 7 1M 3M' -c 'write -P 7 10M 64k' delta.vmdk \
  >/dev/null
same_as_qemu '[.start, .length, .zero, .data, .offset]' delta.vmdk
same_as_qemu 'select(.data) | [.start, .length, .depth]' delta.vmdk
