#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A disk whose changes VMware keeps track of is written only when that may
# end, which is seen in the descriptor and in the header.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

# refused_then_dropped FILE BUILDER ARGS...: FILE has the header, or is -.
refused_then_dropped ()
{
  local before

  new_disk "${@:2}"
  before=$(sha256sum d*.vmdk)
  serve d.vmdk
  nbd write 0 1 0x55 > found 2>&1 || :
  ! grep -q -x ok found || fail "$*: it was written"
  server_errors | grep -q 'd.*vmdk: can.t be written: VMware keeps track.*'\
'drop-cbt=true.* next backup must be a full one' ||
    fail "$*: $(cat "$server_log")"
  stop_server
  serve d.vmdk -r
  right
  quiet
  stop_server
  # Allowed isn't done.
  serve d.vmdk drop-cbt=true
  nbd read 0 1 flush > found
  stop_server
  [ "$before" = "$(sha256sum d*.vmdk)" ] || fail "$*: files have changed"

  serve d.vmdk drop-cbt=true
  change write $((7 * grain)) $grain new.raw write 5 1 0x55
  right
  [ -z "$(server_errors)" ] || fail "$*: $(server_errors)"
  if [[ $* = *changeTrack* ]]; then
    server_warnings | grep -q 'change tracking was ended.*full.*d-ctk.vmdk' ||
      fail "$*: no warning: $(cat "$server_log")"
  fi
  closed_right
  if [ "$1" != - ]; then
    [ "$(field "$1" kdmv.version)" = 1 ] || fail "$*: header"
  fi
  if grep -a -q -E '^changeTrackPath' d.vmdk; then
    fail "$*: the line is still there"
  fi
  grep -a -q '^version=1$' d.vmdk || fail "$*: version"
  # From now on without.
  serve d.vmdk
  change write 9 1 0x99
  quiet
  closed_right
}

track=desc.changeTrackPath=d-ctk.vmdk

refused_then_dropped d.vmdk sparse size=2001 alloc=0-5 kdmv.version=3
refused_then_dropped d.vmdk sparse size=2001 alloc=0-5 $track
refused_then_dropped - flat size=2001 alloc=0-5 $track
refused_then_dropped - cowd size=2001 alloc=0-5 $track
refused_then_dropped d-s001.vmdk split piece=2001 size=2001 alloc=0-5 $track \
                     kdmv.version=3
