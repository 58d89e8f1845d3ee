#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# In which order things reach the files: what announces a change is synced
# before the change, data before what points at them, and the mark that says
# that all is well comes last.

. ./functions.sh
requires strace -V
requires_no_sanitizers
. "$srcdir/writing.sh"

calls=pwrite64,fdatasync,fsync,fallocate,ftruncate,rename,renameat,renameat2

# trace BUILDER ARGS... -- REQUEST...: prints the calls of a server, with the
# arguments args, that answers these requests, in short: FILE@OFFSET+LENGTH or FILE:CALL.
args=()
trace ()
{
  split_at_dashes "$@"
  set -- ${behind[@]+"${behind[@]}"}
  new_disk "${before[@]}"
  (
    nbdkit_command=(strace -f -y -o strace.log
                    -e "trace=$calls"
                    nbdkit)
    serve d.vmdk ${args[@]+"${args[@]}"}
    nbd "$@" > found
    # Who traces ends by himself.
    kill "$(cat "${sock%.sock}.pid")"
    wait "$server_pid"
  ) || fail "it didn't work: $(cat strace.log)"
  if grep -v -x ok found; then
    fail "$(cat found)"
  fi
  # Lines such as 3000  pwrite64(9</tmp/x/d.vmdk>, "..."..., 512, 0) = 512
  sed -n -E \
    -e 's|^.* pwrite64\([0-9]+<.*/([^/>]+)>, ".*"[.]*, (.*)\) +=.*$|\1@\2|' \
    -e 's|^(.*)@([0-9]+), ([0-9]+)$|\1@\3+\2|p' \
    -e 's|^.* fd?a?t?a?sync\([0-9]+<.*/([^/>]+)>.*|\1:sync|p' \
    -e 's|^.* ftruncate\([0-9]+<.*/([^/>]+)>.*|\1:length|p' \
    -e 's|^.* rename.*"([^"]*)".*|rename:\1|p' strace.log
}

# expect PATTERN: the calls, on one line, match it.
expect ()
{
  [[ "$(tr '\n' ' ' < calls)" =~ ^$1$ ]] ||
    fail "expected $1, found $(tr '\n' ' ' < calls)"
}

# An overwrite: the mark and the descriptor, the data, the mark again.
grain=65536
trace sparse size=4001 alloc=0-9 -- write $((3 * grain)) 100 0x55 > calls
at=$(($(field d.vmdk 'gte[3]') * 512))
expect "d.vmdk@0\\+512 d.vmdk:sync (d.vmdk@[0-9]+\\+512 )+d.vmdk:sync \
d.vmdk@$at\\+100 d.vmdk:sync d.vmdk@0\\+512 d.vmdk:sync "

# A new grain: length, data, both copies of the table, the mark; what isn't
# used of the file is cut off before the mark goes.
trace sparse size=4001 alloc=0-9 -- write $((20 * grain)) $grain 0x55 > calls
at=$(($(field d.vmdk 'gte[20]') * 512))
gte=$($vmdkgen where d.vmdk 'gte[20]') rgte=$($vmdkgen where d.vmdk 'rgte[20]')
gte=$((gte / 512 * 512)) rgte=$((rgte / 512 * 512))
expect "d.vmdk@0\\+512 d.vmdk:sync (d.vmdk@[0-9]+\\+512 )+d.vmdk:sync \
(d.vmdk:length d.vmdk:sync )+d.vmdk@$at\\+$grain d.vmdk:sync \
(d.vmdk@$gte\\+512 d.vmdk@$rgte\\+512|d.vmdk@$rgte\\+512 d.vmdk@$gte\\+512) \
d.vmdk:sync d.vmdk:length d.vmdk:sync d.vmdk@0\\+512 d.vmdk:sync "

# That grains may be marked as zero is in the header before one is.
args=(zeroed-grains=always)
trace chain size=4001 layers='flat alloc=all; sparse alloc=none' -- \
      zero $((20 * grain)) $grain > calls
args=()
expect "d.vmdk@0\\+512 d.vmdk:sync (d.vmdk@[0-9]+\\+512 )+d.vmdk:sync \
d.vmdk@0\\+512 d.vmdk:sync (d.vmdk@[1-9][0-9]*\\+512 ){2}d.vmdk:sync \
d.vmdk@0\\+512 d.vmdk:sync "

# The descriptor of a split disk is durable before any extent is changed.
trace split size=4001 piece=2000 kind=flat alloc=random:50 -- \
      write $((3 * grain)) 100 0x55 > calls
expect "[.]d.vmdk[^ ]*@0\\+[0-9]+ [.]d.vmdk[^ ]*:sync rename:d.vmdk [^ ]*:sync \
d-f001.vmdk@$((3 * grain))\\+100 d-f001.vmdk:sync "
