#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The same requests made of qemu-nbd and of the plugin, on copies of the same
# images, and what the crash simulator finds in what each of them did to the
# files.  Prints a table, docs/durability.md has one.
#
#   cd tests && CRASH_STATES=10000 bash $srcdir/head-to-head.sh
#
# With an argument it does only a few of them.
#
# Environment: CRASH_STATES=N  states for each workload and server
#              CRASH_SEED=N    other states
#
# Of the plugin there must be nothing to report, and it must pass the
# simulator's own rules as well, which are stricter: they have it write to
# what a crash has left.  Nothing is expected of qemu-nbd.

. ./functions.sh
. "$srcdir/crash.sh"

requires_no_sanitizers
requires python3
requires qemu-img
requires qemu-nbd --version
requires strace -f --seccomp-bpf -o /dev/null true

states=${CRASH_STATES:-1000}
seed=${CRASH_SEED:-1}
table=$scratch/table
calls=$(python3 "$srcdir/strace-log.py" --calls)

# The images.  A parent is full of data, so that nothing in it is zero.
make_images ()
{
  local i

  for i in empty delta split; do
    mkdir -p "$scratch/images/$i"
  done
  head -c 2M /dev/urandom > "$scratch/raw"
  (
    cd "$scratch/images"
    qemu-img create -f vmdk empty/d.vmdk 128M
    qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse \
      split/d.vmdk 2100M
    qemu-img convert -O vmdk ../raw delta/base.vmdk
    cd delta
    qemu-img create -f vmdk -b base.vmdk -F vmdk d.vmdk
  ) > "$scratch/qemu-img.log" 2>&1 || fail "$(cat "$scratch/qemu-img.log")"
}

# trace SERVER IMAGE REQUESTS: makes $run/log of what the server did.
trace ()
{
  local server disk=$scratch/run/disk/d.vmdk

  run=$scratch/run
  rm -rf "$run"
  mkdir "$run"
  cp -a "$scratch/images/$2" "$run/before"
  cp -a "$scratch/images/$2" "$run/disk"
  case $1 in
    qemu-nbd) server=(qemu-nbd -f vmdk -k "$run/s" "$disk") ;;
    *) server=("${nbdkit_command[@]}" -f --exit-with-parent -U "$run/s"
               "$plugin" "$disk") ;;
  esac
  strace -f --seccomp-bpf -y -xx -s 1000000000 -o "$run/trace" \
    -e trace="$calls" \
    python3 -B "$srcdir/crash-client.py" "$run/s" "$run/marks" "$3" \
    "${server[@]}" > "$run/server.log" 2>&1 ||
    fail "$1: $3: $(cat "$run/server.log")"
  python3 "$srcdir/strace-log.py" "$run/trace" "$run/marks" "$run/before" \
    "$run/disk" > "$run/log" || fail "$1: $3: the trace can't be used"
}

# simulate [ARGS...]
simulate ()
{
  "${crash_sim[@]}" --replay-log "$run/log" --image "$run/before/d.vmdk" \
    --states "$states" --seed "$seed" "$@"
}

# found KIND: of the last report, "states (points)" that have it.
found ()
{
  sed -n -E "/^total/ { s/.*, ([0-9]+) $1( at ([0-9]+) points)?.*/\1 (\3)/
                        t print
                        s/.*/0/
                        :print
                        p }" "$run/report"
}

# print_row WORKLOAD SERVER
print_row ()
{
  local points tried kind cells=

  read -r points tried < <(awk '/^total/ { print $2, $4 }' "$run/report")
  for kind in flushed-data-lost unwritten-data-changed garbage not-opened \
              unreadable bad-check mirrors-differ; do
    cells+=" $(found "$kind") |"
  done
  echo "| $1 | $2 | $points | $tried |$cells" >> "$table"
}

# workload NAME IMAGE REQUESTS
workload ()
{
  local server

  for server in qemu-nbd nbdkit-vmdk; do
    trace "$server" "$2" "$3"
    simulate --foreign --reports 0 > "$run/report" ||
      fail "$1: $server: $(cat "$run/report")"
    print_row "$1" "$server"
    if [ "$server" = nbdkit-vmdk ]; then
      grep -q '^total.*, all good$' "$run/report" ||
        fail "$1: $(simulate --foreign)"
      simulate > "$run/report" || fail "$1: $(cat "$run/report")"
    fi
  done
}

# Grains have 64 KiB, and a table has 512 of them.
few_workloads ()
{
  workload "4 KiB over a parent, flush; then again in another grain" delta \
    "write 8192 4096 flush write 139264 4096 flush"
  workload "zero 4 KiB over a parent, flush" delta \
    "write 8192 4096 flush zero 139264 4096 flush"
  workload "24 random writes over a parent, 8 at a time, a flush after 8" \
    delta "depth 8 random 24 8 2097152"
  workload "split disk: a write into each of two files, flush; twice" split \
    "write 4096 4096 write 2147487744 4096 flush
     write 139264 4096 write 2147622912 4096 flush"
}

other_workloads ()
{
  workload "4 KiB over a parent, flush" delta "write 8192 4096 flush"
  workload "4 KiB into one grain of a parent, flush; twice" delta \
    "write 8192 4096 flush write 16384 4096 flush"
  workload "first 4 KiB on an empty disk, flush" empty "write 8192 4096 flush"
  workload "4 KiB into one new grain, flush; twice" empty \
    "write 8192 4096 flush write 16384 4096 flush"
  workload "4 KiB into a new grain with FUA" empty \
    "write 8192 4096 flush write 139264 4096 fua"
  workload "80 random writes over a parent, a flush after 8" delta \
    "random 80 8 2097152"
  workload "growth: 300 writes into new grains, a flush after 50" empty \
    "random 300 50 134217728"
}

{
  echo "| work | server | points | states | flushed data lost |" \
       "untouched data changed | neither old nor new | can't be opened |" \
       "can't be read | image damaged | copies of tables differ |"
  echo "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
} > "$table"
make_images
few_workloads
[ $# -gt 0 ] || other_workloads
qemu-nbd --version | head -n 1
nbdkit --version
cat "$table"
