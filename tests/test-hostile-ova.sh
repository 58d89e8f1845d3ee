#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Archives that mean ill: descriptions which take long to understand, names
# that lead outside, sizes that can't be, more files than anybody needs.

. ./functions.sh
requires python3
cd "$scratch"

# The archive has a.ovf and what follows it.
cat > tar.py <<'EOF'
import io, sys, tarfile
def ova (ovf, members=()):
    with tarfile.open ('hostile.ova', 'w', format=tarfile.USTAR_FORMAT) as t:
        for name, data in [('a.ovf', ovf.encode ()), *members]:
            i = tarfile.TarInfo (name)
            i.size = len (data)
            t.addfile (i, io.BytesIO (data))
def file (ident, href):
    return '<File ovf:id="%s" ovf:href="%s"/>' % (ident, href)
def disk (ident, ref):
    return '<Disk ovf:diskId="%s" ovf:fileRef="%s"/>' % (ident, ref)
EOF
mv tar.py hostiletar.py
make_ova ()
{
  python3 -B -c "from hostiletar import *
$1"
}

# refused PATTERN: soon.
refused ()
{
  expect_error "$1" timeout -k 5 100 "$vmdk_img" check hostile.ova
}

# As much as is accepted; functions of the C library that look no further than
# they must read all of the rest with sanitizers.
n=500000
[ -z "$sanitizers" ] || n=20000

# Many disks for one file whose name is long, and has to be decoded.
many="+ disk ('d', 'f') * ($n // 25)"
make_ova "ova (file ('f', 'x/' * (2 * $n)) $many)"
refused 'the disk x/x.* isn.t in this archive'
make_ova "ova (file ('f', '%41' * $n) $many)"
refused 'the disk AAA.* isn.t in this archive'
# Many files and disks, whose names differ at the end.
make_ova "
p = 'p' * 1900
ova (''.join (file ('f%d' % i, p + '%d' % i) + disk ('d%d' % i, 'f%d' % i)
              for i in range (1000)))"
refused 'there are 1000 disks'
for text in "'<' * (4 * $n)" "'<Disk ' + 'a=\"\" ' * ($n // 2)" \
            "'<Disk diskId=\"' + '&#' * $n" "'<!--' * $n" \
            "'<!x>' * $n" "'<?' * $n"; do
  make_ova "ova ($text)"
  refused 'there is no disk in this archive'
done

# Names lead nowhere but to members of the archive.
head -c 65536 /dev/zero > secret.vmdk
for href in ../secret.vmdk "$PWD/secret.vmdk" secret.vmdk file://secret.vmdk \
            http://127.0.0.1:1/x.vmdk; do
  make_ova "ova (file ('f', '$href') + disk ('d', 'f'))"
  refused "the disk $href, .* isn't in this archive"
done

# ... and don't write messages, or to the terminal.
make_ova "ova (file ('f', 'a&#27;[2J&#10;b%0a%1b.vmdk') + disk ('d', 'f'))"
refused 'the disk a\?\[2J\?b.*, .* isn.t in this archive'
make_ova "ova ('', [('a\x1b[2J\nb.vmdk', b''), ('c.vmdk', b'')])"
refused 'hostile\.ova: there are 2 disks'
"$vmdk_img" info hostile.ova > out 2>&1 || :
if LC_ALL=C grep -q -a $'[\x01-\x08\x0b-\x1f]' out; then
  fail "control characters: $(cat -v out)"
fi
[ "$(grep -c 'J.b\.vmdk' out)" -eq 1 ] || fail "lines: $(cat -v out)"

# Sizes: octal, and GNU's binary ones.
$vmdkgen stream size=400 d.vmdk d.raw
make_ova "
ova (file ('f', 'd.vmdk') + disk ('d', 'f'),
     [('d.vmdk', open ('d.vmdk', 'rb').read ())])"
"$vmdk_img" convert -q -t raw hostile.ova out.raw
cmp out.raw d.raw
mv hostile.ova good.ova
for size in 77777777777 :807fffffffffffffffffffff :80000000ffffffffffffffff \
            :800000007fffffffffffffff :800000007ffffffffffffe00 \
            :ffffffffffffffffffffffff -0000000001 0x000000010; do
  cp good.ova hostile.ova
  python3 - "$size" <<'EOF'
import sys
size = sys.argv[1]
size = bytes.fromhex (size[1:]) if size[0] == ':' else size.encode () + b'\0'
with open ('hostile.ova', 'r+b') as f:
    data = f.read ()
    at = data.index (b'd.vmdk\0\0\0')
    h = bytearray (data[at:at + 512])
    h[124:124 + len (size)] = size
    h[148:156] = b' ' * 8
    h[148:156] = b'%06o\0 ' % sum (h)
    f.seek (at)
    f.write (h)
EOF
  status=0
  timeout -k 5 100 "$vmdk_img" convert -q --force -t raw hostile.ova out.raw \
    > out 2>&1 || status=$?
  case $status in
    0) cmp out.raw d.raw ;; # all of the disk is there
    1) [ "$(wc -l < out)" -le 2 ] || fail "$size: $(cat out)" ;;
    *) fail "$size: status $status: $(cat out)" ;;
  esac
done
