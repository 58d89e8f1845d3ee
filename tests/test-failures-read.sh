#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Whatever fails while vmdk-img reads a disk: it says so, or what it finds
# is right.

. ./functions.sh
. "$srcdir/failures.sh"

unharmed ()
{
  as_before
}

completed ()
{
  as_before
}

disk chain size=4000 layers='sparse; stream; split piece=2500 kind=sparse;
  cowd; sesparse'
everywhere map --json d.vmdk
everywhere check d.vmdk
everywhere info --json d.vmdk

completed ()
{
  cmp ../d.raw d.raw >&2 || fail "$what: other bytes"
}
everywhere convert -q --threads=1 d.vmdk d.raw
(cd orig; "$vmdk_img" convert -q -t streamOptimized --ova d.vmdk d.ova
 rm d*.vmdk)
everywhere convert -q --threads=1 d.ova d.raw
disk stream size=4000
truncate -s -3k orig/d.vmdk
everywhere convert -q --threads=1 --recover d.vmdk d.raw
all_well
