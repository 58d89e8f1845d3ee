#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Adds the inputs of found/ that reach what corpus/ doesn't, as few and as
# small as possible; in the folder where the fuzzers were built:
#
#   shrink.sh TARGET|all [FOLDER]
#
# FOLDER is used instead of found/TARGET.  Inputs that once failed are named
# after what was wrong, and stay as they are.

set -euo pipefail

# So that the corpus remains small; the rest is found again.  Of all that is
# worth it, the smallest ones are kept, up to so many bytes of a target.
max_size=3000
max_total=60000

source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
targets=${1:?"usage: shrink.sh TARGET|all [FOLDER]"}
[ "$targets" != all ] || targets="read write repair change descriptor"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TMPDIR=$dir

for target in $targets; do
  corpus=$source/corpus/$target
  rm -rf "$dir/small" "$dir/old" "$dir/new"
  mkdir -p "$corpus" "$dir/small" "$dir/old" "$dir/new"
  find "${2:-found/$target}" -type f -size -"$max_size"c \
      -exec cp -t "$dir/small" {} +
  find "$corpus" -type f -exec cp -t "$dir/old" {} +
  ./fuzz-"$target" -set_cover_merge=1 -timeout=10 "$dir/new" "$dir/old" \
      "$dir/small" > "$dir/log" 2>&1 || { tail -n 20 "$dir/log"; exit 1; }
  # Those with a name of 40 digits came from here.
  find "$corpus" -type f -regextype posix-extended \
      -regex '.*/[0-9a-f]{40}' -delete
  # The others remain anyway.
  (cd "$corpus" && find . -type f -exec sha1sum {} +) | cut -d ' ' -f 1 \
      > "$dir/kept"
  total=0
  (cd "$dir/new" && find . -type f -printf '%s %p\n') | sort -n |
    while read -r size name; do
      total=$((total + size))
      [ $total -le $max_total ] || break
      sum=$(sha1sum < "$dir/new/$name" | cut -d ' ' -f 1)
      grep -q "$sum" "$dir/kept" || cp "$dir/new/$name" "$corpus/$sum"
    done
  echo "$target: $(find "$corpus" -type f | wc -l) inputs," \
       "$(find "$corpus" -type f -printf '%s\n' |
          awk '{ n += $1 } END { print n + 0 }') bytes"
done
