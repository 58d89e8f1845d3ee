/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What all parts of one open disk share: where messages go, the caches,
 * and the files that are open.
 */

#ifndef VMDK_CONTEXT_H
#define VMDK_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "cache.h"
#include "inflate.h"
#include "log.h"
#include "store.h"

/* Tables are read and cached in pages of this many bytes or one table,
 * whichever is less.
 */
#define TABLE_PAGE_SIZE 2048

/* Where a descriptor lies, or a trusted place. */
struct folder {
  int fd;          /* O_PATH */
  char *path;      /* as it was found, for messages */
  char *absolute;  /* without symbolic links */
};

extern void folder_close (struct folder *f); /* NULL is allowed */

struct context {
  struct vmdk_log log;
  struct cache *tables;
  struct cache *grains;
  uint64_t table_cache, grain_cache; /* bytes that they may have */
  struct inflater_pool *inflaters;

  /* Each file is opened once, however often it is named.  So a link of
   * the chain that comes a second time is recognised, and what is known
   * of a file is known for all its names.
   */
  struct store **stores;
  size_t nr_stores;

  /* Folders in and below which descriptors may name files: that of the
   * image, then the trusted ones.
   */
  struct folder **roots;
  size_t nr_roots;

  atomic_size_t nr_dirty; /* pages of tables that the files lack */

  atomic_size_t absent_room; /* bytes left for sparse.absent */

  /* Puts another store in place of each file's; NULL: none is.  Takes s
   * over, also when it fails (NULL, reported).
   */
  struct store *(*wrap) (void *opaque, struct store *s);
  void *wrap_opaque;

  bool rescan; /* streams are read by their markers, also sound ones */

  /* How to write, from the options. */
  bool lock, drop_cbt, allow_parent_write;
  enum vmdk_zeroed_grains zeroed_grains;

  /* The caller's; valid only while the disk is being opened. */
  const struct vmdk_options *options;
};

/* log.error and so on, and room for caches.  NULL: reported. */
extern struct context *context_new (const struct vmdk_options *options);
extern void context_free (struct context *ctx); /* NULL is allowed */

/* The store of an open file, which may be open already under another
 * name.  Takes fd over, also when it fails; the caller gets a reference.
 */
extern struct store *context_add_file (struct context *ctx, int fd,
                                       const char *name);

/* Takes root over, also when it fails. */
extern int context_add_root (struct context *ctx, struct folder *root);

#endif /* VMDK_CONTEXT_H */
