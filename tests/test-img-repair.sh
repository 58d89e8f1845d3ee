#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img repair of hosted sparse extents: whatever can be known is brought
# back, from the other copy or by what lies beside it, and the rest is given
# up in such a way that all programs read the same.

. ./functions.sh
. "$srcdir/repair.sh"

grain=65536
small=(size=70000 alloc=0-9,520)

# Both copies of the tables: RGD 21, tables 22 and 26, GD 30, tables 31 and
# 35, grains from 128 on, one after the other.
$vmdkgen sparse "${small[@]}" base.vmdk base.raw
spoiled mirror-differs same 'rgte[5]=0'
spoiled mirror-differs same 'gte[5]=0'
spoiled 'gte-past-end mirror-differs' same 'gte[5]=99999999'
spoiled 'gte-in-metadata mirror-differs' same 'gte[5]=40'
spoiled 'grain-shared mirror-differs' same 'gte[5]=256'
spoiled 'mirror-differs unclean' same 'gte[5]=0 kdmv.uncleanShutdown=1'
spoiled gde-invalid same 'gde[1]=99999999'
spoiled gde-invalid same 'rgde[0]=3'
spoiled 'gde-zero mirror-differs' same 'gde[1]=0'
spoiled mirror-differs same 'rgde[1]=0'
spoiled gt-shared same 'rgde[0]=31'
spoiled 'gt-shared mirror-differs' same 'rgde[0]=35'
spoiled 'grain-shared gt-shared mirror-differs' told 'gde[1]=31'
spoiled 'grain-shared gt-shared mirror-differs' told 'gde[0]=35'
spoiled 'gde-zero mirror-differs' told 'gde[1]=0'
spoiled gde-invalid same 'gde[1]=5 rgde[1]=5'
spoiled directory-misplaced same kdmv.rgdOffset=99999999
spoiled directory-misplaced same kdmv.rgdOffset=0
spoiled directory-misplaced same kdmv.gdOffset=99999999
spoiled descriptor-misplaced same kdmv.rgdOffset=5
spoiled descriptor-misplaced same kdmv.descriptorSize=25
spoiled descriptor-misplaced same kdmv.descriptorSize=9999999
spoiled 'grain-unaligned gte-in-metadata' same kdmv.overHead=600
repair_cases base.vmdk

# One copy: GD 21, tables 22 and 26.
$vmdkgen sparse "${small[@]}" rgd=0 base.vmdk base.raw
spoiled gte-past-end zero:5 'gte[5]=99999999'
spoiled gte-in-metadata zero:5 'gte[5]=2'
spoiled grain-shared 400=5 'gte[400]=768'
spoiled 'grain-shared grain-unaligned' - 'gte[400]=769'
spoiled gde-invalid same 'gde[0]=99999999'
spoiled gde-invalid same 'gde[1]=2'
spoiled gde-invalid lost:0-511 \
  "gte[5]=$($vmdkgen peek base.vmdk 'gte[520]') gde[0]=99999999"
spoiled gde-zero zero:520 'gde[1]=0'
spoiled gte-past-end - length=780000
spoiled entry-past-capacity same 'gte[700]=300'
spoiled zeroed-without-flag zero:7 'gte[7]=1'
spoiled 'descriptor-misplaced grain-unaligned' same kdmv.overHead=10
spoiled 'descriptor-misplaced grain-unaligned overhead' same \
  kdmv.overHead=99999999
spoiled 'grain-unaligned overhead' same kdmv.overHead=24
spoiled unclean same kdmv.uncleanShutdown=1
repair_cases base.vmdk

# Tables in any order, as resize and compact leave them: what seems to lie
# between its neighbours is another one's, or was.
grain=4096
$vmdkgen sparse size=20000 grain=8 tables=random alloc=random:70 \
  base.vmdk base.raw
for i in 0 1 2 3 4; do
  spoiled gde-invalid "lost:$((512 * i))-$((512 * i + 511))" \
    "gde[$i]=5 rgde[$i]=5"
done
spoiled gde-invalid lost:0-511 'gde[0]=5 rgde[0]=5 gde[4]=5'
spoiled gde-invalid lost:0-511 'gde[0]=5 rgde[0]=5 rgde[4]=5'
repair_cases base.vmdk
