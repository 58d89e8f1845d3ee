#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What only reads opens no file of the disk for writing, and touches no name,
# mode or content.  Temporary files have no name, and are nobody else's.

. ./functions.sh
requires_no_sanitizers
requires python3
requires strace -o /dev/null true
cd "$scratch"
mkdir disk tmp
export TMPDIR=$PWD/tmp

# Changes of files, and opening them for that; not the socket's name.
calls=openat,openat2,open,creat,pwrite64,pwritev,ftruncate,truncate,fallocate
calls+=,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink
calls+=,symlinkat,mkdir,mkdirat,chmod,fchmod,fchmodat,chown,fchown,fchownat
calls+=,fsetxattr,setxattr,utimensat,fsync,fdatasync

# traced COMMAND...: the calls that have to do with the disk are in log.
traced ()
{
  local status=0

  strace -f -y -qq -o trace -e "trace=$calls" "$@" > out 2>&1 || status=$?
  [[ $status = [023] ]] || fail "$*: $(cat out)"
  grep -F "$PWD/disk" trace > log || :
  grep -q openat log || fail "$*: nothing was traced"
}

reads_only ()
{
  local before

  before=$(stat -c '%n %i %a %Y %Z %s' disk/*)
  traced "$@"
  if grep -v -E '(open|openat|openat2) ?\(.*O_RDONLY|O_PATH|= -1 E' log; then
    fail "$*: does more than reading"
  fi
  if grep -E 'O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)' log; then
    fail "$*: opens for writing"
  fi
  [ "$(stat -c '%n %i %a %Y %Z %s' disk/*)" = "$before" ] ||
    fail "$*: files have changed"
}

$vmdkgen chain size=400 layers='flat; sparse grain=8 alloc=1-5' disk/d.vmdk
for disk in child spoiled; do
  for command in info check map 'convert --force -t raw' 'repair --dry-run'; do
    args=(disk/d.vmdk)
    [[ $command != convert* ]] || args+=(out.raw)
    reads_only "$vmdk_img" $command "${args[@]}"
  done
  reads_only nbdkit -r -f -U - "$plugin" disk/d.vmdk \
    --run 'nbdinfo --map "$uri"'
  rm disk/*
  $vmdkgen sparse size=400 alloc=all disk/d.vmdk 'rgte[1]=0'
done

# Temporary files: a repair needs one.
strace -f -qq -o trace -e trace=openat "$vmdk_img" repair --dry-run \
  disk/d.vmdk >/dev/null
grep -F "$TMPDIR" trace > log
grep -q 'O_TMPFILE.*, 0600) = [0-9]' log || fail "temporary: $(cat log)"
[ -z "$(ls -A tmp)" ] || fail "left behind: $(ls -A tmp)"
