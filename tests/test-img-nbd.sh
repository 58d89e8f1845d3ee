#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Exports of NBD servers as sources: what is read, how much of it and by how
# many connections, what servers ask for, and servers that go away.

. ./functions.sh
requires python3
requires nbdkit null --version
requires nbdkit --filter=log null --version
requires nbdcopy # and so there is libnbd

cd "$scratch"

# export_with ARGS...: starts a server with any plugin.  Sets $export_uri
# and $export_pid.
nr_exports=0
export_with ()
{
  local base=$scratch/export$((++nr_exports)) i

  export_uri="nbd+unix:///?socket=$base.sock"
  nbdkit -f --exit-with-parent -U "$base.sock" -P "$base.pid" "$@" \
    </dev/null >"$base.log" 2>&1 &
  export_pid=$!
  cleanup_fn stop_server "$export_pid"
  for ((i = 0; i < 500; i++)); do
    [ ! -s "$base.pid" ] || return 0
    sleep 0.02
  done
  fail "nbdkit did not start: $* $(cat "$base.log")"
}

# converted ARGS...: the guest's bytes of the last server.
converted ()
{
  rm -f out.raw
  timeout -k 5 50 "$vmdk_img" convert -q -t raw "$export_uri" out.raw "$@"
}

# Odd in its size, with a hole, zeroes that are written, and data.
python3 - <<'EOF'
import random
r = random.Random (7)
with open ('disk', 'wb') as f:
    f.write (r.randbytes (300001))
    f.seek (9 << 20)
    f.write (r.randbytes (1 << 20) + bytes (500000))
    f.write (r.randbytes (777777))
EOF
cp disk padded
truncate -s %512 padded
[ "$(stat -c %s disk)" != "$(stat -c %s padded)" ] || fail "not odd"

export_with --filter=log file disk logfile=log
converted
same_bytes padded out.raw

# A hole isn't read, nor by map anything at all.
python3 - log $((2 << 20)) $((8 << 20)) <<'EOF' || fail "$(cat log)"
import re, sys
seen = 0
for line in open (sys.argv[1]):
    m = re.search (r' Read .*offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)', line)
    if m:
        seen += 1
        start = int (m[1], 16)
        if start + int (m[2], 16) > int (sys.argv[2]) and \
           start < int (sys.argv[3]):
            sys.exit ('a hole was read')
if not seen:
    sys.exit ('nothing was read')
EOF
: > log
"$vmdk_img" map "$export_uri" > map
grep -q ' zero ' map || fail "map sees no hole: $(cat map)"
[ "$(grep -a -c ' Read ' log || :)" = 0 ] || fail "map reads: $(cat log)"
stop_server "$export_pid"

# It is what its URI says, and read-only.
export_with memory 1G
[ "$("$vmdk_img" info --json "$export_uri" |
     jq -c '[.format, ."virtual-size", .links[0].extents[0].format]')" = \
  '["raw",1073741824,"raw"]' ] || fail "wrong information"
"$vmdk_img" info "$export_uri" > text
grep -q '^description: raw, 1 GiB, read-only$' text || fail "$(cat text)"
stop_server "$export_pid"

# connections EXPECTED ARGS...: how many were used at a time.
connections ()
{
  local n

  converted "${@:2}"
  same_bytes padded out.raw
  n=$(grep -a -o 'connection=[0-9]* Read ' log | sort -u | wc -l)
  test "$n" $1 || fail "$n connections with ${*:2}, expected $1"
  : > log
}

# Several, where the server is made for it.  Without extents everything is
# read, and it is the same.
export_with --filter=log --filter=noextents --filter=delay file disk \
            logfile=log rdelay=20ms
connections '-ge 2'
connections '-le 4'
connections '-eq 1' --connections=1
[ "$("$vmdk_img" map --json "$export_uri" | jq -c '[.[].zero] | unique')" != \
  '[true]' ] || fail "without extents there are zeroes"
stop_server "$export_pid"
export_with --filter=log --filter=multi-conn file disk logfile=log \
            multi-conn-mode=disable
connections '-eq 1' --connections=4
stop_server "$export_pid"

# Only as a server wants it: whole blocks, and not too large.
requires nbdkit --filter=blocksize-policy null --version
head -c $((12 << 20)) padded > blocks
truncate -s 12M blocks
export_with --filter=blocksize-policy file blocks blocksize-minimum=4096 \
            blocksize-maximum=65536 blocksize-error-policy=error
