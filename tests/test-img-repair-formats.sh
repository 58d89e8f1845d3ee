#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img repair of streams, COWD and seSparse extents, and of descriptors.

. ./functions.sh
. "$srcdir/repair.sh"

# Descriptors, and the flat file of one.

$vmdkgen sparse size=1000 cid=12345678 base.vmdk base.raw \
  keys=version,parentCID,createType,extents,ddb
specs=('cid-missing;same;')
repair_cases base.vmdk
$vmdkgen sparse size=1000 cid=12345678 base.vmdk base.raw version=3 \
  ddb.longContentID=00112233445566778899aabb12345679 \
  ddb.geometry.cylinders=5
specs=('change-tracking geometry long-content-id;same;')
repair_cases base.vmdk
$vmdkgen flat size=1000 alloc=none base.vmdk base.raw
spoiled flat-too-short same length=1000
repair_cases base-flat.vmdk
grain=512
$vmdkgen flat size=1000 alloc=all base.vmdk base.raw
spoiled flat-too-short lost:10-999 length=5120
repair_cases base-flat.vmdk

# Streams: their tables are made anew from the markers.

grain=65536
$vmdkgen stream size=70000 alloc=0-9,520 base.vmdk base.raw
end=$(stat -c %s base.vmdk)
spoiled footer-missing same length=$((end - 512))
spoiled footer-missing same length=$((end - 1024))
spoiled footer-missing same "footer.magic=0"
spoiled footer-missing zero:520 length=$(($($vmdkgen where base.vmdk \
                                            'grain[520]') + 20))
spoiled footer-differs same kdmv.overHead=64
spoiled marker-lba same '@grain[5]=4d00000000000000'
spoiled 'grain-shared marker-lba stream-order' same \
  "gte[400]=$($vmdkgen peek base.vmdk 'gte[5]')"
spoiled gde-invalid same 'gde[0]=99999999'
spoiled gte-in-metadata same 'gte[5]=3'
spoiled grain-length zero:5 '@grain[5]+8=00000000'
spoiled table-marker same '@gte[0]+-512=09'
repair_cases base.vmdk
$vmdkgen stream size=1000 layout=front trailing=3 base.vmdk base.raw
specs=('trailing-data;same;')
repair_cases base.vmdk

# COWD: GD 4, table 5, grains from 37 on, table 1 and grain 5000 behind them.

grain=512
$vmdkgen cowd size=10000 alloc=0-9,5000 base.vmdk base.raw
spoiled cowd-flags same cowd.flags=1
spoiled unclean same cowd.uncleanShutdown=1 cowd.generation=5
spoiled free-sector same cowd.freeSector=12
spoiled free-sector same cowd.freeSector=99999999
spoiled cowd-directory same cowd.numGDEntries=1
spoiled gde-invalid zero:5000 'gde[1]=99999999'
spoiled 'grain-shared gt-shared' - 'gde[2]=5'
spoiled gte-past-end zero:5 'gte[5]=99999999'
spoiled gte-in-metadata zero:5 'gte[5]=2'
spoiled grain-shared 300=5 "gte[300]=$($vmdkgen peek base-delta.vmdk \
                                        'gte[5]')"
repair_cases base-delta.vmdk

# seSparse: the bitmap is at 4 MiB, the back map at 5.

grain=4096
$vmdkgen sesparse size=204800 alloc=0-9,5000 base.vmdk base.raw
spoiled free-gt-number same sesparse.freeGTNumber=1
spoiled gde-invalid zero:5000 'gde[1]=0x2000000000000000'
spoiled 'grain-shared gt-shared' - 'gde[2]=0x1000000000000000'
spoiled gte-invalid zero:5 'gte[5]=0x4000000000000000'
spoiled gte-past-end zero:5 'gte[5]=0x3000ffffffffffff'
spoiled 'back-map grain-shared' 300=5 'gte[300]=0x3005000000000000'
spoiled grain-shared same 'gte[300]=0x1005000000000000'
spoiled free-bitmap same @4194304=fe
spoiled back-map same @5242904=0000000000000000
repair_cases base-sesparse.vmdk

# Changes that only the journal has are lost only when that is asked for.
$vmdkgen sesparse size=1000 sesparse.replayJournal=1 base.vmdk
cp base-sesparse.vmdk before
expect_error 'journal' "$vmdk_img" repair base.vmdk
cmp before base-sesparse.vmdk
"$vmdk_img" repair --lose-journal --json base.vmdk >done
[ "$(jq -c '[.found[].code, ."content-changed"]' done)" = '["journal",true]' ]
"$vmdk_img" check --quiet base.vmdk
"$vmdk_img" repair --quiet --undo base.vmdk
cmp before base-sesparse.vmdk

# What lies in an archive can only be checked.
$vmdkgen stream size=1000 alloc=0-5 a.vmdk
truncate -s -512 a.vmdk
echo '<Envelope><References><File id="f" href="a.vmdk"/></References>
<Disk diskId="d" fileRef="f"/></Envelope>' >a.ovf
python3 - <<'EOF'
import tarfile
with tarfile.open ('a.ova', 'w', format = tarfile.USTAR_FORMAT) as t:
    t.add ('a.ovf')
    t.add ('a.vmdk')
EOF
cp a.ova before
expect_error "a\\.ova.*: can't be repaired: " "$vmdk_img" repair a.ova
cmp before a.ova
[ ! -e a.ova.undo ]
