/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building a plain hosted sparse extent as VMware's products for desktops
 * lay it out (see kdmv-format.h): both directories and all tables are
 * there from the beginning, and grains follow, aligned to their size.
 *
 * A table that no grain is in remains a hole.  As pieces come in the order
 * of the guest, one table is in memory at a time; it is written, twice,
 * when the next one is begun.
 *
 * A grain that is zero in a disk with a parent gets a place and isn't
 * written there: every reader understands that, while entries that mean
 * zero need version 2 of the format, which some don't know.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "build-grains.h"
#include "kdmv-format.h"

#define GTES_PER_GT 512
#define GT_BYTES (GTES_PER_GT * sizeof (le32))
#define DESCRIPTOR_OFFSET SECTOR_SIZE
#define DESCRIPTOR_SIZE (20 * SECTOR_SIZE)

/* What entries can speak of: 2^32 sectors. */
#define MAX_FILE (UINT64_C (1) << 41)

#define NO_TABLE UINT64_MAX

/* Places are bytes of the file. */
struct build_kdmv {
  struct build b;
  uint64_t nr_tables;
  uint64_t gd[2];       /* both directories, */
  uint64_t gt[2];       /* and their tables: the redundant one first */
  uint64_t data_start;
  uint64_t next;        /* the next grain goes here */
  bool fixed;           /* every grain has its place already */
  uint64_t table;       /* whose entries these are */
  le32 entries[GTES_PER_GT];
};

static int
too_large (const struct build_kdmv *k)
{
  vmdk_error (k->b.log, "%s: a hosted sparse extent can't be larger than "
              "2 TiB; use a type that is split (twoGbMaxExtentSparse)",
              k->b.name);
  errno = EFBIG;
  return -1;
}

/* Directories. */

static int
lay_out (struct build_kdmv *k)
{
  const uint64_t covered = (uint64_t) k->b.grain_size * GTES_PER_GT;
  uint64_t gd_bytes, tables;

  if (k->b.size > VMDK_MAX_SIZE)
    return too_large (k);
  k->nr_tables = div_round_up (k->b.size, covered);
  gd_bytes = div_round_up (k->nr_tables * sizeof (le32), SECTOR_SIZE) *
    SECTOR_SIZE;
  tables = k->nr_tables * GT_BYTES;
  k->gd[0] = SECTOR_SIZE + (k->b.has_descriptor ? DESCRIPTOR_SIZE : 0);
  k->gt[0] = k->gd[0] + gd_bytes;
  k->gd[1] = k->gt[0] + tables;
  k->gt[1] = k->gd[1] + gd_bytes;
  k->data_start = div_round_up (k->gt[1] + tables, k->b.grain_size) *
    k->b.grain_size;
  return k->data_start > MAX_FILE ? too_large (k) : 0;
}

static int
write_directory (const struct build_kdmv *k, int copy)
{
  uint64_t i = 0;

  while (i < k->nr_tables) {
    le32 entries[1024];
    const uint64_t first = i;

    for (; i < k->nr_tables && i - first < 1024; i++)
      entries[i - first] =
        to_le32 ((uint32_t) ((k->gt[copy] + i * GT_BYTES) / SECTOR_SIZE));
    if (store_pwrite (k->b.store, entries,
                      (size_t) (i - first) * sizeof (le32),
                      k->gd[copy] + first * sizeof (le32)) == -1)
      return -1;
  }
  return 0;
}

static int
begin (struct build *b)
{
  struct build_kdmv *const k = (struct build_kdmv *) b;

  if (grains_check_size (b, PIECE_SIZE) == -1 || lay_out (k) == -1)
    return -1;
  k->next = k->data_start;
  return write_directory (k, 0) == -1 ? -1 : write_directory (k, 1);
}

/* Tables. */

static int
write_table (struct build_kdmv *k)
{
  const uint64_t at = k->table * GT_BYTES;

  if (k->table == NO_TABLE)
    return 0;
  if (store_pwrite (k->b.store, k->entries, GT_BYTES, k->gt[0] + at) == -1)
    return -1;
  return store_pwrite (k->b.store, k->entries, GT_BYTES, k->gt[1] + at);
}

