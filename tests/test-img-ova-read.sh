#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Disks in OVA files: which there are, how one is chosen, that what is read
# is what unpacking gives; and archives that are damaged, or mean harm.

. ./functions.sh
requires python3
requires jq

cd "$scratch"

# guest IMAGE FILE [ARGS...]: the guest's bytes, as vmdk-img reads them.
guest ()
{
  rm -f "$2"
  "$vmdk_img" convert -q -t raw "$1" "$2" "${@:3}" || fail "convert $*"
}

# info_json FILTER ARGS...: what info says of it.
info_json ()
{
  "$vmdk_img" info --json "${@:2}" > info.json || fail "info ${*:2}"
  jq -c "$1" info.json
}

# is EXPECTED FOUND
is ()
{
  [ "$1" = "$2" ] || fail "expected $1, found $2"
}

# A tar of its own, to make also what no tar program would: OUT ITEM...,
# where an item is HOW:NAME=FILE.
cat > tar.py <<'EOF'
import sys

def number (n, how):
    return (b'\x80' + n.to_bytes (11, 'big') if how == 'binary' else
            b'%011o\0' % n)

def header (name, size, type = b'0', magic = b'ustar\x0000', how = 'octal',
            prefix = b''):
    b = bytearray (512)
    b[0:len (name)] = name
    b[100:108] = b'0000644\0'
    b[124:136] = size if isinstance (size, bytes) else number (size, how)
    b[136:148] = b'%011o\0' % 0
    b[148:156] = b' ' * 8
    b[156:157] = type
    b[257:265] = magic
    b[345:345 + len (prefix)] = prefix
    b[148:156] = b'%06o\0 ' % sum (b)
    return bytes (b)

def pad (data):
    return data + bytes (-len (data) % 512)

