/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * An open disk: a chain and what its links share; and the walk through
 * it on which reading, writing and block status stand.
 */

#ifndef VMDK_DISK_H
#define VMDK_DISK_H

#include "chain.h"
#include "session.h"

struct vmdk_disk {
  struct context *ctx;
  struct link *top;
  struct session session;
};

/* A link of an open disk, with what is below it, as a disk by itself, which
 * can be written with vmdk_start_writing, vmdk_pwrite and so on.  It lives
 * only as long as disk; end it with disk_return_link, which is to it what
 * vmdk_close is to others.
 */
extern void disk_borrow_link (struct vmdk_disk *part, struct vmdk_disk *disk,
                              struct link *l);
extern int disk_return_link (struct vmdk_disk *part);

/* The n-th link of the chain; 0 is the top. */
static inline const struct link *
disk_link (const struct vmdk_disk *disk, size_t n)
{
  const struct link *l = disk->top;

  while (n-- > 0)
    l = l->parent;
  return l;
}

/* What was found on the walk: depth 0 is the top link.  RUN_ABSENT means
 * that no link below says anything either.  The result is that of
 * vmdk_range_fn.
 */
typedef int (*walk_fn) (void *opaque, unsigned depth, uint64_t offset,
                        const struct run *run);

/* Calls fn for each run of [offset, offset+length), which must lie in the
 * disk, in ascending order and without gaps.  windows is NULL, or one for
 * each link, zeroed, which makes long walks cheap.  0, 1 if fn stopped
 * it, -1.
 */
extern int disk_walk (struct vmdk_disk *disk, uint64_t offset,
                      uint64_t length, struct window *windows, walk_fn fn,
                      void *opaque);

/* The same walk, beginning at link l, whose depth it is.  What is behind
 * its end is RUN_ABSENT.
 */
extern int disk_walk_link (struct link *l, unsigned depth, uint64_t offset,
                           uint64_t length, struct window *windows,
                           walk_fn fn, void *opaque);

/* The same from l on, whose depth is 0, of that many links at most: what
 * none of them says is RUN_ABSENT.
 */
extern int disk_walk_links (struct link *l, unsigned nr_links,
                            uint64_t offset, uint64_t length,
                            struct window *windows, walk_fn fn,
                            void *opaque);

/* Reads what the guest would see if l were the top. */
extern int disk_read_link (struct link *l, void *buf, size_t count,
                           uint64_t offset);

/* Sees that the range lies in the disk; -1 with EINVAL: reported. */
extern int disk_check_range (const struct vmdk_disk *disk, uint64_t offset,
                             uint64_t length);

#endif /* VMDK_DISK_H */
