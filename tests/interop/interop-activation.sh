#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdkit that is started with a socket it is given: by systemd, and by
# clients that start a server for themselves.

. ../functions.sh
. "$srcdir/writing.sh"
requires nbdinfo --version
requires systemd-socket-activate --version

new_disk sparse size=60001 alloc=mixed:30
sock=$PWD/activated
uri="nbd+unix:///?socket=$sock"
server_log=$PWD/activated.log
systemd-socket-activate -l "$sock" nbdkit -f --exit-with-parent "$plugin" \
                        "$PWD/d.vmdk" > "$server_log" 2>&1 &
activated=$!
end_activated ()
{
  [ -z "$activated" ] || kill "$activated"
}
cleanup_fn end_activated
for ((i = 0; i < 500; i++)); do
  if [ -S "$sock" ]; then break; fi
  sleep 0.02
done
[ "$(pgrep -c -P "$activated" || :)" = 0 ] || fail 'it has started already'
right
change write 12345 100000 new.raw zero 5000000 100000 flush
nbdcopy --connections=4 "$uri" - | cmp - d.raw >&2
kill "$activated"
wait "$activated" || :
activated=
serve d.vmdk -r
right
closed_right

# By the client: nbdkit ends with it, and the disk is closed.
nbdcopy --connections=4 new.raw "[" nbdkit "$plugin" d.vmdk "]"
cp new.raw d.raw
for ((i = 0; i < 500; i++)); do
  if nbdcopy -- "[" nbdkit "$plugin" d.vmdk "]" - 2> copy.err | cmp -s - d.raw
  then break; fi
  sleep 0.02
done
[ "$i" -lt 500 ] || fail "$(cat copy.err)"
[ "$(nbdinfo --size -- "[" nbdkit -r "$plugin" d.vmdk "]")" = $((60001 * 512)) ]
check_quiet
