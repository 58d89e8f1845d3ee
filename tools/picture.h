/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The figures of a picture of a disk: how much of each cell of the guest's
 * disk is what, and of each piece of each file.  Their number is bounded,
 * whatever the disk's size.
 */

#ifndef VMDK_PICTURE_H
#define VMDK_PICTURE_H

#include "vmdk-img.h"

#define PICTURE_COLUMNS 64
#define PICTURE_ROWS 24
#define PICTURE_PIECES 128
#define PICTURE_STRIPS 48 /* files that are shown piece by piece */

/* Bytes of a part of a file.  What is none of these is used by nothing. */
struct file_use {
  uint64_t shown;    /* guest data that the guest sees */
  uint64_t stored;   /* all guest data */
  uint64_t packed;   /* of these: compressed */
  uint64_t metadata;
  uint64_t hole;
};

struct picture_file {
  const char *name;
  size_t link;
  uint64_t size;
  uint64_t longest_grain; /* if they are compressed */
  struct file_use total;
  uint64_t piece_size;
  unsigned nr_pieces;     /* 0: only the total is known */
  struct file_use pieces[PICTURE_PIECES]; /* only nr_pieces are there */
};

struct picture {
  uint64_t size;
  size_t nr_links;
  uint64_t cell_size; /* a power of 2 */
  unsigned nr_cells;

  /* Bytes of each cell.  What is nothing of these is absent. */
  uint64_t *stored; /* [cell * nr_links + link] */
  uint64_t *packed; /* of these: compressed */
  uint64_t *zero;

  /* The same of the whole disk. */
  uint64_t *link_stored; /* [nr_links] */
  uint64_t all_packed, all_zero, all_absent;

  struct picture_file **files;
  size_t nr_files;
};

/* NULL: reported, or errno is ECANCELED. */
extern struct picture *picture_new (struct vmdk_disk *disk,
                                    const struct vmdk_progress *progress);
extern void picture_free (struct picture *p); /* NULL is allowed */

/* What is used by nothing. */
extern uint64_t picture_unused (const struct file_use *use, uint64_t size);

/* Bytes in a cell, and in a piece; the last one may be smaller. */
extern uint64_t picture_cell_bytes (const struct picture *p, unsigned cell);
extern uint64_t picture_piece_bytes (const struct picture_file *f,
                                     unsigned piece);

#endif /* VMDK_PICTURE_H */
