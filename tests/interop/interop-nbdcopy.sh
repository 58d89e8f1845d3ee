#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdcopy both ways, and from one disk to another, in its various modes: the
# bytes are right, and what is zero takes no space.

. ../functions.sh
. "$srcdir/writing.sh"

size=$((200 << 20))

# 12 MiB of data in pieces of many sizes, 6 MiB of stored zeroes.
python3 - r.raw "$size" <<'END'
import random, sys
rng, size = random.Random (1), int (sys.argv[2])
with open (sys.argv[1], 'wb') as f:
    f.truncate (size)
    for i in range (96):
        f.seek (rng.randrange (size // 4096 - 64) * 4096)
        f.write (rng.randbytes (rng.choice ([512, 4096, 65536, 262144]))
                 if i % 3 else bytes (65536))
END
# Each piece of data may touch one grain more at either end.
data=$(data_kib r.raw)
most=$((data + 96 * 2 * 64 + 1024))

# into TYPE [ARGS...]: a new disk of that type, by nbdcopy with these.
into ()
{
  rm -f d*.vmdk
  "$vmdk_img" create -t "$1" "$size" d.vmdk
  serve d.vmdk
  nbdcopy "${@:2}" r.raw "$uri" || fail "$*: $(cat "$server_log")"
  nbdcopy "$uri" - | cmp - r.raw >&2 || fail "$*"
  quiet
  stop_server
  check_quiet
  qemu-img compare -q -f vmdk -F raw d.vmdk r.raw || fail "$*: qemu"
  echo "$*: $(data_kib d*.vmdk) KiB for $data KiB"
}

# bounded [ARGS...]: into, and no more space than the data need.
bounded ()
{
  into "$@"
  [ "$(data_kib d*.vmdk)" -le "$most" ] ||
    fail "$*: $(data_kib d*.vmdk) KiB, expected at most $most"
}

bounded monolithicSparse
bounded monolithicSparse --connections=4 --requests=64 --flush
bounded monolithicSparse --synchronous --destination-is-zero
bounded monolithicSparse --connections=1 --requests=1 --request-size=1048576
bounded twoGbMaxExtentSparse --connections=4 --sparse=65536
bounded monolithicFlat --connections=4
into monolithicSparse --connections=4 --no-extents --sparse=0
into monolithicSparse --connections=4 --allocated

# Over other data, which must vanish.
into monolithicSparse --connections=4
serve d.vmdk
nbdcopy --connections=4 -- "[" nbdkit null 200M "]" "$uri"
nbdcopy "$uri" - | cmp -n "$size" - /dev/zero >&2 || fail 'zeroes'
stop_server
[ "$(data_kib d.vmdk)" -le 1024 ] || fail "$(data_kib d.vmdk) KiB of zeroes"
check_quiet

# Out to a file, and through a server of its own.
into monolithicSparse
rm -f o.raw
nbdcopy --connections=4 -- "[" nbdkit -r "$plugin" d.vmdk "]" o.raw
same_bytes r.raw o.raw
[ "$(data_kib o.raw)" -le "$most" ] || fail "o.raw: $(data_kib o.raw) KiB"

# between FROM TYPE: from one disk to another.
between ()
{
  local from=$1 source

  serve "$from" -r
  source=$uri
  rm -f e*.vmdk
  "$vmdk_img" create -t "$2" "$size" e.vmdk
  serve e.vmdk
  nbdcopy --connections=4 "$source" "$uri" || fail "$*: $(cat "$server_log")"
  nbdcopy "$uri" - | cmp - r.raw >&2 || fail "$*"
  stop_server
  check_quiet e.vmdk
  [ "$(data_kib e*.vmdk)" -le "$most" ] || fail "$*: $(data_kib e*.vmdk) KiB"
}

between d.vmdk twoGbMaxExtentSparse
"$vmdk_img" convert -t streamOptimized d.vmdk s.vmdk
between s.vmdk monolithicSparse
"$vmdk_img" snapshot d.vmdk c.vmdk > snapshot.out
between c.vmdk monolithicFlat
