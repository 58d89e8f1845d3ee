#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A conversion that doesn't come to its end leaves nothing behind, whatever
# ended it: a kill at any moment, a full disk, a source that can't be read
# to its end.  For ^C see test-img-progress.sh.

. ./functions.sh
requires python3

cd "$scratch"
mkdir out

# Where a file can't be without a name, it has a hidden one, and a program
# that is killed can't take it away.
python3 - out <<'END' || skip 'the file system has no files without names'
import os, sys
os.close (os.open (sys.argv[1], os.O_TMPFILE | os.O_RDWR))
END

head -c $((32 << 20)) /dev/urandom > s.raw

# nothing_left WHAT
nothing_left ()
{
  [ -z "$(ls -A out)" ] || fail "$1: it left $(ls -A out)"
}

# Killed, at moments that cover all of it and more: then there is all or
# nothing.
kill_after ()
{
  "$vmdk_img" convert -q -f raw -t "$1" s.raw out/d.vmdk &
  sleep "$2"
  kill -9 $! 2>/dev/null || :
  wait $! 2>/dev/null || :
}

killed=0 done=0
for t in monolithicSparse twoGbMaxExtentFlat streamOptimized; do
  for ((i = 0; i < 8; i++)); do
    kill_after $t "0.$(printf %03d $((RANDOM % 250)))"
    if [ -e out/d.vmdk ]; then
      "$vmdk_img" convert -q -t raw --force out/d.vmdk d.raw
      same_bytes s.raw d.raw
      done=$((done + 1))
    else
      # The descriptor gets its name last.
      rm -f out/d-f001.vmdk
      nothing_left "killed, $t"
      killed=$((killed + 1))
    fi
    rm -f out/*
  done
done
echo "killed $killed times, too late $done times"
[ $killed -gt 0 ] || fail 'it was never killed in time'

# A limit for files is like a full disk that sends a signal, too.
(
  ulimit -f $((10 * 1024))
  for t in monolithicSparse streamOptimized seSparse vmfsSparse; do
    expect_error 'd[a-z-]*.vmdk: .*File too large' \
                 "$vmdk_img" convert -f raw -t $t s.raw out/d.vmdk
    nothing_left "limit, $t"
  done
)
if [ "$(id -u)" -eq 0 ] && mkdir small &&
   mount -t tmpfs -o size=8M tmpfs small 2>/dev/null; then
  cleanup_fn umount small
  for t in raw monolithicSparse twoGbMaxExtentSparse; do
    expect_error 'No space left' \
                 "$vmdk_img" convert -f raw -t $t s.raw small/d.vmdk
    [ -z "$(ls -A small)" ] || fail "full, $t: it left $(ls -A small)"
  done
else
  echo 'no file system was filled: only root can mount one'
fi

# A source that has been cut, in the middle of its data.
"$vmdk_img" convert -q -f raw -t monolithicSparse s.raw cut.vmdk
truncate -s 20M cut.vmdk
expect_error 'cut.vmdk: .*past the end' \
             "$vmdk_img" convert cut.vmdk out/d.vmdk
nothing_left 'cut'
