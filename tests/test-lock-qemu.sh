#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Locks against qemu's programs: neither opens what the other one writes,
# whatever file of the disk it is, also after the descriptor was replaced.

. ./functions.sh
requires qemu-img --version
requires qemu-io --version
requires qemu-nbd --version
requires python3

cd "$scratch"

# denied COMMAND...: one of qemu's programs fails because of a lock.
denied ()
{
  local status=0

  timeout 60 "$@" >denied.log 2>&1 </dev/null || status=$?
  [ "$status" -eq 1 ] && grep -q 'Failed to get .* lock' denied.log ||
    fail "status $status instead of a lock: $*: $(cat denied.log)"
}

# allowed COMMAND...: one does what it is told.
allowed ()
{
  timeout 60 "$@" >allowed.log 2>&1 </dev/null &&
    ! grep -q 'failed' allowed.log || fail "$*: $(cat allowed.log)"
}

# start_qemu ARGS...: qemu-nbd has a disk open until stop_qemu.
start_qemu ()
{
  local i

  rm -f qemu.sock
  timeout 100 qemu-nbd -t -k "$scratch/qemu.sock" -f vmdk "$@" \
    >qemu.log 2>&1 </dev/null &
  qemu_pid=$!
  cleanup_fn stop_qemu "$qemu_pid"
  for ((i = 0; i < 500; i++)); do
    [ ! -S qemu.sock ] || return 0
    sleep 0.02
  done
  fail "qemu-nbd $*: $(cat qemu.log)"
}

stop_qemu ()
{
  local pid=${1:-$qemu_pid}

  kill "$pid" 2>/dev/null || return 0
  wait "$pid" 2>/dev/null || :
}

in_use='d\.vmdk: is in use by another program, which has it open for'
in_use_writing="$in_use writing: close"
in_use_reading="$in_use reading: close"

# A connection that may write takes the writer's locks, and they last.
connect ()
{
  nbd flush >connect.out 2>connect.err
}

connection_refused ()
{
  ! connect || fail "the connection was accepted"
  grep -q '^refused: ' connect.err || fail "$(cat connect.err)"
  server_errors | grep -q "$1" || fail "not \"$1\": $(cat "$server_log")"
}

# Nobody else gets at a disk that is being written, or at a file of it.
all_denied ()
{
  local file

  denied qemu-img info d.vmdk
  denied qemu-img check d.vmdk
  denied qemu-io -f vmdk -c 'write 0 512' d.vmdk
  denied qemu-nbd -k "$scratch/none.sock" -f vmdk d.vmdk
  for file in d*.vmdk; do
    denied qemu-io -f raw -c 'write 0 512' "$file"
  done
  allowed qemu-img info -U d.vmdk
  expect_error "$in_use_writing" run_plugin file=d.vmdk
  expect_error "$in_use_writing" run_plugin -r file=d.vmdk
}

# While we write.
we_write ()
{
  local inode

  serve file=d.vmdk
  connect
  all_denied
  inode=$(stat -c %i d.vmdk)
  [ "$(nbd write 65536 65536 0x42 flush)" = $'ok\nok' ]
  if [ "$1" = separate ] && [ "$inode" = "$(stat -c %i d.vmdk)" ]; then
    fail "the descriptor was not replaced, so this tests nothing"
  fi
  all_denied
  stop_server
  [ -z "$(server_errors)" ] || fail "$(cat "$server_log")"
  allowed qemu-img info d.vmdk
  allowed qemu-io -f vmdk -c 'read -P 0x42 65536 65536' \
          -c 'write -P 0x43 0 65536' d.vmdk
}

# While we read.
we_read ()
{
  local file first

  serve file=d.vmdk -r
  first=$server_pid
  allowed qemu-img info d.vmdk
  allowed qemu-io -r -f vmdk -c 'read -P 0x43 0 65536' d.vmdk
  denied qemu-io -f vmdk -c 'write 0 512' d.vmdk
  for file in d*.vmdk; do
    denied qemu-io -f raw -c 'write 0 512' "$file"
  done

  # Another of our own may read, but not write.
  serve file=d.vmdk
  connection_refused "$in_use_reading"
  stop_server
  denied qemu-io -f vmdk -c 'write 0 512' d.vmdk
  stop_server "$first"
}

# While qemu does.
qemu_has_it ()
{
  start_qemu d.vmdk
  expect_error "$in_use_writing" run_plugin file=d.vmdk
  expect_error "$in_use_writing" run_plugin -r file=d.vmdk
  stop_qemu

  start_qemu -r d.vmdk
  serve file=d.vmdk
  connection_refused "$in_use_reading"
  allowed qemu-img info d.vmdk
  stop_qemu
  connect
  stop_server
}

# Whoever switches locks off gets past, and is in nobody's way.
no_locks ()
{
  local first

  serve file=d.vmdk
  connect
  first=$server_pid
  serve file=d.vmdk lock=off -r
  [ "$(nbd read 0 2)" = 4343 ]
  stop_server
  all_denied
  stop_server "$first"

  serve file=d.vmdk lock=off
  connect
  allowed qemu-io -f vmdk -c 'write -P 0x43 0 65536' d.vmdk
  stop_server
}

# disk KIND SIZE [OPTIONS]: d.vmdk, and what else belongs to it.
disk ()
{
  rm -f d*.vmdk
  qemu-img create -q -f vmdk -o "subformat=$1" d.vmdk "$2"
}

# kind KIND SIZE embedded|separate: all of it for one kind of disk.
kind ()
{
  disk "$1" "$2"
  allowed qemu-io -f vmdk -c 'write -P 0x41 0 1M' d.vmdk
  we_write "$3"
  we_read
  qemu_has_it
  no_locks
}

kind monolithicSparse 100M embedded
kind monolithicFlat 100M separate
kind twoGbMaxExtentSparse 2100M separate
[ -e d-s002.vmdk ]
kind twoGbMaxExtentFlat 2100M separate

# Parents are only read, but nobody else may write them.
rm -f d*.vmdk
qemu-img create -q -f vmdk base.vmdk 100M
allowed qemu-io -f vmdk -c 'write -P 0x44 0 1M' base.vmdk
qemu-img create -q -f vmdk -b base.vmdk -F vmdk d.vmdk

parent_denied ()
{
  denied qemu-io -f vmdk -c 'write 0 512' base.vmdk
  denied qemu-nbd -k "$scratch/none.sock" -f vmdk base.vmdk
  allowed qemu-img info base.vmdk
}

serve file=d.vmdk
parent_denied
connect
parent_denied
[ "$(nbd write 512 512 0x45 read 0 1)" = $'ok\n44' ]
parent_denied
denied qemu-img info --backing-chain d.vmdk
stop_server
allowed qemu-io -f vmdk -c 'read -P 0x44 0 512' -c 'read -P 0x45 512 512' \
        -c 'read -P 0x44 1024 1047552' d.vmdk

start_qemu base.vmdk
expect_error 'base.vmdk: is in use .* open for writing: close' \
             run_plugin file=d.vmdk
stop_qemu
start_qemu d.vmdk
expect_error "$in_use_writing" run_plugin file=d.vmdk
stop_qemu
