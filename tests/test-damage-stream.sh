#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A stream whose end is missing is refused, and with recover=true everything
# that is still there is served.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

# recovered GRAINS: of these first grains the bytes are right, and the rest of
# the disk is a hole.  Each grain has 64 KiB.
recovered ()
{
  serve file=d.vmdk recover=true
  [ "$(nbdinfo --size "$uri")" = "$(stat -c %s d.raw)" ]
  python3 - "$1" <<'END2'
import json, sys
grains = int (sys.argv[1])
raw = open ("d.raw", "rb").read ()
end = min (len (raw), grains * 65536)
open ("e.raw", "wb").write (raw[:end] + bytes (len (raw) - end))
runs = [{"offset": 0, "length": end, "status": "packed"},
        {"offset": end, "length": len (raw) - end, "status": "absent"}]
json.dump ([r for r in runs if r["length"]], open ("e", "w"))
END2
  check_server e.raw e
  [ "$(nbd random 50 e.raw)" = same ]
  server_warnings | grep -q "d.vmdk: recovered: $1 grains were found" ||
    fail "$(cat "$server_log")"
  [ -z "$(server_errors)" ] || fail "$(server_errors)"
  stop_server
}

truncated ()
{
  expect_error 'd.vmdk: truncated: .*recover=true' run_plugin file=d.vmdk
}

build ()
{
  $vmdkgen stream size=80001 alloc=all map=m "$@" d.vmdk d.raw
}

# What is whole isn't touched by recover=true.
build
check_guest d.vmdk d.raw m recover=true

# In the middle of a grain, between two, in the tables.
for cut in 'grain[300]+100' 'grain[300]' 'grain[300]+8' 'grain[300]+520'; do
  build
  $vmdkgen truncate d.vmdk "$cut"
  truncated
  recovered 300
done
build
$vmdkgen truncate d.vmdk 'gte[0]+100'
truncated
recovered 512
build
$vmdkgen truncate d.vmdk -1024
truncated
recovered 626

# A footer that is damaged, or points nowhere, is as good as none.
build footer.grainSize=77
recovered 626
build footer.gdOffset=0xffffff
recovered 626

# A directory in front doesn't say what is missing behind.
build layout=front
$vmdkgen truncate d.vmdk 'grain[300]+100'
recovered 300

# Also with what else may stand between grains.
build progress=3 alloc=all/n
$vmdkgen truncate d.vmdk 'grain[200]+100'
truncated
recovered 200

# Only the header and a part of the descriptor.
build
$vmdkgen truncate d.vmdk 1000
expect_error 'd.vmdk: .*truncated' run_plugin file=d.vmdk
