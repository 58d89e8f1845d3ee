/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Hosted sparse extents, plain and as streams: the header, decoded and
 * checked, and what streams add.
 */

#ifndef VMDK_KDMV_H
#define VMDK_KDMV_H

#include "kdmv-format.h"
#include "sparse.h"

/* All in bytes but where it says otherwise. */
struct kdmv_header {
  unsigned version;
  uint32_t flags;
  uint64_t capacity;
  uint32_t grain_size;
  uint64_t descriptor_offset; /* 0: none */
  uint64_t descriptor_size;
  uint32_t gtes_per_gt;       /* entries */
  uint64_t rgd_offset;        /* 0: none */
  uint64_t gd_offset;         /* or KDMV_GD_AT_END */
  uint64_t overhead;
  bool unclean;
};

struct kdmv {
  struct sparse sp;        /* must come first */
  struct kdmv_header h;    /* of a stream: the footer, if it has one */
  uint64_t descriptor_end; /* bytes; nothing can begin before */
  bool has_footer;
  uint64_t footer;         /* ... and where, bytes */
  bool recovered;          /* the tables come from scanning */
};

/* The header (kdmv-header.c). */

/* Decodes and checks all that can be checked without the rest of the
 * file.  what is "header" or "footer".  -1: reported, errno is EINVAL.
 */
extern int kdmv_decode_header (const struct vmdk_log *log, const char *name,
                               const char *what,
                               const struct kdmv_header_disk *disk,
                               struct kdmv_header *h);

/* Reads and decodes the one at the start of the file. */
extern int kdmv_read_header (const struct vmdk_log *log, struct store *store,
                             struct kdmv_header *h);

/* Whether the header names two directories of which a part is the same. */
extern bool kdmv_directories_overlap (const struct kdmv *k);

extern const struct sparse_format kdmv_format;

/* Makes the header name other directories, durably, which have the same in
 * them (kdmv-write.c).  The redundant one is [1], if there is one.
 */
extern int kdmv_set_directories (struct sparse *sp, const uint64_t gd[2]);

/* Streams (stream.c). */

/* Finds the footer and puts it in place of k->h, which says that the
 * directory is at the end.  0: none was found, which was not reported; a
 * bad one is none when the options say that the stream may be recovered.
 */
extern int stream_find_footer (struct kdmv *k);

/* Rebuilds the tables from the markers, in a temporary file, and
 * finds the capacity if the header doesn't say.
 */
extern int stream_recover (struct kdmv *k);

/* extent_ops.check (check-kdmv.c) */
extern int kdmv_check (struct extent *e, struct check *check);

/* extent_ops.unpack */
extern int stream_unpack (struct extent *e, const struct run *run, void *buf);

#endif /* VMDK_KDMV_H */
