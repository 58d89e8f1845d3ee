#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Headers that claim the largest disks there can be, in files that are large
# enough for it: all holes.  Opening, reading and block status stay fast and
# small.

. ./functions.sh
. "$srcdir/hostile.sh"
requires prlimit --version

# A folder whose file system has such files.
for dir in "$scratch" /dev/shm; do
  huge=$(mktemp -d "$dir/huge.XXXXXX" 2>/dev/null) || continue
  cleanup_fn rm -rf "$huge"
  if truncate -s 4E "$huge/file" 2>/dev/null; then
    break
  fi
  huge=
done
[ -n "$huge" ] || skip "no file system for files of 4 EiB"
rm "$huge/file"

# small COMMAND...: it ends soon, and without much memory.
limits=(--data=1000000000)
[ -z "$sanitizers" ] || limits=(--core=0)
small ()
{
  timeout -k 5 60 prlimit "${limits[@]}" "$@"
}

# claims FILE EXPECTED-SIZE: the disk is served with that size, all zero.
claims ()
{
  local size=$2

  serve "$1"
  found=$(client read 0 4 read $((size - 4)) 4 read $((size / 3)) 4 \
            extents 0 4294966784 extents $((size / 2)) 4294966784 \
            extents $((size - 512)) 512)
  echo "$found"
  [ "$(head -n 3 <<< "$found" | sort -u)" = 00000000 ]
  ! grep error <<< "$found" || fail "$(cat "$server_log")"
  [ -n "$sanitizers" ] || [ "$(peak_memory)" -lt 65536 ] ||
    fail "$(peak_memory) KiB"
  stop_server
  small "$vmdk_img" info "$1" >/dev/null
  small "$vmdk_img" map "$1" | tail -n 1
}

cd "$huge"

# A directory of 2^53 bytes, in the middle of the file.
big=$((2 ** 53))
$vmdkgen extent size=1 grain=1 gtes=128 rgd=0 alloc=none k.vmdk
$vmdkgen poke k.vmdk kdmv.capacity $big
$vmdkgen poke k.vmdk kdmv.gdOffset $((2 ** 52))
truncate -s 4E k.vmdk
claims k.vmdk $((big * 512))

# What looks at the whole file in pieces passes over its holes.
write_descriptor d.vmdk "RW $big SPARSE \"k.vmdk\""
for how in compact 'compact --punch' repair check; do
  small "$vmdk_img" $how -q d.vmdk
done

# ... of which the last table exists.
python3 - <<'EOF'
import struct
with open ('k.vmdk', 'r+b') as f:
    f.seek ((2 ** 52) * 512 + 2 ** 53 // 128 * 4 - 4)
    f.write (struct.pack ('<I', 1 << 20))
    f.seek ((1 << 20) * 512 + 508)
    f.write (struct.pack ('<I', 1 << 21))
    f.seek ((1 << 21) * 512)
    f.write (b'0123' * 128)
EOF
serve k.vmdk
[ "$(client read $((big * 512 - 513)) 5)" = 0030313233 ]
[ "$(client extents $((big * 512 - 512)) 512 | grep -c ':0$')" = 1 ]
stop_server

# Sizes at the limit, and past it.
$vmdkgen poke k.vmdk kdmv.capacity 0x3fffffffffffff
$vmdkgen poke k.vmdk kdmv.gdOffset 100
claims k.vmdk $((0x3fffffffffffff * 512))
$vmdkgen poke k.vmdk kdmv.capacity 0x40000000000000
expect_error 'capacity is 18014398509481984 sectors, expected at most' \
  run_plugin k.vmdk
rm k.vmdk

# A directory that fits, but only in part in the file.
$vmdkgen extent size=1 grain=1 gtes=128 rgd=0 alloc=none k.vmdk
$vmdkgen poke k.vmdk kdmv.capacity $big
truncate -s $((2 ** 40)) k.vmdk
expect_error 'k\.vmdk: the grain directory for a capacity of' \
  run_plugin k.vmdk
rm k.vmdk

# A stream that claims as much, to be recovered.
$vmdkgen stream size=3000 s.vmdk
$vmdkgen poke s.vmdk kdmv.capacity 0x3fffffffffffff
truncate -s -1024 s.vmdk
expect_error 's\.vmdk: recover: the tables would need' \
  run_plugin s.vmdk recover=true

# seSparse with a directory of 2^41 entries.
$vmdkgen sesparse size=1 alloc=none se.vmdk
size=$((2 ** 53))
sector=$((2 ** 21))
for name in Directory Tables; do
  $vmdkgen poke se-sesparse.vmdk "sesparse.grain${name}Offset" $sector
  $vmdkgen poke se-sesparse.vmdk "sesparse.grain${name}Size" $((2 ** 43))
  sector=$((sector + 2 ** 43))
done
$vmdkgen poke se-sesparse.vmdk sesparse.grainsOffset $((2 ** 44 + 2 ** 22))
$vmdkgen poke se-sesparse.vmdk sesparse.grainsSize $size
$vmdkgen poke se-sesparse.vmdk sesparse.capacity $size
sed -i "s/^RW 1 /RW $size /" se.vmdk
truncate -s 4E se-sesparse.vmdk
claims se.vmdk $((size * 512))
