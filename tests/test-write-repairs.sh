#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Images that are odd without being marked as such, and what writing must
# not make of them: entries that become right once the file has grown, tables
# and files that have two uses, and descriptors that have to be corrected.

. ./functions.sh
. "$srcdir/writing.sh"

grain=4096

# spoiled TEXT: d.vmdk becomes so; see spoil.py.
spoiled ()
{
  python3 "$srcdir/spoil.py" d.vmdk <<< "$1"
  mv case-1 d.vmdk
}

# only_read DISK PATTERN [ARGS...]: it is served, but nothing is written, and
# the message matches.
only_read ()
{
  local before

  before=$(sha256sum d*.vmdk)
  serve "$1" "${@:3}"
  nbd write 600 1 0x55 > found 2>&1 || :
  ! grep -q -x ok found || fail "$1 was written"
  server_errors | grep -q -E -e "$2" ||
    fail "no message that matches: $2: $(cat "$server_log")"
  nbd read 0 1 > found
  ! grep -q error found || fail "$1 can't be read: $(cat "$server_log")"
  stop_server
  [ "$before" = "$(sha256sum d*.vmdk)" ] || fail "$1: a file has changed"
}

#----------------------------------------------------------------------
# An entry past the end, in one copy only: readers take the other one, and
# must still do so when the file has grown to where the entry says.

# grown TEXT GRAIN...: d.vmdk, spoiled so, grows by more than a MiB; at the
# end these grains, and all others, have what they had in the beginning.
grown ()
{
  local behind g

  behind=$(($(stat -c %s d.vmdk) / 512 + 2048))
  spoiled "${1//BEHIND/$behind}"
  shift
  [ "$(field d.vmdk kdmv.uncleanShutdown)" = 0 ]
  serve d.vmdk
  right
  change write $((512 * grain)) $((500 * grain)) new.raw
  right
  stop_server
  [ $(($(stat -c %s d.vmdk) / 512)) -gt $((behind + 8)) ] ||
    fail "the file hasn't grown to sector $behind"
  serve d.vmdk
  right
  change write $((1100 * grain + 9)) 100 new.raw
  right
  stop_server
  serve d.vmdk -r
  right
  stop_server
  "$vmdk_img" check d.vmdk > check.out 2>&1 || :
  ! grep '^[^ ]*: error: ' check.out >&2 || fail "check: $(cat check.out)"
  # The first copy, which is all that other programs may read, is right.
  [ -n "${no_qemu:-}" ] || qemu_right
  for g; do
    [ "$(field d.vmdk "gte[$g]")" != "$behind" ] ||
      fail "the entry of grain $g is as it was"
  done
}

chain ()
{
  new_disk chain size=10000 layers="sparse alloc=all grain=8;
    sparse alloc=0-2,10-19,600-609 grain=8"
}

# What the other copy says is that the grain is the parent's,
chain
grown 'gte[5]=BEHIND' 5
# or an entry that was there before.
chain
grown 'gte[12]=BEHIND' 12
chain
grown 'gte[5]=BEHIND gte[12]=BEHIND gte[511]=BEHIND' 5 12 511
# The same without a parent, where it is zeroes.
new_disk sparse size=10000 grain=8 alloc=0-2,10-19,600-609
grown 'gte[5]=BEHIND gte[12]=BEHIND' 5 12

#----------------------------------------------------------------------
# A directory all of which is the same table.

new_disk sparse size=40000 grain=8 alloc=0
table=$(field d.vmdk 'gde[0]') mirror=$(field d.vmdk 'rgde[0]')
python3 -c '
import sys
sectors = 1 << 29
directory = sectors // 4096 * 4
table, mirror = (int(n).to_bytes(4, "little") for n in sys.argv[1:])
with open("d.vmdk", "r+b") as f:
    end = f.seek(0, 2)
    f.write(mirror * (directory // 4))
    f.write(table * (directory // 4))
    text = b"RW 40000 SPARSE"
    f.seek(512)
    found = f.read(20 * 512)
    assert text in found
    found = found.replace(text, b"RW %d SPARSE" % sectors)[:20 * 512]
    f.seek(512)
    f.write(found)
    print("kdmv.capacity=%d kdmv.rgdOffset=%d kdmv.gdOffset=%d"
          % (sectors, end // 512, (end + directory) // 512))
' "$table" "$mirror" > fields
spoiled "$(cat fields)"
begun=${EPOCHREALTIME/.}
only_read d.vmdk "d.vmdk: can't be written: its directory names 131072 "
took=$(((${EPOCHREALTIME/.} - begun) / 1000))
[ -n "$sanitizers" ] || [ "$took" -lt 2000 ] || fail "it took $took ms"

#----------------------------------------------------------------------
# A file descriptor with O_APPEND, through which all would go to the end.

new_disk sparse size=4001 alloc=mixed:50
plain=("${nbdkit_command[@]}")
nbdkit_command=(python3 -c '
import os, sys
os.dup2(os.open("d.vmdk", os.O_RDWR | os.O_APPEND), 7)
os.execvp(sys.argv[1], sys.argv[1:])' "${plain[@]}")
serve fd=7
nbdkit_command=("${plain[@]}")
change write 5 100 new.raw write 65536 $((30 * 65536)) new.raw \
       zero 300000 200000 flush
right
quiet
closed_right
check_quiet

#----------------------------------------------------------------------
# An extent in the file of the descriptor, which is replaced as a whole.

new_disk flat size=2000
for shared in 'RDONLY 1 FLAT "d.vmdk" 0' 'RW 1 FLAT "d.vmdk" 0'; do
  cat > d.vmdk <<END
# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="custom"
$shared
RW 2000 FLAT "d-flat.vmdk" 0

ddb.adapterType = "ide"
END
  truncate -s 1024 d.vmdk
  only_read d.vmdk "d.vmdk: can't be written: .*lies in the file of its desc"
done

#----------------------------------------------------------------------
# A content ID of seven digits becomes one of eight: the text gets longer.

new_disk flat size=2000 alloc=all
sed -i 's/^CID=.*/CID=1234567/' d.vmdk
size=$(stat -c %s d.vmdk)
text=$(sed '/^CID=/d' d.vmdk)
serve d.vmdk
right
change write 700 100 0x55
cid=$(sed -n 's/^CID=//p' d.vmdk)
[[ $cid =~ ^[0-9a-f]{8}$ ]] || fail "CID=$cid"
change write 9 9 0x56 zero 5000 9999 flush
quiet
closed_right
[ "$(sed -n 's/^CID=//p' d.vmdk)" = "$cid" ] || fail 'changed twice'
[ "$(stat -c %s d.vmdk)" = $((size + 1)) ]
[ "$(sed '/^CID=/d' d.vmdk)" = "$text" ] || fail "$(cat d.vmdk)"
serve d.vmdk
change write 9 1 0x57
quiet
closed_right
[[ $(sed -n 's/^CID=//p' d.vmdk) =~ ^[0-9a-f]{8}$ ]] || fail "$(cat d.vmdk)"
