#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# uncleanShutdown: in the extents that are changed, and durable before they
# are, until they are closed; and what is done with an image that has it.

. ./functions.sh
. "$srcdir/writing.sh"

grain=65536

# files: content, time of change and all of each file.
files ()
{
  sha256sum d*.vmdk
  stat -c '%n %Y %Z %y %i %b %a' d*.vmdk
}

# marks FILE...: of each whether it is set; at the same byte + 0 as in the
# hosted sparse header, or that of COWD.
marks ()
{
  local file

  for file; do
    case $(head -c 4 "$file") in
      KDMV) od -A n -t u1 -j 72 -N 1 "$file" ;;
      COWD) field "$file" cowd.uncleanShutdown ;;
    esac
  done | tr -d ' \n'
}

#----------------------------------------------------------------------
# Who changes nothing leaves no trace.

untouched ()
{
  local before

  new_disk "$@"
  before=$(files)
  serve d.vmdk
  nbd read 0 9999 extents 0 $grain cache 0 $grain flush > found
  right
  quiet
  stop_server
  [ "$before" = "$(files)" ] ||
    fail "$*: reading has changed a file: $before; $(files)"
  serve d.vmdk -r
  refused 1 write 0 1 0x55 zero 0 $grain trim 0 $grain
  right
  stop_server
  [ "$before" = "$(files)" ] || fail "$*: a file was changed despite -r"
}

untouched sparse size=4001 alloc=mixed:50
untouched split size=4001 piece=1000 alloc=mixed:50
untouched flat size=4001 alloc=mixed:50
untouched cowd size=4001 alloc=mixed:50

#----------------------------------------------------------------------
# Set in those that are changed.

# marked GRAIN MARKS FILE...: writing to that grain sets these.
marked ()
{
  serve d.vmdk
  [ "$(marks "${@:3}" | tr -d 0)" = '' ]
  change write $(($1 * grain + 5)) 9 0x55
  [ "$(marks "${@:3}")" = "$2" ] || fail "$(marks "${@:3}"), not $2"
  closed_right
  [ "$(marks "${@:3}" | tr -d 0)" = '' ] || fail "a mark remains"
}

new_disk sparse size=4001 alloc=0
marked 0 1 d.vmdk
marked 7 1 d.vmdk
new_disk cowd size=4001 alloc=0
marked 7 1 d-delta.vmdk
new_disk split size=4096 piece=1024 alloc=random:50
before=$(sha256sum d-s001.vmdk d-s003.vmdk d-s004.vmdk)
marked 10 0100 d-s00?.vmdk
[ "$before" = "$(sha256sum d-s001.vmdk d-s003.vmdk d-s004.vmdk)" ] ||
  fail 'an extent was changed that nobody wrote to'

#----------------------------------------------------------------------
# An image whose writer was interrupted: the copies of its tables differ.

# entry DIRECTORY GRAIN VALUE...: as text for spoil.py.
# spoiled TEXT: d.vmdk becomes unclean, and so.
spoiled ()
{
  python3 "$srcdir/spoil.py" d.vmdk <<< "kdmv.uncleanShutdown=1 $1"
  mv case-1 d.vmdk
}

new_disk sparse size=16001 grain=8 alloc=0-9,600-609
# Entries that are only in one copy count.
spoiled 'gte[3]=0 rgte[5]=0 gte[600]=0 rgte[601]=0'
serve d.vmdk
right
change write $((100 * 4096)) 100 new.raw
right
closed_right
check_quiet

# The same for tables that only one of the directories has.
new_disk sparse size=16001 grain=8 alloc=0-9,600-609,1200
gde=$(field d.vmdk 'gde[1]')
spoiled 'gde[1]=0 rgde[2]=0 rgde[3]=0'
serve d.vmdk
right
change write $((601 * 4096)) 4096 new.raw write $((605 * 4096)) 5 0x55 \
       write $((1201 * 4096)) 4096 new.raw \
       write $((1700 * 4096)) 4096 new.raw
right
closed_right
check_quiet
[ "$(field d.vmdk 'gde[1]')" -ne "$gde" ]

# Even if nothing is written it can be read, and remains as it was.
new_disk sparse size=4001 alloc=0-9
spoiled 'gte[3]=0'
before=$(files)
serve d.vmdk
right
stop_server
[ "$before" = "$(files)" ] || fail 'it was changed by reading'

#----------------------------------------------------------------------
# If it is damaged, it can only be read.

new_disk sparse size=4001 alloc=0-9
place=$(field d.vmdk 'gte[3]')
spoiled "gte[20]=$place rgte[20]=$place"
before=$(files)
serve d.vmdk
nbd write 0 1 0x55 > found 2>&1 || :
! grep -q ok found || fail 'it was written'
server_errors | grep -q "d.vmdk: wasn't closed by the program that wrote it \
last, and is damaged: .* run vmdk-img repair" || fail "$(cat "$server_log")"
stop_server
serve d.vmdk -r
[ "$(nbd compare 0 $((15 * grain)) d.raw)" = same ]
stop_server
[ "$before" = "$(files)" ] || fail 'it was changed'
