#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img create and what can't be: one line says why, nothing is left
# behind, and nothing that was there is changed.

. ./functions.sh
cd "$scratch"
mkdir d
cd d

# refused PATTERN ARGS...: of create.  The folder is as before.
refused ()
{
  ls -lAR --time-style=full-iso > ../before
  expect_error "$1" "$vmdk_img" create "${@:2}"
  ls -lAR --time-style=full-iso | diff ../before - >&2 ||
    fail "something is left: $*"
}

# Words and options.
refused 'no file was named|too few words' -t vmfs
refused 'size .*missing' a.vmdk
refused 'size 1x: not a size' 1x a.vmdk
refused 'not a size' a.vmdk b.vmdk
refused 'too many words' 1M a.vmdk b.vmdk
refused 'exclude each other' --from-flat=x --parent=y a.vmdk
refused 'remains as it is' --from-flat=x --preallocate=full a.vmdk
refused 'no such type: expected monolithicSparse,.*raw' -t qcow2 1M a.vmdk
refused 'not off, metadata or full' --preallocate=yes 1M a.vmdk

# Sizes.
refused "size of a disk can't be 0" 0 a.vmdk
refused 'too large' 16E a.vmdk
refused 'no disk can have such a size' 8E a.vmdk
refused 'no disk can have such a size' -t raw $((2 ** 63 - 1)) a
refused '2199023255552 bytes.*larger than 2 TiB; use.*twoGb' 2T a.vmdk
refused 'larger than 2 TiB; use type seSparse' -t vmfsSparse 2T a.vmdk
refused 'at most 70368744177664' -t seSparse $((2 ** 46 + 512)) a.vmdk
refused 'at most 4096 extents' -t twoGbMaxExtentSparse 8193G a.vmdk

# What the types don't have.
refused 'power of two from 8192 to 1048576' --grain-size=65535 1M a.vmdk
refused 'power of two from 8192 to 1048576' --grain-size=2M 1M a.vmdk
refused 'power of two from 8192 to 1048576' --grain-size=4K 1M a.vmdk
refused 'have 65536 bytes|grains of' -t streamOptimized --grain-size=8K 1M a.vmdk
refused 'power of two from 512 to' -t vmfsSparse --grain-size=256 1M a.vmdk
refused 'have 4096 bytes' -t seSparse --grain-size=64K 1M a.vmdk
refused 'has no grains' -t vmfs --grain-size=64K 1M a.vmdk
refused "can't be preallocated" -t streamOptimized --preallocate=full 1M a.vmdk
refused 'ide, buslogic, lsilogic or legacyESX' --adapter=nvme 1M a.vmdk
refused 'from 3 to 99' --hw-version=1 1M a.vmdk

# Names.
refused 'a"b\.vmdk.*quote' 1M 'a"b.vmdk'
refused 'line break' -t vmfs 1M $'a\nb.vmdk'
refused '^vmdk-img: x/a\.vmdk: .*No such file' 1M x/a.vmdk
long=$(printf '%0250d' 0)
refused '0-flat\.vmdk: .*too long' -t vmfs 1M "$long.vmdk"

# What is there.
mkdir folder
ln -s nowhere link.vmdk
mkfifo fifo.vmdk
echo precious > a.vmdk
echo precious > b-flat.vmdk
echo precious > c-f002.vmdk
refused '^vmdk-img: a\.vmdk: exists already; --force' 1M a.vmdk
refused '^vmdk-img: b-flat\.vmdk: exists already' -t vmfs 1M b.vmdk
refused '^vmdk-img: c-f002\.vmdk: exists' -t twoGbMaxExtentFlat 3G c.vmdk
for force in '' --force; do
  refused 'folder: exists already; it is a folder' $force 1M folder
  refused 'link\.vmdk: .*a symbolic link' $force 1M link.vmdk
  refused 'fifo\.vmdk: .*a special file' $force 1M fifo.vmdk
  refused '/dev/null: .*a device' $force 1M /dev/null
done
refused 'folder.*never replaced' --force 1M .
# It is replaced when that is said, and only then.
"$vmdk_img" create --force 1M a.vmdk
"$vmdk_img" check --quiet a.vmdk
"$vmdk_img" create --force -t vmfs 1M b.vmdk
"$vmdk_img" check --quiet b.vmdk

# Its own parts: never from itself, nor over what is in use.
refused 'in use' --force --from-flat=b-flat.vmdk b-flat.vmdk
refused 'in use' --force --parent=a.vmdk a.vmdk
refused 'b-flat\.vmdk: .*in use' --force --parent=b.vmdk b-flat.vmdk
mkdir b.vmdk.lck
touch b.vmdk.lck/M1.lck
refused 'b\.vmdk: .*in use' --force 1M b.vmdk
rm -r b.vmdk.lck

