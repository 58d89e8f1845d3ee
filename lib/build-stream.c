/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building streams (streamOptimized), laid out as VMware's tools do:
 *
 *   0          header; the directory is at the end
 *   1          room for the descriptor, 20 sectors
 *   128        grains that hold something, ascending, each behind its
 *              marker, from the start of a sector; behind those of each
 *              grain table the table, if there were any
 *   ..         directory, footer, end of stream
 *
 * A table covers a whole number of pieces, so that what a piece becomes is
 * one run of bytes in the file, markers and padding included.  All of it
 * is made when the piece is packed, but for the table entries: these need
 * the place.
 *
 * The file has no name before it is complete: nobody can take an unfinished
 * stream for a whole one.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "build-grains.h"
#include "deflate.h"
#include "kdmv-format.h"

#define GRAIN_SIZE ((size_t) 64 << 10)
#define PIECE_GRAINS (PIECE_SIZE / GRAIN_SIZE)
#define GTES_PER_GT 512
#define DESCRIPTOR_SECTORS 20
#define OVERHEAD_SECTORS 128

/* What every reader takes: a grain and its marker in one sector more than
 * the grain has.  Incompressible data need much less than that.
 */
#define MAX_PACKED (GRAIN_SIZE + SECTOR_SIZE - KDMV_MARKER_GRAIN_HEADER)

/* Directories of more entries aren't read by others. */
#define MAX_TABLES (UINT64_C (32) << 20)

/* Sectors have numbers of 32 bits. */
#define MAX_SECTORS (UINT64_C (1) << 32)

#define ADLER_SIZE 4 /* the checksum at the end of a zlib stream */

static_assert (GTES_PER_GT % PIECE_GRAINS == 0, "tables and pieces");
static_assert (PIECE_GRAINS <= 64, "build->skip");

struct stream_build {
  struct build b; /* must come first */
  struct deflater_pool *deflaters;

  /* The rest belongs to the ordered step. */
  uint64_t next;    /* the first free sector */
  uint64_t table;   /* that gt is of */
  bool gt_used;
  le32 gt[GTES_PER_GT];
  le32 *gd;
  uint64_t nr_tables;
  uint64_t hash;
};

static struct stream_build *
stream_of (struct build *b)
{
  return (struct stream_build *) b;
}

static uint64_t
sectors_of (uint64_t bytes)
{
  return div_round_up (bytes, SECTOR_SIZE);
}

/* Header and footer. */

static struct kdmv_header_disk
make_header (const struct build *b, uint64_t gd_sector)
{
  return (struct kdmv_header_disk) {
    .magic = to_le32 (KDMV_MAGIC),
    .version = to_le32 (3),
    .flags = to_le32 (KDMV_FLAG_NEWLINES | KDMV_FLAG_COMPRESSED |
                      KDMV_FLAG_MARKERS),
    .capacity = to_le64 (b->size / SECTOR_SIZE),
    .grain_size = to_le64 (GRAIN_SIZE / SECTOR_SIZE),
    .descriptor_offset = to_le64 (b->has_descriptor ? 1 : 0),
    .descriptor_size = to_le64 (b->has_descriptor ? DESCRIPTOR_SECTORS : 0),
    .gtes_per_gt = to_le32 (GTES_PER_GT),
    .gd_offset = to_le64 (gd_sector),
    .overhead = to_le64 (OVERHEAD_SECTORS),
    .newlines = { '\n', ' ', '\r', '\n' },
    .compression = to_le16 (KDMV_COMPRESS_DEFLATE),
  };
}

static int
cannot (const struct build *b, int err, const char *why)
{
  vmdk_error (b->log, "%s: a stream %s; choose another type", b->name, why);
  errno = err;
  return -1;
}

static int
stream_begin (struct build *b)
{
  struct stream_build *const s = stream_of (b);
  const struct kdmv_header_disk header = make_header (b, KDMV_GD_AT_END);

  if (b->grain_size != GRAIN_SIZE)
    return cannot (b, EINVAL, "has grains of 64 KiB");
  s->nr_tables = div_round_up (b->size, GRAIN_SIZE * GTES_PER_GT);
  if (s->nr_tables > MAX_TABLES)
    return cannot (b, EFBIG, "of more than 1 PiB can't be read by others");
  s->gd = calloc (s->nr_tables + 1, sizeof s->gd[0]);
  s->deflaters = deflater_pool_new (b->level);
  if (s->gd == NULL || s->deflaters == NULL) {
    vmdk_error (b->log, "%s: %m", b->name);
    return -1;
  }
  s->next = OVERHEAD_SECTORS;
  return store_pwrite (b->store, &header, sizeof header, 0);
}

/* Packing. */

