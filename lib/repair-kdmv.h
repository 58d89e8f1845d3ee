/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing hosted sparse extents: what its parts share.
 */

#ifndef VMDK_REPAIR_KDMV_H
#define VMDK_REPAIR_KDMV_H

#include "kdmv.h"
#include "repair-sparse.h"

/* Writes a field of the header, in sectors. */
extern int repair_kdmv_field (struct kdmv *k, size_t offset, uint64_t bytes);

/* Header, descriptor and the places of the directories. */
extern int repair_kdmv_header (struct repair *r, struct kdmv *k);

/* What it says last, when all else is in order. */
extern int repair_kdmv_clean (struct repair *r, struct kdmv *k);

/* Directories, and differences between the two copies of tables. */
extern int repair_kdmv_directories (struct repair *r, struct kdmv *k);
extern int repair_kdmv_copies (struct repair *r, struct kdmv *k);

/* Where the metadata in front of the grains end, and the first grain begins
 * (UINT64_MAX: there is none).
 */
extern int repair_kdmv_front (struct kdmv *k, uint64_t *front,
                              uint64_t *first_grain);

/* Whether the directory at offset names a copy of each table that the one at
 * sp->gd[0] names.
 */
extern int repair_kdmv_is_copy (struct kdmv *k, uint64_t offset, bool *is);

/* Whether the tables at two places say the same. */
extern int repair_kdmv_same_table (struct kdmv *k, uint64_t a, uint64_t b,
                                   bool *same);

#endif /* VMDK_REPAIR_KDMV_H */
