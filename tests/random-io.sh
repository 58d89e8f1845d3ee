# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests that let random-io write an image; after functions.sh.
#
# RANDOM_SEED=N repeats a run, and VMDK_SLOW=1 makes twenty of each.

requires nbdkit --version
requires nbdcopy --version
requires python3
random_io=$top_builddir/tests/random-io
[ -x "$random_io" ] || skip "random-io was not built: there is no libnbd"
cd "$scratch"

random_seed=${RANDOM_SEED:-$((RANDOM * 32768 + RANDOM))}
connections=4
requests=150
[ -z "${VMDK_SLOW:-}" ] || requests=1000

# is_clean IMAGE: all its extents were cleanly closed.
is_clean ()
{
  "$vmdk_img" info --json "$1" | python3 -c '
import json, sys
top = json.load (sys.stdin)["links"][0]
sys.exit (any (e.get ("unclean") for e in top["extents"]))'
}

# other_files IMAGE: sums of the files that aren't the disk's own.
other_files ()
{
  "$vmdk_img" info --json "$1" | python3 -c '
import json, sys
for link in json.load (sys.stdin)["links"][1:]:
  for e in link["extents"]:
    if e.get ("file"):
      print (e["file"])
  print (link["file"])' | sort -u | xargs -r sha256sum
}

# check_by_qemu IMAGE RAW
check_by_qemu ()
{
  command -v qemu-img >/dev/null || return 0
  qemu-img convert -f vmdk -O raw "$1" q.raw || fail "$what: qemu-img convert"
  cmp "$2" q.raw >&2 || fail "$what: qemu-img reads something else"
  rm -f q.raw
  qemu-img check -q -f vmdk "$1" >&2 || fail "$what: qemu-img check"
}

# check_written IMAGE RAW: what the server has left, while none runs.
check_written ()
{
  "$vmdk_img" check "$1" > check.out || fail "$what: $(cat check.out)"
  grep -q 'no errors, no warnings' check.out || fail "$what: $(cat check.out)"
  is_clean "$1" || fail "$what: isn't clean"
  serve -r file="$1"
  check_server "$2"
  stop_server
}

# write_image IMAGE RAW [ARGS...]: two servers, one after the other.
write_image ()
{
  local image=$1 raw=$2 round

  shift 2
  for round in 1 2; do
    serve file="$image" "$@"
    "$random_io" -c "$connections" -n "$requests" -s "$random_seed" "$sock" \
                 "$raw" || fail "$what: random-io; $(cat "$server_log")"
    stop_server
    [ ! -s "$server_log" ] || fail "$what: $(cat "$server_log")"
    random_seed=$((random_seed + 1))
  done
}

# random_io [ARGS...] -- BUILDER [KEY=VALUE...]: builds an image, and writes
# it.  ARGS are the plugin's; "no-qemu" is for images that it can't read.
random_io ()
{
  local args=() qemu=1 i

  while [ "$1" != -- ]; do
    if [ "$1" = no-qemu ]; then qemu=; else args+=("$1"); fi
    shift
  done
  shift
  for ((i = 0; i < ${VMDK_SLOW:+20}+1; i++)); do
    what="seed $random_seed: ${args[*]-} $*"
    echo "$what"
    rm -rf d.* d-*
    $vmdkgen "$@" d.vmdk d.raw
    other_files d.vmdk > before
    write_image d.vmdk d.raw ${args[@]+"${args[@]}"}
    check_written d.vmdk d.raw
    [ -z "$qemu" ] || check_by_qemu d.vmdk d.raw
    other_files d.vmdk | cmp before - || fail "$what: a parent has changed"
  done
}
