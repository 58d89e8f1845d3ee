#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The library must not know nbdkit, which appears only in the name of the
# copyright's holder.

. ./functions.sh

files=("$top_srcdir"/lib/*.[ch])
[ -e "${files[0]}" ] || fail "no sources found"

if grep -n nbdkit "${files[@]}" | grep -v 'Copyright The nbdkit-vmdk authors'
then
  fail "lib/ speaks of nbdkit"
fi

# Neither does what was compiled call it.
if nm -u "$top_builddir"/lib/.libs/*.o | grep -w 'nbdkit_[a-z_]*'; then
  fail "lib/ calls nbdkit"
fi
