#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Images that other programs wrote and that need something: a descriptor, or
# a second look at the size.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)
requires_images esxi-sesparse.vmdk.gz esxi-vmfs-thick-with-offset.vmdk \
                vmfs_thick-flat.vmdk
requires nbdcopy --version
requires nbdinfo --version

cd "$scratch"

# An seSparse extent that came without its descriptor.
image esxi-sesparse.vmdk.gz >/dev/null
cat > d.vmdk <<'END2'
# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="seSparse"
RW 1048576 SESPARSE "esxi-sesparse.vmdk"
END2
serve file=d.vmdk
nbdcopy "$uri" d.raw
[ "$(stat -c %s d.raw)" = 536870912 ]
[ "$(sha256sum < d.raw)" = \
"3afa48010241335528fe402f083fc9f3a1013a49485221443a78d9a8604e2f90  -" ]
nbd extents 0 536870912 > found
[ "$(cat found)" = "0:16777216:0 16777216:520093696:3" ] || fail "$(cat found)"
[ ! -s "$server_log" ] || fail "$(cat "$server_log")"
stop_server
expect_error 'this is a seSparse extent' run_plugin file=esxi-sesparse.vmdk

# A VMFS line with an offset, of more sectors than the file has.
serve file="$VMDK_IMAGES/esxi-vmfs-thick-with-offset.vmdk"
nbdcopy "$uri" o.raw
[ "$(stat -c %s o.raw)" = $((20480 * 512)) ]
[ "$(head -c 2097152 o.raw | sha256sum)" = \
"8d43c795d24bce01b49f92744f934c1072210dcac170bb1c83a5aa56df46ab7d  -" ]
[ "$(tail -c +2097153 o.raw | tr -d '\0' | wc -c)" = 0 ]
[ "$(server_warnings | wc -l)" = 1 ]
server_warnings | grep -q 'has 2097152 bytes, but the extent needs 10485760'
[ "$(wc -l < "$server_log")" = 1 ]
