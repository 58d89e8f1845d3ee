#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The content ID: another one once a disk is changed, so that children find
# out; and nothing else of the descriptor is touched.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

# text FILE: its descriptor, wherever that is, with the ends of lines that are
# usual here.
text ()
{
  if [ "$(head -c 4 "$1")" = KDMV ]; then
    dd if="$1" bs=512 skip=1 count=20 status=none | tr -d '\0'
  else
    cat "$1"
  fi | tr -d '\r'
}

cid ()
{
  text "$1" | sed -n 's/^CID=//p'
}

# others: the text without what is to change.
others ()
{
  text "$1" | sed -E -e 's/^CID=[0-9a-f]{8}$/CID=x/' \
    -e 's/^ddb.longContentID = "[0-9a-f]{32}"$/longContentID/' | sha256sum
}

# once BUILDER [ARGS...]
once ()
{
  local old text new

  new_disk "$1" "${@:2}" keys="version encoding CID parentCID createType \
isNativeSnapshot extents ddb" desc.isNativeSnapshot=no desc.ourOwn='x  y =z' \
    ddb.longContentID=0123456789abcdef0123456789abcdef ddb.uuid='60 00'
  old=$(cid d.vmdk) text=$(others d.vmdk)
  serve d.vmdk
  nbd read 0 1 flush extents 0 1 > found
  [ "$(cid d.vmdk)" = "$old" ] || fail "$*: changed by reading or a flush"
  # Where nothing is, and no parent, zeroing and trimming change nothing.
  if [[ $* = *alloc=none* ]]; then
    nbd zero 0 $grain trim $grain $grain zero 5 1 may-trim > found
    [ "$(cid d.vmdk)" = "$old" ] || fail "$*: changed by doing nothing"
  fi
  change write 0 1 0x55
  new=$(cid d.vmdk)
  [[ $new =~ ^[0-9a-f]{8}$ && $new != "$old" && $new != fffffff[ef] ]] ||
    fail "$*: CID was $old and is $new"
  change write 700 1 0x55 zero 0 $grain trim 0 $grain write $grain 9 9
  quiet
  closed_right
  [ "$(cid d.vmdk)" = "$new" ] || fail "$*: changed twice"
  text d.vmdk | grep -q -E "^ddb.longContentID = \"[0-9a-f]{24}$new\"\$" ||
    fail "$*: $(text d.vmdk)"
  [ "$(others d.vmdk)" = "$text" ] || fail "$*: $(text d.vmdk)"
  # Anew with the next server.
  serve d.vmdk
  change write 9 1 0x56
  stop_server
  [ "$(cid d.vmdk)" != "$new" ] || fail "$*: not changed again"
}

once sparse size=3001 alloc=0-9
once sparse size=3001 alloc=none crlf=1
once split size=3001 piece=1024 alloc=none
once cowd size=3001 alloc=none
once flat size=3001 alloc=0

# The first request decides, whatever it is.
for request in "trim 0 $grain" "zero 0 $grain" "zero 0 $grain may-trim" \
               "write 100 5 0x42"; do
  new_disk sparse size=3001 alloc=all
  old=$(cid d.vmdk)
  serve d.vmdk
  # shellcheck disable=SC2086 # words
  change $request
  stop_server
  [ "$(cid d.vmdk)" != "$old" ] || fail "not changed by: $request"
done

#----------------------------------------------------------------------
# A descriptor of its own is replaced, and keeps what belonged to the file.

new_disk split size=3001 piece=1024 alloc=0
chmod 640 d.vmdk
python3 -c 'import os; os.setxattr ("d.vmdk", "user.note", b"precious")' \
  2> /dev/null || no_xattr=1
inode=$(stat -c %i d.vmdk)
serve d.vmdk
change write 0 1 0x55
stop_server
[ "$(stat -c %a d.vmdk)" = 640 ] || fail "mode: $(stat -c %a d.vmdk)"
[ -n "${no_xattr:-}" ] ||
  [ "$(python3 -c 'import os; print (os.getxattr ("d.vmdk", "user.note"))')" \
    = "b'precious'" ] || fail 'the attribute was lost'
[ "$(stat -c %i d.vmdk)" != "$inode" ]
[ "$(find . -name '.d.vmdk*')" = '' ] || fail 'a temporary file remains'

# As a number it can't be replaced.
inode=$(stat -c %i d.vmdk) old=$(cid d.vmdk)
exec 9<>d.vmdk
serve fd=9 extent=d-s001.vmdk="$PWD/d-s001.vmdk" \
      extent=d-s002.vmdk="$PWD/d-s002.vmdk" \
      extent=d-s003.vmdk="$PWD/d-s003.vmdk"
exec 9>&-
change write 0 1 0x55
right
stop_server
[ "$(stat -c %i d.vmdk)" = "$inode" ] || fail 'it was replaced'
[ "$(cid d.vmdk)" != "$old" ] || fail 'not changed in place'

# Nor in a folder that may not be written.
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chown -R 65534:65534 "$scratch"
else
  as_user=()
fi
if "${as_user[@]}" test -r ./functions.sh -o -r "$plugin"; then
  mkdir -p folder
  mv d*.vmdk folder
  inode=$(stat -c %i folder/d.vmdk) old=$(cid folder/d.vmdk)
  chmod 555 folder
  (
    nbdkit_command=("${as_user[@]}" "${nbdkit_command[@]}")
    serve folder/d.vmdk
    change write 0 1 0x57
    right
    kill "$(cat "${sock%.sock}.pid")"
    wait "$server_pid"
  )
  chmod 755 folder
  [ "$(stat -c %i folder/d.vmdk)" = "$inode" ] || fail 'it was replaced'
  [ "$(cid folder/d.vmdk)" != "$old" ] || fail 'not changed in place'
fi

#----------------------------------------------------------------------
# A child that was made before isn't a child of this any more.

new_disk chain size=3001 layers='sparse alloc=all; sparse alloc=0'
serve d-0.vmdk allow-parent-write=true
nbd write 0 1 0x55 > found
stop_server
expect_error 'd.vmdk: .*CID' run_plugin d.vmdk
# Even if nobody wrote to it but a server that was killed at once.
new_disk chain size=3001 layers='flat alloc=all; sparse alloc=0'
serve d-0.vmdk allow-parent-write=true
nbd write 0 1 0x55 > found
kill -9 "$(cat "${sock%.sock}.pid")"
wait "$server_pid" || :
expect_error 'd.vmdk: .*CID' run_plugin d.vmdk
