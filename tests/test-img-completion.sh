#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# bash completes the values of vmdk-img's options, whether it takes
# --option=value for one word or for three.

. ./functions.sh
. "$top_srcdir/tools/completion/vmdk-img"

# completes EXPECTED WORD...: completing the last word gives these.
completes ()
{
  local expected=$1 cur

  shift
  COMP_WORDS=("$vmdk_img" "$@")
  COMP_CWORD=$#
  cur=${!#}
  _vmdk_img vmdk-img "$cur" x || :
  [ "$(printf '%s|' "${COMPREPLY[@]}")" = "$expected|" ] ||
    fail "completing '$*' gives '${COMPREPLY[*]}' instead of '$expected'"
}

cd "$scratch"
mkdir folder
touch 'a disk.vmdk' notes.txt

completes fail info --cid-check=f
completes fail info --cid-check = f
completes 'fail|warn|off' info --cid-check =
completes 'descriptor' map --debug=d
completes 'folder' map --trusted-dir = ''
completes 'a disk.vmdk' map --parent = a
completes 'a disk.vmdk' map --parent=a
completes 'notes.txt' map --extent = name = n
completes '' map --length = 6
completes --length= map --len

# The values that are offered are accepted.
: > empty.vmdk
for option in --cid-check --debug; do
  COMP_WORDS=(vmdk-img info $option =) COMP_CWORD=3
  _vmdk_img vmdk-img '' =
  [ ${#COMPREPLY[@]} -gt 2 ] || fail "$option has no values"
  for value in "${COMPREPLY[@]}"; do
    expect_error 'empty.vmdk: ' "$vmdk_img" info $option=$value empty.vmdk
  done
done
