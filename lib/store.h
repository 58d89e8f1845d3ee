/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store: bytes that can be read at any offset.  Everything above sees
 * files only through this, so that a test can put another store below.
 *
 * A store is counted: the one that opened it and every extent that uses
 * it hold a reference.  Counting is not thread-safe, since it happens
 * only while a disk is opened or closed; all else is.
 */

#ifndef VMDK_STORE_H
#define VMDK_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

struct store;

struct store_ops {
  /* Reads count bytes at offset, all of them or -1.  What lies past the
   * size at the time of opening reads as zero; a file that has become
   * shorter since is an error (EIO).
   */
  int (*pread) (struct store *s, void *buf, size_t count, uint64_t offset);

  /* The first byte at or behind offset that isn't in a hole, or that is,
   * in *found; UINT64_MAX if there is none before the end.  offset < size.
   * -1: the store can't tell, which isn't reported.  Both or none may be
   * NULL.
   */
  int (*next_data) (struct store *s, uint64_t offset, uint64_t *found);
  int (*next_hole) (struct store *s, uint64_t offset, uint64_t *found);

  /* Asks the system to read ahead.  May be NULL. */
  void (*prefetch) (struct store *s, uint64_t count, uint64_t offset);

  void (*close) (struct store *s);
};

struct store {
  const struct store_ops *ops;
  const struct vmdk_log *log;
  char *name;     /* for messages; owned */
  bool no_file;   /* there are no bytes behind it */
  uint64_t size;  /* when it was opened; never changes */
  unsigned refs;
};

static inline int
store_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  return s->ops->pread (s, buf, count, offset);
}

/* The first range of [offset, end) that isn't a hole: [*start, *stop);
 * both are end if there is none.  Where the store can't tell, everything
 * up to its size is data.
 */
extern void store_find_data (struct store *s, uint64_t offset, uint64_t end,
                             uint64_t *start, uint64_t *stop);
/* The first byte from offset on that isn't in a hole, or UINT64_MAX. */
extern uint64_t store_next_data (struct store *s, uint64_t offset);
extern void store_prefetch (struct store *s, uint64_t count, uint64_t offset);
extern struct store *store_ref (struct store *s);
extern void store_unref (struct store *s); /* NULL is allowed */

/* Makes a store of an open file or block device.  Takes fd over, also
 * when it fails.  Anything that is neither is refused with EINVAL.
 */
extern struct store *store_file_new (const struct vmdk_log *log, int fd,
                                     const char *name);

/* The file's identity, to recognise it under another name. */
struct store_id {
  uint64_t dev, ino;
};
extern struct store_id store_file_id (const struct store *s);

#endif /* VMDK_STORE_H */
