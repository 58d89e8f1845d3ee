#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What a file can't do becomes the right error of the protocol, of that
# request alone: the next one on the same connection is done.

. ./functions.sh
requires_no_sanitizers
. "$srcdir/writing.sh"

shim=$top_builddir/tests/.libs/errno-shim.so
[ -e "$shim" ] || skip "there is no $shim"
nbdkit_command=(env "LD_PRELOAD=$shim" "ERRNO_FILE=$scratch/errno" nbdkit)

# answers WORD...: on one connection, makes requests, and lets calls fail
# from CALL=ERROR on until ok.  For each request prints its error, or "ok".
answers ()
{
  python3 - "$srcdir" "$sock" "$@" <<'EOF'
import errno, os, sys
sys.dont_write_bytecode = True
sys.path.insert (0, sys.argv[1])
from nbdclient import (CMD_FLUSH, CMD_READ, CMD_WRITE, FLAG_FUA, Client,
                       ServerError)
# 1: of a part that is there, 2: of one that isn't.
REQUESTS = {
    'r1': (CMD_READ, 5000, 100), 'w1': (CMD_WRITE, 5000, 100, 0, bytes (100)),
    'w2': (CMD_WRITE, 5125000, 100, 0, bytes (100)),
    'f1': (CMD_WRITE, 5000, 100, FLAG_FUA, bytes (100)),
    'f2': (CMD_WRITE, 5125000, 100, FLAG_FUA, bytes (100)),
    'flush': (CMD_FLUSH, 0, 0)}
client = Client (sys.argv[2])
for word in sys.argv[3:]:
    if word == 'ok':
        os.unlink ('errno')
    elif '=' in word:
        call, name = word.split ('=')
        with open ('errno', 'w') as f:
            print (call, getattr (errno, name), file=f)
    else:
        try:
            client.request (*REQUESTS[word])
            print ('ok')
        except ServerError as error:
            print (errno.errorcode[error.args[0]])
EOF
}

# expect "ANSWER..." WORD...
expect ()
{
  local found

  found=$(answers "${@:2}" | xargs)
  [ "$found" = "$1" ] || fail "$kind: ${*:2}: $found, expected $1"
}

words=() wanted=
for name in EIO EBADF EACCES EINVAL EROFS ESTALE ENOTSUP ENODEV; do
  words+=("pread=$name" r1 ok r1 "pwrite=$name" w1 w2 f2 ok)
  wanted+='EIO ok EIO EIO EIO '
done
for name in ENOSPC EDQUOT EFBIG; do
  words+=("pwrite=$name" w1 w2 f2 ok r1)
  wanted+='ENOSPC ENOSPC ENOSPC ok '
done
words+=(pread=ENOMEM r1 pwrite=EPERM w1 ok r1)
wanted+='ENOMEM EPERM ok'

for kind in sparse 'cowd grain=128' flat; do
  # shellcheck disable=SC2086
  new_disk $kind size=20000 alloc=0-77
  serve d.vmdk
  expect "$wanted" "${words[@]}"
  [ "$(grep -c 'd.*vmdk: ' "$server_log")" -ge 38 ] ||
    fail "no messages: $(cat "$server_log")"
  # What failed has changed nothing, and all is possible again.
  right
  change write 5000 100 8 write 5125000 100 9 zero 70000 70000 flush
  right
  # Nobody knows what was lost, so flushes fail from now on.
  expect 'ok ok ENOSPC EIO EIO ok' w1 w2 fdatasync=EDQUOT flush ok flush f1 r1
  stop_server
  "$vmdk_img" check d.vmdk > check.out || [ $? = 3 ] ||
    fail "$kind: $(cat check.out)"
done

# A chain whose parent can't be read.
kind=chain
new_disk chain size=20000 layers='sparse alloc=all; sparse alloc=none'
serve d.vmdk
expect 'EIO EIO ok' pread=EIO r1 w1 ok r1
right
change write 5000 100 8 flush
right
closed_right
check_quiet
