/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving back space in hosted sparse and COWD extents, in place.
 *
 *   1. grains that are all zero lose their entries, or where there is a
 *      parent, which would show, are made holes
 *   2. tables, and grains, at the end of the file go to free places in
 *      front
 *   3. the file is cut behind the last byte in use
 *   4. what is free in between is made a hole
 *
 * Whatever crashes when, each entry names a place with the grain's bytes:
 *
 *  - A grain is copied, and the copy is durable, before its entry changes.
 *    Entries are changed sector by sector, so each is the old or the new
 *    one, and both places have the same bytes.
 *  - Grains only go from behind a line to before it.  What is free before
 *    the line was free, durably and in both copies of the tables, when the
 *    move began: step 1 ends with a sync.  Nothing that a grain leaves is
 *    used again, cut off or punched before a sync has made all entries
 *    durable.
 *  - The copies of a table change one after the other, and a crash leaves
 *    them different: so the extent is marked as unclean, durably, before
 *    the first change, as every writer does it.  Readers and the next
 *    writer take what either copy has.  Where one says "nothing" since its
 *    grain was zero, and the other still names the grain, that is zero as
 *    well: it isn't overwritten before both are durable.
 *  - The space of steps 3 and 4 isn't named by anything.
 *
 * Done again after a crash, the steps find what is left to do.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "compact.h"
#include "le.h"
#include "scan.h"
#include "sound.h"
#include "sparse-write.h"
#include "tables.h"

#define READ_SIZE ((size_t) 1 << 20)

/* How much is changed between two syncs. */
#define MOST_TABLES ((size_t) 8 << 20)   /* bytes of tables */
#define MOST_MOVED (UINT64_C (64) << 20) /* bytes of grains */

/* A table that is changed: all of it as it will be, and which part. */
struct edit {
  struct edit *next;
  uint64_t place[2];  /* of the copies; [1] may be 0 */
  size_t first, end;  /* bytes of it that differ */
  size_t size;
  uint8_t table[];
};

/* Changes. */

int
compact_begin_change (const struct job *j)
{
  return session_will_change (&j->c->disk->session, j->c->disk->top,
                              &j->sp->e);
}

static void
forget_edits (struct job *j)
{
  struct edit *next;

  for (; j->edits; j->edits = next) {
    next = j->edits->next;
    free (j->edits);
  }
  j->edit_bytes = 0;
  j->moved = 0;
}

static int
write_edit (struct store *s, const struct edit *e)
{
  const size_t first = e->first / SECTOR_SIZE * SECTOR_SIZE;
  size_t end = (size_t) (div_round_up (e->end, SECTOR_SIZE) * SECTOR_SIZE);
  unsigned copy;

  if (end > e->size)
    end = e->size;
  for (copy = 0; copy < 2; copy++)
    if (e->place[copy] &&
        store_pwrite (s, e->table + first, end - first,
                      e->place[copy] + first) == -1)
      return -1;
  return 0;
}

/* When the data are durable, changes the entries.  If that fails, copies of
 * a table may differ: the extent then remains marked as it is.
 */
static int
commit (struct job *j)
{
  const struct edit *e;

  if (j->edits == NULL)
    return 0;
  if (compact_begin_change (j) == -1 || store_sync (j->sp->e.store) == -1)
    return -1;
  for (e = j->edits; e; e = e->next)
    if (write_edit (j->sp->tables, e) == -1) {
      j->sp->writer->marked = false;
      return -1;
    }
  forget_edits (j);
  return 0;
}

static int
commit_if_much (struct job *j)
{
  return j->edit_bytes >= MOST_TABLES || j->moved >= MOST_MOVED ? commit (j)
    : 0;
}

static struct edit *
new_edit (struct job *j, const struct scanned_table *t)
{
  const size_t size = (size_t) sparse_gt_bytes (j->sp);
  struct edit *const e = malloc (sizeof *e + size);

  if (e == NULL) {
    vmdk_error (&j->sp->e.ctx->log, "%s: %m", j->sp->e.store->name);
    return NULL;
  }
  *e = (struct edit) {
    .next = j->edits, .place = { t->place[0] }, .first = size, .size = size,
  };
  if (t->kind[1] == ENTRY_PLACE && t->place[1] != t->place[0])
    e->place[1] = t->place[1];
  memcpy (e->table, t->data[0], size);
  j->edits = e;
  j->edit_bytes += sizeof *e + size;
  return e;
}