def item (what):
    how, _, rest = what.partition (':')
    name, _, file = rest.partition ('=')
    name = name.encode ('unicode_escape').replace (b'\\\\', b'\\')
    name = name.decode ('unicode_escape').encode ('latin-1')
    data = b'' if how == 'size' or not file else open (file, 'rb').read ()
    if how == 'file':
        return header (name, len (data)) + pad (data)
    if how == 'gnu':     # as old GNU tar wrote it, with a long name
        return (header (b'././@LongLink', len (name) + 1, b'L',
                        b'ustar  \0') + pad (name + b'\0') +
                header (name[:100], len (data), magic = b'ustar  \0') +
                pad (data))
    if how == 'pax':     # path and size are in records
        r = b''
        for k, v in ((b'path', name), (b'size', b'%d' % len (data))):
            n = len (k) + len (v) + 3
            n += len (str (n + len (str (n))))
            r += b'%d %s=%s\n' % (n, k, v)
        return (header (b'x', len (r), b'x') + pad (r) +
                header (b'wrong', 0) + pad (data))
    if how == 'prefix':
        d, _, n = name.rpartition (b'/')
        return header (n, len (data), prefix = d) + pad (data)
    if how == 'binary':
        return header (name, len (data), how = 'binary') + pad (data)
    if how == 'size':    # size:NAME=SIZE, in any spelling
        return header (name, file.encode ('latin-1').decode (
            'unicode_escape').encode ('latin-1').ljust (12, b'\0'))
    if how == 'past':    # says that it has 1 GiB
        return header (name, 1 << 30) + data
    if how == 'sparse':
        return header (name, len (data), b'S', b'ustar  \0') + pad (data)
    if how == 'folder':
        return header (name, 0, b'5')
    if how == 'many':
        return b''.join (header (b'm%d' % i, 0) for i in range (100)) * (
            int (name) // 100)
    if how == 'bad':
        return b'x' * 512
    if how == 'end':
        return bytes (1024)
    raise SystemExit (how)

for line in sys.stdin:
    archive, *items = line.rstrip ('\n').split ('\x1f')[:-1]
    with open (archive, 'wb') as out:
        for what in items:
            out.write (item (what))
    print ('done', flush = True)
EOF
coproc python { exec python3 tar.py; }
tar ()
{
  local reply

  printf '%s\x1f' "$@" >&"${python[1]}"
  echo >&"${python[1]}"
  read -r reply <&"${python[0]}" || fail "tar.py $*"
}

# ovf FILE...: a description with these disks.
ovf ()
{
  local f n=0

  echo '<?xml version="1.0"?><!-- <Disk ovf:diskId="no"> -->'
  echo '<x:Envelope xmlns:x="y"><x:References>'
  for f; do
    n=$((n + 1))
    echo "<x:File x:id='f$n' x:href=\"$f\"/>"
  done
  echo '</x:References><DiskSection><Info><![CDATA[<Disk diskId="x"'
  echo 'fileRef="f1" />]]></Info>'
  while [ $n -gt 0 ]; do
    echo "<Disk ovf:capacity = '$n' ovf:capacityAllocationUnits='byte *2^ 30'"
    echo "  ovf:diskId='d&amp;$n' ovf:fileRef='f$n'/>"
    n=$((n - 1))
  done
  echo '<Disk ovf:diskId="empty" ovf:capacity="7"/></DiskSection></x:Envelope>'
}

$vmdkgen stream size=3000 alloc=every:3 a.vmdk a.raw
$vmdkgen stream size=5000 alloc=every:2 b.vmdk b.raw
ovf a.vmdk > one.ovf
ovf a.vmdk 'b%20c.vmdk' > two.ovf

# One disk: nothing needs to be named, and nothing is unpacked.
tar one.ova file:one.ovf=one.ovf file:a.vmdk=a.vmdk end:
guest one.ova raw
same_bytes a.raw raw
for name in a.vmdk 'd&1' f1; do
  is '["vmdk",1536000,"one.ova(a.vmdk)"]' "$(info_json \
    '[.format, ."virtual-size", .links[0].file]' one.ova --member="$name")"
done
is '["stream",null]' "$(info_json \
  '.links[0].extents[0] | [.format, ."actual-size"]' one.ova)"
"$vmdk_img" check one.ova > text || fail "check: $(cat text)"

# Two: one must be chosen, and info lists them.
tar two.ova file:two.ovf=two.ovf 'file:b c.vmdk=b.vmdk' file:a.vmdk=a.vmdk end:
expect_error '^vmdk-img: two.ova: there are 2 disks .*--member=NAME: .*a\.vmdk' \
             "$vmdk_img" map two.ova
expect_error 'two.ova: there is no disk called c.*: b c\.vmdk, a\.vmdk$' \
             "$vmdk_img" info two.ova --member=c
is '["ova",["b c.vmdk","d&2",2147483648,false],["a.vmdk","d&1",1073741824,false]]' \
  "$(info_json '[.format, (.disks[] | [.name, ."disk-id", .capacity,
     .compressed])]' two.ova)"
is "$(stat -c %s b.vmdk)" "$(jq '.disks[0]."file-size"' info.json)"
"$vmdk_img" info two.ova > text
grep -q '^  b c\.vmdk: .* disk of 2 GiB, ID d&2$' text || fail "$(cat text)"
guest two.ova raw --member='b c.vmdk'
same_bytes b.raw raw
guest two.ova raw --member=a.vmdk
same_bytes a.raw raw

# Every way to write a name and a size.
long=$(printf 'n%.0s' {1..150}).vmdk
ovf "$long" > long.ovf
for how in gnu pax binary prefix; do
  name=$long
  [ $how != binary ] || name=a.vmdk
  [ $how != prefix ] || name=dir/$long
  [ $how != prefix ] || name=dir/a.vmdk
  ovf "./$name" > x.ovf
  tar x.ova folder:dir file:./x.ovf=x.ovf "$how:$name=a.vmdk" end:
  guest x.ova raw
  same_bytes a.raw raw
done

