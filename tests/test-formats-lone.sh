#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Extents opened without their descriptor: one that is a sound disk by itself
# is served, others get a message that names what to open.

. ./functions.sh
requires python3

cd "$scratch"

# refused FILE DESCRIPTOR
refused ()
{
  expect_error "$1: this is .*; open the descriptor instead, .* $2\$" \
               run_plugin file="$1"
}

$vmdkgen cowd size=99 vm-000001.vmdk
refused vm-000001-delta.vmdk vm-000001.vmdk
$vmdkgen sesparse size=99 vm.vmdk
refused vm-sesparse.vmdk vm.vmdk
$vmdkgen vmfs size=99 vm.vmdk
refused vm-flat.vmdk vm.vmdk
$vmdkgen split kind=flat size=99 piece=9 vm.vmdk
refused vm-f001.vmdk vm.vmdk
mv vm-sesparse.vmdk odd
expect_error 'odd: this is a seSparse extent.*open the descriptor that names' \
             run_plugin file=odd
printf '\242\162\031\366%0508d' 0 > vm-ctk.vmdk
refused vm-ctk.vmdk vm.vmdk

# A hosted sparse extent has a size of its own.
$vmdkgen extent size=999 grain=8 alloc=mixed:50 map=m lone.vmdk lone.raw
check_guest lone.vmdk lone.raw m

# But as a piece of a split disk it is seldom what is wanted.
$vmdkgen split size=300 piece=100 grain=8 alloc=mixed:50 map=m d.vmdk d.raw
serve file=d-s002.vmdk
dd if=d.raw of=2.raw bs=512 skip=100 count=100 status=none
check_server 2.raw
server_warnings |
  grep -q 'd-s002.vmdk: there is no descriptor.*part of d.vmdk$' ||
  fail "$(cat "$server_log")"
[ "$(wc -l < "$server_log")" -eq 1 ]
