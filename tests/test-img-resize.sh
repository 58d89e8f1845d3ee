#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img resize: the guest finds what it had, and zeroes behind, by us and
# by qemu; and what is added can be written, by us and by qemu.

. ./functions.sh
. "$srcdir/writing.sh"
requires jq
requires qemu-io --version

# grow SIZE [ARGS...]: to so many MiB; d.raw as well.
grow ()
{
  local before cid

  before=$("$vmdk_img" info --json d.vmdk | jq -r '."virtual-size"')
  cid=$(grep -a -m 1 '^CID=' d.vmdk)
  "$vmdk_img" resize --json "${@:2}" d.vmdk "$1"M > json ||
    fail "resize to $1 MiB"
  truncate -s "$1"M d.raw
  [ "$(jq -c '[."former-size", ."virtual-size"]' json)" = \
    "[$before,$(($1 << 20))]" ] || fail "wrong sizes: $(cat json)"
  [ "$cid" != "$(grep -a -m 1 '^CID=' d.vmdk)" ] ||
    fail "the content ID is still $cid"
  check_quiet
}

# same: we and qemu read d.raw.
same ()
{
  if [ "$(stat -c %s d.raw)" -lt $((200 << 20)) ]; then
    serve -r d.vmdk
    right
    stop_server
  fi
  qemu_right
}

# used END: it can be written at its end, and around its former one, by us
# and then by qemu.
used ()
{
  local size

  size=$(stat -c %s d.raw)
  same
  serve d.vmdk
  change write $(($1 - 3000)) 70000 0x5a write $((size - 5000)) 5000 0x5b \
         flush
  quiet
  stop_server
  check_quiet
  qemu-io -f vmdk -c "write -P 7 $(($1 + 100000)) 3000" \
    -c "write -P 8 $((size - 70000)) 60000" d.vmdk > io.out 2>&1 ||
    fail "qemu-io: $(cat io.out)"
  $written model d.raw write $(($1 + 100000)) 3000 7 \
           write $((size - 70000)) 60000 8
  same
  check_quiet
}

# make BUILDER [KEY=VALUE...]: d.vmdk and d.raw
make ()
{
  rm -f ./*.vmdk d.raw
  $vmdkgen "$@" d.vmdk d.raw
}

# The last grain isn't whole, and what the guest can't see of it isn't zero.
make sparse size=4000 alloc=random:40,31 grain=128
place=$($vmdkgen where d.vmdk 'grain[31]')
printf garbage | dd of=d.vmdk bs=1 seek=$((place + 40 * 512)) conv=notrunc \
                    2>/dev/null
grow 20 # one table
same
grow 100
used $((20 << 20))
# And again, with directories and tables that are behind grains.
grow 40000
used $((100 << 20))

# As qemu makes them.
rm -f d.vmdk d.raw
qemu-img create -q -f vmdk d.vmdk 10M
truncate -s 10M d.raw
grow 150
used $((10 << 20))

# Without a redundant directory, small tables; one of them odd.
make sparse size=5000 grain=8 gtes=128 rgd=0 alloc=random:20 align=0
grow 7
same

# Flat ones.  Behind the extent the file has zeroes that nobody asked for.
make vmfs size=3001
truncate -s +300K d-flat.vmdk
grow 30
[ "$(stat -c %s d-flat.vmdk)" = $((30 << 20)) ] || fail "its length"
same

# Split ones: within the last extent, up to its border, and over it.
make split kind=sparse size=10000 piece=4096 grain=8 alloc=random:30
grow 6
[ "$(echo d-s*.vmdk | wc -w)" = 3 ] || fail "$(ls)"
grow 10
[ "$(grep -c '^RW 4096 SPARSE "d-s00[1-5]' d.vmdk)" = 5 ] ||
  fail "$(cat d.vmdk)"
used $((6 << 20))

make split kind=flat size=10000 piece=4096
grow 11
[ "$(grep '^RW' d.vmdk | tail -2)" = 'RW 4096 FLAT "d-f005.vmdk" 0
RW 2048 FLAT "d-f006.vmdk" 0' ] || fail "$(cat d.vmdk)"
same

# Only one extent yet: it grows up to 2047 MiB.
make split kind=sparse size=10000 piece=20000 alloc=random:30
grow 5000
[ "$(awk '/^RW/ { print $2 }' d.vmdk | tr '\n' ' ')" = \
  '4192256 4192256 1855488 ' ] || fail "$(cat d.vmdk)"
same

# The geometry is that of the new size.
grep -q '^ddb.geometry.cylinders = "10158"$' d.vmdk || fail "$(cat d.vmdk)"
