#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# seSparse disks that vmdk-img makes: the regions, tables and maps are what
# an ESXi host would have written, and qemu reads them.

. ./functions.sh
requires python3
requires qemu-img --version

cd "$scratch"
M=1048576

sesparse ()
{
  "$vmdk_img" convert -t seSparse "$@"
}

# The extent of a disk.
extent ()
{
  echo "${1%.vmdk}-sesparse.vmdk"
}

# right [NAME.vmdk NAME.raw]...: by their tables and maps, and by qemu.
right ()
{
  local pairs=() i

  for ((i = 1; i < $#; i += 2)); do
    pairs+=("$(extent "${!i}")" "${@:i+1:1}")
    qemu-img compare -f raw -F vmdk "${@:i+1:1}" "${!i}" > out ||
      fail "qemu-img, ${!i}: $(cat out)"
    "$vmdk_img" check "${!i}" > out || fail "${!i}: $(cat out)"
    grep -q '^Found no errors, no warnings, no notes' out ||
      fail "${!i}: $(cat out)"
  done
  python3 "$srcdir/vmdkbuilt.py" sesparse "${pairs[@]}" > out ||
    fail "$(cat out)"
}

# What a host has written, and we write for the same disk, is the same but
# for the journal: const header, directory, table, bitmap and back map.
if [ -e "$VMDK_IMAGES/esxi-sesparse.vmdk.gz" ]; then
  theirs=$(image esxi-sesparse.vmdk.gz)
  printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe \
         parentCID=ffffffff 'createType="seSparse"' \
         "RW 1048576 SESPARSE \"${theirs##*/}\"" > theirs.vmdk
  sesparse theirs.vmdk host.vmdk
  rm theirs.vmdk
  python3 "$srcdir/vmdkbuilt.py" same-sesparse "$(extent host.vmdk)" \
          "$theirs" > out || fail "$(cat out)"
fi

# Sizes that are no multiple of anything; 4100 grains in the first table and
# the next one, but no neighbours; a table that isn't there.
python3 - <<'EOF'
import random
def disk(name, size, *parts):
    with open(name + '.raw', 'wb') as f:
        f.truncate(size)
        for offset, length in parts:
            f.seek(offset)
            f.write(random.Random(offset).randbytes(length))
M = 1 << 20
disk('disk', 49 * M + 4096 + 512, *((i * 8192, 4096) for i in range(2052)),
     (3 * M, M), (48 * M, 5), (49 * M + 4096, 512))
disk('sector', 512, (0, 512))
disk('empty', 512)
disk('table', 16 * M, (0, 1), (16 * M - 1, 1))
EOF
pairs=()
for raw in *.raw; do
  sesparse -f raw "$raw" "${raw%raw}vmdk"
  pairs+=("${raw%raw}vmdk" "$raw")
done
right "${pairs[@]}"
grep -q -x 'disk-sesparse.vmdk: grains=2182 tables=3' out ||
  fail "$(cat out)"

# Nobody's turn decides where anything goes.
mkdir again
sesparse --threads=3 -f raw disk.raw again/disk.vmdk
cmp disk-sesparse.vmdk again/disk-sesparse.vmdk >&2 || fail "not the same"

# A child that says nothing; and the largest disk, which takes some KiB.
"$vmdk_img" create -t monolithicSparse 1M parent.vmdk
"$vmdk_img" create -t seSparse --parent=parent.vmdk child.vmdk
truncate -s 1M child.raw
python3 "$srcdir/vmdkbuilt.py" child-sesparse child-sesparse.vmdk child.raw \
        > out || fail "$(cat out)"
grep -q 'grains=0' out || fail "$(cat out)"
if truncate -s 300G long 2>/dev/null; then
  "$vmdk_img" create -t seSparse 64T large.vmdk
  [ "$(du -k large-sesparse.vmdk | cut -f1)" -lt 100 ] ||
    fail "$(du -k large-sesparse.vmdk)"
  qemu-img info large.vmdk > out
  grep -q '64 TiB (70368744177664 bytes)' out || fail "$(cat out)"
fi
