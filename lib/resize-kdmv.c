/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making a hosted sparse extent larger, in place.
 *
 * Everything that is there stays where it is.  If more grain tables are
 * needed, new directories that name the old tables and the new ones are
 * put behind all that is in use, with the new tables; nothing says that
 * they must be in front.  Then the header, which is one sector, changes in
 * one step from the old directories and capacity to the new ones.
 *
 *   step                                  after a crash in or after it
 *   1. zero the rest of the last grain,   the old size: nothing that the
 *      which the guest couldn't see;      old header speaks of has changed
 *      write the new directories behind
 *      all that is used; sync
 *   2. write the header; sync             the old or the new capacity; the
 *                                         descriptor still says the old
 *                                         size, and has the last word
 *
 * Before step 1 nobody uses the space that is written to, and what is not
 * written of it reads as zero: it is zeroed, or comes with the new length.
 * What a crash leaves behind the end of use is written over by the next
 * try.  overHead stays: no grain may begin before, and none does.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "kdmv.h"
#include "resize.h"
#include "scan.h"
#include "tables.h"

#define PIECE 16384 /* entries of a directory that are copied at a time */

/* 2^32 sectors: what an entry can speak of. */
#define MAX_FILE (UINT64_C (1) << 41)

struct growth {
  struct kdmv *k;
  uint64_t size;      /* bytes, the new one */
  uint64_t nr_gts;    /* that this needs */
  uint64_t used_end;  /* of the file */
  uint64_t nr_behind; /* grains behind the old end, */
  uint64_t behind;    /* and the first of them */
  uint64_t last;      /* place of a last grain that isn't a whole one, or 0 */
  uint64_t gd[2];     /* places of the new directories, */
  uint64_t gts[2];    /* and of the new tables; [1] may be 0 */
};

static uint64_t
to_sector (uint64_t bytes)
{
  return div_round_up (bytes, SECTOR_SIZE) * SECTOR_SIZE;
}

static uint64_t
gd_bytes (const struct growth *g)
{
  return g->nr_gts * g->k->sp.format->entry_size;
}

static void
use (struct growth *g, uint64_t start, uint64_t length)
{
  if (start + length > g->used_end)
    g->used_end = start + length;
}

static void
look_at_entry (struct growth *g, uint64_t grain, uint64_t place)
{
  const struct extent *const e = &g->k->sp.e;
  const uint64_t end = div_round_up (e->size, e->grain_size);

  use (g, place, e->grain_size);
  if (grain >= end && g->nr_behind++ == 0)
    g->behind = grain;
  if (grain == end - 1 && e->size % e->grain_size != 0)
    g->last = place;
}

static int
look_at_table (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  struct growth *const g = opaque;
  unsigned copy;
  uint64_t i;

  for (copy = 0; copy < 2; copy++) {
    if (t->kind[copy] == ENTRY_PLACE)
      use (g, t->place[copy], sparse_gt_bytes (sp));
    for (i = 0; t->data[copy] && i < sp->gtes_per_gt; i++) {
      uint64_t place;

      if (tables_gte (sp, t->data[copy], i, &place) == ENTRY_PLACE)
        look_at_entry (g, t->number * sp->gtes_per_gt + i, place);
    }
  }
  return 0;
}

static int
report_behind (const struct growth *g)
{
  const struct extent *const e = &g->k->sp.e;

  vmdk_error (&e->ctx->log, "%s: can't be resized: %" PRIu64 " grains behind "
              "its end have a place, the first is grain %" PRIu64 ", and the "
              "space that is added must be empty; convert the disk to a new "
              "one, and resize that", e->store->name, g->nr_behind,
              g->behind);
  errno = EIO;
  return -1;
}

/* Where the used part of the file ends, and what is at the disk's end. */
static int
look_at_tables (struct growth *g)
{
  struct sparse *const sp = &g->k->sp;
  unsigned copy;

  use (g, 0, sp->data_start);
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    use (g, sp->gd[copy], sparse_gd_bytes (sp));
  if (scan_tables (sp, look_at_table, g) == -1)
    return -1;
  return g->nr_behind > 0 ? report_behind (g) : 0;
}

static int
report_too_large (const struct growth *g)
{
  const struct extent *const e = &g->k->sp.e;

  vmdk_error (&e->ctx->log, "%s: can't be resized to %" PRIu64 " bytes: with "
              "its tables it would have more than the %" PRIu64 " bytes that "
              "they can speak of; convert it to a disk that is split into "
              "several extents (twoGbMaxExtentSparse)", e->store->name,
              g->size, MAX_FILE);
  errno = EFBIG;
  return -1;
}

/* Where what is new goes.  All grains must find a place behind it. */
static int
place_tables (struct growth *g)
{
  const struct sparse *const sp = &g->k->sp;
  const uint64_t more = g->nr_gts > sp->nr_gts ? g->nr_gts - sp->nr_gts : 0;
  uint64_t end = to_sector (g->used_end);
  unsigned copy;

  if (g->size > MAX_FILE)
    return report_too_large (g);
  /* The redundant ones are in front of the others, as they always are. */
  for (copy = sp->gd[1] ? 2 : 1; more > 0 && copy-- > 0; ) {
    g->gd[copy] = end;
    g->gts[copy] = to_sector (end + gd_bytes (g));
    end = to_sector (g->gts[copy] + more * sparse_gt_bytes (sp));
  }
  if (more > 0)
    g->used_end = end;
  return g->size > MAX_FILE - sp->data_start || end > MAX_FILE ?
    report_too_large (g) : 0;
}

