/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking that nothing in an extent's file is used twice, and what isn't
 * used at all: a bit for each unit of the file, a window at a time.
 *
 * A unit is the largest power of 2 that divides the distances between all
 * that is marked, so that only whole units are ever used: mostly a bit for
 * each grain.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check-sparse.h"
#include "le.h"

#define MAX_WINDOW (UINT64_C (1) << CHECK_SPACE_BITS)
#define MAX_MARGIN (UINT64_C (1) << 17) /* bits; the longest packed grain */

/* What is marked begins in a window, and may end in the margin behind it,
 * which becomes the start of the next one.
 */
struct bitmap {
  uint64_t *words;
};

struct space {
  struct sparse_check *c;
  uint64_t unit;
  uint64_t origin;  /* of the window, bytes */
  uint64_t end;     /* of all windows, bytes */
  uint64_t window;  /* bits, a multiple of 64 */
  struct bitmap grains;
  struct bitmap fixed; /* tables and other metadata; may be NULL */

  uint64_t unused, first_unused; /* bytes, and where */
  bool incomplete; /* some grain's length isn't known */
};

static bool
bitmap_init (struct bitmap *b, uint64_t bits)
{
  b->words = calloc ((bits + MAX_MARGIN) / 64, sizeof b->words[0]);
  return b->words != NULL;
}

/* Makes the margin the start of the next window. */
static void
bitmap_advance (struct bitmap *b, uint64_t bits)
{
  const size_t size = MAX_MARGIN / 64 * sizeof b->words[0];
  const size_t all = bits / 64 * sizeof b->words[0] + size;

  if (b->words == NULL)
    return;
  memmove (b->words, b->words + bits / 64, size);
  memset ((char *) b->words + size, 0, all - size);
}

/* Is any bit of [first, end) set?  set: and sets all. */
static bool
bitmap_range (struct bitmap *b, uint64_t first, uint64_t end, bool set)
{
  bool found = false;

  while (first < end) {
    const uint64_t low = first % 64;
    const uint64_t n = 64 - low < end - first ? 64 - low : end - first;
    const uint64_t mask = (n == 64 ? UINT64_MAX
                           : (UINT64_C (1) << n) - 1) << low;
    uint64_t *const word = &b->words[first / 64];

    found |= (*word & mask) != 0;
    if (set)
      *word |= mask;
    first += n;
  }
  return found;
}

/* The part of [start, start+length) that is in window or margin, bits. */
static bool
clip (const struct space *s, uint64_t start, uint64_t length,
      uint64_t *first, uint64_t *end)
{
  const uint64_t last = start + length;
  const uint64_t most = s->window + MAX_MARGIN;

  if (last <= s->origin)
    return false;
  *first = start > s->origin ? (start - s->origin) / s->unit : 0;
  *end = div_round_up (last - s->origin, s->unit);
  if (*end > most)
    *end = most;
  return *first < *end;
}

/* True if a part of it had been marked already. */
static bool
mark (struct space *s, struct bitmap *b, uint64_t start, uint64_t length)
{
  uint64_t first, end;

  return clip (s, start, length, &first, &end) &&
    bitmap_range (b, first, end, true);
}

static bool
is_marked (struct space *s, struct bitmap *b, uint64_t start, uint64_t length)
{
  uint64_t first, end;

  return b->words && clip (s, start, length, &first, &end) &&
    bitmap_range (b, first, end, false);
}

static bool
begins_here (const struct space *s, uint64_t start)
{
  return start >= s->origin && start - s->origin < s->window * s->unit;
}

static uint64_t
lowest_bit (uint64_t v)
{
  return v & -v;
}

/* The unit for what is in spread, and has lengths with these bits. */
static uint64_t
find_unit (const struct spread *spread, uint64_t lengths)
{
  return lowest_bit (spread->bits | lengths);
}

static void
set_window (struct space *s)
{
  const uint64_t bits = div_round_up (s->end - s->origin, s->unit);

  s->window = bits < MAX_WINDOW ? div_round_up (bits, 64) * 64 : MAX_WINDOW;
  if (s->window < 64)
    s->window = 64;
  /* Streams may need large buffers as well. */
  if (s->c->ops->measure && s->window > MAX_WINDOW / 2)
    s->window = MAX_WINDOW / 2;
}

static int
report_memory (const struct space *s)
{
  vmdk_error (&s->c->sp->e.ctx->log, "%s: %m", s->c->file);
  return -1;
}

/* Goes to the next window. */
static void
advance (struct space *s)
{
  bitmap_advance (&s->grains, s->window);
  bitmap_advance (&s->fixed, s->window);
  s->origin += s->window * s->unit;
}

/* Tables. */

static int
mark_shared_table (struct sparse_check *c, void *opaque, unsigned copy,
                   uint64_t number, uint64_t position)
{
  struct space *const s = opaque;

  if (begins_here (s, position) &&
      mark (s, &s->grains, position, sparse_gt_bytes (c->sp))) {
    c->shared_tables++;
    check_defect (c->check, VMDK_ERROR, "gt-shared", c->file,
                  "grain table %" PRIu64 " at offset %" PRIu64 " shares "
                  "space with another table, or with its own copy", number,
                  position);
    check_at (c->check, &(struct check_place) {
        .code = "gt-shared", .kind = AT_GT_SHARED, .e = &c->sp->e,
        .copy = copy, .number = number, .position = position });
  }
  return 0;
}

