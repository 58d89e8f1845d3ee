#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Static analysis, for make check-static:
#
#   tests/static.sh [clang-tidy] [cppcheck] [gcc] [shellcheck]
#
# All of them if none is named; one that isn't installed is skipped.  They
# look at the sources with the configuration of the folder where this is
# started, and may find nothing.  What they say of code that is right has
# a comment with the reason at that place; what is never of use is excluded
# here, in .clang-tidy and in .shellcheckrc, with the reason as well.
#
# Environment: CC, CPPFLAGS   as make knows them

set -eu -o pipefail
export LC_ALL=C.UTF-8

top=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
top=$(realpath --relative-to=. "$top")
jobs=$(nproc 2>/dev/null || echo 2)
read -ra flags <<< "${CPPFLAGS:-}"
flags+=(-I. "-I$top/lib" "-I$top/tools")
shopt -s nullglob
sources=("$top"/{lib,plugin,tools}/*.c)
scripts=("$top"/tests/*.sh "$top"/tests/interop/*.sh "$top"/examples/*.sh)

# each COMMAND...: runs it for each source, on all processors.
each ()
{
  printf '%s\0' "${sources[@]}" | xargs -0 -I SOURCE -P "$jobs" "$@"
}

# How many it hides is on standard error.
run_clang_tidy ()
{
  each clang-tidy --quiet --warnings-as-errors='*' SOURCE -- \
    -std=gnu11 "${flags[@]}" 2>/dev/null
}

# readdir is safe as long as no two threads have the same folder open.
run_cppcheck ()
{
  cppcheck -q -j "$jobs" --std=c11 --library=posix --inline-suppr \
    --enable=warning,performance,portability --error-exitcode=1 \
    --suppress=readdirCalled \
    -DHAVE_CONFIG_H -I. "-I$top/lib" "${sources[@]}"
}

# Not for leaks, nor for what isn't initialized: this gcc doesn't know that
# who has the address of a structure's first member still has the structure,
# and it takes each loop for one that may not run.  Valgrind does better.
run_gcc ()
{
  each "${CC:-gcc}" -std=gnu11 "${flags[@]}" -O1 -Werror -fanalyzer \
    -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value \
    -fdiagnostics-plain-output -c -o /dev/null SOURCE
}

run_shellcheck ()
{
  printf '%s\0' "${scripts[@]}" "$top/tests/functions.sh.in" |
    xargs -0 -n 8 -P "$jobs" shellcheck -S warning -s bash
}

status=0
[ $# -gt 0 ] || set -- clang-tidy cppcheck gcc shellcheck
for tool; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool: skipped: it isn't installed"
  elif start=$SECONDS; "run_${tool/-/_}"; then
    echo "$tool: nothing found, in $((SECONDS - start)) s"
  else
    echo "$tool: FAILED"
    status=1
  fi
done
exit $status
