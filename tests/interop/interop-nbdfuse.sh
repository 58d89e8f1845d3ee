#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdfuse: a disk as a file, read and written by programs that know nothing.

. ../functions.sh
. "$srcdir/writing.sh"
requires nbdfuse --version
[ -w /dev/fuse ] || skip "/dev/fuse can't be used here"
unmount=$(command -v fusermount3 || command -v fusermount) ||
  skip "there is no fusermount"

# mounted [-r] SERVER...
mounted ()
{
  local i options=()

  if [ "$1" = -r ]; then
    options=(-r)
    shift
  fi
  nbdfuse ${options[@]+"${options[@]}"} mnt/nbd "$@" > fuse.log 2>&1 &
  fuse_pid=$!
  for ((i = 0; i < 1000; i++)); do
    if [ -e mnt/nbd ]; then return; fi
    kill -0 "$fuse_pid" 2>/dev/null || break
    sleep 0.05
  done
  skip "nothing can be mounted here: $(cat fuse.log)"
}

unmounted ()
{
  "$unmount" -u mnt
  wait "$fuse_pid"
}

# put OFFSET FILE: writes it, here and there.
put ()
{
  dd if="$2" of=mnt/nbd bs=65536 seek="$1" oflag=seek_bytes conv=notrunc,fsync \
     status=none
  dd if="$2" of=d.raw bs=65536 seek="$1" oflag=seek_bytes conv=notrunc \
     status=none
}

mkdir mnt
cleanup_fn "$unmount" -q -u mnt
head -c 700001 /dev/urandom > piece

# through_a_file BUILDER [KEY=VALUE...]
through_a_file ()
{
  new_disk "$@"
  serve d.vmdk
  mounted "$uri"
  [ "$(stat -c %s mnt/nbd)" = $((60001 * 512)) ]
  same_bytes mnt/nbd d.raw
  put 12345 piece
  put $((60001 * 512 - 700001)) piece
  put $((10 << 20)) piece
  same_bytes mnt/nbd d.raw
  unmounted
  quiet
  closed_right
  # With a server that nbdfuse starts and ends by itself.
  mounted "[" nbdkit --exit-with-parent "$plugin" d.vmdk "]"
  put $((20 << 20)) piece
  same_bytes mnt/nbd d.raw
  unmounted
  serve d.vmdk -r
  right
  closed_right
  check_quiet
}

through_a_file sparse size=60001 grain=8 alloc=mixed:30
through_a_file chain size=60001 layers='sparse alloc=all; cowd alloc=none'

# What can't be written says so.
new_disk stream size=20001 alloc=mixed:30
serve d.vmdk
mounted -r "$uri"
same_bytes mnt/nbd d.raw
if dd if=piece of=mnt/nbd conv=notrunc status=none 2> dd.err; then
  fail 'a stream was written'
fi
unmounted
