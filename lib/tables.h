/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Grain directories and tables of a two-level extent: finding the page of
 * a table that speaks of a grain, in the cache or in the file, and saying
 * where there is none.
 */

#ifndef VMDK_TABLES_H
#define VMDK_TABLES_H

#include "sparse.h"

/* A part of a grain table, raw as on disk. */
struct table_page {
  const void *data; /* NULL: there is no such table, or it is blank */
  bool pinned;      /* in the cache, until tables_put */
};

/* Entries in a page: those of grains first to first+n-1, where first is a
 * multiple of n.
 */
extern uint64_t tables_per_page (const struct sparse *sp);

/* The i-th entry of a page, and its value. */
static inline const void *
tables_entry (const struct sparse *sp, const void *page, uint64_t i)
{
  return (const uint8_t *) page + i * sp->format->entry_size;
}

static inline uint64_t
tables_value (const struct sparse *sp, const void *entry)
{
  return sp->format->entry_size == 4 ? le32_at (entry) : le64_at (entry);
}

/* The first entry from i on, before n, that isn't 0, which means absent in
 * every format.
 */
extern uint64_t tables_skip_zeroes (const struct sparse *sp,
                                    const void *page, uint64_t i, uint64_t n);

/* Finds the page with the entry of a grain.  When there is none, *end is
 * the first grain that may have an entry, or one behind last.  window may
 * be NULL: then what isn't there is read into the cache; otherwise tables
 * that are mostly blank are looked at without that, and the page may be
 * valid only until the window is used again.  -1: reported.
 */
extern int tables_find (struct sparse *sp, uint64_t grain, uint64_t last,
                        struct window *window, struct table_page *page,
                        uint64_t *end);
extern void tables_put (struct sparse *sp, struct table_page *page);

#endif /* VMDK_TABLES_H */