/* Appends a grain, with its marker, up to the end of a sector. */
static int
pack_grain (struct piece *p, struct deflater *d, unsigned i)
{
  uint8_t *const out = p->packed + p->packed_length;
  uint8_t *const data = out + KDMV_MARKER_GRAIN_HEADER;
  const size_t n = deflater_run (d, p->data + i * GRAIN_SIZE, GRAIN_SIZE,
                                 data, MAX_PACKED);
  const struct kdmv_marker_disk marker = {
    .value = to_le64 ((p->offset + i * GRAIN_SIZE) / SECTOR_SIZE),
    .size = to_le32 ((uint32_t) n),
  };
  const size_t used = KDMV_MARKER_GRAIN_HEADER + n;
  const size_t length = sectors_of (used) * SECTOR_SIZE;

  if (n <= ADLER_SIZE) {
    vmdk_error (p->build->log, "%s: grain at %" PRIu64 ": %s failed",
                p->build->name, p->offset + i * GRAIN_SIZE,
                vmdk_deflate_library ());
    errno = EIO;
    return -1;
  }
  memcpy (out, &marker, KDMV_MARKER_GRAIN_HEADER);
  memset (out + used, 0, length - used);
  p->packed_length += length;
  return 0;
}

/* In a child, a grain of zeroes hides the parent's. */
static bool
is_nothing (const struct piece *p, unsigned i)
{
  if (p->absent && p->absent[i])
    return true;
  return !p->build->has_parent &&
    is_zero (p->data + i * GRAIN_SIZE, GRAIN_SIZE);
}

static int
pack_grains (struct piece *p, struct deflater *d)
{
  unsigned i;

  for (i = 0; i * GRAIN_SIZE < p->length; i++)
    if (!is_nothing (p, i) && pack_grain (p, d, i) == -1)
      return -1;
  return 0;
}

static int
stream_pack (struct build *b, struct piece *p)
{
  struct deflater_pool *const deflaters = stream_of (b)->deflaters;
  struct deflater *d;
  int result;

  p->packed_length = 0;
  if (piece_reserve (p, PIECE_GRAINS * (GRAIN_SIZE + SECTOR_SIZE)) == -1)
    return -1;
  d = deflater_acquire (deflaters);
  if (d == NULL) {
    vmdk_error (b->log, "%s: %m", b->name);
    return -1;
  }
  result = pack_grains (p, d);
  deflater_release (deflaters, d);
  return result;
}

/* Placing. */

/* Takes the next sectors of the file. */
static int
reserve_sectors (struct stream_build *s, uint64_t count, uint64_t *first)
{
  if (count > MAX_SECTORS - s->next)
    return cannot (&s->b, EFBIG, "can't take more than 2 TiB of space");
  *first = s->next;
  s->next += count;
  return 0;
}

/* A marker that isn't a grain's. */
static void
put_marker (void *sector, uint64_t count, uint32_t type)
{
  const struct kdmv_marker_disk marker = {
    .value = to_le64 (count),
    .type = to_le32 (type),
  };

  memset (sector, 0, SECTOR_SIZE);
  memcpy (sector, &marker, sizeof marker);
}

static int
write_sectors (struct stream_build *s, const void *buf, size_t size,
               uint64_t sector)
{
  return store_pwrite (s->b.store, buf, size, sector * SECTOR_SIZE);
}

/* Writes the table, if there is anything in it, behind its grains: once
 * in 32 MiB of the guest's disk, so that it may be done in the ordered
 * step.
 */
static int
finish_table (struct stream_build *s)
{
  uint8_t buf[SECTOR_SIZE + sizeof s->gt];
  uint64_t sector;

  if (!s->gt_used)
    return 0;
  if (reserve_sectors (s, sizeof buf / SECTOR_SIZE, &sector) == -1)
    return -1;
  put_marker (buf, sizeof s->gt / SECTOR_SIZE, KDMV_MARKER_GT);
  memcpy (buf + SECTOR_SIZE, s->gt, sizeof s->gt);
  s->gd[s->table] = to_le32 ((uint32_t) sector + 1);
  memset (s->gt, 0, sizeof s->gt);
  s->gt_used = false;
  return write_sectors (s, buf, sizeof buf, sector);
}

/* Each bit of the word changes about half of all bits. */
static void
add_to_hash (struct stream_build *s, uint64_t word)
{
  uint64_t x = s->hash ^ word;

  x = (x ^ x >> 33) * UINT64_C (0xff51afd7ed558ccd);
  x = (x ^ x >> 33) * UINT64_C (0xc4ceb9fe1a85ec53);
  s->hash = x ^ x >> 33;
}

/* Enters a packed grain that goes to a sector, and returns how many it
 * takes.
 */
