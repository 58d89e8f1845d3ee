#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Streams that vmdk-img makes: laid out as VMware's programs do it, the same
# bytes for the same disk, of any size, with whatever is on it.

. ./functions.sh
requires python3
requires qemu-img --version

cd "$scratch"
M=1048576

# disks NAME SIZE [KIND OFFSET LENGTH]... [/ NAME ...]: raw files.  KIND is
# text or noise.
disks ()
{
  python3 - "$@" <<'EOF'
import random, sys
for disk in ' '.join(sys.argv[1:]).split('/'):
    name, size, *parts = disk.split()
    with open(name, 'wb') as f:
        f.truncate(int(size))
        for kind, offset, length in zip(*[iter(parts)] * 3):
            offset, length = int(offset), int(length)
            f.seek(offset)
            f.write(random.Random(offset).randbytes(length)
                    if kind == 'noise' else
                    b''.join(b'%011x\n' % i for i in
                             range(length // 12 + 1))[:length])
EOF
}

stream ()
{
  "$vmdk_img" convert -f raw -t streamOptimized "$@"
}

# right [NAME.vmdk NAME.raw]...
right ()
{
  python3 "$srcdir/vmdkbuilt.py" stream "$@" > out || fail "$(cat out)"
}

# The walk that judges ours finds nothing wrong with VMware's own.
if [ -e "$VMDK_IMAGES/workstation-streamOptimized.vmdk" ]; then
  theirs=$(image workstation-streamOptimized.vmdk)
  qemu-img convert -O raw "$theirs" theirs.raw
  right "$theirs" theirs.raw
  rm theirs.raw
fi

# disk.raw has grains of every kind: a table that is full, one with a single
# grain, one that isn't there, and a last grain that is a part of one.
size=$((129 * M + 3 * 65536 + 512))
disks disk.raw $size text 0 512 noise $((M + 1)) 65536 noise $((3 * M)) $M \
      text $((32 * M)) $((32 * M)) noise $((64 * M - 1)) 1 \
      noise $((128 * M - 1)) 1 text $((size - 512)) 512 / \
      text.raw $M text 0 $M / noise.raw $M noise 0 $M / \
      empty-512.raw 512 / empty-66048.raw 66048 / \
      empty-33555456.raw 33555456 / \
      last-512.raw 512 text 0 512 / last-66048.raw 66048 text 65536 512 / \
      last-33555456.raw 33555456 noise 33554432 1024

# All of them.
pairs=()
for raw in *.raw; do
  stream "$raw" "${raw%raw}vmdk"
  pairs+=("${raw%raw}vmdk" "$raw")
  qemu-img compare -f raw -F vmdk "$raw" "${raw%raw}vmdk" > out ||
    fail "qemu-img, $raw: $(cat out)"
done
for level in 1 9 12; do
  stream --level=$level text.raw level-$level.vmdk
  pairs+=("level-$level.vmdk" text.raw)
done
right "${pairs[@]}"
grep -q -x 'disk.vmdk: grains=533 tables=4' out || fail "$(cat out)"
"$vmdk_img" check disk.vmdk > out || fail "$(cat out)"
grep -q '^Found no errors, no warnings, no notes' out || fail "$(cat out)"

# Fields are those of a VMware product's export, in the header and in the
# footer.  The room for the descriptor is larger.
[ "$($vmdkgen peek disk.vmdk kdmv.descriptorSize)" = 20 ] ||
  fail "room for the descriptor"
if [ -n "${theirs:-}" ]; then
  for at in 0 -1024; do
    for file in disk.vmdk "$theirs"; do
      [ $at = 0 ] && cut=(head -c 512) || cut=(tail -c 1024)
      # Without the capacity, descriptorSize, and where the directory is.
      "${cut[@]}" "$file" | head -c 512 |
        { head -c 12 >&3; head -c 8 >/dev/null; head -c 16 >&3
          head -c 8 >/dev/null; head -c 12 >&3; head -c 8 >/dev/null
          cat >&3; } 3> "field-$(basename "$file")"
    done
    cmp field-*.vmdk >&2 || fail "fields at $at"
  done
fi

# The same disk becomes the same file, whoever has done which part.  With
# another content, the content ID is another one.
for threads in 1 3; do
  mkdir $threads
  stream --threads=$threads disk.raw $threads/disk.vmdk
  cmp disk.vmdk $threads/disk.vmdk >&2 ||
    fail "not the same with $threads threads"
done
cid ()
{
  dd if="$1" bs=512 skip=1 count=20 status=none | tr -d '\0' |
    sed -n s/^CID=//p
}
printf x | dd of=disk.raw bs=1 seek=$((3 * M)) conv=notrunc status=none
stream --force disk.raw 1/disk.vmdk
[ "$(cid 1/disk.vmdk)" != "$(cid disk.vmdk)" ] || fail "the same CID"

# Levels.  What can't be compressed takes a sector more than it has.
[ "$(stat -c %s level-1.vmdk)" -gt "$(stat -c %s level-9.vmdk)" ] ||
  fail "level 9 makes nothing smaller"
[ "$(stat -c %s noise.vmdk)" = $((65536 + (16 * 129 + 5 + 2 + 3) * 512)) ] ||
  fail "$(stat -c %s noise.vmdk) bytes of noise"

# Also where only the last grain is another one, which can't be compressed.
head -c 3M /dev/urandom > disk.raw
stream --force disk.raw 1/disk.vmdk
cid 1/disk.vmdk > before
dd if=/dev/urandom of=disk.raw bs=4096 seek=760 count=2 conv=notrunc \
   status=none
stream --force disk.raw 1/disk.vmdk
! cid 1/disk.vmdk | cmp -s - before || fail "the same CID"
# And empty ones of other sizes.
truncate -s 0 disk.raw
truncate -s 3M disk.raw
stream --force disk.raw 1/disk.vmdk
cid 1/disk.vmdk > before
truncate -s 4M disk.raw
stream --force disk.raw 1/disk.vmdk
! cid 1/disk.vmdk | cmp -s - before || fail "the same CID of empty disks"