/* *e is the table's, once it has one. */
static int
set_entry (struct job *j, const struct scanned_table *t, struct edit **e,
           uint64_t i, uint64_t value)
{
  const le32 entry = to_le32 ((uint32_t) value);
  const size_t at = (size_t) i * sizeof entry;

  if (*e == NULL)
    *e = new_edit (j, t);
  if (*e == NULL)
    return -1;
  memcpy ((*e)->table + at, entry.b, sizeof entry);
  if (at < (*e)->first)
    (*e)->first = at;
  if (at + sizeof entry > (*e)->end)
    (*e)->end = at + sizeof entry;
  return 0;
}

/* Without a table that is whole in both copies nothing is changed. */
static bool
is_whole (const struct sparse *sp, const struct scanned_table *t)
{
  return t->data[0] && t->kind[0] == ENTRY_PLACE &&
    (sp->gd[1] == 0 || t->kind[1] == ENTRY_PLACE);
}

static uint64_t
nr_entries (const struct sparse *sp, uint64_t number)
{
  const uint64_t left = sp->nr_grains - number * sp->gtes_per_gt;

  return left < sp->gtes_per_gt ? left : sp->gtes_per_gt;
}

/* How far a step that goes through all tables is; it is half of the work. */
static int
ask (const struct job *j, const struct scanned_table *t, bool second)
{
  const struct sparse *const sp = j->sp;
  uint64_t done = t->number * sp->gtes_per_gt * sp->e.grain_size;

  if (done > sp->e.size)
    done = sp->e.size;
  return compact_ask (j->c, done + (second ? sp->e.size : 0));
}

/* Step 1. */

/* Holes aren't read. */
static int
read_sparse (struct store *s, uint8_t *buf, size_t count, uint64_t offset)
{
  uint64_t at = offset, start, stop;

  while (at < offset + count) {
    store_find_data (s, at, offset + count, &start, &stop);
    memset (buf + (at - offset), 0, (size_t) (start - at));
    if (stop > start && store_pread (s, buf + (start - offset),
                                     (size_t) (stop - start), start) == -1)
      return -1;
    at = stop;
  }
  return 0;
}

static int
punch_if_data (struct job *j, uint64_t place, uint64_t length)
{
  struct store *const s = j->sp->e.store;
  uint64_t start, stop;

  store_find_data (s, place, place + length, &start, &stop);
  if (start == stop || !s->can_punch)
    return 0;
  return compact_begin_change (j) == -1 ||
    store_punch (s, length, place) == -1 ? -1 : 0;
}

/* The grains of n entries, which follow each other. */
static int
drop_grains (struct job *j, const struct scanned_table *t, struct edit **e,
             uint64_t i, uint64_t n, uint64_t place)
{
  if (j->c->has_parent || j->c->punch_only)
    return punch_if_data (j, place, n * j->sp->e.grain_size);
  for (; n > 0; n--, i++)
    if (set_entry (j, t, e, i, 0) == -1)
      return -1;
  return 0;
}

/* Entries from i on whose grains follow each other, as many as are read at
 * a time.
 */
static uint64_t
count_run (const struct sparse *sp, const struct scanned_table *t, uint64_t i,
           uint64_t n, uint64_t place)
{
  const uint64_t size = sp->e.grain_size;
  uint64_t run = 1, next;

  while (i + run < n && (run + 1) * size <= READ_SIZE &&
         tables_gte (sp, t->data[0], i + run, &next) == ENTRY_PLACE &&
         next == place + run * size)
    run++;
  return run;
}

/* What the guest sees of a grain that isn't a whole one counts. */
static bool
is_zero_grain (const struct extent *e, uint64_t grain, const uint8_t *data)
{
  const uint64_t start = grain * e->grain_size;
  const uint64_t left = e->size > start ? e->size - start : e->grain_size;

  return is_zero (data, left < e->grain_size ? (size_t) left : e->grain_size);
}

/* Of the grains in the buffer from i on, before n, how many are zero.  The
 * first one in it is given.
 */
static uint64_t
count_zeroes (const struct job *j, uint64_t grain, uint64_t i, uint64_t n)
{
  const struct extent *const e = &j->sp->e;
  const uint64_t first = i;

  while (i < n && is_zero_grain (e, grain + i, j->buf + i * e->grain_size))
    i++;
  return i - first;
}

