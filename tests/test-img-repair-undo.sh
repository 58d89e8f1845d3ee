#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img repair: whatever happens to a repair, the undo file brings back
# every byte; and none is used, or made, where that would do harm.

. ./functions.sh
requires python3
requires jq --version
cd "$scratch"

# 20 grains share the place of another one, and get copies.
$vmdkgen sparse size=70000 alloc=0-29 rgd=0 bad.vmdk
at=$(($($vmdkgen where bad.vmdk 'gte[100]')))
$vmdkgen patch bad.vmdk $at hex "$(printf '00010000%.0s' {1..20})"

fresh ()
{
  rm -f x.vmdk*
  cp bad.vmdk x.vmdk
}

is_bad ()
{
  cmp bad.vmdk x.vmdk >&2 || fail "$1: not what it was before"
}

# take_back: of a repair that was killed.
interrupted=0
take_back ()
{
  if [ -e x.vmdk.undo ]; then
    if ! "$vmdk_img" repair --quiet x.vmdk 2>err; then
      grep -q 'x\.vmdk\.undo: .*interrupted.*--undo' err || fail "$(cat err)"
      interrupted=$((interrupted + 1))
    fi
    "$vmdk_img" repair --quiet --undo x.vmdk || fail "undo: $1"
  fi
  is_bad "$1"
}

# More than 64 KiB that follow each other: both directories of 1400 GiB are
# lost, which is also more than what a round puts right of other entries.
"$vmdk_img" create --quiet -t monolithicSparse x.vmdk 1400G
python3 - x.vmdk <<'END'
import struct
import sys
with open(sys.argv[1], 'r+b') as f:
    rgd, gd = struct.unpack('<QQ', f.read(64)[48:])
    for start in rgd, gd:
        f.seek(start * 512)
        f.write(b''.join(struct.pack('<I', 0xfffffff0 - i)
                         for i in range(1400 * 32)))
END
cp --sparse=always x.vmdk lost.vmdk
"$vmdk_img" repair --quiet x.vmdk
"$vmdk_img" check --quiet x.vmdk || fail "1400 GiB: not repaired"
"$vmdk_img" repair --quiet --undo x.vmdk
cmp x.vmdk lost.vmdk >&2 || fail "1400 GiB: not what it was before"
rm lost.vmdk

# Killed at any point: the image is as before, or the undo file makes it so.
for i in {1..3}; do
  fresh
  "$vmdk_img" repair --quiet x.vmdk & pid=$!
  sleep "0.0$((RANDOM % 5))$((RANDOM % 10))"
  kill -KILL $pid 2>/dev/null || :
  wait $pid 2>/dev/null || :
  take_back "killed"
done

# Killed in the middle for certain: before one of the writes to the image.
if strace -V >/dev/null 2>&1; then
  interrupted=0
  for i in 1 10 20 21; do
    fresh
    strace -qq -o trace -P "$PWD/x.vmdk" \
           -e inject=pwrite64:signal=KILL:when=$i \
           "$vmdk_img" repair --quiet x.vmdk 2>/dev/null && break
    take_back "killed at write $i"
  done
  [ $interrupted -ge 2 ] || fail "only $interrupted repairs were interrupted"
fi

# Half of the changes made by hand: the same as if it had been interrupted.
fresh
"$vmdk_img" repair --quiet x.vmdk
cp x.vmdk good.vmdk
dd if=bad.vmdk of=x.vmdk bs=512 seek=1 skip=1 count=60 conv=notrunc status=none
expect_error 'x\.vmdk\.undo: .*interrupted' "$vmdk_img" repair x.vmdk
"$vmdk_img" repair --quiet --undo x.vmdk
is_bad "half of it"

# Cut in the middle of growing, and taken back twice.
fresh
"$vmdk_img" repair --quiet x.vmdk
cp x.vmdk.undo keep
truncate -s $(($(stat -c %s bad.vmdk) + 5120)) x.vmdk
"$vmdk_img" repair --quiet --undo x.vmdk
is_bad "cut"
cp keep x.vmdk.undo
"$vmdk_img" repair --quiet --undo x.vmdk
is_bad "taken back twice"

# refused PATTERN COMMAND...: it fails, and x.vmdk stays as it is.
refused ()
{
  cp x.vmdk now
  expect_error "$@"
  cmp now x.vmdk >&2 || fail "changed: ${*:2}"
}

# Changed since: nothing is touched.
undo=("$vmdk_img" repair --undo x.vmdk)
cp good.vmdk x.vmdk
cp keep x.vmdk.undo
$vmdkgen patch x.vmdk $at u32 4711
refused 'x\.vmdk: was changed after the repair' "${undo[@]}"
cp good.vmdk x.vmdk
truncate -s +512 x.vmdk
refused 'x\.vmdk: was changed after the repair' "${undo[@]}"

# written_since FILE COMMAND...: what a repair made longer, without a byte that
# isn't zero, and then COMMAND wrote there, isn't cut off.
written_since ()
{
  local file=$1

  shift
  cp "$file" was
  "$vmdk_img" repair --json y.vmdk >out
  jq -e '."content-changed" and ."changed-bytes" > 0 and
         any (.repairs[].text; test ("guest bytes .* (lost|missing)"))' \
     out >/dev/null || fail "$(cat out)"
  cp "$file" made
  cp y.vmdk.undo kept
  "$@"
  cp "$file" now
  expect_error "$file: was changed after the repair" \
    "$vmdk_img" repair --undo y.vmdk
  cmp now "$file"
  cmp kept y.vmdk.undo
  cp made "$file"
  "$vmdk_img" repair --quiet --undo y.vmdk
  cmp was "$file"
  rm y*.vmdk
}

