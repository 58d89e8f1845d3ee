/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making disks that hold nothing yet: what create, snapshot and
 * rebuild-descriptor share.
 */

#ifndef VMDK_CREATE_H
#define VMDK_CREATE_H

#include "descriptor-write.h"
#include "disk.h"
#include "image-plan.h"

/* Makes n->file as a child of an open disk, of n->type; beside: its path is
 * in the folder of that disk.
 */
extern int create_child (const struct vmdk_new *n,
                         const struct vmdk_disk *parent, bool beside);

/* Where a path leads to. */
struct place {
  char *folder; /* without symbolic links */
  char *base;   /* in it; may be a symbolic link, or not exist */
};
extern int place_find (const struct vmdk_log *log, const char *path,
                       struct place *p);
extern void place_free (struct place *p);

/* Its path from a folder that it lies in or below, or NULL: out of memory,
 * or it doesn't (EXDEV); not reported.
 */
extern char *place_below (const struct place *p, const char *folder);

/* Where the child will look for its parent, as the descriptor says it.  The
 * caller frees it.  NULL: reported.
 */
extern char *find_parent_hint (const struct vmdk_new *n,
                               const struct vmdk_disk *parent);

/* A child must be able to name it.  -1: reported. */
extern int check_parent_cid (const struct vmdk_new *n,
                             const struct link *parent);

/* How the descriptor n->file names the file at path, which must lie in its
 * folder or below.  The caller frees it.  NULL: reported.
 */
extern char *find_extent_name (const struct vmdk_new *n, const char *path);

/* A file whose bytes are the guest's.  What says that it isn't one is
 * reported.
 */
extern int check_is_flat (const struct vmdk_log *log, struct store *s);

/* What to take of it.  0: reported, there is no size that can be. */
extern uint64_t choose_flat_size (const struct vmdk_new *n,
                                  const struct store *s);

/* A descriptor for extents that are there. */
struct new_text {
  const struct vmdk_new *n;
  const struct image_kind *kind;
  const struct image_parent *parent; /* NULL: none */
  const uint32_t *cid;               /* NULL: a random one */
  const struct new_extent_line *extents;
  size_t nr_extents;
  bool brief;                        /* without what may be missing */
};
/* The caller frees it. */
extern char *compose_text (const struct new_text *t);
/* Makes n->file of it, in the folder where the name of beside leads to it,
 * unless that is NULL.
 */
extern int publish_text (const struct vmdk_new *n, const struct store *beside,
                         const char *text);

#endif /* VMDK_CREATE_H */
