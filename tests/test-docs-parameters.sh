#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The plugin's --help and the section PARAMETERS of its man page name the
# same parameters.

. ./functions.sh
requires nbdkit

run_plugin --help | sed -n -E 's/^\[?([a-z][a-z-]*)=.*/\1/p' |
  sort -u > "$scratch/in-help"
[ -s "$scratch/in-help" ] || fail "--help names no parameter"

# =item [B<file=>]FILENAME and the like.
sed -n '/^=head1 PARAMETERS/,/^=head1 [^P]/p' \
    "$top_srcdir/plugin/nbdkit-vmdk-plugin.pod" |
  sed -n -E 's/^=item \[?([A-Z]<)?\[?([a-z][a-z-]*)=.*/\2/p' |
  sort -u > "$scratch/in-pod"

diff -u --label '--help' --label 'man page' \
  "$scratch/in-help" "$scratch/in-pod" >&2 || fail "they differ"
