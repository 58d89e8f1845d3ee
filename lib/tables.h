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

/* The i-th entry of a page, its value, and what that means.  Writers
 * change entries of pages that are being read, one at a time.
 */
static inline const void *
tables_entry (const struct sparse *sp, const void *page, uint64_t i)
{
  return (const uint8_t *) page + i * sp->format->entry_size;
}

static inline uint64_t
tables_value (const struct sparse *sp, const void *page, uint64_t i)
{
  return sp->format->entry_size == 4 ?
    le32toh (__atomic_load_n ((const uint32_t *) page + i,
                              __ATOMIC_ACQUIRE)) :
    le64toh (__atomic_load_n ((const uint64_t *) page + i,
                              __ATOMIC_ACQUIRE));
}

static inline enum entry_kind
tables_gte (const struct sparse *sp, const void *page, uint64_t i,
            uint64_t *position)
{
  return sp->format->decode_gte (sp, tables_value (sp, page, i), position);
}

static inline enum entry_kind
tables_gde (const struct sparse *sp, const void *page, uint64_t i,
            uint64_t *position)
{
  return sp->format->decode_gde (sp, tables_value (sp, page, i), position);
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

/* For writers.
 *
 * Where the copies of a table are, 0: there is none.  1: it exists, 0: it
 * doesn't, -1: reported.
 */
extern int tables_places (struct sparse *sp, uint64_t number,
                          uint64_t place[2]);

/* The page of a directory with the entry of a table, pinned.  *i is which
 * of its entries that is, *place where the page lies, *size how much of it
 * belongs to the directory.  NULL: reported.
 */
extern const void *tables_gd_page (struct sparse *sp, unsigned copy,
                                   uint64_t number, uint64_t *i,
                                   uint64_t *place, size_t *size);

/* Bytes of a page of a table. */
extern size_t tables_page_size (const struct sparse *sp);

/* Brings into a page what the other copy of an interrupted writer's table
 * knows: entries that are absent here, and such that can't be right.
 * Whether there were any.
 */
extern bool tables_merge (const struct sparse *sp, void *page,
                          const void *mirror, size_t size);

#endif /* VMDK_TABLES_H */
