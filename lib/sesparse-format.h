/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * seSparse extents as they lie on disk.  Offsets and sizes in it are
 * sectors of 512 bytes, and every region begins on a MiB.
 *
 *   0      const header
 *   1      volatile header
 *   2      journal header
 *   2048   journal
 *   4096   grain directory: le64, 0: no table, or
 *          0x1000000000000000 | index of the table
 *   ..     grain tables, 64 sectors each, space for all of them
 *   ..     free bitmap, a bit for each grain
 *   ..     back map, 8 bytes for each grain
 *   ..     grains of 8 sectors
 *
 *   GT: le64, type in the top 4 bits:
 *       0  unallocated (the whole entry is 0)
 *       1  unmapped: reads as zero, the grain waits to be reclaimed
 *       2  zero
 *       3  allocated; the other 60 bits are the grain's index with its
 *          low 12 bits on top: (index & 0xfff) << 48 | index >> 12
 *
 * VMware hasn't published this format; docs/formats.md says where each
 * fact comes from.
 */

#ifndef VMDK_SESPARSE_FORMAT_H
#define VMDK_SESPARSE_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "le.h"

#define SESPARSE_MAGIC UINT64_C (0xcafebabe)
#define SESPARSE_VOLATILE_MAGIC UINT64_C (0xcafecafe)
#define SESPARSE_VERSION UINT64_C (0x200000001) /* 2.1 */
#define SESPARSE_GRAIN_SECTORS 8
#define SESPARSE_GT_SECTORS 64
#define SESPARSE_GTES_PER_GT 4096

#define SESPARSE_GDE_TABLE UINT32_C (0x10000000) /* the high half */

#define SESPARSE_GTE_UNALLOCATED 0
#define SESPARSE_GTE_UNMAPPED 1
#define SESPARSE_GTE_ZERO 2
#define SESPARSE_GTE_ALLOCATED 3

#define SESPARSE_BACK_VALID 1 /* type of an entry of the back map */

struct sesparse_region_disk {
  le64 offset;
  le64 size;
};

struct sesparse_header_disk {
  le64 magic;           /*   0 */
  le64 version;         /*   8 */
  le64 capacity;        /*  16 */
  le64 grain_size;      /*  24  8 */
  le64 gt_size;         /*  32  64 sectors */
  le64 flags;           /*  40  0 */
  le64 reserved[4];     /*  48  0 */
  struct sesparse_region_disk volatile_header; /*  80 */
  struct sesparse_region_disk journal_header;  /*  96 */
  struct sesparse_region_disk journal;         /* 112 */
  struct sesparse_region_disk gd;              /* 128 */
  struct sesparse_region_disk gts;             /* 144 */
  struct sesparse_region_disk free_bitmap;     /* 160 */
  struct sesparse_region_disk back_map;        /* 176 */
  struct sesparse_region_disk grains;          /* 192 */
  uint8_t pad[304];     /* 208  0 */
};

struct sesparse_volatile_disk {
  le64 magic;          /*  0 */
  le64 free_gt;        /*  8  the next table index to be used */
  le64 next_txn;       /* 16  of the journal */
  le64 replay_journal; /* 24  not 0: changes are only in the journal */
  uint8_t pad[480];    /* 32  0 */
};

static_assert (sizeof (struct sesparse_header_disk) == 512, "layout");
static_assert (offsetof (struct sesparse_header_disk, grains) == 192,
               "layout");
static_assert (sizeof (struct sesparse_volatile_disk) == 512, "layout");

#endif /* VMDK_SESPARSE_FORMAT_H */
