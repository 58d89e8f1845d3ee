#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Writing through nbdkit's filters, as users put them in front of a disk:
# what arrives in the disk is right, and it is sound.

. ../functions.sh
. "$srcdir/writing.sh"
requires qemu-io --version

size=20000

# through ARGS...: all is written anew, and then some of it.
through ()
{
  local filter

  for filter; do
    case $filter in
      --filter=*)
        nbdkit "$filter" --dump-plugin null > /dev/null 2>&1 ||
          { echo "there is no $filter"; return; } ;;
    esac
  done
  new_disk sparse size=$size grain=8 alloc=mixed:40
  serve d.vmdk "$@"
  nbdcopy --connections=2 --flush new.raw "$uri" ||
    fail "$*: $(cat "$server_log")"
  nbdcopy "$uri" - | cmp - new.raw >&2 || fail "$*: through the filter"
  cp new.raw d.raw
  if qemu-io -f raw -c 'write -P 6 70001 99' -c 'write -z 500000 70000' \
             -c 'discard 1M 1M' -c 'write -P 5 1M 512' \
             -c 'write -z 1049088 1048064' -c flush "$uri" \
             > qemu-io.out 2>&1; then
    python3 - d.raw <<'END'
import sys
with open (sys.argv[1], 'r+b') as f:
    for at, data in ((70001, b'\6' * 99), (500000, bytes (70000)),
                     (1 << 20, b'\5' * 512 + bytes (1048064))):
        f.seek (at)
        f.write (data)
END
  else
    fail "$*: $(cat qemu-io.out)"
  fi
  closed_right
  check_quiet
  echo "$*: right"
}

through --filter=blocksize minblock=4k maxdata=64k
through --filter=cache cache=writethrough
through --filter=cache cache=writeback
through --filter=fua fuamode=emulate
through --filter=fua fuamode=force
through --filter=nozero zeromode=emulate
through --filter=nozero zeromode=plugin
through --filter=noextents
through --filter=noparallel serialize=all-requests
through --filter=multi-conn multi-conn-mode=emulate
through --filter=retry retries=2
through --filter=rate rate=1G
through --filter=readahead
through --filter=pause pause-control="$PWD/pause.sock"
through --filter=log logfile="$PWD/log" --filter=stats statsfile="$PWD/stats"

# A partition of a disk.
requires sfdisk --version
new_disk flat size=$size alloc=all
printf 'label: dos\nstart=2048, size=9000\n' > table
sfdisk -q --no-reread --no-tell-kernel d.raw < table
"$vmdk_img" convert --format=raw d.raw p.vmdk > convert.out 2>&1 ||
  fail "$(cat convert.out)"
head -c $((9000 * 512)) new.raw > part.raw
serve p.vmdk --filter=partition partition=1
nbdcopy --flush part.raw "$uri"
stop_server
dd if=part.raw of=d.raw bs=512 seek=2048 conv=notrunc status=none
mv p.vmdk d.vmdk
serve d.vmdk -r
right
closed_right
check_quiet