write_at ()
{
  printf x | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

$vmdkgen flat size=4000 alloc=0-9 y.vmdk
truncate -s 1M y-flat.vmdk
written_since y-flat.vmdk write_at y-flat.vmdk 2000000
$vmdkgen cowd size=4000 grain=8 alloc=0-9 y.vmdk
truncate -s -2048 y-delta.vmdk
written_since y-delta.vmdk write_at y-delta.vmdk \
  $(($(stat -c %s y-delta.vmdk) + 1000))
$vmdkgen sparse size=4000 grain=8 alloc=0-9 y.vmdk
truncate -s -2048 y.vmdk
written_since y.vmdk write_at y.vmdk $(($(stat -c %s y.vmdk) + 2047))

# A virtual machine of VMware has it open.
cp good.vmdk x.vmdk
cp keep x.vmdk.undo
mkdir x.vmdk.lck
touch x.vmdk.lck/M12345.lck
refused 'x\.vmdk: .*VMware' "${undo[@]}"
cd x.vmdk.lck
expect_error 'x\.vmdk: .*VMware' "$vmdk_img" repair --undo ../x.vmdk
cd ..
cmp good.vmdk x.vmdk
rm -r x.vmdk.lck

# Another disk's, and undo files that aren't sound.
cp good.vmdk x.vmdk
cp keep x.vmdk.undo
cp good.vmdk y.vmdk
refused 'not of a repair of y\.vmdk' \
  "$vmdk_img" repair --undo=x.vmdk.undo y.vmdk
truncate -s -3 x.vmdk.undo
refused 'x\.vmdk\.undo: not a sound undo file: .*truncated' "${undo[@]}"
cp keep x.vmdk.undo
$vmdkgen patch x.vmdk.undo 200 u8 77
refused 'x\.vmdk\.undo: not a sound undo file: .*checksum' "${undo[@]}"
$vmdkgen patch x.vmdk.undo 20 u32 0xffffffff
refused 'x\.vmdk\.undo: not a sound undo file: ' "${undo[@]}"
python3 - <<'EOF'
import struct, zlib
old = open ('keep', 'rb').read ()
new = old[:24] + struct.pack ('<Q', (1 << 63) + 4096) + old[32:-12]
open ('x.vmdk.undo', 'wb').write (
    new + old[-12:-4] + struct.pack ('<I', zlib.crc32 (new)))
EOF
refused 'x\.vmdk\.undo: not a sound undo file: .*can.t have had' "${undo[@]}"
python3 - <<'EOF'
import struct, zlib
new = open ('keep', 'rb').read ()[:16]
name = struct.pack ('<QQ', 512, 512) + b'x.vmdk'
new += (struct.pack ('<II', 1, len (name)) + name) * 5000
open ('x.vmdk.undo', 'wb').write (
    new + struct.pack ('<III', 3, 4, zlib.crc32 (new)))
EOF
truncate -s 512 x.vmdk
refused 'x\.vmdk\.undo: not a sound undo file: .*more than [0-9]* files' \
  "${undo[@]}"
cp good.vmdk x.vmdk
echo "something else" >x.vmdk.undo
refused 'x\.vmdk\.undo: not a sound undo file: ' "${undo[@]}"
rm x.vmdk.undo
refused 'no undo file' "${undo[@]}"

# It reaches no file outside of its folder.
mkdir in
cp bad.vmdk in/x.vmdk
"$vmdk_img" repair --quiet --undo=x.vmdk.undo in/x.vmdk 2>/dev/null &&
  fail "an undo file that isn't there"
"$vmdk_img" repair --quiet in/x.vmdk
mv in/x.vmdk.undo in/y.undo
mkdir in/deep
mv in/y.undo in/deep/
mv in/x.vmdk in/deep/
"$vmdk_img" repair --quiet --undo=in/deep/y.undo in/deep/x.vmdk
cmp bad.vmdk in/deep/x.vmdk

# None is overwritten.
fresh
"$vmdk_img" repair --quiet x.vmdk
cp x.vmdk.undo keep
$vmdkgen poke x.vmdk kdmv.uncleanShutdown 1
cp x.vmdk second.vmdk
"$vmdk_img" repair --json x.vmdk >out
[ "$(jq -r '."undo-file"' out)" = x.vmdk.undo2 ]
cmp keep x.vmdk.undo
"$vmdk_img" repair --quiet --undo x.vmdk
cmp second.vmdk x.vmdk
[ ! -e x.vmdk.undo2 ]

# Nothing to repair, no undo file.
cp good.vmdk z.vmdk
"$vmdk_img" repair z.vmdk >out
grep -q -x 'There is nothing to repair\.' out
[ ! -e z.vmdk.undo ]

# What can't be repaired: exit status 2.
$vmdkgen sparse size=1000 parentcid=12345678 p.vmdk
status=0
"$vmdk_img" repair --quiet p.vmdk 2>/dev/null || status=$?
[ $status -eq 2 ]

# Who serves the disk is not disturbed.
fresh
exec 9<>x.vmdk
python3 - <<'EOF' 9<&9
import fcntl, struct
F_OFD_SETLK = 37
fcntl.fcntl(9, F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 100, 1, 0))
fcntl.fcntl(9, F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 201, 1, 0))
EOF
refused 'x\.vmdk: ' "$vmdk_img" repair x.vmdk
exec 9>&-
[ ! -e x.vmdk.undo ]

# What wasn't written isn't named.
"$vmdk_img" repair --json no-such.vmdk > json 2>/dev/null &&
  fail 'a disk that is not there was repaired'
python3 -m json.tool json >/dev/null
grep -q undo-file json && fail "$(cat json)"
true
