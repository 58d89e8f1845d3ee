#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdkit --run, and the end of the server: without -f it ends with the
# command, and it leaves no file behind.

. ./functions.sh
requires nbdcopy --version
requires python3

cd "$scratch"
mkdir t
$vmdkgen stream size=2001 d.vmdk d.raw
# shellcheck disable=SC2016
TMPDIR=$scratch/t "${nbdkit_command[@]}" -U - "$plugin" d.vmdk \
  --run 'nbdcopy "$uri" n.raw'
same_bytes d.raw n.raw
[ -z "$(ls t)" ]

# Its exit status is the command's.
status=0
"${nbdkit_command[@]}" -U - "$plugin" d.vmdk --run 'exit 3' || status=$?
[ $status = 3 ]

# Writing is refused without harm.
before=$(sha256sum < d.vmdk)
if command -v qemu-io >/dev/null; then
  serve file=d.vmdk
  if qemu-io -f raw -c 'write 0 512' "$uri" >/dev/null 2>&1; then
    fail "a write succeeded"
  fi
  check_server d.raw
fi
[ "$(sha256sum < d.vmdk)" = "$before" ]
