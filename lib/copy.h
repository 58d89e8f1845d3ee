/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Copying what links say to a disk that is being made, by several
 * threads: each takes the next piece, reads and packs it, waits for its
 * turn to be placed, and writes it.  Memory is that of a few pieces for
 * each thread, whatever the disk's size.
 */

#ifndef VMDK_COPY_H
#define VMDK_COPY_H

#include "link.h"
#include "new-image.h"

struct copy {
  struct link *top;
  /* How many links, from the top, are looked at.  What none of them says
   * is absent in the copy, too (then the image has a parent), or zero.
   * UINT_MAX: all.  A grain that they say only in part is completed from
   * the links below.
   */
  unsigned nr_links;
  unsigned threads; /* 0: one for each processor */
  const struct vmdk_progress *progress;
};

/* -1: reported, unless errno is ECANCELED. */
extern int copy_to_image (const struct copy *c, struct new_image *image);

#endif /* VMDK_COPY_H */