static int
add_grain (struct build_kdmv *k, uint64_t number)
{
  const uint64_t table = number / GTES_PER_GT;

  if (k->next + k->b.grain_size > MAX_FILE)
    return too_large (k);
  if (table != k->table) {
    if (write_table (k) == -1)
      return -1;
    memset (k->entries, 0, sizeof k->entries);
    k->table = table;
  }
  k->entries[number % GTES_PER_GT] =
    to_le32 ((uint32_t) (k->next / SECTOR_SIZE));
  k->next += k->b.grain_size;
  return 0;
}

/* Pieces. */

static int
place (struct build *b, struct piece *p)
{
  struct build_kdmv *const k = (struct build_kdmv *) b;
  size_t i;

  if (k->fixed) {
    p->place = k->data_start + p->offset;
    return 0;
  }
  p->place = k->next;
  for (i = 0; i < p->packed_length; i++)
    if (p->packed[i] != GRAIN_NONE &&
        add_grain (k, p->offset / b->grain_size + i) == -1)
      return -1;
  return 0;
}

static int
write_piece (struct build *b, struct piece *p)
{
  return grains_write (b, p, ((struct build_kdmv *) b)->fixed);
}

static int
preallocate (struct build *b)
{
  struct build_kdmv *const k = (struct build_kdmv *) b;
  const uint64_t n = div_round_up (b->size, b->grain_size);
  uint64_t i;

  if (n > (MAX_FILE - k->data_start) / b->grain_size)
    return too_large (k);
  for (i = 0; i < n; i++)
    if (add_grain (k, i) == -1)
      return -1;
  k->fixed = true;
  return build_resize (b, k->next);
}

/* The end. */

static int
write_header (const struct build_kdmv *k)
{
  struct kdmv_header_disk h = {
    .magic = to_le32 (KDMV_MAGIC),
    .version = to_le32 (1),
    .flags = to_le32 (KDMV_FLAG_NEWLINES | KDMV_FLAG_REDUNDANT),
    .capacity = to_le64 (k->b.size / SECTOR_SIZE),
    .grain_size = to_le64 (k->b.grain_size / SECTOR_SIZE),
    .gtes_per_gt = to_le32 (GTES_PER_GT),
    .rgd_offset = to_le64 (k->gd[0] / SECTOR_SIZE),
    .gd_offset = to_le64 (k->gd[1] / SECTOR_SIZE),
    .overhead = to_le64 (k->data_start / SECTOR_SIZE),
    .newlines = { '\n', ' ', '\r', '\n' },
  };

  if (k->b.has_descriptor) {
    h.descriptor_offset = to_le64 (DESCRIPTOR_OFFSET / SECTOR_SIZE);
    h.descriptor_size = to_le64 (DESCRIPTOR_SIZE / SECTOR_SIZE);
  }
  return store_pwrite (k->b.store, &h, sizeof h, 0);
}

/* The last grains may be holes. */
static int
finish (struct build *b)
{
  struct build_kdmv *const k = (struct build_kdmv *) b;

  if (write_table (k) == -1 || write_header (k) == -1)
    return -1;
  return build_resize (b, k->next);
}

static int
embed (struct build *b, const char *text, size_t length)
{
  if (length > DESCRIPTOR_SIZE) {
    vmdk_error (b->log, "%s: the descriptor has %zu bytes, but a hosted "
                "sparse extent has room for %d", b->name, length,
                (int) DESCRIPTOR_SIZE);
    errno = ENOSPC;
    return -1;
  }
  return store_pwrite (b->store, text, length, DESCRIPTOR_OFFSET);
}

static void
free_build (struct build *b)
{
  free (b);
}

static const struct build_ops ops = {
  .format = "hosted sparse",
  .begin = begin,
  .pack = grains_pack,
  .place = place,
  .write = write_piece,
  .preallocate = preallocate,
  .finish = finish,
  .embed = embed,
  .free = free_build,
};

struct build *
build_kdmv_new (const struct vmdk_log *log)
{
  struct build_kdmv *const k = calloc (1, sizeof *k);

  if (k == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  k->b.ops = &ops;
  k->b.log = log;
  k->table = NO_TABLE;
  return &k->b;
}
