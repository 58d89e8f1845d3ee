#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Images that other programs wrote: each has the content that its table in
# README.md there says.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)
requires_images README.md
requires nbdcopy --version
requires nbdinfo --version

cd "$scratch"

# check_content FILE BYTES HASH.  Hashing gigabytes of zeroes takes minutes:
# large disks are compared with what qemu-img reads unless VMDK_SLOW=1.
check_content ()
{
  local path found

  path=$(image "$1")
  serve file="$path"
  found=$(nbdinfo --size "$uri")
  [ "$found" = "$2" ] || fail "$1: $found bytes, expected $2"
  if [ "$2" -le $((1 << 28)) ] || [ -n "${VMDK_SLOW:-}" ]; then
    found=$(nbdcopy "$uri" - | sha256sum | cut -d ' ' -f 1)
    [ "$found" = "$3" ] || fail "$1: content is $found, expected $3"
  else
    requires qemu-img --version
    nbdcopy "$uri" n.raw
    qemu-img convert -f vmdk -O raw "$path" q.raw
    qemu-img compare -f raw -F raw n.raw q.raw >&2 ||
      fail "$1: qemu-img reads something else"
    rm n.raw q.raw
  fi
  [ ! -s "$server_log" ] || fail "$1: $(cat "$server_log")"
  stop_server
}

# Columns: file, what it is, guest bytes, hash, source.
seen=0
while IFS='|' read -r _ file _ bytes hash _; do
  file=$(tr -d '` ' <<< "$file") bytes=${bytes// /} hash=${hash// /}
  [[ $hash =~ ^[0-9a-f]{64}$ ]] || continue
  [ -e "$VMDK_IMAGES/$file" ] || fail "there is no $file"
  case $file in
    # These have tests of their own.
    esxi-sesparse.vmdk.gz | esxi-vmfs-thick-with-offset.vmdk) continue ;;
  esac
  check_content "$file" "$bytes" "$hash"
  seen=$((seen + 1))
done < "$VMDK_IMAGES/README.md"
[ $seen -ge 10 ] || fail "only $seen images were found in the table"
