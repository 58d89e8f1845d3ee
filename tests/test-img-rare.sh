#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img: disks that are seldom seen, or not supported.

. ./functions.sh
requires python3
requires jq --version
cd "$scratch"

make ()
{
  rm -f d*.vmdk d.raw
  $vmdkgen "$@" d.vmdk d.raw
}

refused ()
{
  local names

  names=$(ls)
  expect_error "$1" "$vmdk_img" "${@:2}"
  rm -f expect_error.*
  [ "$(ls)" = "$names" ] || fail "${*:2}: left behind: $(ls)"
}

# What isn't a file of ours.
make flat size=4000
sed -i 's/^RW .*/RW 4000 VMFSRDM "d-flat.vmdk"/' d.vmdk
refused 'd.vmdk: line [0-9]*: .*VMFSRDM are mappings of a device' info d.vmdk
"$vmdk_img" convert -q -t raw --extent d-flat.vmdk=d-flat.vmdk d.vmdk x.raw
same_bytes d.raw x.raw
sed -i 's/^RW .*/RW 4000 VMFS "vsan:\/\/2a"/' d.vmdk
refused 'd.vmdk: line [0-9]*: .*lie in a vSAN object store' info d.vmdk
make flat size=4000 'desc.encryption.keySafe=vmware:key/list'
refused 'd.vmdk: the disk is encrypted' info d.vmdk

# A child of a split disk is split at the same places, which may be odd.
make split piece=2600 kind=sparse size=8000
"$vmdk_img" snapshot -t twoGbMaxExtentSparse d.vmdk c.vmdk > /dev/null
[ "$("$vmdk_img" info --json c.vmdk |
     jq -c '[.links[0].extents[].size]')" = \
  '[1331200,1331200,1331200,102400]' ] || fail "$(cat c.vmdk)"
"$vmdk_img" convert -q -t raw --force c.vmdk x.raw
same_bytes d.raw x.raw
rm c*.vmdk

# Extents whose names have no numbers: nothing says how to go on.
mv d-s001.vmdk one.vmdk
sed -i s/d-s004/last/ d.vmdk
mv d-s004.vmdk last.vmdk
sed -i s/d-s001/one/ d.vmdk
refused 'd.vmdk: can.t be resized: .*last.vmdk.*disk-s001.vmdk' \
  resize d.vmdk 1G
rm one.vmdk last.vmdk

# A stream is rebuilt alone.
make stream size=4000
refused 'd.vmdk: is a stream, .*give its name alone' \
  rebuild-descriptor x.vmdk d.vmdk

# Grains that aren't at multiples of their size from the others are not moved.
make sparse size=4000 grain=8 alloc=0-20,50-90/b,100-150
end=$(($(stat -c %s d.vmdk) / 512))
truncate -s +512 d.vmdk
dd if=d.vmdk bs=512 skip="$($vmdkgen peek d.vmdk 'gte[5]')" count=8 \
   status=none >> d.vmdk
$vmdkgen poke d.vmdk 'gte[5]' $((end + 1))
$vmdkgen poke d.vmdk 'rgte[5]' $((end + 1))
"$vmdk_img" compact d.vmdk > out 2> err
grep -q 'd.vmdk: its grains are at odd places, so they keep' err ||
  fail "$(cat err)"
grep -q '^Given back: 168 KiB' out || fail "$(cat out)"
"$vmdk_img" check d.vmdk > out || [ $? -eq 3 ] || fail "$(cat out)"
"$vmdk_img" convert -q -t raw --force d.vmdk x.raw
same_bytes d.raw x.raw
make stream size=4000

# In one of our OVAs, numbered characters stand for themselves.
"$vmdk_img" convert -q -t streamOptimized --ova d.vmdk "$PWD/a.ova"
python3 - <<'EOF'
old = open ('a.ova', 'rb').read ()
new = old.replace (b'ovf:href="a-disk1.vmdk"',
                   b'ovf:href="&#97;-disk&#x31;.vmdk"')
n = len (new) - len (old)
assert n > 0
size = int (new[124:135], 8)
new = bytearray (new)
end = new.index (b'</Envelope>') + 12
assert new[end:end + n] == bytes (n)
del new[end:end + n]
new[124:135] = b'%011o' % (size + n)
new[148:156] = b' ' * 8
new[148:156] = b'%06o\0 ' % sum (new[:512])
open ('b.ova', 'wb').write (new)
EOF
"$vmdk_img" convert -q -t raw --force b.ova x.raw 2> err || fail "$(cat err)"
same_bytes d.raw x.raw

# Archives with something odd in front of one that is sound.
python3 - <<'EOF'
def header (kind, size, name = b'odd'):
    h = bytearray (512)
    h[0:len (name)] = name
    h[124:136] = b'%011o\0' % size
    h[148:156] = b' ' * 8
    h[156:157] = kind
    h[257:265] = b'ustar\x0000'
    h[148:156] = b'%06o\0 ' % sum (h)
    return bytes (h)

def record (kind, text):
    return header (kind, len (text)) + text + bytes (-len (text) % 512)

sound = open ('a.ova', 'rb').read ()
for name, front in (
        ('global', record (b'g', b'16 comment=none\n')),
        ('link', record (b'K', b'target\0')),
        ('sparse', record (b'x', b'22 GNU.sparse.major=1\n')),
        ('long', header (b'x', 1 << 30)),
        ('text', record (b'x', b'what is this?')),
        ('size', record (b'x', b'9 size=x\n'))):
    open (name + '.ova', 'wb').write (front + sound)
open ('many.ova', 'wb').write (b''.join (
    header (b'0', 0, b'disk%d.vmdk' % i) for i in range (1030)))
open ('some.ova', 'wb').write (b''.join (
    header (b'0', 0, b'disk%d.vmdk' % i) for i in range (500)))
EOF
for name in global link; do
  "$vmdk_img" convert -q -t raw --force $name.ova x.raw 2> err ||
    fail "$name: $(cat err)"
  same_bytes d.raw x.raw
done
refused 'sparse.ova: a.ovf is stored in it without its holes' info sparse.ova
refused 'long.ova: .* at offset 0: an extended header is too long' \
  info long.ova
refused 'text.ova: .* offset 0: an extended header can.t be understood' \
  info text.ova
refused 'size.ova: .* offset 0: the size of a file is no number' info size.ova
refused 'many.ova: there are more than 1024 disks' info many.ova
refused 'some.ova: there are 500 disks .* disk[0-9]*.vmdk and [0-9]* more' \
  map some.ova

# A stream whose size was to be in its footer, which is lost: the markers say.
make stream size=4096 alloc=all
$vmdkgen poke d.vmdk kdmv.capacity 0
truncate -s -1536 d.vmdk
"$vmdk_img" convert -q -t raw --force --recover d.vmdk x.raw
same_bytes d.raw x.raw

# What is said while threads copy comes through.
make sparse size=4000 alloc=all
$vmdkgen poke d.vmdk 'gte[5]' 99999999
"$vmdk_img" convert -t raw --force --debug=tables d.vmdk x.raw > out 2> err
same_bytes d.raw x.raw
grep -q 'warning: d.vmdk: grain table 0 is damaged' err || fail "$(cat err)"
grep -q 'debug: d.vmdk: loading the grain directory' err || fail "$(cat err)"
