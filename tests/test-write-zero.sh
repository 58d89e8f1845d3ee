#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Zeroing: grains that have a place keep it, those over a parent hide what
# that has, and all else costs nothing.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

#----------------------------------------------------------------------
# Grains that have a place.

new_disk sparse size=4000 alloc=0-20
before=$($written places d.vmdk)
blocks=$(data_kib d.vmdk)
serve d.vmdk
change zero 0 $((3 * grain)) may-trim zero $((4 * grain + 100)) 60000 may-trim \
       zero $((6 * grain)) $((2 * grain)) zero $((9 * grain + 5)) 1 \
       zero $((10 * grain - 3)) $((grain + 6)) may-trim fua
right
[ $(($(data_kib d.vmdk) + 4 * 64 + 40)) -le "$blocks" ] ||
  fail "space wasn't given back: $(data_kib d.vmdk) of $blocks KiB"
quiet
closed_right
[ "$before" = "$($written places d.vmdk)" ] || fail 'grains have moved'
# Holes are seen as such.
serve d.vmdk
[ "$(nbd extent 0 $((2 * grain)))" = "0:$((2 * grain)):3" ]
change write 100 1000 new.raw
closed_right
[ "$before" = "$($written places d.vmdk)" ] || fail 'grains have moved'

#----------------------------------------------------------------------
# Where nothing is, nothing comes of it; grains that are marked stay it.

new_disk sparse size=4000 alloc=3/z,4
before=$($written places d.vmdk)
serve d.vmdk
change zero 0 $((4 * grain)) zero $((5 * grain + 77)) $((9 * grain)) may-trim
right
quiet
closed_right
[ "$before" = "$($written places d.vmdk)" ] || fail 'grains were made'

#----------------------------------------------------------------------
# Over a parent.

# over HOW ENTRY ARGS...: grains 1 to 3 and 5 of the top are zeroed, with
# zeroed-grains=HOW.  ENTRY: 1 if they are marked, x if they get a place.
over ()
{
  local g entry before places

  new_disk chain size=4001 layers="sparse alloc=all; sparse ${*:3}"
  before=$(version_and_flags d.vmdk)
  serve d.vmdk zeroed-grains="$1"
  # Whole grains, parts of one, and of several.
  change zero $grain $((3 * grain)) zero $((5 * grain)) $grain may-trim \
         zero $((7 * grain + 1000)) 5000 zero $((9 * grain - 9)) 99 \
         zero $((10 * grain + 5)) $((2 * grain)) \
         zero $((4001 * 512 - 300)) 300
  right
  quiet
  closed_right
  places=" $($written places d.vmdk) "
  for g in 1 2 3 5; do
    entry=1
    [[ $places == *" $g:1 "* ]] || entry=x
    [ "$entry" = "$2" ] || fail "zeroed-grains=$1: grain $g is $places"
  done
  [[ $places != *\ [79]:1\ * && $places == *\ 7:*\ 9:* ]] ||
    fail "a part of a grain was marked: $places"
  case $1 in
    always) [[ $(version_and_flags d.vmdk) =~ ^\ *2\ *7$ ]] ;;
    *) [ "$(version_and_flags d.vmdk)" = "$before" ] ;;
  esac || fail "the header has $(version_and_flags d.vmdk)"
  # What was zeroed can be written again.
  serve d.vmdk zeroed-grains="$1"
  change write $((2 * grain + 4096)) 512 new.raw write $((5 * grain)) 1 0x55
  right
  quiet
  closed_right
}

over never x alloc=20
over auto x alloc=20
over auto 1 kdmv.version=2 flags=7 alloc=20
over never x kdmv.version=2 flags=7 alloc=20
over always 1 alloc=20
over always 1 alloc=20 gdes=used

# Holes hide the parent as well, and cost nothing.
new_disk chain size=4001 layers="sparse alloc=all; sparse alloc=none"
serve d.vmdk
blocks=$(data_kib d.vmdk)
change zero 0 $((20 * grain)) flush
[ $(($(data_kib d.vmdk) - blocks)) -le 32 ] || fail 'zeroes were written'
[ "$(nbd extent 0 $((20 * grain)))" = "0:$((20 * grain)):3" ] ||
  fail "$(nbd extents 0 $((20 * grain)))"
closed_right
[[ $(version_and_flags d.vmdk) =~ ^\ *1\ *3$ ]]

# COWD has no marks.
new_disk chain size=4001 layers="sparse alloc=all; cowd alloc=20 grain=8"
serve d.vmdk zeroed-grains=always
change zero 4096 12288 zero 100000 123 zero 200000 100000 may-trim
right
quiet
closed_right

# Over what is zero in the parent there is nothing to do.
new_disk chain size=4000 \
  layers="sparse alloc=0-2,5/z; sparse alloc=none; cowd alloc=none"
before=$(data_kib d-delta.vmdk)
serve d.vmdk
change zero $((3 * grain)) $((20 * grain))
closed_right
[ "$(field d-delta.vmdk 'gde[0]')" = 0 ] || fail 'a table was made'

#----------------------------------------------------------------------
# A split disk, and extents that are zero anyway.

new_disk custom extents="RW 1000 sparse alloc=all; RW 1000 zero;
  RW 1000 flat alloc=all; RW 1000 sparse alloc=all grain=8"
serve d.vmdk
change zero 100 $((3500 * 512)) may-trim zero $((3600 * 512 + 1)) 1000
right
quiet
no_qemu=1 closed_right
