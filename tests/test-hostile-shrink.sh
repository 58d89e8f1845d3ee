#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A file that becomes shorter while it is served: what is gone is an error,
# never zeroes, neither as bytes nor as a hole; the server goes on, and what
# is still there can be read.

. ./functions.sh
. "$srcdir/hostile.sh"

# shrinks LENGTH: of the target, when the disk was opened but not read.
shrinks ()
{
  local size

  size=$(stat -c %s good.raw)
  serve good.vmdk
  truncate -s "$1" "$target"
  found=$(client compare 0 "$size" good.raw compare 0 "$size" good.raw)
  [ "$found" = $'error 5\nerror 5' ] || fail "after shrinking: $found"
  server_errors | grep -q "$target: the file has become shorter: .* $size0 by" ||
    fail "$(cat "$server_log")"
  # Nothing that is lost may be said to read as zero: 2 is that flag.
  found=$(client extents 0 "$size")
  case $found in
    "error 5") ;;
    *) python3 - "$found" <<'EOF' || fail "zeroes: $found" ;;
import sys
raw = open ('good.raw', 'rb').read ()
for item in sys.argv[1].split ():
    offset, length, flags = map (int, item.split (':'))
    if flags & 2 and any (raw[offset:offset + length]):
        sys.exit (1)
EOF
  esac
  kill -0 "$server_pid"
  stop_server
}

for image in "flat alloc=all" "vmfs alloc=all" "sparse alloc=all" \
             "sparse alloc=all rgd=0 tables=end" "stream alloc=all/n" \
             "cowd alloc=all" "sesparse alloc=all"; do
  for length in 0 1000 65536; do
    good_image $image size=2048
    size0=$(stat -c %s "$target")
    echo "$image: $length bytes"
    shrinks $length
  done
done

# The first half is still good.
good_image flat size=2000 alloc=all
serve good.vmdk
truncate -s 512000 "$target"
[ "$(client compare 0 512000 good.raw compare 512000 1 good.raw \
       compare 0 512000 good.raw)" = $'same\nerror 5\nsame' ]