# Children.
refused "type monolithicSparse, twoGb.*, vmfsSparse or seSparse" \
        -t vmfs --parent=a.vmdk x.vmdk
refused "can't be preallocated" --preallocate=full --parent=a.vmdk x.vmdk
refused 'size of its parent, and a\.vmdk has 1048576' --parent=a.vmdk 2M x.vmdk
refused 'nothere\.vmdk: No such file' --parent=nothere.vmdk x.vmdk
"$vmdk_img" create -t twoGbMaxExtentSparse 1M s.vmdk
refused 'no content ID' --parent=s-s001.vmdk x.vmdk

# Flat files.
head -c 1000 /dev/urandom > odd.raw
head -c 1024 /dev/urandom > even.raw
: > empty.raw
refused "1000 bytes.*make it 1024.*size 512" --from-flat=odd.raw x.vmdk
refused 'only 1024 bytes, not 1536' --from-flat=even.raw 1025 x.vmdk
refused 'is empty' --from-flat=empty.raw x.vmdk
refused "isn't a file" --from-flat=folder x.vmdk
refused "isn't a file" --from-flat=fifo.vmdk x.vmdk
refused 'format of its own' --from-flat=a.vmdk x.vmdk
refused 'a descriptor already' --from-flat=b.vmdk x.vmdk
refused 'outside of .*/d/folder' --from-flat=even.raw folder/x.vmdk
refused 'vmfs or monolithicFlat, not seSparse' -t seSparse \
        --from-flat=even.raw x.vmdk

# No space: with a limit for files, and on a small file system.
limited ()
(
  trap '' XFSZ
  ulimit -f 8 # KiB
  exec "$vmdk_img" "$@"
)
full ()
{
  ls -lA > ../before
  expect_error "$1" limited create "${@:2}"
  ls -lA | diff ../before - >&2 || fail "something is left: $*"
}
full 'x\.vmdk: .*File too large' 1G x.vmdk
full 'x-flat\.vmdk: .*File too large' -t vmfs 1G x.vmdk
full 'x-flat\.vmdk: .*File too large' -t vmfs --preallocate=full 1G x.vmdk
full 'x-s001\.vmdk: .*File too large' -t twoGbMaxExtentSparse 5G x.vmdk
full 'x-sesparse\.vmdk: .*File too large' -t seSparse 1G x.vmdk
full 'x\.vmdk: .*File too large' -t streamOptimized 1G x.vmdk
full 'a\.vmdk: .*File too large' --force 1G a.vmdk
full 'x: .*File too large' -t raw 1G x

if [ "$(id -u)" -ne 0 ]; then
  echo "the rest needs root, to mount a file system and to be another user"
  exit 0
fi
mkdir ../small
if mount -t tmpfs -o size=1M tmpfs ../small 2>/dev/null; then
  cleanup_fn umount "$scratch/small"
  (
    cd ../small
    refused 'x-flat\.vmdk: .*No space left' -t vmfs --preallocate=full 10M \
            x.vmdk
    refused 'x-delta\.vmdk: .*No space left' -t vmfsSparse \
            --preallocate=metadata 300M x.vmdk
  )
fi

# Others depend on it.
"$vmdk_img" create -q 1M base.vmdk
"$vmdk_img" snapshot base.vmdk > /dev/null
refused 'base.vmdk: isn.t replaced: it is the parent of "base-000001.vmdk"' \
  --force 1M base.vmdk
rm base-000001.vmdk
"$vmdk_img" create -q -t monolithicFlat 1M w.vmdk
sed -i 's/"w-flat/"y-flat/' w.vmdk
mv w-flat.vmdk y-flat.vmdk
refused 'y-flat.vmdk: isn.t replaced: it is a part of the disk "w.vmdk"' \
  --force -t monolithicFlat 1M y.vmdk
rm w.vmdk y-flat.vmdk
(
  ulimit -n 40
  refused 'Too many open files; allow more with ulimit -n' \
    -t twoGbMaxExtentSparse 200G many.vmdk
)
# What is private remains so.
chmod 600 base.vmdk
"$vmdk_img" create -q --force 1M base.vmdk
[ "$(stat -c %a base.vmdk)" = 600 ] || fail "mode $(stat -c %a base.vmdk)"

# A folder that may not be written.  That user may not reach the tool.
[ -z "$sanitizers" ] || exit 0
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
chmod 755 .. .
tool=$top_builddir/tools/vmdk-img
$nobody "$tool" --version >/dev/null 2>&1 || exit 0
expect_error '^vmdk-img: x\.vmdk: .*Permission denied' \
  $nobody "$tool" create 1M x.vmdk
expect_error "^vmdk-img: a\.vmdk: can't be (made|replaced): .*denied" \
  $nobody "$tool" create --force 1M a.vmdk
[ ! -e x.vmdk ] || fail "made"
