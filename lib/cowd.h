/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * COWD extents (vmfsSparse): the header, decoded.
 */

#ifndef VMDK_COWD_H
#define VMDK_COWD_H

#include "cowd-format.h"
#include "sparse.h"

struct cowd {
  struct sparse sp;     /* must come first */
  uint32_t version;
  uint32_t flags;
  uint32_t nr_gdes;     /* that the header says; >= sp.nr_gts */
  uint64_t free_sector; /* in sectors */
  bool unclean;
};

/* extent_ops.check (check-cowd.c) */
extern int cowd_check (struct extent *e, struct check *check);

#endif /* VMDK_COWD_H */
