# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests that write to disks, and compare them with a raw file to which
# the same was done; after functions.sh.

requires nbdkit --version
requires nbdcopy --version
requires python3
requires qemu-img --version
cd "$scratch"

written="python3 $srcdir/vmdkwritten.py"

# new_disk BUILDER [KEY=VALUE...]: makes d.vmdk and d.raw, and new.raw with
# other bytes to be written.
new_disk ()
{
  rm -f ./*.vmdk d.raw
  $vmdkgen "$@" d.vmdk d.raw
  [ -e new.raw ] && [ "$(stat -c %s new.raw)" = "$(stat -c %s d.raw)" ] ||
    $vmdkgen flat size=$(($(stat -c %s d.raw) / 512)) alloc=all seed=99 \
             new-x.vmdk new.raw
  rm -f new-x*.vmdk
}

# change REQUEST...: the last server and d.raw get them; all must succeed.
change ()
{
  $written change "$sock" d.raw "$@" > change.out ||
    fail "$(cat change.out): $(cat "$server_log")"
}

# refused NUMBER REQUEST...: the last server answers each of them with that
# error number, and changes nothing.
refused ()
{
  nbd "${@:2}" > refused.out
  if grep -n -v -x "error $1" refused.out >&2; then
    fail "not refused: ${*:2}"
  fi
}

# right: what is served now is d.raw.
right ()
{
  nbdcopy "$uri" - | cmp - d.raw >&2 || fail "$(cat "$server_log")"
}

# closed_right [ARGS...]: ends the server.  All tables are sound, and we, who
# open it anew with these arguments, and qemu read d.raw.
closed_right ()
{
  local found

  stop_server
  found=$($written sound ./*.vmdk) || fail "$found"
  serve d.vmdk -r "$@"
  right
  stop_server
  [ -n "${no_qemu:-}" ] || qemu_right
}

# qemu_right: it reads d.raw.
qemu_right ()
{
  qemu-img compare -f vmdk -F raw d.vmdk d.raw > qemu.out 2>&1 ||
    fail "qemu: $(cat qemu.out)"
}

# check_quiet [IMAGE]: vmdk-img check has nothing to say against it, but
# perhaps that some of its space isn't used.
check_quiet ()
{
  "$vmdk_img" check "${1:-d.vmdk}" > check.out 2>&1 ||
    grep -q '^Found no errors, no warnings, no notes' check.out ||
    fail "check: $(cat check.out)"
}

# quiet: the last server had nothing to complain about.
quiet ()
{
  [ -z "$(server_errors)$(server_warnings)" ] ||
    fail "messages: $(cat "$server_log")"
}

# field FILE NAME: see vmdkgen.py.
field ()
{
  $vmdkgen peek "$1" "$2"
}

# sum_of FORMAT FILE...: of what stat says of each.
sum_of ()
{
  local n sum=0

  for n in $(stat -c "$@"); do
    sum=$((sum + n))
  done
  echo $sum
}

# data_kib FILE...: how much of them isn't holes.
data_kib ()
{
  echo $(($(sum_of %b "$@") / 2))
}

# version_and_flags FILE: of a hosted sparse extent.
version_and_flags ()
{
  od -A n -t u4 -j 4 -N 8 "$1"
}
