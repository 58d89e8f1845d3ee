/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes to a file that aren't made: they are kept in a temporary file,
 * and whoever reads through a store of the overlay sees them.  So it can
 * be tried what a repair does, before a byte of the image changes.
 *
 * In memory there is a bit for each page of the parts of the file that were
 * changed.  For one thread only.
 */

#ifndef VMDK_STORE_OVERLAY_H
#define VMDK_STORE_OVERLAY_H

#include "store.h"

#define OVERLAY_PAGE 4096

struct overlay_piece;

struct overlay {
  const struct vmdk_log *log;
  struct store *base;  /* a reference; is never written here */
  uint64_t size;       /* of the file as changed */
  uint64_t from_base;  /* what lies behind isn't base's: it was cut off */
  int fd;              /* changed pages, where they are in the file; or -1 */
  struct overlay_piece *changed; /* which pages, in order of their numbers */
  size_t nr_changed, max_changed;
};

/* Takes the reference to base over, also when it fails: NULL, reported. */
extern struct overlay *overlay_new (const struct vmdk_log *log,
                                    struct store *base);
extern void overlay_free (struct overlay *o); /* NULL is allowed */

/* A writable store that reads and changes o, which must outlive it. */
extern struct store *overlay_store (struct overlay *o);

/* What the file has after the changes; what lies behind its end is zero. */
extern int overlay_read (struct overlay *o, void *buf, size_t count,
                         uint64_t offset);

/* The next pages from offset on that were changed, at most max of them in
 * bytes: [*start, *end), which may reach behind the end of the file.
 * False: there are no more.
 */
extern bool overlay_next (const struct overlay *o, uint64_t offset,
                          uint64_t max, uint64_t *start, uint64_t *end);

/* Whether anything was changed, or may have been. */
extern bool overlay_is_changed (const struct overlay *o);

#endif /* VMDK_STORE_OVERLAY_H */