converted
same_bytes blocks out.raw
# Tables of 2 KiB, at places that are no multiple of 4 KiB.
$vmdkgen sparse size=9000 alloc=every:3 s.vmdk s.raw
truncate -s %4096 s.vmdk
stop_server "$export_pid"
export_with --filter=blocksize-policy file s.vmdk blocksize-minimum=4096 \
            blocksize-maximum=65536 blocksize-error-policy=error
converted -f vmdk
same_bytes s.raw out.raw
stop_server "$export_pid"
export_with --filter=blocksize-policy file disk blocksize-minimum=4096 \
            blocksize-error-policy=error
expect_error ' the export has 11[0-9]* bytes, which isn.t a multiple of .*4096' \
             "$vmdk_img" info "$export_uri"
stop_server "$export_pid"

# A VMDK file on a server is one only if the user says so.
$vmdkgen stream size=3000 alloc=every:3 a.vmdk a.raw
export_with file a.vmdk
converted -f vmdk
same_bytes a.raw out.raw
converted
cp a.vmdk a.padded
truncate -s %512 a.padded
same_bytes a.padded out.raw
expect_error 'a raw disk has no parent' \
             "$vmdk_img" info "$export_uri" --parent=a.vmdk
stop_server "$export_pid"
$vmdkgen flat size=100 flat.vmdk
export_with file flat.vmdk
expect_error 'this is only the descriptor of a disk' \
             "$vmdk_img" info -f vmdk "$export_uri"
stop_server "$export_pid"

# An error of the server's, and one that goes away while it is read.
export_with --filter=error memory 64M error-pread=EIO error-pread-rate=100%
expect_error "^vmdk-img: ${export_uri//[?+]/.}: reading [0-9]* bytes at offset " \
             "$vmdk_img" info -f vmdk "$export_uri"
stop_server "$export_pid"
export_with --filter=noextents --filter=delay memory 256M rdelay=100ms
disown "$export_pid" # so that bash has nothing to say about it
(sleep 0.6; kill -9 "$export_pid") &
SECONDS=0
expect_error "^vmdk-img: ${export_uri//[?+]/.}: the server has gone" converted
[ $SECONDS -lt 20 ] || fail "it took $SECONDS s to notice that"
[ ! -e out.raw ] || fail "half of a copy was left"
expect_error "^vmdk-img: ${export_uri//[?+]/.}: .*(refused|such file)" \
             "$vmdk_img" info "$export_uri"

# What isn't allowed, and what isn't shown.
for uri in nbd+ssh://u:secret@h/ nbdx://u:secret@h/ NBD+ssh://h/; do
  expect_error "^vmdk-img: .*: this kind of URI isn't supported" \
               "$vmdk_img" info "$uri"
  if grep secret "$scratch/expect_error.err"; then
    fail "shows a password"
  fi
done
expect_error '^vmdk-img: nbd://u@127.0.0.1:1/: .*refused' \
             "$vmdk_img" info nbd://u:secret@127.0.0.1:1/
expect_error '^vmdk-img: ./nbd://x: No such file' "$vmdk_img" info ./nbd://x
expect_error '^vmdk-img: nbd:unix:x: No such file' "$vmdk_img" info nbd:unix:x

# libnbd is only looked for when there is such a URI.
mkdir fake
echo bad > fake/libnbd.so.0
expect_error "^vmdk-img: nbd://h/: libnbd can't be loaded .*: install libnbd" \
             env LD_LIBRARY_PATH=$PWD/fake "$vmdk_img" info nbd://h/
LD_LIBRARY_PATH=$PWD/fake "$vmdk_img" info a.vmdk > /dev/null
if ldd "$vmdk_img" 2>/dev/null | grep libnbd; then
  fail "libnbd is linked"
fi

# TLS, by a key that both have.
if nbdkit --dump-config | grep -q '^tls=yes'; then
  echo "somebody:$(printf '%064d' 7)" > keys
  chmod 600 keys
  export_with --tls=require --tls-psk=keys file disk
  export_uri="nbds+unix://somebody@/?socket=${export_uri#*=}&tls-psk-file=$PWD/keys"
  converted
  same_bytes padded out.raw
fi
