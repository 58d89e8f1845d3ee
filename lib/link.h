/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A link: one descriptor and its extents, a layer of the chain.
 */

#ifndef VMDK_LINK_H
#define VMDK_LINK_H

#include "context.h"
#include "descriptor.h"
#include "extent.h"
#include "resolve.h"

struct link {
  struct context *ctx;
  struct store *store;      /* that holds the descriptor; a reference */
  struct folder *folder;    /* it lies in; NULL: not known */
  struct descriptor *desc;  /* NULL: a lone extent without one */
  bool embedded;            /* desc is inside of a sparse extent */
  uint64_t desc_offset;     /* where its text is in store, bytes */
  size_t desc_length;
  struct extent **extents;  /* without gaps, in the order of the guest */
  size_t nr_extents;
  uint64_t size;            /* guest bytes */
  uint32_t grain_size;      /* the largest of the extents, bytes; or 0 */
  struct link *parent;      /* NULL: the base, or not asked for */
  struct extent_line raw;   /* of a raw disk: what a descriptor would say */
};

/* Opens the link whose descriptor, or lone extent, is in store.  Takes
 * over the reference to store and the folder, also when it fails.
 */
extern struct link *link_open (struct context *ctx, struct store *store,
                               struct folder *folder);

/* The same for a file whose bytes are the guest's. */
extern struct link *link_open_raw (struct context *ctx, struct store *store,
                                   struct folder *folder);

extern void link_close (struct link *l); /* without parents; NULL is ok */

/* The extent with the byte at offset, which must be in the link. */
extern struct extent *link_find_extent (const struct link *l,
                                        uint64_t offset);

/* The descriptor that a file is, or has inside, or NULL; what is wrong with
 * it isn't reported, unless the store does.  The caller frees it.
 */
extern struct descriptor *link_peek_descriptor (struct store *store);

/* The content ID that it gives, if it does. */
extern bool link_peek_cid (struct store *store, uint32_t *cid);

#endif /* VMDK_LINK_H */
