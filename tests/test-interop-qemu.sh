#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# qemu's tools as the clients that write.

. ./functions.sh
requires qemu-io --version
. "$srcdir/writing.sh"

# io COMMAND...: for qemu-io, which checks what it reads with -P.
io ()
{
  local args=() command

  for command; do
    args+=(-c "$command")
  done
  qemu-io -d unmap -f raw "${args[@]}" "$uri" > io.out 2>&1 ||
    fail "$(cat io.out)"
  if grep -i -E 'fail|error|mismatch' io.out; then
    fail "$(cat io.out)"
  fi
}

new_disk chain size=40000 layers='sparse alloc=all; sparse alloc=mixed:30'
serve d.vmdk
io 'write -P 0x11 0 64k' 'write -P 0x22 100k 300k' 'write -z 1M 1M' \
   'write -z -u 3M 100k' 'discard 4M 1M' 'write -f -P 0x33 6000000 1234' \
   'aio_write -P 0x44 8M 1M' 'aio_write -P 0x55 9M 512' 'aio_flush' 'flush' \
   'read -P 0x11 0 64k' 'read -P 0x22 100k 300k' 'read -P 0 1M 1M' \
   'read -P 0 3M 100k' 'read -P 0 4M 1M' 'read -P 0x33 6000000 1234' \
   'read -P 0x44 8M 1M' 'read -P 0x55 9M 512'
stop_server
# What it should have become.
$written model d.raw write 0 65536 0x11 write 102400 307200 0x22 \
         zero 1048576 1048576 zero 3145728 102400 zero 4194304 1048576 \
         write 6000000 1234 0x33 write 8388608 1048576 0x44 \
         write 9437184 512 0x55
serve d.vmdk -r
right
closed_right

# qemu-img: a whole disk, over one that has something else.
for builder in 'sparse alloc=mixed:50' 'split piece=20480 alloc=none' \
               'cowd alloc=none grain=8' 'flat alloc=0'; do
  # shellcheck disable=SC2086 # words
  new_disk $builder size=40960
  serve d.vmdk
  qemu-img convert -n -f raw -O raw new.raw "$uri"
  cp new.raw d.raw
  right
  quiet
  closed_right
done

# And its benchmark, which writes here and there, several at once.
new_disk sparse size=40960 alloc=none
serve d.vmdk
qemu-img bench -f raw -w -c 200 -d 16 -s 5000 -S 77777 --pattern 0xab \
         --flush-interval 50 "$uri" > bench.out
nbdcopy "$uri" d.raw
quiet
closed_right
python3 - << 'END'
n = open('d.raw', 'rb').read().count(b'\xab')
assert n > 500000, n
END