/* Step 1. */

static int
make_room (const struct growth *g, uint64_t old_end)
{
  const struct extent *const e = &g->k->sp.e;
  const uint64_t hidden = e->size % e->grain_size;

  if (g->last &&
      store_zero (e->store, e->grain_size - hidden, g->last + hidden,
                  true) == -1)
    return -1;
  if (g->used_end > old_end &&
      store_zero (e->store, g->used_end - old_end, old_end, true) == -1)
    return -1;
  if (e->store->size >= g->used_end ||
      store_resize (e->store, g->used_end) == 0)
    return 0;
  vmdk_error (&e->ctx->log, "%s: making it longer, to %" PRIu64 " bytes: %m",
              e->store->name, g->used_end);
  return -1;
}

/* Entries [first, first+n) of a new directory. */
static int
fill_entries (const struct growth *g, unsigned copy, le32 *entries,
              uint64_t first, uint64_t n)
{
  const struct sparse *const sp = &g->k->sp;
  const uint64_t old = first < sp->nr_gts ? sp->nr_gts - first : 0;
  uint64_t i = old < n ? old : n;

  if (i > 0 && store_pread (sp->tables, entries, i * sizeof entries[0],
                            sp->gd[copy] + first * sizeof entries[0]) == -1)
    return -1;
  for (; i < n; i++)
    entries[i] = to_le32 ((uint32_t)
      ((g->gts[copy] + (first + i - sp->nr_gts) * sparse_gt_bytes (sp))
       / SECTOR_SIZE));
  return 0;
}

static int
write_directory (const struct growth *g, unsigned copy, le32 *entries)
{
  struct store *const s = g->k->sp.tables;
  uint64_t i, n;

  for (i = 0; i < g->nr_gts; i += n) {
    n = g->nr_gts - i < PIECE ? g->nr_gts - i : PIECE;
    if (fill_entries (g, copy, entries, i, n) == -1 ||
        store_pwrite (s, entries, (size_t) n * sizeof entries[0],
                      g->gd[copy] + i * sizeof entries[0]) == -1)
      return -1;
  }
  return 0;
}

static int
write_directories (const struct growth *g)
{
  const struct extent *const e = &g->k->sp.e;
  le32 *const entries = malloc (PIECE * sizeof entries[0]);
  int r = 0;

  if (entries == NULL) {
    vmdk_error (&e->ctx->log, "%s: %m", e->store->name);
    return -1;
  }
  if (g->gd[1])
    r = write_directory (g, 1, entries);
  if (r == 0)
    r = write_directory (g, 0, entries);
  free (entries);
  return r;
}

/* Step 2. */

static void
set_directories (const struct growth *g, struct kdmv_header_disk *h)
{
  const uint64_t redundant = g->gd[1] ? g->gd[1] : g->gd[0];

  h->gd_offset = to_le64 (g->gd[0] / SECTOR_SIZE);
  if (le32_get (h->flags) & KDMV_FLAG_REDUNDANT)
    h->rgd_offset = to_le64 (redundant / SECTOR_SIZE);
}

static int
write_header (const struct growth *g)
{
  struct store *const s = g->k->sp.e.store;
  struct kdmv_header_disk h;

  if (store_pread (s, &h, sizeof h, 0) == -1)
    return -1;
  h.capacity = to_le64 (g->size / SECTOR_SIZE);
  if (g->gd[0])
    set_directories (g, &h);
  if (le32_get (h.version) == 3) /* change tracking ends */
    h.version = to_le32 (le32_get (h.flags) & KDMV_FLAG_ZEROED ? 2 : 1);
  return store_pwrite (s, &h, sizeof h, 0);
}

static int
do_step_1 (const struct growth *g, uint64_t old_end)
{
  struct store *const s = g->k->sp.e.store;
  const uint64_t length = s->size;
  int err;

  if (make_room (g, old_end) == 0 &&
      (g->gd[0] == 0 || write_directories (g) == 0) && store_sync (s) == 0)
    return 0;
  err = errno;
  if (s->size > length) /* nobody needs that now */
    store_resize (s, length);
  errno = err;
  return -1;
}

int
kdmv_grow (struct extent *e, uint64_t size)
{
  struct kdmv *const k = (struct kdmv *) e;
  const uint64_t grains = div_round_up (size, e->grain_size);
  struct growth g = {
    .k = k, .size = size,
    .nr_gts = div_round_up (grains, k->sp.gtes_per_gt),
  };
  uint64_t old_end;

  if (look_at_tables (&g) == -1)
    return -1;
  old_end = g.used_end;
  if (place_tables (&g) == -1 || do_step_1 (&g, old_end) == -1 ||
      write_header (&g) == -1)
    return -1;
  return store_sync (e->store);
}
