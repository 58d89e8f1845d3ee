#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The servers of a virtual machine's disks are killed under load.  The machine
# goes on with the next one, where that can be: if its file system is frozen
# at that time, so that all is flushed, or if each write is made durable
# (write-cache=off).  The last disk gets no next server, nor does the machine
# end well: all that was synced is recovered outside.

. ../functions.sh
. "$srcdir/interop/vm.sh"

# serve_disk DISK COMMAND: a new server for it, where qemu looks for it.
declare -A pid
serve_disk ()
{
  "$2" "$1.vmdk"
  ln -sfn "$sock" "$1.sock"
  pid[$1]=$server_pid
}

# add_disk DISK WRITE-CACHE RECONNECT-DELAY
add_disk ()
{
  "$vmdk_img" create -t monolithicSparse 128M "$1.vmdk"
  serve_disk "$1" serve
  vm_add_disk "$1" "$scratch/$1.sock" ",discard=unmap,reconnect-delay=$3" \
              ",write-cache=$2"
}

# some_load DISK FILES: begins one, and comes back when something was written.
some_load ()
{
  local i

  guest_begin "load a 3 $2 $1"
  for ((i = 0; i < 15; i++)); do
    vm_line
    echo "$line"
  done > "$1.log"
}

frozen ()
{
  guest "behind load a 3 8 $1"
  guest "some_lines 6; fsfreeze --freeze /mnt/$1"
  kill_server "${pid[$1]}"
  serve_disk "$1" next_server
  guest "fsfreeze --unfreeze /mnt/$1; cat /tmp/behind.out" > "$1.log"
  echo "$1: killed after $(wc -l < "$1.log") messages"
  guest behind_ends > "$1.log"
}

durable ()
{
  some_load "$1" 8
  kill_server "${pid[$1]}"
  serve_disk "$1" next_server
  vm_answer >> "$1.log" || vm_fail "$1: the load failed: $(cat "$1.log")"
}

# went_well DISK
went_well ()
{
  guest "detach $1"
  guest "verify $1"
}

add_disk vda on 100
add_disk vdb off 100
add_disk vdc on 0
vm_start
guest 'each make -- vda vdb vdc'
guest 'each attach -- vda vdb vdc'
frozen vda
went_well vda
durable vdb
went_well vdb
some_load vdc 100
kill_server "${pid[vdc]}"
vm_kill
echo "the machine has ended after $SECONDS s"

for disk in vda vdb; do
  stop_server "${pid[$disk]}"
  sound_disk "$disk.vmdk" "$disk" "$disk.log"
  echo "$disk: $files_kept files"
done

# Recovered: read, repaired, written back.
"$vmdk_img" check vdc.vmdk > check.out 2>&1 ||
  grep -q '^Found no errors' check.out || fail "$(cat check.out)"
serve vdc.vmdk
nbdcopy "$uri" repaired
e2fsck -f -y repaired > e2fsck.out 2>&1 || [ $? -eq 1 ] ||
  fail "$(cat e2fsck.out)"
nbdcopy repaired "$uri"
stop_server
sound_disk vdc.vmdk vdc vdc.log some
echo "vdc: $files_kept files recovered"
echo "all was done after $SECONDS s"
