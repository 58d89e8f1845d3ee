#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What fuzzing has found, and inputs that reach everything that it reaches:
# see fuzz/Makefile.am.

. ./functions.sh

for target in read write repair change descriptor; do
  "$top_builddir/tests/fuzz-replay" $target "$srcdir/fuzz/corpus/$target"
done
