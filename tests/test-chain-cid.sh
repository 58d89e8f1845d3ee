#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A parent whose CID isn't what the child was made over: refused, warned
# about, or accepted, as cid-check= says.

. ./functions.sh
requires nbdcopy --version
requires nbdinfo --version
requires python3

cd "$scratch"

$vmdkgen chain size=999 map=m d.vmdk d.raw layers='
  sparse grain=8 alloc=mixed:50 cid=00c0ffee;
  sparse grain=8 alloc=mixed:50 parentcid=0badc0de cid=5'

message='d.vmdk: was made over a parent with CID 0badc0de, '
message+='but d-0.vmdk has CID 00c0ffee'

expect_error "$message" run_plugin file=d.vmdk
expect_error "$message" run_plugin file=d.vmdk cid-check=fail
# Naming the parent doesn't make it the right one.
expect_error "$message" run_plugin file=d.vmdk parent=d-0.vmdk

serve file=d.vmdk cid-check=warn
[ "$(server_warnings | grep -c "$message")" = 1 ] || fail "$(cat "$server_log")"
[ "$(wc -l < "$server_log")" = 1 ]
check_server d.raw m
stop_server

check_guest d.vmdk d.raw m cid-check=off

# A CID matters at each place of the chain.
$vmdkgen chain size=999 map=m d.vmdk d.raw layers='
  sparse grain=8 alloc=mixed:50 cid=1;
  sparse grain=8 alloc=mixed:50 parentcid=2 cid=3;
  sparse grain=8 alloc=mixed:50 cid=4'
expect_error 'd-1.vmdk: .*CID 00000002, but d-0.vmdk has CID 00000001' \
             run_plugin file=d.vmdk

# One key without the other.
$vmdkgen sparse size=9 hint=x.vmdk d.vmdk
expect_error 'd.vmdk: there is a parentFileNameHint, but parentCID is ffff' \
             run_plugin file=d.vmdk
$vmdkgen sparse size=9 parentcid=12345678 map=m d.vmdk d.raw
expect_error 'd.vmdk: parentCID names a parent, but there is no parentFile' \
             run_plugin file=d.vmdk
check_guest d.vmdk d.raw m cid-check=off
