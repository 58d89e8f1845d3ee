/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A disk that is being made: its files, the extents that are built in
 * them, and its descriptor.
 *
 *   image_begin    plans it, makes the files, and begins the extents
 *   ...            pieces of the guest's data go to the builds (copy.h)
 *   image_finish   completes the extents, writes the descriptor, and
 *                  gives the files their names
 *   image_free
 */

#ifndef VMDK_NEW_IMAGE_H
#define VMDK_NEW_IMAGE_H

#include "build.h"
#include "descriptor-write.h"

/* Over what it is made. */
struct image_parent {
  uint32_t cid;
  const char *hint;     /* as it will be in the descriptor */
  const char *adapter;  /* its own, NULL: none */
  unsigned hw_version;  /* 0: none */
  bool has_geometry;    /* which the guest is to find again */
  struct geometry geometry;
};

/* What a child of l has from it. */
struct link;
extern void image_parent_init (struct image_parent *p, const struct link *l,
                               const char *hint);

struct image_options {
  const struct vmdk_new *n;
  const struct image_parent *parent; /* NULL: none */
  uint64_t size;        /* guest bytes; n->size isn't looked at */

  /* NULL, or sizes of the extents in bytes, where they are to be others
   * than usual (a child is split as its parent is).
   */
  const uint64_t *extent_sizes;
  size_t nr_extents;

  const uint32_t *cid;  /* NULL: a random one, or a stream's own */
  const char *long_content_id; /* NULL: one that goes with it, if any */
  struct store *store;  /* NULL; or where to put the only file, which isn't
                           published (a stream in an OVA) */
  const struct context *source; /* NULL, or of what its content is from: nobody
                           may read the new files who may not read those */
  const struct store *beside; /* NULL; or the new files are made in the folder
                           where this one's name leads to it, as n->file says */
  const char *name;     /* what the descriptor calls that file; NULL: as
                           n->file is called */
};

struct new_image {
  const struct vmdk_log *log;
  uint64_t size;
  struct build **builds; /* of the extents, in order, without gaps */
  uint64_t *starts;      /* of each in the guest's disk */
  size_t nr_builds;
  uint32_t cid;          /* after image_finish */
  /* new-image.c's own */
  struct image_plan *plan;
  struct new_file **files;
  size_t nr_files;
  struct descriptor *former; /* of a disk that it replaces, or NULL */
};

/* NULL: reported.  The options must live as long as the image. */
extern struct new_image *image_begin (const struct image_options *o);
extern int image_finish (struct new_image *image);
/* What isn't finished vanishes.  NULL is allowed. */
extern void image_free (struct new_image *image);

/* The type, and what else an existing link has, as options for one that is
 * to take its place or be like it.  False: none that can be made.
 */
extern bool image_like_link (const struct link *l, struct vmdk_new *n);

#endif /* VMDK_NEW_IMAGE_H */
