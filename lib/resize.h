/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making a disk larger: the parts of it.  All that they do to files leaves
 * the disk as it was, since its descriptor gives its size, and changes last.
 */

#ifndef VMDK_RESIZE_H
#define VMDK_RESIZE_H

#include "link.h"

/* Makes room for more in a hosted sparse extent that is open for writing,
 * durably; what is added reads as zero.  size is in bytes.  -1: reported.
 */
extern int kdmv_grow (struct extent *e, uint64_t size);

/* Extents that a split disk gets. */
struct more_extents {
  struct link *l;
  uint64_t size;       /* of all together, bytes */
  uint64_t piece;      /* the most that one may have */
  struct new_file **files;
  size_t n;
  char *lines;         /* of the descriptor */
};

/* Makes the files, which have no names yet. */
extern int more_extents_make (struct more_extents *m);
extern int more_extents_publish (struct more_extents *m);
extern void more_extents_free (struct more_extents *m);

#endif /* VMDK_RESIZE_H */
