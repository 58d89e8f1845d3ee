#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Chains without an end, and parents with names that lead elsewhere.

. ./functions.sh
. "$srcdir/hostile.sh"

# child FILE PARENT [EXTENT LINE]: a link of 8 sectors that says nothing.
child ()
{
  printf '%s\n' '# Disk DescriptorFile' version=1 CID=12345678 \
    parentCID=12345678 'createType="custom"' "parentFileNameHint=\"$2\"" \
    "${3:-RW 8 ZERO}" > "$1"
}

mkdir disk outside
cd disk

# Loops.
child self.vmdk self.vmdk
expect_error 'self\.vmdk: the chain is a loop: its parent is' \
  run_plugin self.vmdk
child self.vmdk "$PWD/./self.vmdk"
expect_error 'self\.vmdk: the chain is a loop' run_plugin self.vmdk
child one.vmdk two.vmdk
child two.vmdk three.vmdk
child three.vmdk one.vmdk
expect_error 'three\.vmdk: the chain is a loop: its parent is one\.vmdk' \
  run_plugin one.vmdk
ln -s two.vmdk two-again.vmdk
ln one.vmdk one-again.vmdk
child three.vmdk one-again.vmdk
child one.vmdk two-again.vmdk
expect_error 'the chain is a loop' run_plugin one.vmdk
expect_error 'one\.vmdk: the chain is a loop' \
  run_plugin one.vmdk parent=one-again.vmdk

# Depth: 255 links are served, 256 and 1000 are not.
for i in {1..1000}; do
  child "deep-$i.vmdk" "deep-$((i + 1)).vmdk"
done
write_descriptor deep-1001.vmdk 'RW 8 ZERO'
expect_error 'deep-[0-9]+\.vmdk: the chain has more than 255 links' \
  run_plugin deep-1.vmdk
write_descriptor deep-256.vmdk 'RW 8 ZERO'
expect_error 'deep-255\.vmdk: the chain has more than 255 links' \
  run_plugin deep-1.vmdk
truncate -s 4096 good.raw
served_right deep-2.vmdk

# Parents outside.
head -c 4096 /dev/urandom > ../outside/secret-flat
write_descriptor ../outside/secret.vmdk 'RW 8 FLAT "secret-flat" 0'
ln -s ../outside/secret.vmdk link.vmdk
ln -s ../outside out
mkfifo fifo
mkdir sub
lost='d\.vmdk: its parent ".*" can.t be opened: .*leads out.*trusted-dir=DIR'
for hint in ../outside/secret.vmdk "$PWD/../outside/secret.vmdk" link.vmdk \
            out/secret.vmdk sub/../../outside/secret.vmdk; do
  child d.vmdk "$hint"
  expect_error "$lost" run_plugin d.vmdk
done
child d.vmdk '..\outside\secret.vmdk'
expect_error "$lost" run_plugin d.vmdk
child d.vmdk 'C:\..\outside\secret.vmdk'
expect_error 'can.t be opened' run_plugin d.vmdk

# What is there, but can't be a parent.
for hint in /etc/passwd /dev/zero nbd://localhost/x 'json:{}' none.vmdk; do
  child d.vmdk "$hint"
  expect_error "d\.vmdk: its parent .* can.t be opened: " \
    run_plugin d.vmdk allow-devices=true
done
for hint in fifo sub .; do
  child d.vmdk $hint
  expect_error "d\.vmdk: its parent \"$hint\" can.t be opened: .*not a regular" \
    run_plugin d.vmdk
done
child d.vmdk good.raw
expect_error 'good\.raw: this is neither a VMDK descriptor' run_plugin d.vmdk
child d.vmdk ''
sed -i 's/^parentFileNameHint.*//' d.vmdk
expect_error 'd\.vmdk: parentCID names a parent, but' run_plugin d.vmdk

# A parent's own extents are confined to its folder, too.
write_descriptor sub/p.vmdk 'RW 8 FLAT "../../outside/secret-flat" 0'
child d.vmdk sub/p.vmdk
expect_error 'sub/p\.vmdk: line 6: extent .* leads out' run_plugin d.vmdk

# Folders have names, too.
mkdir $'new\nline'
write_descriptor $'new\nline/p.vmdk' 'RW 8 FLAT "none" 0'
child d.vmdk $'new\nline/p.vmdk'
expect_error 'd\.vmdk: ' run_plugin d.vmdk
mkdir $'escape\e[2J'
write_descriptor $'escape\e[2J/p.vmdk' 'RW 8 FLAT "none" 0'
child d.vmdk $'escape\e[2J/p.vmdk'
expect_error 'extent "none" in folder "escape\?\[2J"' run_plugin d.vmdk
