#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# OVAs that vmdk-img makes: their members, the OVF, the manifest, and the
# disk; with names that XML, tar or a manifest could take for something else.

. ./functions.sh
requires python3
requires qemu-img --version
requires tar --version

cd "$scratch"
M=1048576

python3 - <<'EOF'
import random
with open('disk.raw', 'wb') as f:
    f.truncate((40 << 20) + 512)
    for offset in 0, 33 << 20, 40 << 20:
        f.seek(offset)
        f.write(random.Random(offset).randbytes(512))
EOF

ova ()
{
  "$vmdk_img" convert -f raw -t streamOptimized --ova "$@"
}

size=$((40 * M + 512))
stored=$((3 * 65536))

# is FILE EXPECTED: what vmdkbuilt.py finds, and copies the disk to x.vmdk.
is ()
{
  python3 "$srcdir/vmdkbuilt.py" ova "$1" x.vmdk > out || fail "$(cat out)"
  [ "$(cat out)" = "$2" ] || fail "$1: $(cat out), expected $2"
}

if ! ova disk.raw vm.ova 2> err; then
  ! grep -q 'without nettle' err || skip "built without nettle"
  fail "$(cat err)"
fi
is vm.ova "vm-disk1.vmdk vm $size $stored 6 lsilogic vmx-07 vm"
qemu-img compare -f raw -F vmdk disk.raw x.vmdk || fail "the disk"
python3 "$srcdir/vmdkbuilt.py" stream x.vmdk disk.raw > out ||
  fail "$(cat out)"

# The disk in it is the one that is made without it, but for its name.
"$vmdk_img" convert -f raw -t streamOptimized disk.raw vm-disk1.vmdk
cmp x.vmdk vm-disk1.vmdk >&2 || fail "another stream than without OVA"

# Other programs: tar, sha256sum, qemu-img in place, and we.
mkdir unpacked
tar -x -f vm.ova -C unpacked 2> err
[ ! -s err ] || fail "tar says $(cat err)"
tar -t -f vm.ova > out
printf '%s\n' vm.ovf vm.mf vm-disk1.vmdk | cmp - out >&2 || fail "$(cat out)"
(cd unpacked; sed 's/SHA256(\(.*\))= \(.*\)/\2  \1/' vm.mf | sha256sum -c) \
  > out 2>&1 || fail "$(cat out)"
if command -v xmllint >/dev/null; then
  xmllint --noout unpacked/vm.ovf
fi
"$vmdk_img" convert -t raw vm.ova back.raw
cmp disk.raw back.raw >&2 || fail "read by us, it is another disk"

# The same disk becomes the same OVA.
mkdir again
ova --threads=1 disk.raw again/vm.ova
cmp vm.ova again/vm.ova >&2 || fail "not the same"

# The machine.
ova --adapter=ide --hw-version=13 disk.raw ide.ova
is ide.ova "ide-disk1.vmdk ide $size $stored 5 - vmx-13 ide"
ova --adapter=buslogic disk.raw bus.ova
is bus.ova "bus-disk1.vmdk bus $size $stored 6 buslogic vmx-07 bus"

# Names.
truncate -s 64K small.raw
name=$'-a <b> & "c"\t\'d\'/é.ova'
mkdir -p "./${name%/*}"
ova small.raw "./$name"
is "./$name" "__-disk1.vmdk __ 65536 0 6 lsilogic vmx-07 é"
name=$'-a <b>&"c"\t\'d\' (1)\xff.OVA'
ova small.raw "./$name"
is "./$name" "_a__b___c___d___1__-disk1.vmdk _a__b___c___d___1__ 65536 0 6 \
lsilogic vmx-07 -a <b>&\"c\"?'d' (1)?"
long=$(printf 'é%.0s' {1..120})
ova small.raw "$long.ova"
is "$long.ova" "$(printf '_%.0s' {1..88})-disk1.vmdk $(
  printf '_%.0s' {1..88}) 65536 0 6 lsilogic vmx-07 $long"

# Nothing is overwritten, or left behind by a failure.
expect_error 'already' "$vmdk_img" convert -f raw --ova -t streamOptimized \
             small.raw vm.ova
is vm.ova "vm-disk1.vmdk vm $size $stored 6 lsilogic vmx-07 vm"
ova --force small.raw vm.ova
is vm.ova "vm-disk1.vmdk vm 65536 0 6 lsilogic vmx-07 vm"
