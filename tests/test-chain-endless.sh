#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Chains that don't end, and chains that are too long.

. ./functions.sh
requires python3

cd "$scratch"

# link NAME PARENT
link ()
{
  $vmdkgen cowd size=9 alloc=none cid=1 parentcid=1 "hint=$2" "$1"
}

link a.vmdk a.vmdk
expect_error 'a.vmdk: the chain is a loop: its parent is a.vmdk' \
             run_plugin file=a.vmdk

link a.vmdk b.vmdk
link b.vmdk c.vmdk
link c.vmdk a.vmdk
expect_error 'c.vmdk: the chain is a loop: its parent is a.vmdk' \
             run_plugin file=a.vmdk

# Under other names, and not through the top.
ln b.vmdk other.vmdk
link c.vmdk ./other.vmdk
expect_error 'c.vmdk: the chain is a loop: its parent is .*b.vmdk' \
             run_plugin file=a.vmdk
expect_error 'the chain is a loop' run_plugin file=a.vmdk parent=a.vmdk \
             cid-check=off

# deep COUNT: a chain of that many links.
deep ()
{
  python3 - "$1" <<'END2'
import sys
count = int (sys.argv[1])
for i in range (count):
    hint = 'parentFileNameHint="n%d.vmdk"\n' % (i + 1) * (i < count - 1)
    parent = 1 if i < count - 1 else 0xffffffff
    with open ("n%d.vmdk" % i, "w") as f:
        f.write ('# Disk DescriptorFile\nversion=1\nCID=00000001\n'
                 'parentCID=%08x\ncreateType="custom"\n%sRW 9 ZERO\n'
                 % (parent, hint))
END2
}

deep 255
serve file=n0.vmdk
[ "$(nbd read 0 4)" = 00000000 ]
[ ! -s "$server_log" ] || fail "$(cat "$server_log")"
stop_server
deep 256
expect_error 'n254.vmdk: the chain has more than 255 links' \
             run_plugin file=n0.vmdk
deep 1000
expect_error 'n254.vmdk: the chain has more than 255 links' \
             run_plugin file=n0.vmdk
