#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Whatever fails during a repair, or while one is taken back: it is said, and
# the disk is as before, or the undo file makes it so.

. ./functions.sh
. "$srcdir/failures.sh"

unharmed ()
{
  local undo

  undo=$(ls d*.vmdk.undo* 2>/dev/null || :)
  if [ -n "$undo" ]; then
    "$vmdk_img" repair -q --undo="$undo" d.vmdk 2> ../err ||
      fail "$what: it can't be taken back: $(cat ../err)"
  fi
  as_before
}

completed ()
{
  sound d.vmdk
  unharmed
}

spoil ()
{
  (cd orig; $vmdkgen poke d.vmdk "$1" "$2")
}

disk sparse size=4000 grain=8 alloc=random:50
spoil 'gte[3]' 1
spoil 'gde[0]' 0
spoil kdmv.uncleanShutdown 1
everywhere repair -q d.vmdk
disk stream size=4000
truncate -s -3k orig/d.vmdk
everywhere repair -q d.vmdk
all_well
