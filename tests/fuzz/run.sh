#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Fuzzes, in the folder where the fuzzers were built (make fuzz-run does):
#
#   run.sh TARGET|all SECONDS
#
# Each target gets SECONDS, with one process.  It begins with the inputs of
# corpus/ and seeds/, and keeps what reaches something new in found/TARGET,
# with which the next run begins as well.  What fails is in crashes/, and
# the end of this says so, by its exit status as well.
#
# The limits: an input of a few KiB may take a second (FUZZ_TIMEOUT; more on
# a machine that has other things to do), and no allocation may be larger
# than twice the largest grain (16 MiB) and a bit: caches are small here, and
# nothing else may depend on what a header says.

set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: run.sh read|write|repair|change|descriptor|all SECONDS" >&2
  exit 2
fi
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
targets=$1
seconds=$2
[ "$targets" != all ] || targets="read write repair change descriptor"

TMPDIR=$(mktemp -d "$(test -w /dev/shm && echo /dev/shm ||
                      echo "${TMPDIR:-/tmp}")/vmdk-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export ASAN_OPTIONS=quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}

mkdir -p crashes logs
status=0
for target in $targets; do
  max_len=32768 seeds=seeds options=()
  if [ "$target" = descriptor ]; then
    max_len=8192 seeds=
    options=(-dict="$source/descriptor.dict")
  fi
  mkdir -p "found/$target"
  log=logs/$target.$(date +%Y%m%d-%H%M%S)
  echo "$target: $seconds s, see $log"
  ./fuzz-"$target" -max_total_time="$seconds" -timeout="${FUZZ_TIMEOUT:-1}" \
      -rss_limit_mb=600 -malloc_limit_mb=34 -max_len=$max_len \
      -artifact_prefix="crashes/$target-" -print_final_stats=1 \
      "${options[@]}" "found/$target" "$source/corpus/$target" $seeds \
      > "$log" 2>&1 || {
    status=1
    grep -a -e '^fuzz: ' -e 'ERROR: ' -e 'runtime error: ' \
        -e 'Test unit written' "$log" || tail -n 20 "$log"
  }
  grep -a -o 'cov: .*corp: [^ ]*' "$log" | tail -n 1 || :
  grep -a -e number_of_executed -e average_exec "$log" || :
done
exit $status
