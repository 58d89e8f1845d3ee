#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Runs a program under valgrind, for make check-valgrind:
#
#   tests/valgrind.sh PROGRAM [ARGS...]
#
# What is wrong goes to a file in the folder $VALGRIND_LOGS, or to standard
# error.  What the program starts in turn is not looked at.

options=(
  --quiet
  --vgdb=no
  --error-exitcode=119
  --leak-check=full
  --show-leak-kinds=definite,indirect
  --errors-for-leak-kinds=definite,indirect
  --keep-debuginfo=yes # nbdkit unloads the plugin before the search for leaks
  --num-callers=30
  --read-inline-info=no # it takes a quarter of the time of a short run
  --suppressions="$(dirname "${BASH_SOURCE[0]}")/valgrind.supp"
)
if [ -n "${VALGRIND_LOGS:-}" ]; then
  options+=(--log-file="$VALGRIND_LOGS/%p")
fi
exec valgrind "${options[@]}" "$@"
