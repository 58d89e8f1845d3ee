#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The helpers that other tests rely on to fail must be able to fail.

. ./functions.sh

# In a shell of its own: does this piece of a test end with that status?
ends_with ()
{
  local expected=$1 status=0

  printf '. ./functions.sh\n%s\n' "$2" > "$scratch/piece.sh"
  bash "$scratch/piece.sh" >"$scratch/piece.out" 2>&1 || status=$?
  if [ "$status" -ne "$expected" ]; then
    cat "$scratch/piece.out" >&2
    fail "status $status instead of $expected: $2"
  fi
}

ends_with 0 'true'
ends_with 1 'false; true'
ends_with 1 'false | true; true'
ends_with 1 'fail because'
ends_with 77 'skip because'
ends_with 77 'requires no-such-command-at-all'
ends_with 77 'requires false --version'
ends_with 0 'requires true --version'
ends_with 77 'VMDK_IMAGES=/nonexistent; requires_images'
ends_with 77 'VMDK_IMAGES=$scratch; requires_images no-such-image'

ends_with 0 'expect_error "^a [bc]$" sh -c "echo a b >&2; exit 1"'
ends_with 0 'expect_error b sh -c "echo x: warning: a >&2; echo b >&2; exit 1"'
# No failure, another message, none, two, by a signal, by a time limit.
ends_with 1 'expect_error a sh -c "echo a >&2"'
ends_with 1 'expect_error a sh -c "echo b >&2; exit 1"'
ends_with 1 'expect_error a sh -c "exit 1"'
ends_with 1 'expect_error a sh -c "echo a >&2; echo a >&2; exit 1"'
ends_with 1 'expect_error a sh -c "echo a >&2; kill -9 \$\$"'
ends_with 1 'expect_error a timeout 0.1 sh -c "echo a >&2; sleep 9"'

echo one > "$scratch/a"
echo two > "$scratch/b"
echo onemore > "$scratch/c"
ends_with 0 "same_bytes $scratch/a $scratch/a"
ends_with 1 "same_bytes $scratch/a $scratch/b"
ends_with 1 "same_bytes $scratch/a $scratch/c"
ends_with 1 "same_bytes $scratch/a $scratch/none"

# The last cleanup comes first, also after a failure; nothing stays.
ends_with 1 'echo "$scratch" > '"$scratch/where"'
cleanup_fn echo third
cleanup_fn echo "second  word"
fail first'
[ ! -e "$(cat "$scratch/where")" ] || fail "a scratch directory stayed"
tail -n 2 "$scratch/piece.out" > "$scratch/order"
printf 'second  word\nthird\n' | cmp - "$scratch/order" || fail "wrong order"

# A server that can't start is a failure, and so is what is made of it.
ends_with 1 'requires nbdkit; serve /nonexistent'
ends_with 1 'requires nbdkit; sum=$(guest_sha256 /nonexistent); exit 0'

# What has got the number of a server that has ended is left alone.
ends_with 0 'sleep 9 & cleanup_fn kill $!; stop_server $!; kill -0 $!'
