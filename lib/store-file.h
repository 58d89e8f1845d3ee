/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store in a local file or on a block device: what its parts share.
 */

#ifndef VMDK_STORE_FILE_H
#define VMDK_STORE_FILE_H

#include "store.h"

struct store_file {
  struct store s; /* must come first */
  atomic_int fd;  /* for reading, and once it is writable for writing */
  int lock_fd;    /* the open file that has the locks: the first one, since
                     locks that another one has would be in its way */
  bool locked, write_locked;
  struct store_id id;
};

/* The descriptor of the file that is below all, which keeps it. */
static inline int
store_file_number (const struct store *s)
{
  while (s->lower)
    s = s->lower;
  return ((const struct store_file *) s)->fd;
}

/* store_ops.lock and unlock (store-lock.c) */
extern int store_file_lock (struct store *s, bool write);
extern void store_file_unlock (struct store *s);

/* The same for an open file that isn't a store yet; name is for messages.
 * reader: it has a reader's locks already.
 */
extern int store_lock_fd (const struct vmdk_log *log, const char *name,
                          int fd, bool reader, bool write);

/* store_ops.replace (store-replace.c) */
extern int store_file_replace (struct store *s, const struct folder *folder,
                               const void *data, size_t count);

#endif /* VMDK_STORE_FILE_H */
