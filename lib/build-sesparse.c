/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building seSparse extents, with the regions where a host has them (see
 * sesparse-format.h).  Regions are holes of the file where nothing is in
 * them: an empty extent of any size takes a few KiB.
 *
 * Grain tables and grains are numbered in the order of the guest's disk,
 * from 0 and without gaps.  So the ordered step only counts; everything
 * else that a piece needs, its part of the grain table and of the back map
 * included, is its own and written by whoever has it:
 *
 *   grain table   covers 16 pieces: the first of them that holds anything
 *                 gets the table its number and its directory entry
 *   back map      entry i names the guest's grain that owns grain i
 *   free bitmap   1 for a grain in use: all ones up to the last grain; it
 *                 is written at the end
 *
 * The journal and its header are zero.  A host's journal header has a
 * magic number, the number of the next transaction, and a word of unknown
 * meaning, followed by what was in memory; all known readers ignore it
 * while the volatile header says that there is nothing to replay.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "build-grains.h"
#include "sesparse-format.h"

#define GRAIN_SIZE (SESPARSE_GRAIN_SECTORS * SECTOR_SIZE)
#define GT_BYTES (SESPARSE_GT_SECTORS * SECTOR_SIZE)
#define GT_COVERS (SESPARSE_GTES_PER_GT * GRAIN_SIZE)
#define PIECE_GRAINS (PIECE_SIZE / GRAIN_SIZE)
#define MIB (UINT64_C (1) << 20)

/* VMware's limit for disks is 62 TiB, and that of the format 64. */
#define MAX_SIZE (UINT64_C (64) << 40)

#define NO_TABLE UINT64_MAX

static_assert (GT_COVERS % PIECE_SIZE == 0, "a piece is in one table");

struct region {
  uint64_t offset, size; /* bytes */
};

struct sesparse_build {
  struct build b; /* must come first */
  struct region gd, gts, free_bitmap, back_map, grains;

  /* The ordered step's. */
  uint64_t covered;   /* by the last table: its place in the directory */
  uint64_t nr_tables; /* that are in use */
  uint64_t nr_grains;
};

/* What the ordered step finds out for a piece. */
struct placed {
  uint64_t table;  /* the number of its table */
  bool opens;      /* it is the first piece of that */
  uint64_t grain;  /* the number of its first grain */
};

static struct sesparse_build *
sesparse_of (struct build *b)
{
  return (struct sesparse_build *) b;
}

/* Layout. */

static uint64_t
append_region (struct region *r, uint64_t offset, uint64_t size)
{
  r->offset = offset;
  r->size = div_round_up (size, MIB) * MIB;
  return offset + r->size;
}

static void
lay_out (struct sesparse_build *s)
{
  const uint64_t nr_tables = div_round_up (s->b.size, GT_COVERS);
  const uint64_t nr_grains = div_round_up (s->b.size, GRAIN_SIZE);
  uint64_t at = 2 * MIB;

  at = append_region (&s->gd, at, nr_tables * sizeof (le64));
  at = append_region (&s->gts, at, nr_tables * GT_BYTES);
  at = append_region (&s->free_bitmap, at, div_round_up (nr_grains, 8));
  at = append_region (&s->back_map, at, nr_tables * GT_BYTES);
  s->grains = (struct region) { .offset = at, .size = s->b.size };
}

static struct sesparse_region_disk
to_disk (struct region r)
{
  return (struct sesparse_region_disk) {
    .offset = to_le64 (r.offset / SECTOR_SIZE),
    .size = to_le64 (r.size / SECTOR_SIZE),
  };
}

