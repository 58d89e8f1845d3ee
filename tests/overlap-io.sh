# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests that let overlap-io write an image; after functions.sh.
#
# RANDOM_SEED=N repeats a run, as far as time allows.

requires nbdkit --version
requires nbdcopy --version
requires python3
overlap_io=$top_builddir/tests/overlap-io
[ -x "$overlap_io" ] || skip "overlap-io was not built: there is no libnbd"
cd "$scratch"

random_seed=${RANDOM_SEED:-$((RANDOM * 32768 + RANDOM))}

# new_image BUILDER [KEY=VALUE...]: d.vmdk, and d.raw, and nothing is known.
new_image ()
{
  rm -rf d.* d-* state
  $vmdkgen "$@" d.vmdk d.raw
}

# overlap [ARGS...]: a run on the last server, with the next seed.
overlap ()
{
  random_seed=$((random_seed + 1))
  "$overlap_io" -s "$random_seed" "$@" state d.raw "$sock" ||
    fail "$what: seed $random_seed; $(cat "$server_log")"
}

# check_result [unclean]: d.vmdk has no errors.  That the copies of tables
# differ is one, unless the extent's writer was interrupted.
check_result ()
{
  local bad

  "$vmdk_img" check d.vmdk > check.out || [ $? -gt 1 ] ||
    fail "$what: can't be checked"
  if [ $# -eq 0 ]; then
    bad=$(grep -E ': (error|warning): ' check.out || :)
  else
    bad=$(awk -F : '/\[unclean\]$/ { unclean[$1] = 1 }
                    /: error: / { error[$0] = $1 }
                    END { for (e in error)
                            if (e !~ /\[mirror-differs\]$/ ||
                                !(error[e] in unclean))
                              print e }' check.out)
  fi
  [ -z "$bad" ] || fail "$what: seed $random_seed: $bad"
}

# verify_image [qemu]: no server runs, and what d.vmdk has is right.
verify_image ()
{
  serve -r file=d.vmdk
  nbdcopy "$uri" copy.raw
  stop_server
  "$overlap_io" -V state d.raw copy.raw || fail "$what: seed $random_seed"
  if [ -n "${1:-}" ] && command -v qemu-img >/dev/null; then
    qemu-img convert -f vmdk -O raw d.vmdk q.raw || fail "$what: qemu-img"
    cmp copy.raw q.raw >&2 || fail "$what: qemu-img reads something else"
  fi
  rm -f copy.raw q.raw
}
