#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img check: the exit status, the text and the JSON agree with each
# other and with what was done to the disk.

. ./functions.sh
requires jq

cd "$scratch"

# status_of EXPECTED FILE [ARGS...]: text to text, JSON to json.  Both ways
# and --quiet end with the same status.
status_of ()
{
  local status=0

  "$vmdk_img" check "${@:2}" > text 2>err || status=$?
  [ "$status" = "$1" ] ||
    { cat text err >&2; fail "$2: exit status $status, expected $1"; }
  [ ! -s err ] || fail "$2: $(cat err)"

  status=0
  "$vmdk_img" check --json "${@:2}" > json || status=$?
  [ "$status" = "$1" ] || fail "$2: exit status $status with --json"
  jq . json >/dev/null || fail "$2: no valid JSON"

  status=0
  "$vmdk_img" check --quiet "${@:2}" > quiet 2>&1 || status=$?
  [ "$status" = "$1" ] || fail "$2: exit status $status with --quiet"
  [ ! -s quiet ] || fail "$2: --quiet prints $(cat quiet)"

  # Both list the same defects.
  jq -r '.defects[] | "\(.file): \(.severity): \(.text) [\(.code)]"' json |
    diff <(grep -E '^[^ ]+: (error|warning|leak|note): .* \[[a-z0-9-]+\]$' \
           text || :) - >&2 || fail "$2: text and JSON differ"
}

# counts EXPECTED: errors, warnings, whether there are leaks, and complete.
counts ()
{
  local found

  found=$(jq -c '[.errors, .warnings, ."leaked-bytes" > 0, .complete]' json)
  [ "$found" = "$1" ] || { cat json >&2; fail "found $found instead of $1"; }
}

# Clean.  10 grains of 20 are allocated.
$vmdkgen sparse size=2560 alloc=every:2 clean.vmdk
status_of 0 clean.vmdk
counts '[0,0,false,true]'
grep -q '^Found no errors, no warnings' text || fail "not clean: $(cat text)"
grep -q -x 'Grains allocated: 10/20 = 50\.00%\.' text ||
  fail "wrong number of grains: $(cat text)"
[ "$(jq -c '[.filename, .grains, ."allocated-grains"]' json)" = \
  '["clean.vmdk",20,10]' ] || fail "wrong number of grains: $(cat json)"

# A warning isn't a failure.
cp clean.vmdk unclean.vmdk
$vmdkgen poke unclean.vmdk kdmv.uncleanShutdown 1
status_of 0 unclean.vmdk
counts '[0,1,false,true]'
grep -q '^unclean.vmdk: warning: ' text || fail "no warning: $(cat text)"

# Errors: an entry past the end, in both copies.
cp clean.vmdk damaged.vmdk
$vmdkgen poke damaged.vmdk 'gte[2]' 999999
$vmdkgen poke damaged.vmdk 'rgte[2]' 999999
status_of 2 damaged.vmdk
[ "$(jq .errors json)" -ge 1 ] || fail "no errors counted: $(cat json)"
grep -q '^damaged.vmdk: error: .* \[gte-past-end\]$' text || fail "no error: $(cat text)"
grep -q -E '^Found [0-9]+ errors?, ' text || fail "no summary: $(cat text)"

# A leak: no entry for a grain's place.
cp clean.vmdk leak.vmdk
$vmdkgen poke leak.vmdk 'gte[4]' 0
$vmdkgen poke leak.vmdk 'rgte[4]' 0
status_of 3 leak.vmdk
counts '[0,0,true,true]'
[ "$(jq '."leaked-bytes"' json)" = 65536 ] || fail "not 65536: $(cat json)"
grep -q '^Leaked: 64 KiB (65536 bytes)' text || fail "no leak: $(cat text)"

# Errors are more than leaks.
cp leak.vmdk both.vmdk
$vmdkgen poke both.vmdk 'gte[2]' 999999
$vmdkgen poke both.vmdk 'rgte[2]' 999999
status_of 2 both.vmdk

# A chain whose parent has changed is checked, and found.
$vmdkgen chain size=2560 chain.vmdk \
  layers='sparse cid=0xa; sparse parentcid=0xb'
status_of 2 chain.vmdk
grep -q -E 'error: .*0000000[ab].*0000000[ab]' text ||
  fail "the content IDs are not named: $(cat text)"
status_of 0 chain.vmdk --single-link
expect_error '0000000[ab]' "$vmdk_img" check --cid-check=fail chain.vmdk

# What can't be opened can't be checked.
: > empty.vmdk
expect_error '^vmdk-img: empty.vmdk: ' "$vmdk_img" check empty.vmdk