static int
write_header (struct sesparse_build *s)
{
  const struct sesparse_header_disk header = {
    .magic = to_le64 (SESPARSE_MAGIC),
    .version = to_le64 (SESPARSE_VERSION),
    .capacity = to_le64 (s->b.size / SECTOR_SIZE),
    .grain_size = to_le64 (SESPARSE_GRAIN_SECTORS),
    .gt_size = to_le64 (SESPARSE_GT_SECTORS),
    .volatile_header = { to_le64 (1), to_le64 (1) },
    .journal_header = { to_le64 (2), to_le64 (2) },
    .journal = { to_le64 (2048), to_le64 (2048) },
    .gd = to_disk (s->gd),
    .gts = to_disk (s->gts),
    .free_bitmap = to_disk (s->free_bitmap),
    .back_map = to_disk (s->back_map),
    .grains = to_disk (s->grains),
  };

  return store_pwrite (s->b.store, &header, sizeof header, 0);
}

static int
sesparse_begin (struct build *b)
{
  struct sesparse_build *const s = sesparse_of (b);

  if (b->grain_size != GRAIN_SIZE || b->size > MAX_SIZE) {
    vmdk_error (b->log, b->size > MAX_SIZE ?
                "%s: seSparse disks can't be larger than 64 TiB" :
                "%s: seSparse disks have grains of 4 KiB, no other size",
                b->name);
    errno = EINVAL;
    return -1;
  }
  lay_out (s);
  return write_header (s);
}

/* Pieces. */

static uint64_t
count_data (const struct piece *p)
{
  uint64_t n = 0;
  size_t i;

  for (i = 0; i < p->packed_length; i++)
    n += p->packed[i] == GRAIN_DATA;
  return n;
}

static bool
says_nothing (const struct piece *p)
{
  size_t i;

  for (i = 0; i < p->packed_length; i++)
    if (p->packed[i] != GRAIN_NONE)
      return false;
  return true;
}

static int
sesparse_place (struct build *b, struct piece *p)
{
  struct sesparse_build *const s = sesparse_of (b);
  struct placed *placed;

  p->more = NULL;
  if (says_nothing (p))
    return 0;
  p->more = placed = calloc (1, sizeof *placed);
  if (placed == NULL) {
    vmdk_error (b->log, "%s: calloc: %m", b->name);
    return -1;
  }
  placed->opens = p->offset / GT_COVERS != s->covered;
  if (placed->opens) {
    s->covered = p->offset / GT_COVERS;
    s->nr_tables++;
  }
  placed->table = s->nr_tables - 1;
  placed->grain = s->nr_grains;
  s->nr_grains += count_data (p);
  p->place = s->grains.offset + placed->grain * GRAIN_SIZE;
  return 0;
}

/* The low 12 bits of a number stand above the other 48. */
static le64
entry (uint64_t type, uint64_t number)
{
  return to_le64 (type << 60 | (number & 0xfff) << 48 | number >> 12);
}

/* The piece's part of the grain table. */
static int
write_entries (struct sesparse_build *s, const struct piece *p,
               const struct placed *placed)
{
  const uint64_t first = p->offset / GRAIN_SIZE % SESPARSE_GTES_PER_GT;
  le64 entries[PIECE_GRAINS] = { 0 };
  uint64_t grain = placed->grain;
  size_t i;

  for (i = 0; i < p->packed_length; i++)
    if (p->packed[i] == GRAIN_DATA)
      entries[i] = entry (SESPARSE_GTE_ALLOCATED, grain++);
    else if (p->packed[i] == GRAIN_HOLE)
      entries[i] = entry (SESPARSE_GTE_ZERO, 0);
  return store_pwrite (s->b.store, entries,
                       p->packed_length * sizeof entries[0],
                       s->gts.offset + placed->table * GT_BYTES +
                       first * sizeof entries[0]);
}

static int
write_back_map (struct sesparse_build *s, const struct piece *p,
                const struct placed *placed)
{
  le64 entries[PIECE_GRAINS];
  size_t i, n = 0;

  for (i = 0; i < p->packed_length; i++)
    if (p->packed[i] == GRAIN_DATA)
      entries[n++] = entry (SESPARSE_BACK_VALID, p->offset / GRAIN_SIZE + i);
  return n == 0 ? 0 :
    store_pwrite (s->b.store, entries, n * sizeof entries[0],
                  s->back_map.offset + placed->grain * sizeof entries[0]);
}

