#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The kernel's nbd driver in a virtual machine, with four connections: a file
# system is made, loaded, detached and attached again.  Then the server is
# killed under load, and the machine recovers what it had synced.

. ../functions.sh
. "$srcdir/interop/vm.sh"

serve_port=$(python3 -c 'import socket
s = socket.socket ()
s.bind (("127.0.0.1", 0))
print (s.getsockname ()[1])')

# connections: how many the server has.
connections ()
{
  local sockets

  sockets=$(find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l)
  echo $((sockets - 1)) # it listens on one
}

attach_nbd ()
{
  local i

  guest "/sbin/nbd-client -C 4 -t 300 10.0.2.2 $serve_port /dev/nbd0" \
        > client.out
  # Former ones may still be there for a moment.
  for ((i = 0; i < 500; i++)); do
    [ "$(connections)" -ne 4 ] || return 0
    sleep 0.02
  done
  fail "there are $(connections) connections"
}

detach_nbd ()
{
  guest '/sbin/nbd-client -d /dev/nbd0' > client.out
}

# all_used: something was written or flushed over each of the four.
all_used ()
{
  local used

  used=$(grep -E ' (Write|Flush) ' requests.log | grep -o 'connection=[0-9]*' |
           sort -u | wc -l)
  [ "$used" -eq 4 ] || fail "$used connections were used for writing"
}

"$vmdk_img" create -t monolithicSparse 256M d.vmdk
serve d.vmdk --filter=log logfile=requests.log
vm_cpus=4 # the kernel uses a connection for each
vm_start -netdev user,id=net -device virtio-net-pci,netdev=net
# The kernel has a worker for each connection, which never comes to an end.
# If it takes more than 10 ms to start one, all that is left is given to one
# "rescuer", which does the first and never the others.  It keeps the workers
# that it has, so there are enough of them after some rounds.
for i in 1 2 3; do
  attach_nbd
  detach_nbd
done

attach_nbd
guest 'make nbd0'
guest 'attach nbd0'
guest 'load a 4 8 nbd0' > log
guest 'large 16 nbd0'
before=$(kib d.vmdk)
guest 'discard nbd0'
all_used
after=$(kib d.vmdk)
echo "fstrim gave back $((before - after)) of $before KiB"
[ $((before - after)) -gt 12000 ] || fail "fstrim gave nothing back"
guest 'detach nbd0'
guest 'verify nbd0'
detach_nbd

attach_nbd
guest 'attach nbd0'
guest 'sums nbd0' > found.guest
all_kept nbd0 log found.guest
echo "attached again: $files_kept files"

# Now until the server is killed.  The kernel would wait for answers to what
# it has sent until its timeout, unless the device is detached.
guest 'behind load b 4 100 nbd0'
guest 'some_lines 25'
kill_server "$server_pid"
detach_nbd
guest_begin behind_ends
vm_answer >> log && fail "the machine has written without a server"
echo "killed after $(grep -c /b log) messages"
guest 'detach nbd0'

next_server d.vmdk
attach_nbd
guest 'attach nbd0'
guest 'sums nbd0' > found.guest
all_kept nbd0 log found.guest some
echo "recovered: $files_kept files"
guest 'detach nbd0'
guest 'verify nbd0'
detach_nbd
vm_stop
echo "the machine has ended after $SECONDS s"

stop_server
sound_disk d.vmdk nbd0 log some
echo "all was done after $SECONDS s"
