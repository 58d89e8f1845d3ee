#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdkit loads plugins into one name space: ours shows its entry and its
# debug flags, and no function of the library.

. ./functions.sh
requires nm

nm -D --defined-only "$plugin" | awk '{ print $2, $3 }' > "$scratch/symbols"
grep -q '^T plugin_init$' "$scratch/symbols" || fail "no plugin_init"
if grep -v -e '^T plugin_init$' -e '^[BD] vmdk_debug_[a-z]*$' \
     "$scratch/symbols"
then
  fail "the plugin exports more than it should"
fi
