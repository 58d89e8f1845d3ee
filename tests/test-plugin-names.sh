#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Ways to name the disk: file= or its value alone, a relative path for a
# server that leaves the folder, an open file, extents that lie elsewhere.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"
mkdir sub
$vmdkgen split size=3000 piece=1000 grain=8 alloc=mixed:50 map=m \
         sub/d.vmdk d.raw

check_guest sub/d.vmdk d.raw m
serve sub/d.vmdk
check_server d.raw m
stop_server
(cd sub && check_guest d.vmdk ../d.raw ../m)
check_guest "$scratch/sub/../sub/d.vmdk" d.raw m

# In the background nbdkit works in another folder.
"${nbdkit_command[@]}" -U "$scratch/bg.sock" -P "$scratch/bg.pid" \
  "$plugin" sub/d.vmdk
cleanup_fn kill "$(cat bg.pid)"
uri="nbd+unix:///?socket=$scratch/bg.sock"
check_server d.raw m

# As an open file: a sparse disk is all in there.
$vmdkgen sparse size=3000 grain=8 alloc=mixed:50 map=m.s s.vmdk s.raw
serve fd=7 7< s.vmdk
check_server s.raw m.s
stop_server
serve_number ()
{
  run_plugin fd=7 7< sub/d.vmdk
}
expect_error '\(open file\): line .*say where its extents are with extent=' \
             serve_number

# Of a descriptor that is an open file it must be said where the extents are.
serve fd=7 extent=d-s001.vmdk=sub/d-s001.vmdk \
      extent=d-s002.vmdk=sub/d-s002.vmdk \
      extent=d-s003.vmdk=sub/d-s003.vmdk 7< sub/d.vmdk
check_server d.raw m
stop_server

# Or of any that was moved, wherever that is.
mkdir elsewhere
mv sub/d-s002.vmdk 'elsewhere/a=b'
expect_error 'extent "d-s002.vmdk" in folder "sub": No such file' \
             run_plugin sub/d.vmdk
check_guest sub/d.vmdk d.raw m "extent=d-s002.vmdk=elsewhere/a=b"
check_guest sub/d.vmdk d.raw m "extent=d-s002.vmdk=$scratch/elsewhere/a=b"
