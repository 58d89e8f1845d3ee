/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What builds of hosted sparse and COWD extents share: whole grains, as
 * they are, one behind the other in the order of the guest.
 */

#ifndef VMDK_BUILD_GRAINS_H
#define VMDK_BUILD_GRAINS_H

#include "build.h"
#include "le.h"

/* What a grain becomes; one byte for each is in piece.packed. */
enum grain_kind {
  GRAIN_NONE, /* it gets no place */
  GRAIN_HOLE, /* a place, but nothing is written there: the file is new, and
                 so it reads as zero */
  GRAIN_DATA,
};

/* -1 with EINVAL: reported. */
extern int grains_check_size (const struct build *b, uint64_t most);

/* build_ops.pack */
extern int grains_pack (struct build *b, struct piece *p);

/* Writes the data from p->place on.  fixed: grains without data have
 * places there, too.
 */
extern int grains_write (struct build *b, const struct piece *p, bool fixed);

/* Sees that p->packed has room for size bytes. */
extern int piece_reserve (struct piece *p, size_t size);

/* Sets the length of the extent's file; reported. */
extern int build_resize (struct build *b, uint64_t size);

#endif /* VMDK_BUILD_GRAINS_H */
