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

# complete_all WORD...: prints what completing the last word gives.
complete_all ()
{
  COMP_WORDS=("$vmdk_img" "$@")
  COMP_CWORD=$#
  _vmdk_img vmdk-img "${!#}" x || :
  printf '%s\n' "${COMPREPLY[@]}"
}

cd "$scratch"
mkdir folder
touch 'a disk.vmdk' B.VMDK notes.txt

completes info in
[ "$(complete_all '')" = "$("$vmdk_img" --help |
  sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p')" ] ||
  fail "not the commands that --help lists"
completes 'a disk.vmdk' info a
completes B.VMDK info --json B
completes folder map f
completes notes.txt check notes
completes --json info --js
completes --force-share check --force-

# Each command that is offered exists, and each of its options.
commands=$(complete_all '')
[ "$(wc -w <<< "$commands")" -ge 3 ] || fail "hardly any commands"
for command in $commands; do
  "$vmdk_img" "$command" --help > help || fail "no command $command"
  for option in $(complete_all "$command" --); do
    grep -q -E -e "(^|[ ,])$option" help || fail "no option $command $option"
  done
done
