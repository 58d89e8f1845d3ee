#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img convert from NBD servers that lie, fail, vanish or hang: it ends
# with one line of error or with the whole disk, and leaves nothing else.

. ./functions.sh
requires python3
requires nbdinfo --version # or there may be no libnbd
cd "$scratch"

# start HOW
start ()
{
  rm -f s
  python3 "$srcdir/hostilenbd.py" s "$1" &
  server=$!
  cleanup_fn eval "kill $server 2>/dev/null || :"
  for ((i = 0; i < 1500; i++)); do
    [ ! -S s ] || return 0
    sleep 0.02
  done
  fail "no server"
}

end ()
{
  kill "$server"
  wait "$server" 2>/dev/null || :
  [ -z "$(ls -A | grep -v -E '^(s|s\.new|expect_error\.(out|err))$')" ] ||
    fail "$1: left behind: $(ls -A)"
}

convert=("$vmdk_img" convert -q -t raw "nbd+unix:///?socket=$PWD/s" out.raw)

for how in none blocks status-0 status-past-end status-other status-many
do
  start $how
  timeout -k 5 60 "${convert[@]}" > log 2>&1 || fail "$how: $(cat log)"
  [ ! -s log ] || fail "$how: $(cat log)"
  [ "$(stat -c %s out.raw)" -eq $((4 << 20)) ] || fail "$how: wrong size"
  rm out.raw log
  end $how
done

for how in status-empty size-max size-negative size-0 refusal read-leave \
           read-short read-past read-long read-hole read-error read-garbage \
           read-length; do
  start $how
  expect_error '^vmdk-img: (nbd|out\.raw: a disk can.t be empty)' \
    timeout -k 5 60 "${convert[@]}"
  ! grep -a -q -i evil expect_error.err || fail "$(cat -v expect_error.err)"
  end $how
done

# It waits for an answer, but not against the user's will.
start read-hang
"${convert[@]}" > /dev/null 2>&1 &
pid=$!
sleep 1
status=0
kill -TERM $pid
sleep 0.5
kill -TERM $pid 2>/dev/null || :
wait $pid 2>/dev/null || status=$?
[ "$status" -eq 143 ] || [ "$status" -eq 5 ] || fail "status $status"
end read-hang
