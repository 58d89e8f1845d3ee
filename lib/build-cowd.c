/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building a COWD extent (vmfsSparse; see cowd-format.h): a table takes
 * the next free place when the first of its grains does, and so the file
 * looks as if the guest had written its disk from begin to end.
 *
 * Pieces come in the order of the guest, and none has grains of two
 * tables: one table is in memory at a time.  When the next one is begun,
 * it is written, and its entry in the directory.  A grain that is zero in
 * a disk with a parent gets a place where nothing is written: nobody but
 * some readers says what an entry of 1 means.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "build-grains.h"
#include "cowd-format.h"

#define GT_BYTES (COWD_GTES_PER_GT * sizeof (le32))
#define GD_OFFSET (COWD_HEADER_SECTORS * SECTOR_SIZE)

/* freeSector has 32 bits and must be able to name the end. */
#define MAX_FILE (UINT32_MAX * SECTOR_SIZE)

#define NO_TABLE UINT64_MAX

static_assert (GT_BYTES / sizeof (le32) * SECTOR_SIZE % PIECE_SIZE == 0,
               "a piece may lie in two tables");

/* Places are bytes of the file. */
struct build_cowd {
  struct build b;
  uint64_t nr_tables;
  uint64_t data_start;  /* behind the directory */
  uint64_t next;        /* free from here on */
  bool fixed;           /* every grain has its place already */
  uint64_t table;       /* whose entries these are, */
  uint64_t table_place; /* and where it goes */
  le32 entries[COWD_GTES_PER_GT];
};

static int
too_large (const struct build_cowd *c)
{
  vmdk_error (c->b.log, "%s: a COWD extent can't be 2 TiB or larger; use "
              "seSparse", c->b.name);
  errno = EFBIG;
  return -1;
}

static int
begin (struct build *b)
{
  struct build_cowd *const c = (struct build_cowd *) b;
  uint64_t gd_sectors;

  if (grains_check_size (b, COWD_MAX_GRAIN_SECTORS * SECTOR_SIZE) == -1)
    return -1;
  if (b->size > MAX_FILE)
    return too_large (c);
  c->nr_tables =
    div_round_up (b->size, (uint64_t) b->grain_size * COWD_GTES_PER_GT);
  gd_sectors = div_round_up (c->nr_tables * sizeof (le32), SECTOR_SIZE);
  c->data_start = c->next = GD_OFFSET + gd_sectors * SECTOR_SIZE;
  return build_resize (b, c->data_start);
}

/* Takes size bytes. */
static int
take (struct build_cowd *c, uint64_t size, uint64_t *where)
{
  *where = c->next;
  if (size > MAX_FILE - c->next)
    return too_large (c);
  c->next += size;
  return 0;
}

/* Tables. */

static int
write_table (struct build_cowd *c)
{
  const le32 gde = to_le32 ((uint32_t) (c->table_place / SECTOR_SIZE));

  if (c->table == NO_TABLE)
    return 0;
  if (store_pwrite (c->b.store, c->entries, GT_BYTES, c->table_place) == -1)
    return -1;
  return store_pwrite (c->b.store, &gde, sizeof gde,
                       GD_OFFSET + c->table * sizeof gde);
}

static int
need_table (struct build_cowd *c, uint64_t number)
{
  if (number == c->table)
    return 0;
  if (write_table (c) == -1)
    return -1;
  c->table = number;
  memset (c->entries, 0, sizeof c->entries);
  return take (c, GT_BYTES, &c->table_place);
}

static int
add_grain (struct build_cowd *c, uint64_t number, uint64_t *where)
{
  if (need_table (c, number / COWD_GTES_PER_GT) == -1 ||
      take (c, c->b.grain_size, where) == -1)
    return -1;
  c->entries[number % COWD_GTES_PER_GT] =
    to_le32 ((uint32_t) (*where / SECTOR_SIZE));
  return 0;
}

/* Pieces. */

/* Where a grain is after preallocation: before it are the tables up to its
 * own, and all other grains.
 */
static uint64_t
fixed_place (const struct build_cowd *c, uint64_t number)
{
  return c->data_start + (number / COWD_GTES_PER_GT + 1) * GT_BYTES +
    number * c->b.grain_size;
}

static int
place (struct build *b, struct piece *p)
{
  struct build_cowd *const c = (struct build_cowd *) b;
  const uint64_t first = p->offset / b->grain_size;
  uint64_t where;
  size_t i;

  if (c->fixed) {
    p->place = fixed_place (c, first);
    return 0;
  }
  p->place = 0;
  for (i = 0; i < p->packed_length; i++) {
    if (p->packed[i] == GRAIN_NONE)
      continue;
    if (add_grain (c, first + i, &where) == -1)
      return -1;
    if (p->place == 0)
      p->place = where;
  }
  return 0;
}

static int
write_piece (struct build *b, struct piece *p)
{
  return grains_write (b, p, ((struct build_cowd *) b)->fixed);
}

static int
preallocate (struct build *b)
{
  struct build_cowd *const c = (struct build_cowd *) b;
  const uint64_t n = div_round_up (b->size, b->grain_size);
  uint64_t i, where;

  for (i = 0; i < n; i++)
    if (add_grain (c, i, &where) == -1)
      return -1;
  c->fixed = true;
  return build_resize (b, c->next);
}

/* The end. */

static int
finish (struct build *b)
{
  struct build_cowd *const c = (struct build_cowd *) b;
  const struct cowd_header_disk h = {
    .magic = to_le32 (COWD_MAGIC),
    .version = to_le32 (COWD_VERSION),
    .flags = to_le32 (COWD_FLAGS),
    .capacity = to_le32 ((uint32_t) (b->size / SECTOR_SIZE)),
    .grain_size = to_le32 ((uint32_t) (b->grain_size / SECTOR_SIZE)),
    .gd_offset = to_le32 (COWD_HEADER_SECTORS),
    .nr_gdes = to_le32 ((uint32_t) c->nr_tables),
    .free_sector = to_le32 ((uint32_t) (c->next / SECTOR_SIZE)),
  };

  if (write_table (c) == -1 ||
      store_pwrite (b->store, &h, sizeof h, 0) == -1)
    return -1;
  return build_resize (b, c->next); /* the last grains may be holes */
}

static void
free_build (struct build *b)
{
  free (b);
}

static const struct build_ops ops = {
  .format = "COWD",
  .begin = begin,
  .pack = grains_pack,
  .place = place,
  .write = write_piece,
  .preallocate = preallocate,
  .finish = finish,
  .free = free_build,
};

struct build *
build_cowd_new (const struct vmdk_log *log)
{
  struct build_cowd *const c = calloc (1, sizeof *c);

  if (c == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  c->b.ops = &ops;
  c->b.log = log;
  c->table = NO_TABLE;
  return &c->b;
}
