/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Tables that lie among grains, as they do in COWD extents, and in hosted
 * sparse ones that were made larger, keep a file from becoming shorter.  So
 * they are brought to the front:
 *
 *   a. grains that are in the way go to free places elsewhere
 *   b. tables that are behind the line where the file could end are copied
 *      there, and when the copies are durable, the directories' entries
 *      change, each in one step
 *   c. so are the directories, and when the copies are durable, the header,
 *      one sector, changes
 *
 * After each step everything is durable before the next one.  What was
 * there before remains until then, with the same content, so that each of
 * the pointers, old or new, leads to it.
 */

#include <config.h>

#include <stdlib.h>

#include "compact.h"
#include "kdmv.h"
#include "scan.h"
#include "sparse-write.h"

/* Tables that are copied between two syncs. */
#define MOST_PENDING 4096

struct pending {
  uint64_t gde; /* byte offset of the directory's entry */
  uint32_t to;  /* sector */
};

struct transfer {
  struct job *j;
  const struct space *s;
  uint64_t *fixed;
  uint64_t line;        /* bytes: all would fit before */
  uint64_t nr;          /* tables that move */
  bool with_gds;        /* so do the directories, */
  uint64_t gd_units;    /* with so many units each, */
  uint64_t gd[2];       /* to these places, bytes */
  uint64_t slot_units;  /* units that tables go to at a time, */
  uint64_t per_slot;    /* and how many go there */
  uint64_t first, end;  /* bits of all of it; end: of the directories, too */

  uint64_t slot, in_slot; /* where the next table goes */
  struct pending *pending;
  size_t nr_pending;
};

static bool
is_behind (const struct transfer *t, uint64_t place, uint64_t length)
{
  return place + length > t->line;
}

/* The plan. */

static uint64_t
count_bits (const uint64_t *bits, uint64_t n)
{
  uint64_t sum = 0, i;

  for (i = 0; i < n / 64; i++)
    sum += (uint64_t) __builtin_popcountll (bits[i]);
  if (n % 64 != 0)
    sum += (uint64_t) __builtin_popcountll (bits[i] &
                                            ((UINT64_C (1) << n % 64) - 1));
  return sum;
}

static int
count_table (struct sparse *sp, void *opaque, const struct scanned_table *table)
{
  struct transfer *const t = opaque;
  unsigned copy;

  for (copy = 0; copy < 2; copy++)
    if (table->kind[copy] == ENTRY_PLACE)
      t->nr += is_behind (t, table->place[copy], sparse_gt_bytes (sp));
  return 0;
}

static int
find_out (struct transfer *t)
{
  struct sparse *const sp = t->j->sp;
  const uint64_t unit = t->s->unit, gt = sparse_gt_bytes (sp);
  unsigned copy;

  t->line = t->s->origin + count_bits (t->s->used, t->s->nr_bits) * unit;
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    if (sp->write_format == &kdmv_write_format &&
        is_behind (t, sp->gd[copy], sparse_gd_bytes (sp)))
      t->with_gds = true;
  t->gd_units = div_round_up (sparse_gd_bytes (sp), unit);
  t->slot_units = div_round_up (gt, unit);
  t->per_slot = unit > gt ? unit / gt : 1;
  return scan_directories (sp, count_table, t);
}

/* Goes on to the next slot of so many units; its place in bytes. */
static uint64_t
reserve (const struct transfer *t, uint64_t *bit, uint64_t units)
{
  const uint64_t i = space_find_run (t->s, t->fixed, *bit, units);

  *bit = i + units;
  return t->s->origin + i * t->s->unit;
}

static bool
has_room (const struct transfer *t)
{
  uint64_t n = count_bits (t->s->begins, t->end), slot = t->end;

  if (t->end > t->s->nr_bits ||
      t->s->origin + t->end * t->s->unit > t->line)
    return false;
  for (; n > 0; n--) {
    slot = space_find_slot (t->s, slot);
    if (slot == t->s->nr_bits)
      return false;
    slot += t->s->per_grain;
  }
  return true;
}

/* Where everything goes; false: it can't. */
static bool
plan (struct transfer *t)
{
  uint64_t bit = 0, n = div_round_up (t->nr, t->per_slot);
  int copy;

  for (copy = t->j->sp->gd[1] ? 1 : 0; t->with_gds && copy >= 0; copy--)
    t->gd[copy] = reserve (t, &bit, t->gd_units);
  t->first = bit;
  for (; n > 0 && bit < t->s->nr_bits; n--)
    reserve (t, &bit, t->slot_units);
  t->end = bit;
  return n == 0 && has_room (t);
}

