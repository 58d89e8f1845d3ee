#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img: a disk that another program writes is only looked at when -U
# says so, which then locks nothing itself; one that others read needs no
# option.

. ./functions.sh
requires python3
requires jq --version

cd "$scratch"

in_use='^vmdk-img: d.*vmdk: is in use by another program, which has it open for writing: '

# refused: none of the commands opens the disk, and each says why.
refused ()
{
  local command status

  for command in info map check; do
    expect_error "$in_use" "$vmdk_img" $command d.vmdk
    status=0
    "$vmdk_img" $command d.vmdk >/dev/null 2>&1 || status=$?
    [ "$status" -eq 1 ] || fail "$command: exit status $status"
  done
}

# shown [OPTION]: the disk can be looked at, without a word.
shown ()
{
  local command status

  for command in info map 'check --json'; do
    status=0
    "$vmdk_img" $command "$@" d.vmdk >out 2>err || status=$?
    [ ! -s err ] || fail "$command $*: $(cat err)"
    [ -s out ] || fail "$command $* prints nothing"
    # What check finds is another matter.
    [ "$status" -eq 0 ] || [[ "$command $status" = check*[23] ]] ||
      fail "$command $*: exit status $status"
  done
  [ "$(jq .complete out)" = true ] || fail "check $*: $(cat out)"
}

for builder in sparse flat 'split piece=2048'; do
  rm -f d*
  $vmdkgen $builder size=4096 d.vmdk

  # Readers are in nobody's way.
  serve file=d.vmdk -r
  nbd read 0 1 >/dev/null
  shown
  shown -U
  stop_server

  # The locks of the first client that may write last, as nbdkit does.
  serve file=d.vmdk
  shown
  [ "$(nbd write 65536 512 0x55 fua)" = ok ] || fail "$(cat "$server_log")"
  refused
  before=$(cat d*.vmdk | sha256sum)
  shown -U
  shown --force-share
  [ "$before" = "$(cat d*.vmdk | sha256sum)" ] || fail "-U changes files"
  stop_server
  [ -z "$(server_errors)" ] || fail "$(cat "$server_log")"
  shown
done

#----------------------------------------------------------------------
# A map that is longer than what fits into a pipe holds the disk open.

rm -f d*
$vmdkgen sparse size=80000 grain=8 alloc=every:2 d.vmdk
mkfifo pipe

# hold [OPTION]: begins to print the map, until let_go.
hold ()
{
  "$vmdk_img" map "$@" d.vmdk >pipe 2>err &
  map_pid=$!
  exec 3<pipe
  read -r <&3
}

let_go ()
{
  exec 3<&-
  wait "$map_pid" 2>/dev/null || :
  [ ! -s err ] || fail "map: $(cat err)"
}

serve file=d.vmdk
hold
! nbd flush >out 2>refused || fail "a writer came in spite of a reader"
grep -q '^refused: ' refused || fail "$(cat refused)"
server_errors | grep -q 'd.vmdk: is in use .* open for reading' ||
  fail "$(cat "$server_log")"
let_go
hold -U
[ "$(nbd flush)" = ok ] || fail "-U locks the disk: $(cat "$server_log")"
let_go
stop_server
