#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# An seSparse extent whose host didn't close it is refused with the reason.

. ./functions.sh
requires python3

cd "$scratch"

$vmdkgen sesparse size=999 sesparse.replayJournal=1 d.vmdk
expect_error 'd-sesparse.vmdk: the extent is dirty \(replayJournal is 1\)' \
             run_plugin file=d.vmdk
# Also when it is far down in a chain.
$vmdkgen chain size=999 d.vmdk \
         layers='sesparse sesparse.replayJournal=5; cowd; sparse'
expect_error 'd-0-sesparse.vmdk: the extent is dirty \(replayJournal is 5\)' \
             run_plugin file=d.vmdk
