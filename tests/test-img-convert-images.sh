#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img convert: images that other programs wrote, by way of a type with
# grains and of one without, still have the content that the table in
# README.md there gives.

. ./functions.sh
requires_images README.md
requires python3

cd "$scratch"

# convert ARGS...: warnings are about what other programs wrote.
convert ()
{
  "$vmdk_img" convert "$@" 2> err || fail "$*: $(cat err)"
}

# Columns: file, what it is, guest bytes, hash, source.
seen=0
types=(streamOptimized twoGbMaxExtentSparse vmfsSparse seSparse)
while IFS='|' read -r _ file _ bytes hash _; do
  file=$(tr -d '` ' <<< "$file") bytes=${bytes// /} hash=${hash// /}
  [[ $hash =~ ^[0-9a-f]{64}$ ]] || continue
  [ "$bytes" -le $((1 << 28)) ] || [ -n "${VMDK_SLOW:-}" ] || continue
  case $file in
    # An extent without a descriptor, and one that needs a parameter.
    esxi-sesparse.vmdk.gz | esxi-vmfs-thick-with-offset.vmdk) continue ;;
  esac
  t=${types[seen % ${#types[@]}]}
  rm -f to* d.raw
  convert -U "$(image "$file")" d.raw
  convert -U -t "$t" "$(image "$file")" to.vmdk
  convert to.vmdk to.raw
  [ "$(stat -c %s d.raw)" = "$bytes" ] ||
    fail "$file: $(stat -c %s d.raw) bytes, expected $bytes"
  sha256sum --quiet -c - <<< "$hash  d.raw" || fail "$file: another content"
  same_bytes d.raw to.raw
  seen=$((seen + 1))
done < "$VMDK_IMAGES/README.md"
[ $seen -ge 8 ] || fail "only $seen images were found in the table"