int
sparse_check_shared_tables (struct sparse_check *c)
{
  struct space s = { .c = c };
  int r = 0;

  if (spread_empty (&c->tables))
    return 0;
  s.unit = find_unit (&c->tables, sparse_gt_bytes (c->sp));
  s.origin = c->tables.first + c->table_header;
  s.end = c->tables.end;
  set_window (&s);
  if (!bitmap_init (&s.grains, s.window))
    return report_memory (&s);
  for (; r == 0 && s.origin < s.end; advance (&s))
    r = sparse_check_places (c, mark_shared_table, &s);
  free (s.grains.words);
  return r;
}

/* Grains. */

static int
take_grain (struct space *s, uint64_t grain, uint64_t position)
{
  struct sparse_check *const c = s->c;
  uint64_t length = c->sp->e.grain_size;

  if (c->ops->measure) {
    const bool again = is_marked (s, &s->grains, position, SECTOR_SIZE);

    if (c->ops->measure (c, grain, position, again, &length) == -1)
      return -1;
    if (position + length > c->last_grain_end)
      c->last_grain_end = position + length;
  }
  if (length == 0) {
    s->incomplete = true;
    return 0;
  }
  if (is_marked (s, &s->fixed, position, length)) {
    check_defect (c->check, VMDK_ERROR, "gte-in-metadata", c->file,
                  "grain %" PRIu64 " at offset %" PRIu64 " shares space with "
                  "a table, directory or other metadata", grain, position);
    sparse_check_at (c, "gte-in-metadata", AT_GTE_IN_METADATA, grain,
                     position);
  }
  if (mark (s, &s->grains, position, length)) {
    check_defect (c->check, VMDK_ERROR, "grain-shared", c->file,
                  "grain %" PRIu64 " at offset %" PRIu64 " shares space with "
                  "another grain", grain, position);
    sparse_check_at (c, "grain-shared", AT_GRAIN_SHARED, grain, position);
  }
  return 0;
}

static enum entry_kind
gte_kind (const struct sparse *sp, const uint8_t *entry, uint64_t *position)
{
  return sp->format->decode_gte (sp, sparse_check_value (sp, entry),
                                 position);
}

/* Grains that follow each other, in one go; false: there is a defect. */
static bool
take_run (struct space *s, uint64_t position, uint64_t n)
{
  const uint64_t length = n * s->c->sp->e.grain_size;

  if (!begins_here (s, position + length - 1) ||
      is_marked (s, &s->fixed, position, length) ||
      is_marked (s, &s->grains, position, length))
    return false;
  mark (s, &s->grains, position, length);
  return true;
}

static int
take_table (struct sparse_check *c, const struct table_view *t)
{
  const struct sparse *const sp = c->sp;
  const unsigned size = sp->format->entry_size;
  const uint64_t n = sparse_check_nr_entries (sp, t->number);
  uint64_t i, run;

  for (i = 0; i < n; i += run) {
    const uint8_t *const entry = t->entries + i * size;
    uint64_t position, j;

    run = 1;
    if (sparse_check_value (sp, entry) == 0 ||
        gte_kind (sp, entry, &position) != ENTRY_PLACE ||
        !begins_here (c->space, position))
      continue;
    if (c->ops->measure == NULL) {
      run = sparse_check_run (sp, t->entries, i, n, position);
      if (take_run (c->space, position, run))
        continue;
    }
    for (j = 0; j < run; j++, position += sp->e.grain_size)
      if (begins_here (c->space, position) &&
          take_grain (c->space, t->number * sp->gtes_per_gt + i + j,
                      position) == -1)
        return -1;
  }
  return 0;
}

static int
mark_fixed_table (struct sparse_check *c, void *opaque, unsigned copy,
                  uint64_t number, uint64_t position)
{
  struct space *const s = opaque;

  (void) copy;
  (void) number;
  if (position + sparse_gt_bytes (c->sp) > s->origin)
    mark (s, &s->fixed, position - c->table_header,
          sparse_gt_bytes (c->sp) + c->table_header);
  return 0;
}

/* What is not a grain, behind the start of the first window. */
static int
mark_fixed (struct space *s)
{
  struct sparse_check *const c = s->c;
  unsigned i;

  if (s->fixed.words == NULL)
    return 0;
  for (i = 0; i < c->nr_meta; i++)
    if (c->meta[i].end > s->origin)
      mark (s, &s->fixed, c->meta[i].start,
            c->meta[i].end - c->meta[i].start);
  return c->foreign_tables ? 0
    : sparse_check_places (c, mark_fixed_table, s);
}

