#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The crash simulator has teeth: each kind of mistake that it is there to
# find is made on purpose, and found.

. ./functions.sh
. "$srcdir/crash.sh"

requires python3
requires_no_sanitizers # they wouldn't see more, in much more time

make_crash_images

# expect_found MUTATION WORKLOAD...: in each of them.
expect_found ()
{
  local w

  for w in "${@:2}"; do
    "${crash_sim[@]}" --images "$scratch/images" --states 400 --second 0 \
      --reports 1 --mutation "$1" --workload "$w" ||
      fail "the mutation $1 was not found in $w"
  done
}

# The sync before tables are written is left out.  Without a parent fresh
# space is zero with and without an entry, so that this is found where there
# is one, and where nothing is fresh.
expect_found tables-first chain-mixed chain-zero chaincowd-mixed \
  chainsplit-mixed mono-device chain-device
# Entries of later requests are written, too.
expect_found unfrozen chain-mixed chain-zero-always chaincowd-mixed
# No sync makes the new length durable.
expect_found length mono-sequential empty-writes split-mixed cowd-mixed \
  big-growth
# Only the second one does, when freeSector says already that it is.
expect_found growth cowd-mixed bigcowd-growth
# FUA syncs nothing, or not the entry.
expect_found fua mono-fua split-fua cowd-fua flat-mixed chain-mixed
expect_found fua-entry mono-fua split-fua cowd-fua
# The content ID isn't durable before the content changes.
expect_found cid mono-mixed split-mixed split-in-place flat-mixed cowd-mixed
# Nor that the extent isn't clean.
expect_found unclean mono-mixed split-mixed cowd-mixed
