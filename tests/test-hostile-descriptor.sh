#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Descriptors that are no good, seen from the plugin; test-descriptor.c has
# the rest of them.

. ./functions.sh
. "$srcdir/hostile.sh"

truncate -s 4096 a-flat
truncate -s 4096 good.raw

# refused PATTERN LINE...: a descriptor with these lines isn't served.
refused ()
{
  write_descriptor d.vmdk "${@:2}"
  expect_error "d\.vmdk: $1" run_plugin d.vmdk
}

# accepted LINE...: is, with the bytes of good.raw.
accepted ()
{
  write_descriptor d.vmdk "$@"
  served_right d.vmdk
}

good='RW 8 FLAT "a-flat" 0'
accepted "$good"

# Numbers.
refused 'line 6: found "-8", expected' 'RW -8 FLAT "a-flat" 0'
refused 'line 6: found "0x8", expected' 'RW 0x8 FLAT "a-flat" 0'
refused 'line 6: found "8k", expected' 'RW 8k FLAT "a-flat" 0'
refused 'line 6: found "0", expected' 'RW 0 FLAT "a-flat" 0'
refused 'line 6: found "00000000000000000000008", expected' \
  'RW 00000000000000000000008 FLAT "a-flat" 0'
refused 'line 6: found "18446744073709551616", expected' \
  'RW 18446744073709551616 FLAT "a-flat" 0'
refused 'line 6: the size is too large: found "18446744073709551615"' \
  'RW 18446744073709551615 FLAT "a-flat" 0'
refused 'line 6: the size is too large: found "36028797018963968"' \
  'RW 36028797018963968 FLAT "a-flat" 0'
refused 'line 7: the disk is too large' \
  'RW 18014398509481983 ZERO' 'RW 1 ZERO'
refused 'line 6: found "-1", expected the offset' 'RW 8 FLAT "a-flat" -1'
refused 'line 6: the offset is too large: found "36028797018963968"' \
  'RW 8 FLAT "a-flat" 36028797018963968'
refused 'line 6: the offset is too large: found "18014398509481980"' \
  'RW 8 FLAT "a-flat" 18014398509481980'

# Quotes, words, lines.
refused 'line 6: found .*, expected a quote' 'RW 8 FLAT "a-flat 0'
refused 'line 6: found .*, expected .*name' 'RW 8 FLAT'
refused 'line 6: found .*, expected .*name' 'RW 8 FLAT 0'
refused 'line 6: found "FLATT", expected a type' 'RW 8 FLATT "a-flat" 0'
refused 'line 6: found "RX", expected RW' 'RX 8 FLAT "a-flat" 0'
refused 'found no extent lines' '# RW 8 FLAT "a-flat" 0'
printf 'version=1\nCID=1\nparentCID=ffffffff\n%s' "$good" > d.vmdk
served_right d.vmdk
accepted "$good" version=7 'CID=87654321' 'createType="other"'
write_descriptor d.vmdk "$good"
sed -i 's/^version=.*/version=5/' d.vmdk
expect_error 'd\.vmdk: line 2: version: found "5", expected' run_plugin d.vmdk
sed -i 's/^version=.*/version=1/; s/^CID=.*/CID=123456789/' d.vmdk
expect_error 'd\.vmdk: line 3: CID: found "123456789", expected' \
  run_plugin d.vmdk
sed -i 's/^CID=.*/CID=-1/' d.vmdk
expect_error 'd\.vmdk: line 3: CID: found "-1", expected' run_plugin d.vmdk

# The text ends with a NUL; what isn't text at all is no descriptor.
{ print_descriptor "$good"; printf '\0RW 8 ZERO\n'; } > d.vmdk
served_right d.vmdk
{ printf '\0'; print_descriptor "$good"; } > d.vmdk
expect_error 'd\.vmdk: this is neither a VMDK descriptor nor' \
  run_plugin d.vmdk
refused 'line 6: found .*, expected' $'RW 8 FLAT "a\1'

# Too long, and too much of everything.
{ print_descriptor "$good"; yes '# comment' | head -c 2M; } \
  > d.vmdk || :
expect_error 'd\.vmdk: the descriptor has [0-9]+ bytes, expected at most 1048576' \
  run_plugin d.vmdk
{ print_descriptor; yes 'RW 8 ZERO' | head -n 100000 || :; } \
  > d.vmdk
expect_error 'd\.vmdk: line 4102: found one more extent, expected at most 4096' \
  run_plugin d.vmdk
{ print_descriptor "$good"; yes 'junk' | head -n 100000 || :; } \
  > d.vmdk
served_right d.vmdk
[ "$(wc -l < "$server_log")" -lt 100 ] || fail "a warning for each line"
{ print_descriptor "$good"
  yes 'ddb.a = "b"' | head -n 80000 || :; } > d.vmdk
served_right d.vmdk

# The same inside of a sparse extent, where the text must not just be cut.
python3 - <<'EOF'
import struct
text = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n' \
    b'RW 1 SPARSE "e.vmdk"\n'
text += b'#' * ((2 << 20) - len (text) - 11) + b'\nRW 8 ZERO\n'
header = struct.pack ('<IIIQQQQIQQQB4sH', 0x564d444b, 1, 1, 1, 128, 1, 4096,
                      512, 0, 4097, 4224, 0, b'\n \r\n', 0)
with open ('e.vmdk', 'wb') as f:
    f.write (header.ljust (512, b'\0') + text)
    f.truncate (4224 * 512)
EOF
expect_error 'e\.vmdk: the descriptor has [0-9]+ bytes, expected at most' \
  run_plugin e.vmdk
