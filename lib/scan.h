/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * All grain tables of an extent, both copies, one after the other as they
 * are in the file: for what a writer has to know before the first change.
 * Memory is bounded, and tables that are holes of the file cost nothing.
 */

#ifndef VMDK_SCAN_H
#define VMDK_SCAN_H

#include "sparse.h"

/* A table, with its redundant copy at [1]. */
struct scanned_table {
  uint64_t number;
  enum entry_kind kind[2]; /* what the directory entries say, */
  uint64_t place[2];       /* and where, unless ENTRY_ABSENT */
  const void *data[2];     /* raw; NULL: blank, or there is no such copy.
                              Valid during the call. */
};

/* 0: go on; -1: stop. */
typedef int (*scan_fn) (struct sparse *sp, void *opaque,
                        const struct scanned_table *t);

/* Calls fn for each table that at least one directory has an entry for.
 * Without a redundant directory kind[1] is ENTRY_ABSENT.  -1: reported.
 */
extern int scan_tables (struct sparse *sp, scan_fn fn, void *opaque);

/* The same without reading the tables: data are NULL. */
extern int scan_directories (struct sparse *sp, scan_fn fn, void *opaque);

#endif /* VMDK_SCAN_H */
