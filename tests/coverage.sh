#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Which lines of lib/ do the tests reach?
#
#   tests/coverage.sh DIR           build in DIR, a copy of the sources, run
#                                   all tests there, and print the table
#   tests/coverage.sh --table DIR   only the table, say after another test
#
# "make coverage" makes the copy build-coverage and does the former.  What
# gcov says of each line, ##### where it is never reached, is then in
# DIR/gcov/*.gcov.  The exit status is that of the tests.
#
# Environment: GCOV=gcov         the one that belongs to the compiler, gcc
#              VMDK_IMAGES=DIR   images that other programs wrote
#
# What is killed by a signal leaves no counts: the tests that kill, and
# those that stop a program at each of its changes, are not in the figures.

set -eu -o pipefail
export LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH # not wrappers that are slow

GCOV=${GCOV:-gcov}
table_only=
if [ "${1:-}" = --table ]; then
  table_only=yes
  shift
fi
if [ $# -ne 1 ] || [ ! -e "$1/configure" ]; then
  echo "usage: tests/coverage.sh [--table] DIR" >&2
  echo "DIR is a copy of the sources, with configure; see make coverage" >&2
  exit 2
fi
command -v "$GCOV" >/dev/null || { echo "there is no $GCOV" >&2; exit 1; }
images=${VMDK_IMAGES:-../shared/images}
[ ! -d "$images" ] || VMDK_IMAGES=$(realpath "$images")
[ -z "${VMDK_IMAGES:-}" ] || export VMDK_IMAGES
cd "$1"

# Some tests run programs as another user, and these must be able to add to
# the counts.  What can't be said of counts must not be in their output.
prepare ()
{
  find . -name '*.gcda' -delete
  find . -name '*.gcno' | while read -r notes; do
    : >"${notes%.gcno}.gcda"
    chmod a+rw "${notes%.gcno}.gcda"
  done
  : >gcov-errors.log
  chmod a+rw gcov-errors.log
}

build ()
{
  ./configure --disable-gcc-warnings CC="${CC:-gcc}" \
    CFLAGS='-O0 -g --coverage' || return 1
  make -j"$(nproc 2>/dev/null || echo 2)" || return 1
  make -C tests check TESTS=
}

run ()
{
  export GCOV_ERROR_FILE=$PWD/gcov-errors.log
  export VMDK_FAILURES=${VMDK_FAILURES:-3}
  make -j"$(nproc 2>/dev/null || echo 2)" -k check TEST_LIMIT=3000
}

# A header's lines are counted once, whichever objects they are in.  That
# takes all objects in one call.
call_gcov ()
{
  rm -rf gcov
  mkdir gcov
  cd lib # where it finds the sources
  find . -name '*.gcda' -size +0 -print0 | sort -z |
    xargs -0 -n 10000 "$GCOV" -p
  mv ./*.gcov ../gcov
}

table ()
{
  awk -v q="'" '
    function row(name, lines, covered) {
      printf "%-24s %6d %8d %8.1f\n", name, lines, covered,
        lines ? 100 * covered / lines : 100 | sorted
    }
    BEGIN {
      sorted = "sort"
      printf "%-24s %6s %8s %8s\n", "lib/", "lines", "covered", "%"
      fflush()
    }
    $1 == "File" { name = $2; gsub(q, "", name) }
    /^Lines executed:/ && name != "" && name !~ /^\// {
      split($2, part, /[:%]/)
      covered = int(part[2] * $4 / 100 + 0.5)
      row(name, $4, covered)
      total += $4
      total_covered += covered
      name = ""
    }
    END {
      close(sorted)
      row("total", total, total_covered)
    }'
}

status=0
if [ -z "$table_only" ]; then
  build >coverage.log 2>&1 || { tail -n 50 coverage.log; exit 1; }
  prepare
  run >>coverage.log 2>&1 || status=$?
  grep -E '^(FAIL|ERROR): ' coverage.log || :
  lost=$(grep -c 'Cannot' gcov-errors.log || :)
  [ "$lost" -eq 0 ] || echo "$lost counts could not be written"
fi
(call_gcov 2>gcov-messages.log) | table
exit $status
