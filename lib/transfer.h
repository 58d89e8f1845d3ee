/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing to a disk in place what links say: what commit and pull share.
 */

#ifndef VMDK_TRANSFER_H
#define VMDK_TRANSFER_H

#include "disk.h"

/* What there is at an offset, and for how long. */
enum transfer_kind {
  TRANSFER_NOTHING, /* nothing is to be done */
  TRANSFER_DATA,
  TRANSFER_ZERO,
};

struct transfer {
  struct vmdk_disk *to;   /* whose writing was started */
  struct link *from;      /* whose guest's view is copied */

  /* Says what to do at offset, for the first *length bytes; at least one,
   * and not more than *length was.  Called by one thread at a time, with
   * windows for all links from the top one on.  -1: reported.
   */
  int (*look) (const struct transfer *t, uint64_t offset, uint64_t *length,
               struct window *windows, enum transfer_kind *kind);
  struct link *looked_at; /* for look */

  const struct vmdk_progress *progress;
};

/* Does it all, and makes it durable.  -1: reported, unless errno is
 * ECANCELED; then parts of it were done.
 */
extern int transfer_run (const struct transfer *t);

/* 1: there is something to do, 0: there isn't, -1: reported. */
extern int transfer_is_needed (const struct transfer *t);

/* Refuses (-1, reported) if something would go to an extent of link to that
 * can't be written.  t->to isn't looked at.
 */
extern int transfer_check (const struct transfer *t, const struct link *to);

/* A transfer.look: what link looked_at says itself. */
extern int transfer_own (const struct transfer *t, uint64_t offset,
                         uint64_t *length, struct window *windows,
                         enum transfer_kind *kind);

/* ... what it doesn't, but its parents do.  What is zero isn't counted. */
extern int transfer_missing (const struct transfer *t, uint64_t offset,
                             uint64_t *length, struct window *windows,
                             enum transfer_kind *kind);

#endif /* VMDK_TRANSFER_H */