# Without a description, names decide.  The last of two counts, as it does
# when they are unpacked.
tar x.ova file:readme=tar.py file:A.VMDK=b.vmdk file:A.VMDK=a.vmdk
guest x.ova raw
same_bytes a.raw raw

# Pieces, also so many that each has a few bytes only.
split -b 1000 -a 9 -d a.vmdk piece.vmdk.
items=()
for f in piece.vmdk.*; do
  items+=("file:$f=$f")
done
[ ${#items[@]} -gt 20 ] || fail "only ${#items[@]} pieces"
ovf piece.vmdk | sed "s/<x:File /&x:chunkSize='1000' x:size='$(stat -c %s \
  a.vmdk)' /" > x.ovf
tar x.ova file:x.ovf=x.ovf "${items[@]}" end:
guest x.ova raw
same_bytes a.raw raw
tar y.ova "${items[@]}"
is 1536000 "$(info_json '."virtual-size"' y.ova)"
unset 'items[7]'
tar x.ova file:x.ovf=x.ovf "${items[@]}" end:
expect_error 'x.ova: the 7 pieces of piece.vmdk .* have 7000 bytes, but it' \
             "$vmdk_img" info x.ova

# What can't be read in place.
gzip -c a.vmdk > a.gz
tar x.ova file:one.ovf=one.ovf file:a.vmdk=a.gz end:
expect_error 'x.ova: a.vmdk is compressed as a whole' "$vmdk_img" info x.ova
tar x.ova file:one.ovf=one.ovf sparse:a.vmdk=a.vmdk end:
expect_error 'x.ova: a.vmdk is stored in it without its holes' \
             "$vmdk_img" info x.ova
$vmdkgen flat size=100 flat.vmdk
tar x.ova file:flat.vmdk=flat.vmdk file:flat-flat.vmdk=flat-flat.vmdk end:
expect_error 'x.ova\(flat.vmdk\): this is only the descriptor of a disk' \
             "$vmdk_img" info x.ova --member=flat.vmdk
tar x.ova file:one.ovf=one.ovf file:a.vmdk=one.ova end:
expect_error 'x.ova\(a.vmdk\): this is a tar archive' "$vmdk_img" info x.ova

# A disk that isn't there, and none at all.
tar x.ova file:one.ovf=one.ovf end:
expect_error 'x.ova: the disk a.vmdk, .* isn.t in this archive' \
             "$vmdk_img" info x.ova
tar x.ova file:readme=tar.py end:
expect_error 'x.ova: there is no disk in this archive' "$vmdk_img" info x.ova
tar x.ova file:two.ovf=two.ovf file:a.vmdk=a.vmdk end:
is '[["b%20c.vmdk",true],["a.vmdk",false]]' "$(info_json \
  '[.disks[] | [.name, .missing]]' x.ova | sed 's/b c/b%20c/')"
guest x.ova raw --member=a.vmdk
same_bytes a.raw raw
expect_error 'a.vmdk: this is no OVA, so there is nothing called x' \
             "$vmdk_img" info a.vmdk --member=x

# Damage, and worse.
head -c -2600 one.ova > x.ova
expect_error 'x.ova\(a.vmdk\): ' "$vmdk_img" info x.ova
grep -q 'warning: x.ova: the archive ends before a.vmdk does' expect_error.err ||
  fail "no word of what is missing"
# What was downloaded of a stream can be read.
"$vmdk_img" map -q --recover x.ova > text || fail "what is left can't be read"
head -c 300 one.ova > x.ova
expect_error '^vmdk-img: x.ova: ' "$vmdk_img" info x.ova
tar x.ova file:one.ovf=one.ovf bad: file:a.vmdk=a.vmdk
expect_error 'x.ova: the archive is damaged: at offset [0-9]+: this isn' \
             "$vmdk_img" info x.ova
tar x.ova file:one.ovf=one.ovf past:a.vmdk=a.vmdk
guest x.ova raw
same_bytes a.raw raw
for size in 77777777777 '\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff' ; do
  tar x.ova file:one.ovf=one.ovf "size:a.vmdk=$size"
  expect_error '^vmdk-img: x.ova\(a.vmdk\): ' "$vmdk_img" info x.ova
done
for size in '\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff' \
            '\x80\x01\0\0\0\0\0\0\0\0\0\0' '\xff' '8' '-1' '1x'; do
  tar x.ova file:one.ovf=one.ovf "size:a.vmdk=$size"
  expect_error 'x.ova: the archive is damaged: .*size' "$vmdk_img" info x.ova
done
tar x.ova many:100000
expect_error 'x.ova: the archive has more than 65536 files' \
             "$vmdk_img" info x.ova
tar x.ova many:60000 file:a.vmdk=a.vmdk end:
"$vmdk_img" info x.ova > text || fail "60000 files are too many"

# Names are never names of files here; nor do they reach the terminal.
ovf '../../etc/passwd' '/etc/passwd' > x.ovf
tar x.ova file:x.ovf=x.ovf end:
expect_error 'x.ova: the disk /etc/passwd, .* isn.t in this archive' \
             "$vmdk_img" info x.ova --member=/etc/passwd
tar x.ova file:../../x.vmdk=a.vmdk end:
is '"x.ova(../../x.vmdk)"' "$(info_json '.links[0].file' x.ova)"
tar x.ova 'file:a\x1b[31m.vmdk=a.vmdk' 'file:b\x07.vmdk=flat.vmdk' end:
for args in '' --json --member=$'b\a.vmdk'; do
  "$vmdk_img" info x.ova $args > text 2>&1 || :
  if grep -q -P '[\x00-\x09\x0b-\x1f]' text; then
    fail "control characters: $(cat -v text)"
  fi
done

# A description that is none.
for text in '' '<' '<Disk' '<Disk a' '<Disk a=' "<Disk a='" '<!--' '<!' '<a/' \
            '<Disk ovf:diskId="&#x110000;" fileRef="&#0;"/>' '&' '<?'; do
  printf %s "$text" > x.ovf
  tar x.ova file:x.ovf=x.ovf file:a.vmdk=a.vmdk end:
  "$vmdk_img" info x.ova > text || fail "with the description '$text'"
done
truncate -s 5M x.ovf
tar x.ova file:x.ovf=x.ovf file:a.vmdk=a.vmdk end:
expect_error 'x.ova: the description of the machine, x.ovf, has 5242880 bytes' \
             "$vmdk_img" info x.ova

# Served.
requires nbdcopy
serve file=two.ova member=a.vmdk
check_server a.raw
nbdinfo "$uri" | grep -q 'is_read_only: true' || fail "it isn't read-only"
stop_server

# Those of other programs.
requires_images multi-disk.ova vcloud.ova chunked.ova ova-without-disk.ova
requires qemu-img
python3 - "$VMDK_IMAGES" <<'EOF'
import sys, tarfile
for archive, disk in (('multi-disk', 'disk0.vmdk'), ('multi-disk', 'disk2.vmdk'),
                      ('vcloud', ''), ('chunked', '')):
    with tarfile.open ('%s/%s.ova' % (sys.argv[1], archive)) as t, \
         open (archive + disk + '.unpacked', 'wb') as out:
        for m in sorted (t.getmembers (), key = lambda m: m.name):
            if '.vmdk' in m.name and disk in m.name:
                out.write (t.extractfile (m).read ())
EOF
# compare ARCHIVE [DISK]
compare ()
{
  qemu-img convert -f vmdk -O raw "$1${2:-}.unpacked" other.raw
  guest "$(image "$1.ova")" raw ${2:+--member="$2"}
  same_bytes other.raw raw
}
compare multi-disk disk0.vmdk
compare multi-disk disk2.vmdk
compare vcloud
compare chunked
expect_error 'ova-without-disk.ova: the disk testserver-disk1.vmdk, .* isn.t' \
             "$vmdk_img" info "$(image ova-without-disk.ova)"
