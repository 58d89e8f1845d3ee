#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A real file system: made, filled, trimmed and checked on a disk that we
# serve.

. ./functions.sh
requires mke2fs -V
requires debugfs -V
requires e2fsck -V
requires nbdfuse --version
[ -w /dev/fuse ] || skip "/dev/fuse can't be used"
. "$srcdir/writing.sh"

# mounted: $PWD/fuse/nbd is the disk of the last server.
mounted ()
{
  local i

  mkdir -p fuse
  nbdfuse -o default_permissions fuse "$uri" 2> nbdfuse.log &
  fuse_pid=$!
  for ((i = 0; i < 250; i++)); do
    [ ! -e fuse/nbd ] || return 0
    kill -0 $fuse_pid 2> /dev/null ||
      skip "nbdfuse can't be used here: $(cat nbdfuse.log)"
    sleep 0.02
  done
  fail 'nbdfuse is not ready'
}

unmounted ()
{
  [ -e fuse/nbd ] || return 0
  fusermount3 -u fuse 2> /dev/null || fusermount -u fuse 2> /dev/null ||
    umount fuse
  wait $fuse_pid || :
}
cleanup_fn unmounted

# A folder with something in it.
mkdir tree
for i in $(seq 1 60); do
  head -c $((i * 4321)) new-content 2> /dev/null > "tree/file$i" ||
    head -c $((i * 4321)) "$plugin" > "tree/file$i"
done

ext4 ()
{
  local i

  new_disk "$@"
  serve d.vmdk
  mounted
  mke2fs -q -F -t ext4 -d tree fuse/nbd
  for i in 3 14 15; do
    debugfs -w -R "rm file$i" fuse/nbd 2> /dev/null
    debugfs -w -R "write tree/file$i again$i" fuse/nbd > /dev/null 2>&1
  done
  e2fsck -f -n fuse/nbd > fsck.out 2>&1 || fail "$(cat fsck.out)"
  # Gives the free space back.
  e2fsck -f -p -E discard fuse/nbd > fsck.out 2>&1 || fail "$(cat fsck.out)"
  unmounted
  nbdcopy "$uri" d.raw
  quiet
  closed_right
  check_quiet
  # What is on the disk now is what was put there.
  e2fsck -f -n d.raw > fsck.out 2>&1 || fail "$(cat fsck.out)"
  mkdir -p found
  debugfs -R 'rdump / found' d.raw > /dev/null 2>&1
  for i in $(seq 1 60); do
    case $i in
      3 | 14 | 15) same_bytes "tree/file$i" "found/again$i" ;;
      *) same_bytes "tree/file$i" "found/file$i" ;;
    esac
  done
  rm -rf found
}

ext4 sparse size=65536 alloc=none
ext4 chain size=65536 \
     layers='sparse alloc=mixed:50; split piece=20480 alloc=none'
