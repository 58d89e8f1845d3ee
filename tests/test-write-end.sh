#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Entries past the end of the file, as programs that crashed leave them: no
# new grain gets the place of one, and the file doesn't grow up to them all.
# And the end that no file can grow beyond.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

# lost GRAIN=SECTORS...: an entry for each, so far behind the end.
lost ()
{
  local item place

  new_disk "${kind:-sparse}" size=40000 alloc=0-9 ${options:-}
  file=$(echo d-*.vmdk)
  [ -e "$file" ] || file=d.vmdk
  end=$(($(stat -c %s $file) / 512))
  for item; do
    place=$((${item#*=} + end))
    echo "gte[${item%=*}]=$place"
    [ "${kind:-sparse}" = cowd ] || echo "rgte[${item%=*}]=$place"
  done | tr '\n' ' ' > entries
  echo >> entries
  python3 "$srcdir/spoil.py" $file < entries
  mv case-1 $file
}

# no_alias: all entries have places of their own.
no_alias ()
{
  local twice

  twice=$($written places $file | tr ' ' '\n' | cut -d : -f 2 | sort -n |
            awk -v g="${1:-128}" 'NR > 1 && $1 - last < g { print }
                                  { last = $1 }')
  [ -z "$twice" ] || fail "aliases: $twice in $($written places $file)"
}

# The first of what would be given to new grains, and others behind it.
lost 20=0 21=128 22=10000
serve d.vmdk
# They can't be read as long as there is nothing.
refused 5 read $((20 * grain)) 1 read $((22 * grain)) 1
change write $((30 * grain)) $((10 * grain)) new.raw
[ "$(server_warnings | grep -c '3 entries speak of what is behind')" = 1 ] || fail "no warning: $(cat "$server_log")"
server_warnings | grep -q 'd\.vmdk: ' || fail "it doesn't name the file"
no_alias
# Now there is something, and what is written there remains.
change zero $((20 * grain)) $((3 * grain))
change write $((22 * grain + 5)) 100 0x99 write $((20 * grain)) 7 0x98
right
stop_server
no_alias
serve d.vmdk
right
change write $((50 * grain)) $((10 * grain)) new.raw
right
no_alias
stop_server

# Hundreds of them, and so far away that the file must not grow up to there.
set --
for i in $(seq 100 400); do
  set -- "$@" $i=$((i * 137))
done
lost "$@" 20=128 21=0xf0000000
serve d.vmdk
change write $((50 * grain)) $((40 * grain)) new.raw
no_alias
[ "$(stat -c %s d.vmdk)" -lt $((64 << 20)) ] ||
  fail "the file has grown to $(stat -c %s d.vmdk)"
stop_server
no_alias
[ "$(stat -c %s d.vmdk)" -lt $((64 << 20)) ]

# A file that was cut in the middle of a grain: what is there remains.
lost
truncate -s -30000 d.vmdk
truncate -s $((10 * grain - 30000)) d.raw
truncate -s $((40000 * 512)) d.raw
serve d.vmdk
right
change write $((20 * grain)) $((2 * grain)) new.raw
right
change write $((10 * grain - 10)) 10 0x44
stop_server
no_alias
serve d.vmdk -r
right
stop_server
qemu_right

# COWD, where freeSector must not be below them either.
kind=cowd options='grain=8' lost 20=0 21=8 22=4000
serve d.vmdk
change write $((30 * 4096)) $((100 * 4096)) new.raw
no_alias 8
change zero $((20 * 4096)) $((3 * 4096)) write $((22 * 4096)) 4096 new.raw
stop_server
no_alias 8
[ "$(field $file cowd.freeSector)" -ge $((end + 4008)) ] ||
  fail "freeSector is $(field $file cowd.freeSector)"
serve d.vmdk -r
right
stop_server

#----------------------------------------------------------------------
# 32 bits are enough for 2 TiB of a file.

new_disk sparse size=40000 alloc=0-9
file=d.vmdk
truncate -s $((2**41 - 65536)) d.vmdk 2> /dev/null ||
  skip "there can't be so long a file here"
serve d.vmdk
change write $((20 * grain)) 100 new.raw
refused 28 write $((30 * grain)) 100 0x55 \
        write $((31 * grain - 1)) 131072 0x55
server_errors | grep -q "d.vmdk: the extent can't grow beyond $((2**41))" ||
  fail "no message: $(cat "$server_log")"
# What is there can be written as before.
change write $((3 * grain)) $((2 * grain)) new.raw flush
right
stop_server
no_alias
# qemu and the rest of us read it.
serve d.vmdk -r
right
stop_server
qemu_right
