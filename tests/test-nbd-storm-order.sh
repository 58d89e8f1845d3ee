#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Flushes and FUA while other requests are under way: strace sees what the
# server does to the files and when it answers, and the crash simulator that
# what was durable when it answered is all that it must be.

. ./functions.sh
. "$srcdir/crash.sh"
requires_no_sanitizers
requires python3
requires strace -f --seccomp-bpf -o /dev/null true

states=${CRASH_STATES:-200}
calls=$(python3 "$srcdir/strace-log.py" --calls)
run=$scratch/run

# storm IMAGE REQUESTS
storm ()
{
  rm -rf "$run"
  mkdir "$run"
  cp -a "$scratch/images/$1" "$run/before"
  cp -a "$scratch/images/$1" "$run/disk"
  strace -f --seccomp-bpf -y -xx -s 1000000000 -o "$run/trace" \
    -e trace="$calls" \
    python3 -B "$srcdir/crash-client.py" "$run/s" "$run/marks" "$2" \
    "${nbdkit_command[@]}" -f --exit-with-parent -U "$run/s" "$plugin" \
    "$run/disk/d.vmdk" > "$run/server.log" 2>&1 ||
    fail "$1: $(cat "$run/server.log")"
  python3 "$srcdir/strace-log.py" "$run/trace" "$run/marks" "$run/before" \
    "$run/disk" > "$run/log" || fail "$1: the trace can't be used"
  "${crash_sim[@]}" --replay-log "$run/log" --image "$run/before/d.vmdk" \
    --states "$states" --seed 1 > "$run/report" ||
    fail "$1: $(cat "$run/report")"
  tail -n 1 "$run/report"
}

make_image sparse sparse size=4091 grain=8 gtes=128 alloc=random:30
make_image chain chain size=2048 layers='sparse grain=8 gtes=128 alloc=all;
  cowd grain=8 alloc=random:20'
make_image split split piece=1100 kind=sparse size=2048 grain=8 gtes=128 \
           alloc=random:30
storm sparse 'depth 12 storm 100 2000000'
storm chain 'depth 12 storm 100 1048576'
storm split 'depth 12 storm 100 1048576'
