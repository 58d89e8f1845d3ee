#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Extents with names that aren't just those of files in the image's folder:
# nothing outside is opened, nothing hangs, no protocol is spoken, and names
# don't write messages of their own.

. ./functions.sh
. "$srcdir/hostile.sh"

mkdir disk disk/sub outside
head -c 4096 /dev/urandom > outside/secret
head -c 4096 /dev/urandom > disk/inside
cp disk/inside disk/sub/inside
cp disk/inside good.raw
ln -s ../outside/secret disk/link-out
ln -s "$PWD/outside/secret" disk/link-out-absolute
ln -s ../outside disk/sub-out
ln -s sub/inside disk/link-in
ln -s loop disk/loop
mkfifo disk/fifo
python3 -c 'import socket, sys
socket.socket (socket.AF_UNIX).bind (sys.argv[1])' disk/socket

# refused PATTERN NAME [ARGS...]
refused ()
{
  local name=$2

  write_descriptor disk/d.vmdk "RW 8 FLAT \"$name\" 0"
  expect_error "disk/d\.vmdk: line 6: $1" run_plugin disk/d.vmdk "${@:3}"
}

accepted ()
{
  write_descriptor disk/d.vmdk "RW 8 FLAT \"$1\" 0"
  served_right disk/d.vmdk
}

accepted inside
accepted ./inside
accepted sub/inside
accepted sub//inside
accepted sub/../inside
accepted link-in
accepted "$PWD/disk/inside" # it is in the image's folder

out='leads out of the image.s folder "disk".*trusted-dir=DIR'
refused "extent \"/etc/passwd\" $out" /etc/passwd
refused "extent \"\.\./outside/secret\" $out" ../outside/secret
refused "extent .* $out" sub/../../outside/secret
refused "extent .* $out" ../../../../../../../../etc/passwd
refused "extent .* $out" "$PWD/outside/secret"
refused "extent .* $out" "$PWD/disk/../outside/secret"
refused "extent .* $out" link-out
refused "extent .* $out" link-out-absolute
refused "extent .* $out" sub-out/secret
refused "extent .* $out" /proc/self/environ
refused "extent \"loop\" " loop
refused "extent \"fifo\": isn't a regular file" fifo
refused "extent \"socket\" in folder" socket
refused "extent \"sub\": isn't a regular file" sub
refused "extent \"\.\": isn't a regular file" .
refused "extent \"\.\.\" $out" ..
refused "extent \"/\" $out" /
refused 'extent "" in folder "disk": No such file' ''
refused 'extent "none" in folder "disk": No such file.*extent=NAME=PATH' none
refused 'extent "inside/" in folder "disk": Not a directory' inside/
refused 'extent "x+\.\.\." in folder "disk": File name too long' \
  "$(printf 'x%.0s' {1..300})"
refused 'extent .* in folder "disk": File name too long' \
  "$(printf 'sub/../%.0s' {1..2000})inside"

# Devices, and what is none although they are allowed.
refused 'extent "/dev/zero" is a device.*allow-devices=true' /dev/zero
refused 'extent "/dev/zero" in folder.*Block device required' /dev/zero \
  allow-devices=true
refused 'extent "/etc/passwd" in folder.*Block device required' /etc/passwd \
  allow-devices=true
write_descriptor disk/d.vmdk 'RW 8 FLAT "fifo" 0'
expect_error 'disk/fifo: is a FIFO, not a file' \
  run_plugin disk/d.vmdk allow-devices=true

# What means something to other programs is a name here.
none='in folder "disk": No such file'
refused "extent \"nbd://localhost/x\" $none" nbd://localhost/x
refused "extent \"json:\{.*\}\" $none" "json:{'driver':'file'}"
refused "extent \"fat:/etc\" $none" fat:/etc
refused "extent \"file:inside\" $none" file:inside
refused "extent \"http://127.0.0.1:1/x\" $none" http://127.0.0.1:1/x
refused "extent \"fd:0\" $none" fd:0
refused "extent \"%2e%2e/outside/secret\" $none" %2e%2e/outside/secret
refused "extent \"\.\.\\\\outside\\\\secret\" $none" '..\outside\secret'
# shellcheck disable=SC2088 # nothing is to be done with it
refused "extent \"~/x\" $none" '~/x'
refused 'extent "%n%s%s%s%n"' %n%s%s%s%n

# Control characters: no line, no escape sequence of the image's own.
refused 'extent "a\?nbdkit: error: b\?\[2J"' $'a\tnbdkit: error: b\e[2J'
refused 'extent "a\?\?b"' $'a\xc2\x9bb'
refused 'extent "a\?b"' $'a\x9bb'
printf 'version=1\rCID=1\rparentCID=ffffffff\rRW 8 FLAT "x\rnbdkit: error: y" 0' \
  > disk/d.vmdk
expect_error 'line 4: found .*, expected a quote' run_plugin disk/d.vmdk
! grep -P '[\x00-\x08\x0b-\x1f\x7f]' expect_error.err || fail "control characters"

# Sparse extents that aren't any.
write_descriptor disk/d.vmdk 'RW 8 SPARSE "inside"'
expect_error 'disk/d\.vmdk: line 6: disk/inside is listed as SPARSE, but' \
  run_plugin disk/d.vmdk
write_descriptor disk/d.vmdk 'RW 8 SPARSE "d.vmdk"'
expect_error 'disk/d\.vmdk: line 6: disk/d\.vmdk is listed as SPARSE, but' \
  run_plugin disk/d.vmdk

# What the user names is no file.
expect_error 'disk: is a directory' run_plugin disk
expect_error 'disk/fifo: is a FIFO' run_plugin disk/fifo
expect_error '/dev/zero: is a character device' run_plugin /dev/zero
expect_error 'none: No such file' run_plugin none
: > empty
expect_error 'empty: the file is empty' run_plugin empty
expect_error 'fd=-2: expected' run_plugin fd=-2
expect_error 'file descriptor 99: Bad file descriptor' run_plugin fd=99

# The name of the image may be somebody else's choice, too.
name=$'disk/\e[31m\nb.vmdk'
head -c 100 /dev/zero > "$name"
expect_error 'disk/\?\[31m\?b\.vmdk: ' run_plugin file="$name"
expect_error 'disk/\?\[31m\?b\.vmdk: ' "$vmdk_img" info "$name"
