#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The first and only program of the virtual machine that vm.sh starts: loads
# the modules, then does what the host says over the second serial port, one
# line at a time.  After each line it says "=exit STATUS".

PATH=/bin
export PATH

# The shell takes its own mke2fs and so on, unless it gets the whole path.
# DEV below is the name of a disk: /dev/DEV, mounted as /mnt/DEV.

# each COMMAND ARGS... -- DEV...: for all of them at the same time.
each ()
{
  command=
  while [ "$1" != -- ]; do
    command="$command $1"
    shift
  done
  shift
  rm -f /tmp/failed
  for dev; do
    $command "$dev" || : > /tmp/failed &
  done
  wait
  [ ! -e /tmp/failed ]
}

make ()
{
  /sbin/mke2fs -q -t ext4 "/dev/$1"
}

attach ()
{
  mkdir -p "/mnt/$1"
  mount -t ext4 "/dev/$1" "/mnt/$1"
}

detach ()
{
  umount "/mnt/$1"
}

verify ()
{
  /sbin/e2fsck -f -n "/dev/$1" > "/tmp/e2fsck.$1" 2>&1 && return
  cat "/tmp/e2fsck.$1"
  return 1
}

# load NAME JOBS FILES DEV: so many jobs write so many files each, of 8 to
# 504 KiB, called NAMEJOB-FILE.  "SUM  NAME" is said when a file has been
# synced, "gone NAME" before it is removed or overwritten.
load ()
{
  cd "/mnt/$4" || return 1
  rm -f "/tmp/load.$4"
  for job in $(seq "$2"); do
    load_job "$1" "$job" "$3" || : > "/tmp/load.$4" &
  done
  wait
  [ ! -e "/tmp/load.$4" ]
}

# Each job on a processor of its own, and so with an nbd connection of its
# own, which the kernel chooses by the processor.
load_job ()
{
  read -r self rest < /proc/self/stat
  taskset -p -c $((($2 - 1) % $(nproc))) "$self" > /dev/null
  for i in $(seq "$3"); do
    load_file "$1$2-$i" $((i * 37 + $2 * 11)) $((i * i * 7 + $2)) || return 1
    j=$1$2-$((i - 2))
    case $((i % 5)) in
      3) echo "gone $PWD/$j"; rm "$j" || return 1 ;;
      4) echo "gone $PWD/$j"; load_file "$j" "$i" $((i * 5)) || return 1 ;;
    esac
  done
}

# load_file NAME SKIP COUNT: overwrites its beginning if it is there.
load_file ()
{
  dd if=/pool of="$1" bs=8k skip=$(($2 % 192)) count=$((1 + $3 % 63)) \
     conv=notrunc,fsync 2> /dev/null &&
  sha256sum "$PWD/$1"
}

# behind COMMAND...: runs it while others are done.  some_lines N waits until
# it has said so many, and behind_ends for its end.
behind ()
{
  rm -f /tmp/behind.*
  {
    status=0
    "$@" > /tmp/behind.out 2>&1 || status=$?
    echo $status > /tmp/behind.tmp
    mv /tmp/behind.tmp /tmp/behind.status
  } > /dev/null &
}

some_lines ()
{
  while [ "$(wc -l < /tmp/behind.out)" -lt "$1" ] &&
        [ ! -e /tmp/behind.status ]; do
    sleep 0.1
  done
}

behind_ends ()
{
  while [ ! -e /tmp/behind.status ]; do
    sleep 0.1
  done
  cat /tmp/behind.out
  return "$(cat /tmp/behind.status)"
}

# large MIB DEV: something that is worth a trim, for discard.
large ()
{
  for i in $(seq "$1"); do
    dd if=/pool bs=64k count=16 2> /dev/null
  done > "/mnt/$2/large"
  sync
}

discard ()
{
  rm "/mnt/$1/large" && sync && fstrim -v "/mnt/$1"
}

# sums DEV: of the files that load wrote, from the disk and not from memory.
sums ()
{
  sync
  echo 3 > /proc/sys/vm/drop_caches
  sha256sum "/mnt/$1"/*[0-9]
}

#----------------------------------------------------------------------

begin ()
{
  /bin/busybox --install -s /bin
  mkdir -p /proc /sys /dev /tmp /etc
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  dmesg -n 4
  while read -r module; do
    insmod "/modules/$module" || echo "no module $module"
  done < /modules/list
  dd if=/dev/urandom of=/pool bs=64k count=32 2> /dev/null
  ifconfig lo up
  ifconfig eth0 10.0.2.15 2> /dev/null || : # there may be none
  : > /etc/mtab
  stty -F /dev/ttyS1 raw -echo
}

if [ $$ -eq 1 ]; then
  begin
  exec 3<> /dev/ttyS1
  echo '=exit 0' >&3
  while read -r line <&3; do
    (eval "$line") >&3 2>&1 3<&- < /dev/null
    echo "=exit $?" >&3
  done
  poweroff -f
fi
