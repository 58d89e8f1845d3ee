#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Every defect that vmdk-img check knows is found: each image has one, and
# exactly what follows from it is reported.

. ./functions.sh
requires python3
requires jq --version

mkdir "$scratch/d"
cd "$scratch/d"

# expect "SEVERITY:CODE..." BUILDER [OPTIONS...]: builds x.vmdk, does what
# `damage` says to it, and compares what check finds with the list.
damage=
expect ()
{
  local expected=$1 found status=0

  rm -f ./*
  $vmdkgen "${@:2}" x.vmdk
  eval "$damage"
  "$vmdk_img" check --json x.vmdk >out 2>err || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || [ "$status" -eq 3 ] ||
    { cat err >&2; fail "status $status: ${*:2}"; }
  jq -e .complete out >/dev/null || fail "not complete: ${*:2}"
  found=$(jq -r '.defects | map (.severity + ":" + .code) | unique | join (" ")
                ' out)
  [ "$found" = "$expected" ] || {
    cat out >&2
    fail "${*:2}, $damage: expected \"$expected\", found \"$found\""
  }
}

# damaged 'COMMANDS' ARGUMENTS OF expect...
damaged ()
{
  damage=$1
  expect "${@:2}"
  damage=
}

gen ()
{
  $vmdkgen "$@"
}

# copy_entry FROM TO [ADD]: an entry gets the value of another.
copy_entry ()
{
  gen poke "$file" "$2" $(($(gen peek "$file" "$1") + ${3:-0}))
}

# Descriptors and chains.

small=(size=100000 alloc=0-99)
expect "error:cid-missing" sparse size=1000 \
  keys=version,parentCID,createType,extents,ddb
damaged 'gen truncate x-flat.vmdk 1000' "error:flat-too-short" flat size=1000
expect "warning:capacity-mismatch" sparse "${small[@]}" kdmv.capacity=100500
expect "note:geometry" sparse size=1000 ddb.geometry.cylinders=5
expect "warning:long-content-id" sparse size=1000 cid=12345678 \
  ddb.longContentID=00112233445566778899aabb12345679
expect "" sparse size=1000 cid=12345678 \
  ddb.longContentID=00112233445566778899aabb12345678
expect "warning:change-tracking" sparse size=1000 version=3
expect "warning:change-tracking" sparse size=1000 \
  desc.changeTrackPath=x-ctk.vmdk
expect "error:extents-overlap" custom \
  extents="RW 100 flat file=f.vmdk; RW 9 zero; RW 50 flat file=f.vmdk offset=99"
expect "" custom \
  extents="RW 100 flat file=f.vmdk; RW 9 zero;
  RW 50 flat file=f.vmdk offset=100"
expect "error:parent-contradiction" sparse size=1000 parentcid=12345678
expect "error:cid-mismatch" chain size=1000 \
  layers="sparse; sparse parentcid=12345678"
expect "warning:size-mismatch" chain layers="sparse size=900; cowd size=1000"
expect "error:flat-with-parent" chain size=1000 layers="sparse; flat"

# Hosted sparse headers.

file=x.vmdk
one=("${small[@]}" rgd=0)
expect "" sparse "${small[@]}"
expect "" sparse "${one[@]}"
expect "error:descriptor-misplaced note:grain-unaligned" \
  sparse "${one[@]}" kdmv.overHead=10
expect "error:descriptor-misplaced" sparse "${small[@]}" kdmv.rgdOffset=5
expect "error:overhead note:grain-unaligned" \
  sparse "${one[@]}" kdmv.overHead=25
expect "warning:unclean" sparse "${one[@]}" kdmv.uncleanShutdown=1
expect "error:directory-misplaced" \
  sparse "${small[@]}" kdmv.rgdOffset=99999999
expect "error:directory-misplaced" sparse "${small[@]}" kdmv.gdOffset=99999999
expect "error:directory-misplaced" sparse "${small[@]}" kdmv.rgdOffset=0
# Directories of 137 entries, at 571 and a sector behind that.
expect "error:directory-misplaced" \
  sparse size=70000 grain=1 alloc=none kdmv.rgdOffset=572
expect "note:rgd-unannounced" sparse "${one[@]}" kdmv.rgdOffset=5
damaged 'gen patch x.vmdk 100 u8 1' "note:header-padding" sparse "${one[@]}"

# Directories and tables.

expect "warning:gde-zero" sparse "${one[@]}" 'gde[1]=0'
expect "error:gde-invalid" sparse "${one[@]}" 'gde[1]=99999999'
expect "error:gde-invalid" sparse "${one[@]}" 'gde[1]=3'
expect "error:gde-invalid error:gt-shared error:gte-in-metadata" \
  sparse "${one[@]}" alloc=none 'gde[1]=21'
damaged 'copy_entry "gde[0]" "gde[1]"' "error:gt-shared" \
  sparse "${one[@]}" alloc=none
damaged 'copy_entry "gde[0]" "gde[1]" 1' "error:gt-shared" \
  sparse "${one[@]}" alloc=none
damaged 'copy_entry "gde[0]" "rgde[0]"' "error:gt-shared" \
  sparse "${small[@]}"
damaged 'gen patch x.vmdk "gde[0]" hex "$(printf 40000000%.0s {1..1500})"' \
  "error:gt-shared error:tables-hopeless" \
  sparse size=100000000 rgd=0 alloc=0
expect "error:mirror-differs" sparse "${small[@]}" 'rgte[5]=0'
expect "error:mirror-differs" sparse "${small[@]}" 'rgde[1]=0'
expect "error:mirror-differs warning:gde-zero" \
  sparse "${small[@]}" 'gde[1]=0'
expect "warning:zeroed-without-flag" sparse "${one[@]}" 'gte[300]=1'
expect "" sparse "${one[@]}" 'gte[300]=1' kdmv.flags=5 kdmv.version=2
expect "error:gte-in-metadata" sparse "${one[@]}" 'gte[300]=2'
damaged 'copy_entry "gde[3]" "gte[300]"' \
  "error:gte-in-metadata note:grain-unaligned" \
  sparse "${one[@]}" tables=end grain=8
damaged 'copy_entry "gde[1]" "gte[300]" -127' \
  "error:grain-shared error:gte-in-metadata note:grain-unaligned" \
  sparse "${one[@]}" tables=end
expect "error:gte-past-end" sparse "${one[@]}" 'gte[300]=99999999'
damaged 'gen truncate x.vmdk -512' "error:gte-past-end" sparse "${one[@]}"
damaged 'copy_entry "gte[5]" "gte[300]"' "error:grain-shared" \
  sparse "${one[@]}"
damaged 'copy_entry "gte[5]" "gte[300]" 1' \
  "error:grain-shared note:grain-unaligned" sparse "${one[@]}"
damaged 'copy_entry "gte[5]" "gte[300]" -1' \
  "error:grain-shared note:grain-unaligned" sparse "${one[@]}"
expect "warning:entry-past-capacity" sparse "${one[@]}" 'gte[782]=300'
expect "note:grain-unaligned" sparse "${one[@]}" kdmv.overHead=64
expect "leak:leaked-grains" sparse "${one[@]}" 'gte[5]=0'
expect "leak:unused-tail" sparse "${one[@]}" 'gte[99]=0'
expect "leak:leaked-grains" sparse "${one[@]}" tables=end 'gte[99]=0'
expect "" sparse size=100010 alloc=all short=1
expect "error:grain-shared" sparse "${one[@]}" grain=8 'gte[4000]=264'

# Streams.

expect "" stream "${small[@]}"
damaged 'gen truncate x.vmdk -512' "error:footer-missing" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk footer.magic+512 u8 1' "error:footer-missing" \
  stream "${small[@]}"
expect "warning:footer-differs" stream "${small[@]}" kdmv.overHead=64
expect "" stream "${small[@]}" kdmv.capacity=0
damaged 'gen patch x.vmdk "grain[5]" u64 77' "error:marker-lba" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk "grain[5]+8" u32 0' "error:grain-length" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk "grain[99]+8" u32 99999' "error:grain-length" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk "grain[5]+60" u32 0x12345678' \
  "error:grain-corrupt" stream "${small[@]}"
damaged 'gen patch x.vmdk "grain[0]+8" u32 40' \
  "error:grain-corrupt leak:leaked-grains" stream "${small[@]}"
expect "warning:stream-order" stream "${small[@]}" order=reversed
damaged 'copy_entry "gte[5]" "gte[300]"' \
  "error:grain-shared error:marker-lba warning:stream-order" \
  stream "${small[@]}"
expect "leak:leaked-grains" stream "${small[@]}" 'gte[5]=0'
expect "warning:trailing-data" stream "${small[@]}" trailing=3
expect "warning:trailing-data" stream "${small[@]}" layout=front trailing=3
damaged 'gen patch x.vmdk "gte[0]+-512" u64 9' "warning:table-marker" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk "gte[0]+-500" u32 2' "warning:table-marker" \
  stream "${small[@]}"
damaged 'gen patch x.vmdk "gde[0]+-500" u32 1' "warning:table-marker" \
  stream "${small[@]}"

# COWD: two tables.

file=x-delta.vmdk
cowd=(size=10000 alloc=0-99,5000)
expect "" cowd "${cowd[@]}" slack=100
expect "warning:cowd-flags" cowd "${cowd[@]}" cowd.flags=1
expect "warning:unclean" cowd "${cowd[@]}" cowd.uncleanShutdown=1
expect "warning:unclean" cowd "${cowd[@]}" cowd.generation=5
expect "error:free-sector" cowd "${cowd[@]}" cowd.freeSector=50
expect "error:free-sector" cowd "${cowd[@]}" cowd.freeSector=99999999
expect "warning:cowd-zeroed" cowd "${cowd[@]}" 'gte[300]=1'
expect "error:gte-in-metadata" cowd "${cowd[@]}" 'gte[300]=2'
damaged 'copy_entry "gde[1]" "gte[300]" 31' "error:gte-in-metadata" \
  cowd "${cowd[@]}"
expect "error:gde-invalid" cowd "${cowd[@]}" alloc=0-99 'gde[1]=99999999'
expect "error:gte-past-end" cowd "${cowd[@]}" 'gte[300]=99999999'
damaged 'copy_entry "gde[0]" "gde[1]" 1' \
  "error:free-sector error:gt-shared warning:cowd-zeroed" \
  cowd "${cowd[@]}" alloc=0/z slack=9
damaged 'copy_entry "gte[5]" "gte[300]"' "error:grain-shared" \
  cowd "${cowd[@]}"
expect "leak:leaked-grains" cowd "${cowd[@]}" 'gte[5]=0'

# seSparse: the bitmap is at 4 MiB, the back map at 5.

file=x-sesparse.vmdk
se=(size=204800 alloc=0-99,5000)
expect "" sesparse "${se[@]}"
expect "warning:sesparse-layout" sesparse "${se[@]}" sesparse.journalSize=2047
damaged "gen truncate $file 5000000" "error:region-past-end" \
  sesparse "${se[@]}" alloc=none
expect "warning:free-gt-number" sesparse "${se[@]}" sesparse.freeGTNumber=1
expect "error:gde-invalid" sesparse "${se[@]}" 'gde[2]=0x2000000000000000'
expect "error:gde-invalid" sesparse "${se[@]}" 'gde[2]=0x1000000000000fff'
expect "error:grain-shared error:gt-shared" sesparse "${se[@]}" alloc=0-99 \
  'gde[1]=0x1000000000000000'
for entry in 0x4000000000000000 0x0000000000000005; do
  expect "error:gte-invalid" sesparse "${se[@]}" "gte[300]=$entry"
done
expect "error:gte-past-end" sesparse "${se[@]}" 'gte[300]=0x3000ffffffffffff'
damaged "gen truncate $file -4096" "" sesparse "${se[@]}" tail=full
damaged "gen truncate $file -512" "error:gte-past-end" sesparse "${se[@]}" \
  tail=cut
damaged 'copy_entry "gte[5]" "gte[300]"' \
  "error:grain-shared warning:back-map" sesparse "${se[@]}"
damaged 'gen poke $file "gte[300]" 0x1005000000000000' "error:grain-shared" \
  sesparse "${se[@]}"
damaged "gen patch $file 4194304 u8 0xfe" "warning:free-bitmap" \
  sesparse "${se[@]}"
damaged "gen patch $file $((5242880 + 8 * 3)) u64 0" "warning:back-map" \
  sesparse "${se[@]}"
damaged "gen patch $file $((5242880 + 8 * 3)) u64 0x1004000000000000" \
  "warning:back-map" sesparse "${se[@]}"
expect "leak:leaked-grains" sesparse "${se[@]}" 'gte[5]=0'

# Many of a kind: all are counted, but few are shown.

rm -f ./*
file=x.vmdk
$vmdkgen sparse size=100000 alloc=0-99/z kdmv.flags=3 x.vmdk
"$vmdk_img" check --json x.vmdk >out
[ "$(jq .warnings out)" -eq 100 ]
[ "$(jq '.defects | length' out)" -eq 11 ]
jq -r '.defects[10].text' out | grep -q '^90 more'
