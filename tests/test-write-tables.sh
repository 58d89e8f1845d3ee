#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Writes to where the directory has no table yet make one, and in each copy.
# COWD's freeSector is right at the end, whatever it was before.

. ./functions.sh
. "$srcdir/writing.sh"

grain=4096
table=$((512 * grain))

# fill NUMBER...: a grain or two in each of these tables.
fill ()
{
  local i

  for i; do
    set -- "$@" write $((i * table + 7 * grain)) $((grain + 5)) new.raw
    shift
  done
  change "$@"
}

# tables ARGS...: of a disk with four tables, of which one is there.
tables ()
{
  new_disk sparse size=16001 grain=8 gdes=used "$@"
  serve d.vmdk
  fill 3 1 0 2
  right
  change flush
  # While it is open, too.
  [ "$($written sound d.vmdk || :)" = 'd.vmdk: uncleanShutdown is set' ] ||
    fail "$($written sound d.vmdk)"
  quiet
  closed_right
  check_quiet
  $written places d.vmdk | tr ' ' '\n' | cut -d : -f 1 > found
  for i in 0 1 2 3; do
    grep -q -x $((i * 512 + 8)) found || fail "no grain in table $i"
  done
}

tables alloc=3
tables alloc=3 rgd=0
tables alloc=600 tables=end
# The border of two tables, neither of which is there.
new_disk sparse size=16001 grain=8 gdes=used alloc=none
serve d.vmdk
change write $((2 * table - 100)) 200 0x77 write $((table - grain)) $grain 0x33
quiet
closed_right
[ "$(field d.vmdk 'gde[3]') $(field d.vmdk 'rgde[3]')" = '0 0' ] ||
  fail 'a table that nobody needed was made'

# All are there in one directory, and none in the one that isn't used: an
# entry without table is as good as one with an empty table.
new_disk split piece=8192 size=16001 grain=8 gdes=used alloc=0
serve d.vmdk
fill 0 1 2 3
quiet
closed_right
check_quiet

# What was made isn't overlooked before it is in the file: there a
# whole page of the directory, tables 4096 to 5119, is a hole.
rm d.vmdk
$vmdkgen sparse size=$((8 * 512 * 6000)) grain=8 gdes=used alloc=none align=0 \
         d.vmdk
serve d.vmdk
place=$((4100 * table))
[ "$(nbd write $place $grain 0x42)" = ok ]
from=$((4090 * table))
found=$(nbd extents $from $((20 * table)))
[ "$(tr ' ' '\n' <<< "$found" | sed -n 2p)" = "$place:$grain:0" ] ||
  fail "wrong extents: $found"
stop_server

#----------------------------------------------------------------------
# COWD: each table has 4096 grains.

# cowd FREE ARGS...: FREE is what freeSector says before, or empty.
cowd ()
{
  local file=d-delta.vmdk size

  new_disk cowd "${@:2}"
  [ -z "$1" ] || $vmdkgen poke $file cowd.freeSector "$1"
  serve d.vmdk
  change write 5000 1 0x55 write $((3 * (1 << 20))) 100000 0x66 \
         write $(($(stat -c %s d.raw) - 99)) 99 0x77
  right
  quiet
  closed_right
  check_quiet
  size=$(stat -c %s $file)
  [ "$(field $file cowd.freeSector)" -eq $((size / 512)) ] ||
    fail "freeSector is $(field $file cowd.freeSector), the file $size bytes"
}

cowd '' size=20001 grain=1 alloc=none
cowd '' size=20001 grain=1 alloc=random:50
cowd '' size=20001 grain=8 alloc=10-20 slack=100
# As other programs leave it, which never change it.
cowd 10 size=20001 grain=1 alloc=random:10
cowd 10 size=20001 grain=8 alloc=random:10 order=random
# Behind the end.
cowd 123456789 size=20001 grain=8 alloc=random:10
cowd 0xffffffff size=20001 grain=8 alloc=random:10
