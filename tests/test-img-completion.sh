#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# bash completes the values of vmdk-img's options, whether it takes
# --option=value for one word or for three.

. ./functions.sh
trap - ERR # compgen fails when it finds nothing
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

# The value may also be a word of its own.
completes 'fail|warn|off' info --cid-check ''
completes 'folder' map --trusted-dir f
completes 'a disk.vmdk' map --parent a
completes 'raw|vmdk' map --format ''
completes 'raw' map -f r
completes 'notes.txt' map --svg n
completes 'a disk.vmdk' map --json a

# Each option with a choice of values, of every command, offers them; and
# each one that is offered is accepted, or the file is what it complains of.
: > empty.vmdk
nr_choices=0
for command in $("$vmdk_img" --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p')
do
  "$vmdk_img" $command --help > help
  for option in $(grep -o -E -e '^  (-., )?--[a-z-]+=[^ ]*[|]' help |
                    grep -o -E -e '--[a-z-]+') \
                $(grep -o -E -e '--type\>' help | sort -u); do
    COMP_WORDS=("$vmdk_img" "$command" "$option" "=") COMP_CWORD=3
    _vmdk_img vmdk-img '' = || :
    [ ${#COMPREPLY[@]} -gt 1 ] || fail "$command $option has no values"
    for value in "${COMPREPLY[@]}"; do
      "$vmdk_img" $command $option=$value 2>err </dev/null &&
        fail "$command needs no file"
      ! grep -F -e "$option=" err ||
        fail "$command $option=$value is not accepted"
      nr_choices=$((nr_choices + 1))
    done
  done
done
[ $nr_choices -ge 9 ] || fail "hardly any choices"

# The values that are offered are accepted.
: > empty.vmdk
for option in --cid-check --debug; do
  COMP_WORDS=("$vmdk_img" info "$option" "=") COMP_CWORD=3
  _vmdk_img vmdk-img '' = || :
  [ ${#COMPREPLY[@]} -gt 2 ] || fail "$option has no values"
  for value in "${COMPREPLY[@]}"; do
    expect_error 'empty.vmdk: ' "$vmdk_img" info $option=$value empty.vmdk
  done
done
