#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# qemu as our client: qemu-img reads, writes and compares over NBD, also as
# the base of an overlay, and qemu-nbd passes the disk on to others.

. ../functions.sh
. "$srcdir/writing.sh"
requires qemu-nbd --version
requires qemu-io --version

size=60001
new_disk sparse size=$size alloc=mixed:30
serve d.vmdk
qemu-img compare -q -f raw -F raw "$uri" d.raw || fail 'qemu-img compare'
qemu-img convert -q -m 16 -W -f raw -O qcow2 "$uri" d.qcow2
qemu-img compare -q -f qcow2 -F raw d.qcow2 d.raw || fail 'to qcow2'

# Into the disk, over what is there; zeroes and all.
qemu-img convert -q -n -m 16 -W -f raw -O raw new.raw "$uri"
cp new.raw d.raw
right
$vmdkgen sparse size=$size alloc=random:10 seed=5 o.vmdk o.raw
qemu-img convert -q -n -f vmdk -O raw o.vmdk "$uri"
cp o.raw d.raw
right

# Requests of all kinds.  -r: what qemu-io does not align itself.
qemu-io -f raw -t none \
  -c 'write -P 9 1000192 700416' -c 'write -z -u 2097152 1048576' \
  -c 'aio_write -P 7 9M 64k' -c 'aio_write -f -P 8 10M 512' -c aio_flush \
  -c 'discard 12M 1M' -c flush -c 'read -P 9 1000192 700416' \
  -c 'read -P 0 2M 1M' -c 'read -P 7 9M 64k' "$uri" > qemu-io.out ||
  fail "$(cat qemu-io.out)"
if grep -i -E 'fail|error|verification' qemu-io.out; then fail 'qemu-io'; fi
nbdcopy "$uri" d.raw

# An overlay on the server, committed into it.
qemu-img create -q -f qcow2 -F raw -b "$uri" over.qcow2
qemu-io -f qcow2 -c 'write -P 3 5M 3M' -c 'write -z 1M 300k' over.qcow2 \
        > qemu-io.out
qemu-img convert -q -f qcow2 -O raw over.qcow2 d.raw
qemu-img commit -q -f qcow2 over.qcow2
right
qemu-img bench -q -f raw -w -c 2000 -d 32 -s 4096 --pattern=1 \
         --flush-interval=100 "$uri" > /dev/null 2> bench.err ||
  fail "$(cat bench.err)"
nbdcopy "$uri" d.raw

# Passed on.
qemu-nbd -f raw -k "$PWD/relay" --shared=4 -t "$uri" &
relay=$!
for ((i = 0; i < 500; i++)); do
  if [ -S relay ]; then break; fi
  sleep 0.02
done
relay_uri="nbd+unix:///?socket=$PWD/relay"
nbdcopy --connections=4 "$relay_uri" - | cmp - d.raw >&2
nbdcopy --flush new.raw "$relay_uri"
cp new.raw d.raw
kill "$relay"
wait "$relay" || :
quiet
right
closed_right
check_quiet
