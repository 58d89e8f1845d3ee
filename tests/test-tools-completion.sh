#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# bash completes the commands of vmdk-img, its options and disk names.

. ./functions.sh
trap - ERR # compgen fails when it finds nothing

. "$top_srcdir/tools/completion/vmdk-img"
complete -p vmdk-img | grep -q _vmdk_img || fail "nothing is registered"

# completes EXPECTED WORD...: completing the last word gives these.
completes ()
{
  local expected=$1

  shift
  COMP_WORDS=("$vmdk_img" "$@")
  COMP_CWORD=$#
  _vmdk_img vmdk-img "${!#}" x || :
  [ "$(printf '%s|' "${COMPREPLY[@]}")" = "$expected|" ] ||
    fail "completing '$*' gives '${COMPREPLY[*]}' instead of '$expected'"
}

cd "$scratch"
mkdir folder
touch 'a disk.vmdk' B.VMDK notes.txt

completes info in
completes 'check|info|map' ''
completes 'a disk.vmdk' info a
completes B.VMDK info --json B
completes folder map f
completes notes.txt check notes
completes --json info --js
completes --force-share check --fo

# Each command that is offered exists.
COMP_WORDS=(vmdk-img '') COMP_CWORD=1
_vmdk_img vmdk-img '' vmdk-img
for command in "${COMPREPLY[@]}"; do
  "$vmdk_img" "$command" --help >/dev/null || fail "no command $command"
done