static uint64_t
place_grain (struct stream_build *s, const uint8_t *packed, uint64_t sector)
{
  struct kdmv_marker_disk m;
  uint64_t grain, size;

  memcpy (&m, packed, sizeof m);
  grain = le64_get (m.value) * SECTOR_SIZE / GRAIN_SIZE;
  size = KDMV_MARKER_GRAIN_HEADER + le32_get (m.size);
  s->gt[grain % GTES_PER_GT] = to_le32 ((uint32_t) sector);
  s->gt_used = true;
  add_to_hash (s, grain);
  add_to_hash (s, (uint64_t) le32_at (packed + size - ADLER_SIZE) << 32 |
               le32_get (m.size));
  s->b.populated += GRAIN_SIZE;
  return sectors_of (size);
}

static int
stream_place (struct build *b, struct piece *p)
{
  struct stream_build *const s = stream_of (b);
  const uint64_t table = p->offset / (GRAIN_SIZE * GTES_PER_GT);
  const uint64_t count = p->packed_length / SECTOR_SIZE;
  uint64_t sector, i;

  if (count == 0)
    return 0;
  if (table != s->table && finish_table (s) == -1)
    return -1;
  s->table = table;
  if (reserve_sectors (s, count, &sector) == -1)
    return -1;
  p->place = sector * SECTOR_SIZE;
  for (i = 0; i < count; )
    i += place_grain (s, p->packed + i * SECTOR_SIZE, sector + i);
  return 0;
}

static int
stream_write (struct build *b, struct piece *p)
{
  if (p->packed_length == 0)
    return 0;
  return store_pwrite (b->store, p->packed, p->packed_length, p->place);
}

/* The end. */

/* The directory of a large disk is mostly zero, as the file is. */
static int
write_directory (struct stream_build *s, uint64_t sector)
{
  const size_t size = s->nr_tables * sizeof s->gd[0];
  const uint8_t *const gd = (const uint8_t *) s->gd;
  size_t at, n;

  for (at = 0; at < size; at += n) {
    n = size - at < GRAIN_SIZE ? size - at : GRAIN_SIZE;
    if (!is_zero (gd + at, n) &&
        store_pwrite (s->b.store, gd + at, n,
                      sector * SECTOR_SIZE + at) == -1)
      return -1;
  }
  return 0;
}

/* The descriptor's CID comes from the content alone, so that the same disk
 * always becomes the same file; and it is never one that means something
 * else (none, never written).
 */
static uint32_t
content_id (const struct stream_build *s)
{
  const uint32_t id = (uint32_t) s->hash;

  return id == 0 || id >= UINT32_C (0xfffffffe) ? id ^ 0x5a5a5a5a : id;
}

static int
stream_finish (struct build *b)
{
  struct stream_build *const s = stream_of (b);
  const uint64_t gd_sectors = sectors_of (s->nr_tables * sizeof s->gd[0]);
  struct {
    uint8_t footer_marker[SECTOR_SIZE];
    struct kdmv_header_disk footer;
    uint8_t end_of_stream[SECTOR_SIZE];
  } tail;
  uint8_t gd_marker[SECTOR_SIZE];
  uint64_t sector;

  if (finish_table (s) == -1 ||
      reserve_sectors (s, 1 + gd_sectors + sizeof tail / SECTOR_SIZE,
                       &sector) == -1)
    return -1;
  put_marker (gd_marker, gd_sectors, KDMV_MARKER_GD);
  put_marker (tail.footer_marker, 1, KDMV_MARKER_FOOTER);
  tail.footer = make_header (b, sector + 1);
  put_marker (tail.end_of_stream, 0, KDMV_MARKER_EOS);
  add_to_hash (s, b->size);
  b->content_id = content_id (s);
  if (write_sectors (s, gd_marker, sizeof gd_marker, sector) == -1 ||
      write_directory (s, sector + 1) == -1)
    return -1;
  return write_sectors (s, &tail, sizeof tail, sector + 1 + gd_sectors);
}

static int
stream_embed (struct build *b, const char *text, size_t length)
{
  if (length <= DESCRIPTOR_SECTORS * SECTOR_SIZE)
    return store_pwrite (b->store, text, length, SECTOR_SIZE);
  vmdk_error (b->log, "%s: the descriptor has %zu bytes, but in a stream "
              "there is room for %" PRIu64 "; is a name in it very long?",
              b->name, length, DESCRIPTOR_SECTORS * SECTOR_SIZE);
  errno = EFBIG;
  return -1;
}

static void
stream_free (struct build *b)
{
  struct stream_build *const s = stream_of (b);

  deflater_pool_free (s->deflaters);
  free (s->gd);
  free (s);
}

static const struct build_ops stream_ops = {
  .format = "stream",
  .begin = stream_begin,
  .pack = stream_pack,
  .place = stream_place,
  .write = stream_write,
  .finish = stream_finish,
  .embed = stream_embed,
  .free = stream_free,
};

struct build *
build_stream_new (const struct vmdk_log *log)
{
  struct stream_build *const s = calloc (1, sizeof *s);

  if (s == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  s->b.ops = &stream_ops;
  s->b.log = log;
  s->b.grain_size = GRAIN_SIZE;
  return &s->b;
}
