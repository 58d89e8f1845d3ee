#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The sources of the man pages are free of errors and warnings.

. ./functions.sh
requires podchecker

pods=("$top_srcdir"/{plugin,tools}/*.pod)
[ -e "${pods[0]}" ] || fail "no man pages found"
podchecker -warnings -warnings "${pods[@]}" 2>&1 | tee "$scratch/out"
if grep -q -E 'ERROR|WARNING' "$scratch/out"; then
  fail "podchecker found something"
fi
