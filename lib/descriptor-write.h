/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Composing the descriptor of a new link: text as VMware's tools write it,
 * which every known reader understands.  Without any I/O.
 */

#ifndef VMDK_DESCRIPTOR_WRITE_H
#define VMDK_DESCRIPTOR_WRITE_H

#include "descriptor.h"

struct geometry {
  uint64_t cylinders;
  unsigned heads, sectors;
};

/* As VMware computes it for that adapter ("ide", "lsilogic", ...).  hosted:
 * by its products for desktops, which stop at 16383 cylinders for "ide".
 */
extern struct geometry geometry_of (const char *adapter, bool hosted,
                                    uint64_t size);

struct new_extent_line {
  enum extent_access access;
  enum extent_type type;
  uint64_t size;      /* bytes */
  const char *name;
  bool has_offset;    /* an offset of 0 is written */
};

struct new_descriptor {
  uint32_t cid;
  uint32_t parent_cid;       /* CID_NONE: no parent */
  const char *parent_hint;   /* NULL: none */
  const char *create_type;
  const struct new_extent_line *extents;
  size_t nr_extents;
  const char *adapter;       /* these are not written when NULL or 0 */
  const struct geometry *geometry;
  unsigned hw_version;
  const char *long_content_id; /* its end is made to be the CID; NULL: one
                                  is made from the CID alone */
  bool with_long_content_id;
  bool thin;                 /* ddb.thinProvisioned */
  const char *uuid;          /* NULL: none */
  unsigned grain;            /* ddb.grain, sectors; 0: none */
  bool brief;                /* nothing that nobody needs */
};

/* The caller frees it.  NULL: out of memory, or a name that no descriptor
 * can hold (a quote, a line break), reported.
 */
extern char *descriptor_compose (const struct vmdk_log *log,
                                 const struct new_descriptor *d);

/* "RW 4192256 SPARSE \"x-s001.vmdk\"\n" */
extern char *descriptor_compose_line (const struct vmdk_log *log,
                                      const struct new_extent_line *line);

/* What else is random in the descriptor of a new disk without a parent. */
struct disk_identity {
  char uuid[sizeof "60 00 C2 9x xx xx xx xx-xx xx xx xx xx xx xx xx"];
  char long_content_id[33]; /* its end is replaced by the CID */
};
extern int disk_identity_random (const struct vmdk_log *log,
                                 struct disk_identity *id);

/* A random CID, none of those that mean something else.  -1: reported. */
extern int cid_random (const struct vmdk_log *log, uint32_t *cid);

#endif /* VMDK_DESCRIPTOR_WRITE_H */
