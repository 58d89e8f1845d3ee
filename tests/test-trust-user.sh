#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For a user without privileges, what the system forbids is said in one line.

. ./functions.sh
. "$srcdir/hostile.sh"
requires setpriv --version
requires_no_sanitizers
[ "$(id -u)" -eq 0 ] || skip "only root can become another user"

# That user may not be able to reach the build directory.
cp "$plugin" plugin.so
plugin=$PWD/plugin.so
chmod 755 . plugin.so
mkdir disk disk/closed
head -c 4096 /dev/urandom > good.raw
cp good.raw disk/flat
cp good.raw disk/secret
cp good.raw disk/closed/flat
chmod 600 disk/secret
chmod 700 disk/closed
nbdkit_command=(setpriv --reuid=65534 --regid=65534 --clear-groups nbdkit)
setpriv --reuid=65534 --regid=65534 --clear-groups cat good.raw >/dev/null ||
  skip "no other user can read $scratch"

extent ()
{
  write_descriptor disk/d.vmdk "RW 8 FLAT \"$1\" 0"
}

# refused PATTERN [ARGS...]
refused ()
{
  expect_error "disk/d\.vmdk: line 6: extent .*$1" \
    run_plugin disk/d.vmdk "${@:2}"
}

extent flat
timeout 60 "${nbdkit_command[@]}" -U - "$plugin" disk/d.vmdk \
  --run 'test -S $unixsocket'
extent secret
refused 'Permission denied.*extent=NAME=PATH'
extent closed/flat
refused 'Permission denied'
extent ../good.raw
refused 'leads out'
extent /etc/shadow
refused 'leads out'
refused 'Permission denied' trusted-dir=/etc
extent /dev/mem
refused 'is a device'
chmod 600 disk/d.vmdk
expect_error 'disk/d\.vmdk: Permission denied' run_plugin disk/d.vmdk