/* Step b. */

static int
write_pending (struct transfer *t)
{
  struct store *const s = t->j->sp->tables;
  size_t i;

  if (t->nr_pending > 0 && store_sync (s) == -1)
    return -1;
  for (i = 0; i < t->nr_pending; i++) {
    const le32 value = to_le32 (t->pending[i].to);

    if (store_pwrite (s, &value, sizeof value, t->pending[i].gde) == -1) {
      t->j->sp->writer->marked = false;
      return -1;
    }
  }
  t->nr_pending = 0;
  return 0;
}

static uint64_t
next_place (struct transfer *t)
{
  const uint64_t gt = sparse_gt_bytes (t->j->sp);

  if (t->in_slot == t->per_slot) {
    t->first = t->slot + t->slot_units;
    t->in_slot = 0;
  }
  if (t->in_slot == 0)
    t->slot = space_find_run (t->s, t->fixed, t->first, t->slot_units);
  return t->s->origin + t->slot * t->s->unit + t->in_slot++ * gt;
}

static int
move_copy (struct transfer *t, unsigned copy, uint64_t number, uint64_t from)
{
  struct sparse *const sp = t->j->sp;
  const size_t size = (size_t) sparse_gt_bytes (sp);
  const uint64_t to = next_place (t);

  if (store_pread (sp->tables, t->j->buf, size, from) == -1 ||
      store_pwrite (sp->tables, t->j->buf, size, to) == -1)
    return -1;
  t->pending[t->nr_pending++] = (struct pending) {
    .gde = sp->gd[copy] + number * sizeof (le32),
    .to = (uint32_t) (to / SECTOR_SIZE),
  };
  return t->nr_pending == MOST_PENDING ? write_pending (t) : 0;
}

static int
move_table (struct sparse *sp, void *opaque, const struct scanned_table *table)
{
  struct transfer *const t = opaque;
  unsigned copy;

  for (copy = 0; copy < 2; copy++)
    if (table->kind[copy] == ENTRY_PLACE &&
        is_behind (t, table->place[copy], sparse_gt_bytes (sp)) &&
        move_copy (t, copy, table->number, table->place[copy]) == -1)
      return -1;
  return 0;
}

static int
move_tables (struct transfer *t)
{
  struct sparse *const sp = t->j->sp;

  if (scan_directories (sp, move_table, t) == -1 || write_pending (t) == -1)
    return -1;
  return store_sync (sp->tables);
}

/* Step c. */

static int
copy_directory (struct transfer *t, unsigned copy)
{
  struct sparse *const sp = t->j->sp;
  const uint64_t size = div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) *
    SECTOR_SIZE;
  uint64_t at;
  size_t n;

  for (at = 0; at < size; at += n) {
    n = size - at < COMPACT_BUFFER ? (size_t) (size - at) : COMPACT_BUFFER;
    if (store_pread (sp->tables, t->j->buf, n, sp->gd[copy] + at) == -1 ||
        store_pwrite (sp->tables, t->j->buf, n, t->gd[copy] + at) == -1)
      return -1;
  }
  return 0;
}

static int
move_directories (struct transfer *t)
{
  struct sparse *const sp = t->j->sp;

  if (!t->with_gds)
    return 0;
  if (copy_directory (t, 0) == -1 ||
      (sp->gd[1] && copy_directory (t, 1) == -1) ||
      store_sync (sp->tables) == -1)
    return -1;
  return kdmv_set_directories (sp, t->gd);
}

/* All of it. */

static int
transfer (struct transfer *t)
{
  const struct space *const s = t->s;
  struct job *const j = t->j;

  if (compact_begin_change (j) == -1 ||
      compact_move (j, s->origin, s->origin + t->end * s->unit,
                    space_find_slot (s, t->end), s->nr_bits) == -1)
    return -1;
  return move_tables (t) == -1 ? -1 : move_directories (t);
}

int
compact_tables (struct job *j)
{
  struct transfer t = { .j = j, .s = &j->space };
  int r = find_out (&t);

  if (r == -1 || (t.nr == 0 && !t.with_gds))
    return r;
  t.fixed = space_fixed (t.s);
  t.pending = malloc (MOST_PENDING * sizeof t.pending[0]);
  if (t.fixed == NULL)
    r = -1;
  else if (t.pending == NULL) {
    vmdk_error (&j->sp->e.ctx->log, "%s: %m", j->sp->e.store->name);
    r = -1;
  }
  else if (plan (&t))
    r = transfer (&t);
  free (t.pending);
  free (t.fixed);
  return r;
}
