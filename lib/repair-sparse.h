/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing extents with tables: what the formats share.
 */

#ifndef VMDK_REPAIR_SPARSE_H
#define VMDK_REPAIR_SPARSE_H

#include "repair.h"

/* How a format encodes what is repaired. */
struct repair_format {
  uint64_t lost;     /* the entry of a grain of which the data are lost */
  uint64_t zero;     /* for one that is zero; 0: lost is it */
  const char *lost_as; /* "..., now read as never written" */
  /* Finds a place for one more grain at the end of the file; 0: there is
   * none.
   */
  uint64_t (*new_place) (const struct sparse *sp);
  uint64_t (*encode) (const struct sparse *sp, uint64_t position);
};

/* Entries of grains, in all copies of their tables. */
extern int repair_entries (struct repair *r, struct sparse *sp,
                           const struct repair_format *format);

/* Directory entries. */
extern int repair_get_gde (const struct sparse *sp, unsigned copy,
                           uint64_t number, uint64_t *value);
extern int repair_set_gde (const struct sparse *sp, unsigned copy,
                           uint64_t number, uint64_t value);

/* Where a table is; 0 in *position: it isn't anywhere. */
extern int repair_find_table (const struct sparse *sp, unsigned copy,
                              uint64_t number, uint64_t *position);

/* The next table from *number on, its number and where it is, in bytes; if
 * there is none any more, these are sp->nr_gts and 0.  -1: reported.
 */
extern int repair_next_table (const struct sparse *sp, unsigned copy,
                              uint64_t *number, uint64_t *position);

/* A grain's entry in one copy of its table.  0: there is no such copy. */
extern int repair_set_gte (const struct sparse *sp, uint64_t grain,
                           uint64_t value);

/* Whether the only places in the extent are of these codes, which don't mean
 * that something is wrong with its tables.
 */
extern bool repair_is_sound (const struct repair *r, const struct extent *e);

/* The first place at or behind the end of the file at a multiple of align
 * from origin.
 */
extern uint64_t repair_end (const struct sparse *sp, uint64_t origin,
                            uint64_t align);

#endif /* VMDK_REPAIR_SPARSE_H */
