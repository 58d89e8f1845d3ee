#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Each operation on the files of a disk fails once, in every way, while the
# disk is written: see faults.c.

. ./functions.sh
requires python3
[[ $sanitizers != *thread* ]] || skip "there is only one thread"
cd "$scratch"
faults=("${under_valgrind[@]}" "$top_builddir/tests/faults")
seeds=${VMDK_SLOW:+$(seq 30)}
requests=40
[ -z "$sanitizers" ] || requests=10

# try [ARGS...] -- BUILDER [KEY=VALUE...]: each image has a folder of its own,
# since a writer looks for others that depend on it.
nr=0
try ()
{
  local seed

  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  nr=$((nr + 1))
  mkdir "$nr"
  $vmdkgen "$@" "$nr/d.vmdk"
  for seed in ${seeds:-$nr}; do
    "${faults[@]}" -n "$requests" -s "$seed" ${before[@]+"${before[@]}"} "$nr/d.vmdk" ||
      fail "$* ${before[*]-}"
  done
}

try -- sparse size=6003 alloc=random:30
try -- sparse size=6000 grain=8 alloc=none
try -- cowd size=6003 grain=16 alloc=random:20
try -- split kind=sparse piece=1536 size=6000 grain=16 alloc=random:30
try -- flat size=3000
try -- chain size=6003 layers='sparse alloc=all; sparse alloc=random:10'
try -z always -- chain size=6003 layers='sparse alloc=all grain=16;
  sparse alloc=none'
try -z never -- chain size=6003 layers='sparse alloc=random:50;
  sparse alloc=none grain=8'

# One that doesn't keep its tables twice.
try -- sparse size=6003 alloc=random:30 flags=1

# An interrupted writer left them: copies of tables that differ, and tables
# that only one of the directories has.  What can't be put in order stays
# marked.
try -- sparse size=6003 grain=8 alloc=0-9,600-609 kdmv.uncleanShutdown=1 \
  'gte[3]=0' 'rgte[5]=0' 'gte[600]=0'
try -- sparse size=6003 grain=8 alloc=0-9,600-609 kdmv.uncleanShutdown=1 \
  'gde[1]=0'
try -- sparse size=6003 grain=8 alloc=0-9,600-609 kdmv.uncleanShutdown=1 \
  'rgde[1]=0' 'gte[7]=0'

# Grains of a sector are many operations.
requests=10
try -- chain size=6003 layers='vmfs alloc=all; cowd alloc=random:10'
