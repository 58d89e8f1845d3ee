#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Whatever fails while vmdk-img makes a disk: it says so, nothing is left
# behind, and what it is made from is as before.

. ./functions.sh
. "$srcdir/failures.sh"

unharmed ()
{
  as_before
}

completed ()
{
  reads "$made"
}

# One thread, or it isn't always the same one that comes to a place first.
convert=(convert -q --threads=1)

made=new.vmdk
disk sparse size=4000 alloc=random:50
for type in monolithicSparse twoGbMaxExtentFlat vmfsSparse seSparse; do
  everywhere "${convert[@]}" -t $type d.vmdk new.vmdk
done
disk split size=4000 kind=flat piece=3000
everywhere "${convert[@]}" --force --preallocate=full d.vmdk new.vmdk
disk chain size=4000 layers='sparse; split piece=2500 kind=sparse'
made=new.ova
everywhere "${convert[@]}" d.vmdk new.ova
made=d-000001.vmdk
everywhere snapshot d.vmdk
all_well
