/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Hosted sparse extents as they lie on disk.  Offsets and sizes in it are
 * sectors of 512 bytes unless it says otherwise.
 *
 *   plain extent                       stream as VMware writes it
 *   0    header                        0    header, gd_offset = at end
 *   1    descriptor, if embedded       1    descriptor
 *   ..   redundant directory (RGD)     128  grain marker + deflated grain,
 *   ..   redundant tables                   ascending, packed by sectors
 *   ..   grain directory (GD)          ..   GT marker + grain table, after
 *   ..   grain tables (GT)                  each table's grains
 *   overhead  grains, in any order     ..   GD marker + grain directory
 *                                      -3   footer marker
 *                                      -2   footer: the header, complete
 *                                      -1   end of stream: zeroes
 *
 *   GD: le32 sector of a grain table, 0: none
 *   GT: le32 sector of a grain (of its marker in a stream),
 *       0: unallocated, 1: reads as zero
 *
 * Source: VMware, Virtual Disk Format 5.0; docs/formats.md says what
 * writers do beyond it.
 */

#ifndef VMDK_KDMV_FORMAT_H
#define VMDK_KDMV_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "le.h"

#define KDMV_MAGIC UINT32_C (0x564d444b)            /* "KDMV" */
#define KDMV_MAGIC_UNFINISHED UINT32_C (0x766d646b) /* "kdmv" */

#define KDMV_FLAG_NEWLINES UINT32_C (0x1)  /* the newline bytes are valid */
#define KDMV_FLAG_REDUNDANT UINT32_C (0x2) /* rgd_offset is valid */
#define KDMV_FLAG_ZEROED UINT32_C (0x4)    /* entries may be 1 */
#define KDMV_FLAG_COMPRESSED UINT32_C (0x10000)
#define KDMV_FLAG_MARKERS UINT32_C (0x20000)
#define KDMV_FLAGS_INCOMPATIBLE UINT32_C (0xfffc0000) /* not known to us */

#define KDMV_GD_AT_END UINT64_MAX
#define KDMV_COMPRESS_NONE 0
#define KDMV_COMPRESS_DEFLATE 1

#define KDMV_GTE_ZEROED UINT32_C (1)

#define KDMV_MAX_GRAIN_SECTORS 32768
#define KDMV_MIN_GTES_PER_GT 128
#define KDMV_MAX_GTES_PER_GT 65536

struct kdmv_header_disk {
  le32 magic;             /*  0 */
  le32 version;           /*  4  1, 2 or 3 */
  le32 flags;             /*  8  KDMV_FLAG_* */
  le64 capacity;          /* 12 */
  le64 grain_size;        /* 20  a power of two */
  le64 descriptor_offset; /* 28  0: none is embedded */
  le64 descriptor_size;   /* 36 */
  le32 gtes_per_gt;       /* 44  entries */
  le64 rgd_offset;        /* 48 */
  le64 gd_offset;         /* 56  or KDMV_GD_AT_END */
  le64 overhead;          /* 64 */
  uint8_t unclean;        /* 72 */
  uint8_t newlines[4];    /* 73  "\n \r\n" */
  le16 compression;       /* 77 */
  uint8_t pad[433];       /* 79 */
};

static_assert (sizeof (struct kdmv_header_disk) == 512, "layout");
static_assert (offsetof (struct kdmv_header_disk, overhead) == 64, "layout");
static_assert (offsetof (struct kdmv_header_disk, compression) == 77,
               "layout");

/* What stands before everything in a stream, at the start of a sector.
 * A grain's data follow right behind its size; for the others, size is 0,
 * value is the number of sectors that follow, and a type comes next.
 */
struct kdmv_marker_disk {
  le64 value; /*  0  grain: its first guest sector */
  le32 size;  /*  8  grain: compressed bytes, not 0 */
  le32 type;  /* 12  KDMV_MARKER_*, where size is 0 */
};

#define KDMV_MARKER_GRAIN_HEADER 12 /* bytes before a grain's data */
#define KDMV_PLAIN_GRAIN_HEADER 4   /* the same without markers: a size */

#define KDMV_MARKER_EOS 0
#define KDMV_MARKER_GT 1
#define KDMV_MARKER_GD 2
#define KDMV_MARKER_FOOTER 3
#define KDMV_MARKER_PROGRESS 4 /* one sector, nothing follows */

static_assert (sizeof (struct kdmv_marker_disk) == 16, "layout");

#endif /* VMDK_KDMV_FORMAT_H */
