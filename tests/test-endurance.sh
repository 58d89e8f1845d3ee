#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Disks of all types are served, loaded, snapshotted, merged, converted,
# resized, compacted and killed in random order, and compared with a model
# after each step; see endurance.py.  Here for a few seconds and always the
# same; make check-endurance does it for an hour.
#
# ENDURANCE_SECONDS=N   how long
# ENDURANCE_SEED=N      what is done; "random" draws one
# ENDURANCE_FOLDER=DIR  where, and it is kept

. ./functions.sh
requires python3
requires nbdkit --version
requires nbdcopy --version
requires qemu-img --version
[ -x "$top_builddir/tests/overlap-io" ] ||
  skip "overlap-io was not built: there is no libnbd"
[ -n "${ENDURANCE_SECONDS:-}" ] || requires_no_sanitizers

seconds=${ENDURANCE_SECONDS:-12}
size=80
[ "$seconds" -ge 60 ] || size=8
seed=${ENDURANCE_SEED:-1}
[ "$seed" != random ] || seed=$((RANDOM * 32768 + RANDOM))
folder=${ENDURANCE_FOLDER:-$scratch/run}

python3 "$srcdir/endurance.py" --seed="$seed" \
        --seconds="$seconds" --size="$size" ${sanitizers:+--sanitized} \
        "$folder" "$top_builddir" "$srcdir" "${nbdkit_command[@]}" "$plugin" ||
  { VMDK_KEEP=1; fail "seed $seed"; }
