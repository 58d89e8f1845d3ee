#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdkit's filters over the plugin: the bytes stay right.

# The filters leak, in modules that are gone when leaks are looked for.
export ASAN_OPTIONS=detect_leaks=0
. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

$vmdkgen chain size=20000 map=m d.vmdk d.raw layers='
  split piece=5120 grain=16 alloc=mixed:60;
  sparse grain=8 alloc=mixed:50; stream alloc=mixed:40'

# filtered EXPECTED ARGS...
filtered ()
{
  local filter

  for filter in "${@:2}"; do
    case $filter in
      --filter=*)
        nbdkit "$filter" --dump-plugin null >/dev/null 2>&1 ||
          { echo "there is no $filter"; return; } ;;
    esac
  done
  serve file=d.vmdk "${@:2}"
  check_server "$1"
  nbdcopy "$uri" n.raw
  same_bytes "$1" n.raw
  rm n.raw
  [ -z "$(server_errors)" ] || fail "$*: $(server_errors)"
  stop_server
}

for filter in cow cache readahead blocksize nozero fua \
              multi-conn rate retry scan cacheextents; do
  filtered d.raw --filter=$filter
done
filtered d.raw --filter=log logfile=log
grep -q ' Read ' log
filtered d.raw --filter=stats statsfile=stats
grep -q 'read: ' stats
filtered d.raw --filter=cow --filter=readahead --filter=cacheextents
filtered d.raw --filter=blocksize minblock=4k maxdata=64k
filtered d.raw --filter=cache cache-on-read=true

tail -c +1001 d.raw > rest
head -c 5000000 rest > part.raw
filtered part.raw --filter=offset offset=1000 range=5000000
cp d.raw longer.raw
truncate -s 20M longer.raw
filtered longer.raw --filter=truncate truncate=20M
head -c 999999 d.raw > shorter.raw
filtered shorter.raw --filter=truncate truncate=999999

# With exitlast the server goes after its first client.
if nbdkit --filter=exitlast --dump-plugin null >/dev/null 2>&1; then
  serve file=d.vmdk --filter=exitlast
  nbdcopy "$uri" n.raw
  same_bytes d.raw n.raw
  wait "$server_pid"
fi

# Writes stay in the filter.
if nbdkit --filter=cow --dump-plugin null >/dev/null 2>&1; then
  serve file=d.vmdk --filter=cow
  if command -v qemu-io >/dev/null; then
    head -c 76800 /dev/urandom > new
    cp d.raw written.raw
    dd if=new of=written.raw bs=512 seek=241 conv=notrunc status=none
    qemu-io -f raw -c 'write -s new 123392 76800' "$uri" >/dev/null
    check_server written.raw
  fi
  stop_server
  filtered d.raw
fi

# A partition.
if command -v sfdisk >/dev/null; then
  cp d.raw p.raw
  printf 'label: dos\nstart=2048, size=9000\n' |
    sfdisk -q --no-reread --no-tell-kernel p.raw
  # The same disk as a flat one.
  mkdir p
  printf '%s\n' '# Disk DescriptorFile' version=1 CID=1 parentCID=ffffffff \
         'createType="monolithicFlat"' 'RW 20000 FLAT "p-flat.vmdk" 0' \
         > p/p.vmdk
  mv p.raw p/p-flat.vmdk
  dd if=p/p-flat.vmdk of=part.raw bs=512 skip=2048 count=9000 status=none
  serve file=p/p.vmdk --filter=partition partition=1
  check_server part.raw
fi