static int
write_gde (struct sesparse_build *s, const struct piece *p,
           const struct placed *placed)
{
  const le64 gde = to_le64 ((uint64_t) SESPARSE_GDE_TABLE << 32 |
                            placed->table);

  return store_pwrite (s->b.store, &gde, sizeof gde, s->gd.offset +
                       p->offset / GT_COVERS * sizeof gde);
}

/* Runs of grains; in the file they follow each other. */
static int
write_data (struct sesparse_build *s, const struct piece *p)
{
  uint64_t place = p->place;
  size_t i, n;

  for (i = 0; i < p->packed_length; i += n) {
    const uint8_t kind = p->packed[i];

    for (n = 1; i + n < p->packed_length && p->packed[i + n] == kind; n++)
      ;
    if (kind != GRAIN_DATA)
      continue;
    if (store_pwrite (s->b.store, p->data + i * GRAIN_SIZE, n * GRAIN_SIZE,
                      place) == -1)
      return -1;
    place += n * GRAIN_SIZE;
  }
  return 0;
}

static int
sesparse_write (struct build *b, struct piece *p)
{
  struct sesparse_build *const s = sesparse_of (b);
  const struct placed *const placed = p->more;

  if (placed == NULL)
    return 0;
  if (placed->opens && write_gde (s, p, placed) == -1)
    return -1;
  if (write_data (s, p) == -1 || write_entries (s, p, placed) == -1)
    return -1;
  return write_back_map (s, p, placed);
}

/* The end. */

static int
write_free_bitmap (struct sesparse_build *s)
{
  const uint64_t size = div_round_up (s->nr_grains, 8);
  uint8_t bits[64 << 10];
  uint64_t at;
  size_t n;

  memset (bits, 0xff, sizeof bits);
  for (at = 0; at < size; at += n) {
    n = size - at < sizeof bits ? (size_t) (size - at) : sizeof bits;
    if (at + n == size && s->nr_grains % 8 != 0)
      bits[n - 1] = (uint8_t) ((1U << s->nr_grains % 8) - 1);
    if (store_pwrite (s->b.store, bits, n, s->free_bitmap.offset + at) == -1)
      return -1;
  }
  return 0;
}

/* A host extends the file by what a table covers, and has one grain more
 * then; but not past the last grain.  No region may be missing.
 */
static uint64_t
file_size (const struct sesparse_build *s)
{
  const uint64_t all = div_round_up (s->b.size, GRAIN_SIZE) * GRAIN_SIZE;
  uint64_t size = div_round_up (s->nr_grains, SESPARSE_GTES_PER_GT) *
    GT_COVERS;

  if (size > 0)
    size += GRAIN_SIZE;
  return s->grains.offset + (size < all ? size : all);
}

static int
sesparse_finish (struct build *b)
{
  struct sesparse_build *const s = sesparse_of (b);
  const struct sesparse_volatile_disk d = {
    .magic = to_le64 (SESPARSE_VOLATILE_MAGIC),
    .free_gt = to_le64 (s->nr_tables),
  };

  if (write_free_bitmap (s) == -1 || build_resize (b, file_size (s)) == -1)
    return -1;
  return store_pwrite (b->store, &d, sizeof d, SECTOR_SIZE);
}

static void
sesparse_free (struct build *b)
{
  free (sesparse_of (b));
}

static const struct build_ops sesparse_ops = {
  .format = "seSparse",
  .begin = sesparse_begin,
  .pack = grains_pack,
  .place = sesparse_place,
  .write = sesparse_write,
  .finish = sesparse_finish,
  .free = sesparse_free,
};

struct build *
build_sesparse_new (const struct vmdk_log *log)
{
  struct sesparse_build *const s = calloc (1, sizeof *s);

  if (s == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  s->b.ops = &sesparse_ops;
  s->b.log = log;
  s->b.grain_size = GRAIN_SIZE;
  s->covered = NO_TABLE;
  return &s->b;
}
