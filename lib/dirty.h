/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Entries that were changed in memory and aren't in the file yet.  The
 * cache has the page as it is now, which everybody sees; here it says
 * where the page belongs and which of its sectors differ.  Such pages
 * stay pinned, so that none is read again from the file meanwhile.
 *
 * To write them, the pages are frozen first: what is written later is a
 * copy of that moment.  An entry that is set in the meantime makes its
 * page dirty once more, and reaches the file the next time, after its
 * data.
 */

#ifndef VMDK_DIRTY_H
#define VMDK_DIRTY_H

#include <pthread.h>

#include "sparse.h"

/* A page of a table or a directory. */
struct page_place {
  const void *data;  /* in the cache, pinned by the caller */
  uint64_t place[2]; /* of its copies in the file; [1] may be 0 */
  size_t size;       /* bytes that belong to it there */
};

struct dirty_page;

struct dirty {
  pthread_mutex_t lock; /* protects all of this, and the notes of pages;
                           entries change only with it */
  struct dirty_page *pages;
};

extern void dirty_init (struct dirty *d);
extern void dirty_destroy (struct sparse *sp, struct dirty *d);

/* Sets n entries from the i-th on to value, value + step and so on.  -1:
 * out of memory, reported, none is set.
 */
extern int dirty_set (struct sparse *sp, struct dirty *d,
                      const struct page_place *p, uint64_t i, uint64_t n,
                      uint64_t value, uint64_t step);

/* Takes all pages that are dirty, with copies of what they say now; NULL
 * if there are none.  They count as dirty until dirty_clean.
 */
extern struct dirty_page *dirty_freeze (struct dirty *d);

/* Writes the copies to the file.  -1: reported. */
extern int dirty_write (struct sparse *sp, struct dirty_page *frozen);

/* The copies are durable. */
extern void dirty_clean (struct sparse *sp, struct dirty_page *frozen);

/* They aren't, and must be written again. */
extern void dirty_again (struct sparse *sp, struct dirty *d,
                         struct dirty_page *frozen);

#endif /* VMDK_DIRTY_H */
