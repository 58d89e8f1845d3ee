#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What can't be written is served to be read, and says so to its clients.

. ./functions.sh
. "$srcdir/writing.sh"
requires nbdinfo --version

# is_readonly [ARGS...]: the disk, with the server's arguments.
is_readonly ()
{
  local before

  before=$(sha256sum d*.vmdk)
  serve d.vmdk "$@"
  nbdinfo --json "$uri" | grep -q '"is_read_only": true' ||
    fail "not read-only: $*"
  nbd write 0 1 0x55 zero 0 512 trim 0 512 > found
  grep -q -v -x ok found || fail "$(cat found)"
  right
  stop_server
  [ "$before" = "$(sha256sum d*.vmdk)" ] || fail 'files have changed'
}

new_disk stream size=2001 alloc=mixed:50
is_readonly
new_disk sesparse size=2001 alloc=mixed:50
is_readonly
new_disk sparse access=RDONLY size=2001 alloc=mixed:50
is_readonly
new_disk sparse size=2001 alloc=mixed:50
is_readonly -r

# One that can be written.
serve d.vmdk
nbdinfo --json "$uri" > info
for flag in '"is_read_only": false' '"can_flush": true' '"can_fua": true' \
            '"can_trim": true' '"can_zero": true' '"can_fast_zero": true' \
            '"can_multi_conn": true'; do
  grep -q -F "$flag" info || fail "not in nbdinfo's answer: $flag"
done
stop_server

# A delta whose parent wasn't opened can't fill up a grain.
new_disk chain size=2001 layers='sparse alloc=all; sparse alloc=3'
serve d.vmdk single-link=true
nbdinfo --json "$uri" | grep -q '"is_read_only": true' ||
  fail 'a single link can be written'
stop_server

# Of several extents those that allow it are written.
new_disk custom extents='RW 1000 sparse alloc=0; RDONLY 500 flat alloc=all;
  RW 500 zero; NOACCESS 100 flat; RW 1000 flat alloc=0'
serve d.vmdk
change write 5 70000 new.raw write $((2100 * 512)) 100 new.raw \
       write $((999 * 512)) 512 new.raw
for offset in $((1000 * 512)) $((1500 * 512)) $((2000 * 512)) \
              $((1500 * 512 - 1)); do
  # NBD's EPERM; nothing else may become of it.
  [ "$(nbd write "$offset" 2 0x55)" = 'error 1' ] ||
    fail "at $offset: $(nbd write "$offset" 2 0x55)"
done
server_errors |
  grep -q 'd.vmdk: an extent that is flat, RDONLY, was written' ||
  fail "$(cat "$server_log")"
# What is zero needs no zeroing.
change zero $((1500 * 512)) $((500 * 512)) trim $((1500 * 512)) 512
[ "$(nbd zero $((1400 * 512)) $((200 * 512)))" = 'error 1' ]
nbd compare 0 $((2000 * 512)) d.raw compare $((2100 * 512)) $((1000 * 512)) \
    d.raw > found
[ "$(sort -u found)" = same ] || fail "$(cat found)"
stop_server

#----------------------------------------------------------------------
# Files that may not be written.

if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 777 "$scratch"
  "${as_user[@]}" test -r "$plugin" || skip "another user can't run the plugin"
else
  as_user=()
fi

# not_permitted FILE: that one may not be written.
not_permitted ()
{
  chmod 444 "$1"
  (
    nbdkit_command=("${as_user[@]}" "${nbdkit_command[@]}")
    is_readonly
  )
  server_log=$(echo server*.log | tr ' ' '\n' | tail -n 1)
  grep -h "warning: $1: can't be opened for writing: Permission denied" \
       server*.log > /dev/null || fail "no warning of $1: $(cat server*.log)"
  rm -f server*.log
}

new_disk sparse size=2001 alloc=mixed:50
not_permitted d.vmdk
new_disk split size=2001 piece=1024 alloc=mixed:50
chmod 666 d*.vmdk
not_permitted d-s002.vmdk
chmod 666 d*.vmdk
not_permitted d.vmdk