/* The first bit from i on, before end, that is set, or isn't. */
static uint64_t
next_bit (const struct space *s, uint64_t i, uint64_t end, bool set)
{
  while (i < end) {
    uint64_t word = s->grains.words[i / 64];

    if (s->fixed.words)
      word |= s->fixed.words[i / 64];
    if (!set)
      word = ~word;
    word >>= i % 64;
    if (word != 0) {
      i += (uint64_t) __builtin_ctzll (word);
      return i < end ? i : end;
    }
    i += 64 - i % 64;
  }
  return end;
}

/* Adds up the parts of the window that nothing uses. */
static int
find_gaps (struct space *s, uint64_t limit)
{
  struct sparse_check *const c = s->c;
  uint64_t end, i, first;

  if (limit <= s->origin)
    return 0;
  end = (limit - s->origin) / s->unit;
  if (end > s->window)
    end = s->window;
  for (i = 0; (first = next_bit (s, i, end, false)) < end; ) {
    const uint64_t start = s->origin + first * s->unit;
    uint64_t unused;

    i = next_bit (s, first, end, true);
    unused = (i - first) * s->unit;
    if (c->ops->gap && c->ops->gap (c, start, unused, &unused) == -1)
      return -1;
    if (unused < c->least_gap)
      continue;
    if (unused > 0 && s->unused == 0)
      s->first_unused = start;
    s->unused += unused;
  }
  return 0;
}

static void
report_gaps (const struct space *s)
{
  if (s->unused > 0 && !s->incomplete)
    check_leak (s->c->check, "leaked-grains", s->c->file, s->unused,
                "%" PRIu64 " bytes among the grains are used by nothing, "
                "the first at offset %" PRIu64, s->unused, s->first_unused);
}

uint64_t
sparse_check_used_end (const struct sparse_check *c)
{
  uint64_t end = c->last_grain_end;
  unsigned i;

  if (!c->foreign_tables && !spread_empty (&c->tables) && c->tables.end > end)
    end = c->tables.end;
  for (i = 0; i < c->nr_meta; i++)
    if (c->meta[i].end > end)
      end = c->meta[i].end;
  return div_round_up (end, SECTOR_SIZE) * SECTOR_SIZE;
}

/* Chooses unit and windows: from the first that can be a grain on. */
static int
space_init (struct space *s, uint64_t limit)
{
  struct sparse_check *const c = s->c;
  struct spread all = c->grains;
  uint64_t lengths = c->sp->packed ? SECTOR_SIZE : c->sp->e.grain_size;
  bool fixed = false;
  unsigned i;

  if (!c->foreign_tables && !spread_empty (&c->tables) &&
      c->tables.end > c->sp->data_start) {
    fixed = true;
    all.bits |= (c->tables.base - all.base) | c->tables.bits;
    lengths |= sparse_gt_bytes (c->sp);
  }
  for (i = 0; i < c->nr_meta; i++)
    if (c->meta[i].end > c->sp->data_start) {
      fixed = true;
      lengths |= SECTOR_SIZE;
    }
  s->unit = find_unit (&all, lengths);
  /* The format says that grains begin behind data_start. */
  s->origin = all.base - (all.base - c->sp->data_start) / s->unit * s->unit;
  s->end = limit ? limit : sparse_check_used_end (c);
  if (c->grains.end > s->end)
    s->end = c->grains.end;
  if (c->ops->measure) /* the length of the last isn't known yet */
    s->end += 2 * (uint64_t) c->sp->e.grain_size;
  set_window (s);
  if (!bitmap_init (&s->grains, s->window) ||
      (fixed && !bitmap_init (&s->fixed, s->window)))
    return report_memory (s);
  return 0;
}

static int
walk_windows (struct space *s, uint64_t limit)
{
  struct sparse_check *const c = s->c;

  for (; s->origin < s->end; advance (s)) {
    const uint64_t end = s->origin + s->window * s->unit;

    if (mark_fixed (s) == -1 ||
        sparse_check_walk (c, s->origin, end, NULL, take_table) == -1 ||
        find_gaps (s, limit ? limit : sparse_check_used_end (c)) == -1)
      return -1;
  }
  return 0;
}

int
sparse_check_space (struct sparse_check *c, uint64_t limit)
{
  struct space s = { .c = c };
  int r;

  if (spread_empty (&c->grains))
    return 0;
  c->space = &s;
  r = space_init (&s, limit);
  if (r == 0)
    r = walk_windows (&s, limit);
  if (r == 0)
    report_gaps (&s);
  c->space = NULL;
  free (s.grains.words);
  free (s.fixed.words);
  return r;
}

void
sparse_check_tail (struct sparse_check *c)
{
  const uint64_t size = c->sp->e.store->size;
  uint64_t end = sparse_check_used_end (c);

  if (end < c->sp->data_start)
    end = c->sp->data_start;
  if (c->shared_tables > MAX_SHARED_TABLES)
    return; /* grains haven't been looked at */
  if (size > end && size - end >= SECTOR_SIZE)
    check_leak (c->check, "unused-tail", c->file, size - end,
                "%" PRIu64 " bytes at the end of the file, from offset %"
                PRIu64 " on, are used by nothing", size - end, end);
}