static int
drop_zeroes_of_run (struct job *j, const struct scanned_table *t,
                    struct edit **e, uint64_t i, uint64_t n, uint64_t place)
{
  const uint64_t size = j->sp->e.grain_size;
  uint64_t k, zeroes;

  if (read_sparse (j->sp->e.store, j->buf, (size_t) (n * size), place) == -1)
    return -1;
  for (k = 0; k < n; k += zeroes + 1) {
    zeroes = count_zeroes (j, t->number * j->sp->gtes_per_gt + i, k, n);
    if (zeroes > 0 && drop_grains (j, t, e, i + k, zeroes,
                                   place + k * size) == -1)
      return -1;
  }
  return 0;
}

static int
drop_zeroes (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  struct job *const j = opaque;
  const uint64_t n = nr_entries (sp, t->number);
  struct edit *e = NULL;
  uint64_t i, run, place;

  if (ask (j, t, false) == -1)
    return -1;
  for (i = 0; is_whole (sp, t) && i < n; i += run) {
    run = 1;
    if (tables_gte (sp, t->data[0], i, &place) != ENTRY_PLACE)
      continue;
    run = count_run (sp, t, i, n, place);
    if (drop_zeroes_of_run (j, t, &e, i, run, place) == -1)
      return -1;
  }
  return commit_if_much (j);
}

/* Step 2: see compact-tables.c for the tables. */

static int
copy_grain (struct job *j, uint64_t from, uint64_t to)
{
  const uint64_t size = j->sp->e.grain_size;
  struct store *const s = j->sp->e.store;
  uint64_t at = from, start, stop;

  if (compact_begin_change (j) == -1)
    return -1;
  if (size <= 4096)
    return store_pread (s, j->buf, (size_t) size, from) == -1 ? -1
      : store_pwrite (s, j->buf, (size_t) size, to);
  if (store_zero (s, size, to, true) == -1)
    return -1;
  for (; at < from + size; at = stop) {
    store_find_data (s, at, from + size, &start, &stop);
    if (stop > start &&
        (store_pread (s, j->buf, (size_t) (stop - start), start) == -1 ||
         store_pwrite (s, j->buf, (size_t) (stop - start),
                       to + (start - from)) == -1))
      return -1;
  }
  return 0;
}

static int
move_grain (struct job *j, const struct scanned_table *t, struct edit **e,
            uint64_t i, uint64_t place)
{
  struct space *const s = &j->space;
  const uint64_t to = s->origin + j->slot * s->unit;

  if (copy_grain (j, place, to) == -1 ||
      set_entry (j, t, e, i, to / SECTOR_SIZE) == -1)
    return -1;
  j->slot = space_find_slot (s, j->slot + s->per_grain);
  j->moved += j->sp->e.grain_size;
  return 0;
}

/* There are as many places as grains; but if the tables aren't as they were
 * when they were looked at, nobody should go on.
 */
static int
check_slot (const struct job *j)
{
  if (j->slot < j->limit && j->slot + j->space.per_grain <= j->limit)
    return 0;
  vmdk_error (&j->sp->e.ctx->log, "%s: its tables have been changed by "
              "another program; run vmdk-img check", j->sp->e.store->name);
  errno = EIO;
  return -1;
}

static int
move_grains (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  struct job *const j = opaque;
  const uint64_t n = nr_entries (sp, t->number);
  struct edit *e = NULL;
  uint64_t i, place;

  if (ask (j, t, true) == -1)
    return -1;
  for (i = 0; is_whole (sp, t) && i < n; i++) {
    if (tables_gte (sp, t->data[0], i, &place) != ENTRY_PLACE ||
        place < j->from || place >= j->end)
      continue;
    if (check_slot (j) == -1 || move_grain (j, t, &e, i, place) == -1)
      return -1;
  }
  return commit_if_much (j);
}

static void
warn_unmovable (const struct job *j)
{
  vmdk_warning (&j->sp->e.ctx->log, "%s: %s, so they keep their places; free "
                "space is made a hole", j->sp->e.store->name,
                j->space.unaligned && j->sp->write_format->align_grains ?
                "its grains are at odd places"
                : "it has too many grains to move them");
}

int
compact_move (struct job *j, uint64_t from, uint64_t end, uint64_t slot,
              uint64_t limit)
{
  j->from = from;
  j->end = end;
  j->slot = slot;
  j->limit = limit;
  if (scan_tables (j->sp, move_grains, j) == -1 || commit (j) == -1)
    return -1;
  return store_sync (j->sp->e.store);
}

