#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Wrong parameters and files that can't be served: one clear line each.

. ./functions.sh
requires python3

cd "$scratch"
$vmdkgen sparse size=99 d.vmdk

expect_error 'no disk was named: use file=' run_plugin
expect_error "unknown parameter 'fiel'" run_plugin d.vmdk fiel=x
expect_error 'cid-check=no: expected fail, warn or off' \
             run_plugin d.vmdk cid-check=no
for name in single-link recover allow-devices; do
  expect_error 'could not decipher boolean \(maybe\)' \
               run_plugin d.vmdk $name=maybe
done
for name in table-cache grain-cache; do
  expect_error 'could not parse size' run_plugin d.vmdk $name=much
done
expect_error 'fd: .*number' run_plugin fd=seven
expect_error "file= and fd= can't be used together" run_plugin d.vmdk fd=0
expect_error 'parent= and single-link=true .* together' \
             run_plugin d.vmdk parent=d.vmdk single-link=true
expect_error 'file= needs the name of a disk' run_plugin file=
expect_error 'extent=x: expected extent=NAME=PATH' run_plugin d.vmdk extent=x
expect_error 'extent==x: expected extent=NAME=PATH' run_plugin d.vmdk extent==x
expect_error 'extent=x=: expected extent=NAME=PATH' run_plugin d.vmdk extent=x=
expect_error 'fd=-5|file descriptor -5' run_plugin fd=-5
expect_error 'file descriptor 99: Bad file descriptor' run_plugin fd=99

expect_error 'gone.vmdk: No such file or directory' run_plugin gone.vmdk
mkdir dir
expect_error 'dir: is a (folder|directory), not a file or block' \
             run_plugin dir
mkfifo fifo
expect_error 'fifo: is a .*, not a file or block' run_plugin fifo
: > empty
expect_error 'empty: ' run_plugin empty
printf '# Disk DescriptorFile\n' > text
expect_error 'text: ' run_plugin text
expect_error 'functions.sh.in: .*neither a VMDK descriptor nor' \
             run_plugin "$srcdir/functions.sh.in"
expect_error 'gone: .*No such file' run_plugin d.vmdk trusted-dir=gone

# Who can't read the file hears that.
if [ "$(id -u)" -ne 0 ]; then
  chmod 0 d.vmdk
  expect_error 'd.vmdk: Permission denied' run_plugin d.vmdk
fi
