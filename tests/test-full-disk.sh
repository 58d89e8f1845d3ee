#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A file that can't grow any more: clients get ENOSPC, the server goes on,
# and what was written before is there.  Once with a limit for files, which
# also sends a signal, and on a full file system, where one can be made.

. ./functions.sh
requires nbdkit --version
requires python3
cd "$scratch"

MiB=1048576
size=100 # of the disk, MiB
head -c $((size * MiB)) /dev/zero | tr '\0' 1 > ones

# expect RESULTS REQUEST...: what a client is answered, joined by spaces.
expect ()
{
  local found

  found=$(nbd "${@:2}" | tr '\n' ' ')
  [ "$found" = "$1 " ] ||
    fail "$what: $found, expected $1; $(cat "$server_log")"
}

# fill: writes piece by piece until that fails; $full is where.
fill ()
{
  expect 'ok ok' write 0 $MiB ones flush
  for ((full = 1; full < size; full++)); do
    [ "$(nbd write $((full * MiB)) $MiB ones)" = ok ] || break
  done
  [ "$full" -lt "$size" ] || fail "$what: it never was full"
  expect 'error 28' write $(((size - 1) * MiB)) $MiB ones

  # What has a place can be read and written.
  expect 'ok same' write 0 5000 ones compare 0 $((full * MiB)) ones
  kill -0 "$server_pid" 2>/dev/null || fail "$what: the server has died"
}

# sound: nothing but unused space is wrong, and what was written is there.
sound ()
{
  "$vmdk_img" check d.vmdk > check.out || [ $? -eq 3 ] ||
    fail "$what: $(cat check.out)"
  serve -r file=d.vmdk
  expect same compare 0 $((full * MiB)) ones
  stop_server
}

# A writer takes 16 MiB at a time.
what='a limit'
$vmdkgen sparse size=$((size * 2048)) alloc=none d.vmdk
(
  ulimit -f $((40 * 1024))
  serve file=d.vmdk
  fill
  [ "$full" -ge 15 ] || fail "$what: only $full MiB were written"
  expect 'ok' flush
  server_errors | grep -q 'File too large' || fail "$(cat "$server_log")"
  stop_server
  echo "$full" > full
)
full=$(cat full)
sound

if [ "$(id -u)" -ne 0 ]; then
  echo "no file system was filled: only root can mount one"
  exit 0
fi
mkdir small
mount -t tmpfs -o size=8M tmpfs small 2>/dev/null || exit 0
cleanup_fn umount small
what='a full file system'
rm -f d.vmdk
$vmdkgen sparse size=$((size * 2048)) alloc=none small/d.vmdk
cd small
ln -s ../ones ones
serve file=d.vmdk
fill
[ "$full" -ge 6 ] || fail "$what: only $full MiB were written"

# Room is made, and the server goes on.
mount -o remount,size=40M "$PWD"
expect 'ok ok same' write $((full * MiB)) $MiB ones flush \
  compare 0 $(((full + 1) * MiB)) ones
stop_server
full=$((full + 1))
sound
"$vmdk_img" check d.vmdk | grep -q 'no errors, no warnings' ||
  fail "$what: $(cat check.out)"
cd ..
