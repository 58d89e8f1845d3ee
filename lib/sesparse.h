/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * seSparse extents: the headers, decoded.
 */

#ifndef VMDK_SESPARSE_H
#define VMDK_SESPARSE_H

#include "sesparse-format.h"
#include "sparse.h"

/* In the order in which they lie in the const header. */
enum sesparse_region {
  REGION_VOLATILE_HEADER,
  REGION_JOURNAL_HEADER,
  REGION_JOURNAL,
  REGION_GD,
  REGION_GTS,
  REGION_FREE_BITMAP,
  REGION_BACK_MAP,
  REGION_GRAINS,
  NR_REGIONS,
};

struct sesparse {
  struct sparse sp; /* must come first */
  struct {
    uint64_t offset, size; /* bytes */
  } region[NR_REGIONS];
  uint64_t nr_tables; /* that have a place in REGION_GTS */
  uint64_t free_gt;
  uint64_t next_txn;
};

/* "grainDirectory", ... */
extern const char *sesparse_region_name (enum sesparse_region r);

/* extent_ops.check (check-sesparse.c) */
extern int sesparse_check (struct extent *e, struct check *check);

#endif /* VMDK_SESPARSE_H */
