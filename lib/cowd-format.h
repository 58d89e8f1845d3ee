/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * COWD extents (vmfsSparse) as they lie on disk.  Offsets and sizes in
 * it are sectors of 512 bytes.
 *
 *   0   header, 4 sectors
 *   4   grain directory: le32 sector of a grain table, 0: none
 *   ..  grain tables (always 4096 entries, 32 sectors) and grains, mixed
 *       in the order of their allocation, not aligned to anything
 *
 *   GT: le32 sector of a grain, 0: unallocated, 1: reads as zero
 *
 * Source: VMware, Virtual Disk Format 5.0.  The second half of the header
 * is of older times and not used.
 */

#ifndef VMDK_COWD_FORMAT_H
#define VMDK_COWD_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "le.h"

#define COWD_MAGIC UINT32_C (0x44574f43) /* "COWD" */
#define COWD_VERSION 1
#define COWD_FLAGS 3
#define COWD_HEADER_SECTORS 4
#define COWD_GTES_PER_GT 4096
#define COWD_MAX_GRAIN_SECTORS 2048

struct cowd_header_disk {
  le32 magic;       /*  0 */
  le32 version;     /*  4  1 */
  le32 flags;       /*  8  3 */
  le32 capacity;    /* 12 */
  le32 grain_size;  /* 16  1 to 2048 */
  le32 gd_offset;   /* 20  4 */
  le32 nr_gdes;     /* 24  entries */
  le32 free_sector; /* 28  the next one to be allocated */
  uint8_t legacy1[1028];  /*   32  geometry, or the parent's name */
  le32 generation;        /* 1060 */
  uint8_t legacy2[572];   /* 1064  name and description */
  le32 saved_generation;  /* 1636 */
  uint8_t reserved[8];    /* 1640 */
  le32 unclean;           /* 1648 */
  uint8_t pad[396];       /* 1652 */
};

static_assert (sizeof (struct cowd_header_disk) == 2048, "layout");
static_assert (offsetof (struct cowd_header_disk, unclean) == 1648, "layout");

#endif /* VMDK_COWD_FORMAT_H */