/* As many grains as can go to a free place in front of all that remain.  To
 * bring a grain to before what can't be moved makes the file no shorter.
 */
static int
move_down (struct job *j)
{
  const struct space *const s = &j->space;
  const uint64_t first = space_find_slot (s, 0);
  uint64_t low = first, high = space_find_grain (s, s->nr_bits);
  uint64_t cutoff = s->nr_bits;

  while (low < s->nr_bits && high < s->nr_bits &&
         low + s->per_grain <= high &&
         s->origin + high * s->unit >= s->fixed_end) {
    cutoff = high;
    low = space_find_slot (s, low + s->per_grain);
    high = space_find_grain (s, high);
  }
  if (cutoff == s->nr_bits)
    return 0;
  return compact_move (j, s->origin + cutoff * s->unit, UINT64_MAX, first,
                       cutoff);
}

static int
move_tables (struct job *j)
{
  int r = space_open (&j->space, j->sp);

  if (r == 0 && !j->space.movable)
    warn_unmovable (j);
  else if (r == 0)
    r = compact_tables (j);
  space_close (&j->space);
  return r;
}

static int
move_all (struct job *j)
{
  int r = move_tables (j);

  if (r == -1)
    return -1;
  r = space_open (&j->space, j->sp);
  if (r == 0 && j->space.movable)
    r = move_down (j);
  space_close (&j->space);
  return r;
}

/* The rest. */

static int
punch_window (struct job *j)
{
  const struct space *const s = &j->space;
  uint64_t i = 0, stop;

  while ((i = space_find (s, i, false)) < s->nr_bits) {
    stop = space_find (s, i, true);
    if (punch_if_data (j, s->window + i * s->unit,
                       (stop - i) * s->unit) == -1)
      return -1;
    i = stop;
  }
  return 0;
}

/* What is behind all that is used. */
static int
cut (const struct job *j)
{
  const uint64_t end = j->space.used_end;

  if (end >= j->sp->e.store->size)
    return 0;
  return compact_begin_change (j) == -1 ? -1 : sparse_cut (j->sp, end);
}

/* Where the next window begins that has anything to give back: for each, all
 * tables are read, and the largest files have many, most of them holes.
 */
static uint64_t
next_window (const struct job *j)
{
  const struct space *const s = &j->space;
  const uint64_t size = s->nr_bits * s->unit, next = s->window + size;
  const uint64_t data =
    next < s->end ? store_next_data (j->sp->e.store, next) : UINT64_MAX;

  return data >= s->end ? UINT64_MAX : next + (data - next) / size * size;
}

/* Steps 3 and 4. */
static int
give_back (struct job *j)
{
  struct space *const s = &j->space;
  int r = space_open (s, j->sp);

  if (r == 0)
    r = cut (j);
  while (r == 0) {
    const uint64_t next = punch_window (j) == -1 ? 0 : next_window (j);

    if (next == UINT64_MAX)
      break;
    r = next == 0 || compact_ask (j->c, 2 * j->sp->e.size) == -1 ? -1
      : space_load (s, next);
  }
  space_close (s);
  return r;
}

/* All of it. */

/* What an interrupted writer left is put in order by the first change, and
 * must be before one can see whether the rest is sound.
 */
static int
settle (const struct job *j)
{
  if (j->sp->unclean && compact_begin_change (j) == -1)
    return -1;
  return extent_see_sound (&j->sp->e, "compacted");
}

static int
run (struct job *j)
{
  if (settle (j) == -1 || scan_tables (j->sp, drop_zeroes, j) == -1 ||
      commit (j) == -1 || store_sync (j->sp->e.store) == -1)
    return -1;
  if (!j->c->punch_only && move_all (j) == -1)
    return -1;
  return give_back (j);
}

int
compact_sparse (struct compaction *c, struct extent *e)
{
  struct job j = { .c = c, .sp = (struct sparse *) e };
  int r, err;

  j.buf = malloc (COMPACT_BUFFER);
  if (j.buf == NULL) {
    vmdk_error (&e->ctx->log, "%s: %m", e->store->name);
    return -1;
  }
  r = run (&j);
  err = errno;
  forget_edits (&j);
  free (j.buf);
  errno = err;
  return r;
}
