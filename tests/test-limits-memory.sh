#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A disk of 2 TiB with all of its 128 MiB of grain tables in use: random reads
# keep in memory what table-cache allows, and opening it reads no table.

. ./functions.sh
. "$srcdir/hostile.sh"
requires_no_sanitizers

size=$((4 << 30))
$vmdkgen extent size=$size rgd=0 alloc=none big.vmdk
# Every entry names the same grain, which no reader minds.
python3 - "$($vmdkgen where big.vmdk 'gte[0]')" <<'EOF'
import os, struct, sys
with open ('big.vmdk', 'r+b') as f:
    sector = (f.seek (0, os.SEEK_END) + 511) // 512
    f.seek (int (sys.argv[1]))
    for _ in range (65536):
        f.write (struct.pack ('<I', sector) * 512)
    f.seek (sector * 512)
    f.write (b'data' * 16384)
EOF
[ "$(du -k big.vmdk | cut -f 1)" -gt 131072 ] || fail "the tables are holes"

# read_anywhere COUNT: so many reads of 4 KiB, many at a time.
read_anywhere ()
{
  python3 - "$srcdir" "$sock" "$1" <<'EOF'
import random, struct, sys
sys.dont_write_bytecode = True
sys.path.insert (0, sys.argv[1])
from nbdclient import CMD_READ, Client
BATCH, LENGTH = 32, 4096
client, rng = Client (sys.argv[2]), random.Random (1)
for _ in range (int (sys.argv[3]) // BATCH):
    client.sock.sendall (b''.join (
        struct.pack ('>IHHQQI', 0x25609513, 0, CMD_READ, i,
                     rng.randrange ((2 << 40) // LENGTH) * LENGTH, LENGTH)
        for i in range (BATCH)))
    done = 0
    while done < BATCH:
        magic, flags, kind, _, size = client.get ('>IHHQI')
        payload = client.stream.read (size)
        assert magic == 0x668e33ef and kind & 0x8000 == 0, (magic, kind)
        assert kind == 0 or payload[8:] == b'data' * 1024
        done += flags & 1
EOF
}

serve big.vmdk
before=$(peak_memory)
read_anywhere 65536
after=$(peak_memory)
stop_server
serve big.vmdk table-cache=4M
read_anywhere 16384
small=$(peak_memory)
stop_server

echo "peak memory: opened $before KiB, read $after KiB, small cache $small KiB"
[ "$before" -le 16384 ] || fail "opening takes $before KiB"
# Less would mean that the cache isn't used, and that this can't fail.
[ "$after" -ge 57344 ] || fail "reading takes only $after KiB"
[ "$after" -le $(((64 + 40) * 1024)) ] || fail "reading takes $after KiB"
[ "$small" -le 32768 ] || fail "reading with a small cache takes $small KiB"
