#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What the plugin does to files, seen from outside by strace, loses nothing
# in a crash.  The same is done with qemu-nbd, of which nothing is expected:
# what happens is printed.

CRASH_STATES=${CRASH_STATES:-150}
. "$(dirname "$0")/head-to-head.sh" few
