/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store that is a part of another one, or several parts of it, one after
 * the other: a file in an archive.
 */

#ifndef VMDK_STORE_PART_H
#define VMDK_STORE_PART_H

#include "store.h"

struct store_piece {
  uint64_t offset; /* in the store below */
  uint64_t length;
};

/* For reading: these pieces, n > 0, all of which lie in base.  Takes the
 * reference to base over, also when it fails (NULL, reported).
 */
extern struct store *store_part_new (const struct vmdk_log *log,
                                     struct store *base, const char *name,
                                     const struct store_piece *pieces,
                                     size_t n);

/* What base has from offset on; for writing, if base is writable already.
 * It grows by growing base, whose bytes before offset aren't touched.  Takes
 * the reference to base over, as above.
 */
extern struct store *store_tail_new (const struct vmdk_log *log,
                                     struct store *base, const char *name,
                                     uint64_t offset);

#endif /* VMDK_STORE_PART_H */
