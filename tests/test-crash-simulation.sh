#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Whatever a crash leaves of an image that is being written can be opened,
# has what was flushed and what nobody wrote, and can be written again.
#
# Environment: CRASH_STATES=N  states for each of the workloads, of which
#                              there are about 55
#              CRASH_SEED=N    other requests, other states

. ./functions.sh
. "$srcdir/crash.sh"

requires python3

# Sanitizers see as much in fewer states, and that for threads all of it in
# what is done before.  Valgrind takes long for what they also see.
case $sanitizers in
  '') states=700 ;;
  *thread* | valgrind) states=2 ;;
  *) states=25 ;;
esac
states=${CRASH_STATES:-$states}

make_crash_images
"${crash_sim[@]}" --images "$scratch/images" --states "$states" \
  --seed "${CRASH_SEED:-1}" ||
  fail "see above; --seed and --state show one state again"
