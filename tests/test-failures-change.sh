#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Whatever fails while vmdk-img changes a disk: it says so, the guest's data
# are there, the disk is sound, and done again, the change comes to its end.

. ./functions.sh
. "$srcdir/failures.sh"

# again: what failed is done once more.
again ()
{
  "$vmdk_img" "${command[@]}" > ../out 2> ../err ||
    fail "$what: again: $(cat ../err)"
  completed
}

unharmed ()
{
  reads d.vmdk
  again
}

completed ()
{
  reads d.vmdk
  sound d.vmdk
}

change ()
{
  command=("$@")
  everywhere "$@"
}

disk sparse size=2000 grain=8 gtes=128 alloc=random:50,every:3/b order=random
change compact d.vmdk
change compact --punch d.vmdk
disk split kind=sparse size=4000 piece=2500 grain=8 alloc=random:30
change compact d.vmdk
disk cowd size=1000 alloc=random:50,every:3/b order=random
change compact d.vmdk
disk chain size=1600 layers='sparse alloc=0-5; sparse alloc=3-7,9/z'
change pull d.vmdk
change pull d.vmdk new.vmdk
change commit d.vmdk
disk chain size=1600 layers='flat alloc=0-5; sesparse alloc=30-70'
change commit d.vmdk
disk chain size=1600 layers='sparse alloc=0-5; sesparse alloc=30-70'
change pull d.vmdk
all_well
