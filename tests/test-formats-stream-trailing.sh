#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Junk behind the end of a stream, as a transfer in blocks leaves it, is
# ignored with a warning.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# served_with_warning: one, which says where the footer is.
served_with_warning ()
{
  serve file=d.vmdk
  check_server d.raw m
  [ "$(server_warnings | wc -l)" -eq 1 ] || fail "$(cat "$server_log")"
  server_warnings | grep -q 'd.vmdk: .*footer' || fail "$(cat "$server_log")"
  [ "$(wc -l < "$server_log")" -eq 1 ]
  stop_server
}

for sectors in 1 2 20 120; do
  $vmdkgen stream size=70001 alloc=mixed:40 trailing=$sectors map=m \
           d.vmdk d.raw
  served_with_warning
done

# Zeroes, as far as one block of a tape.
$vmdkgen stream size=70001 alloc=mixed:40 map=m d.vmdk d.raw
$vmdkgen truncate d.vmdk $(($(stat -c %s d.vmdk) + 512 * 99))
served_with_warning
