/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking what every two-level format has: that the entries of directory
 * and tables can be right, and that redundant copies say the same.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check-sparse.h"
#include "le.h"

#define GD_PIECE_SIZE 16384
#define GT_PIECE_SIZE CHECK_PIECE
#define NR_SPANS CHECK_SPANS

void
spread_init (struct spread *s)
{
  *s = (struct spread) { .first = UINT64_MAX };
}

void
spread_add (struct spread *s, uint64_t start, uint64_t length)
{
  if (spread_empty (s))
    s->base = start;
  s->bits |= start - s->base;
  if (start < s->first)
    s->first = start;
  if (start + length > s->end)
    s->end = start + length;
}

uint64_t
sparse_check_value (const struct sparse *sp, const uint8_t *entry)
{
  return sp->format->entry_size == 4 ? le32_at (entry) : le64_at (entry);
}

uint64_t
sparse_check_nr_entries (const struct sparse *sp, uint64_t number)
{
  const uint64_t left = sp->nr_grains - number * sp->gtes_per_gt;

  return left < sp->gtes_per_gt ? left : sp->gtes_per_gt;
}

void
sparse_check_add_meta (struct sparse_check *c, uint64_t start,
                       uint64_t length)
{
  if (c->nr_meta < sizeof c->meta / sizeof c->meta[0])
    c->meta[c->nr_meta++] =
      (struct range) { .start = start, .end = start + length };
}

int
sparse_check_init (struct sparse_check *c, struct check *check,
                   struct sparse *sp, const struct sparse_check_ops *ops)
{
  unsigned copy;
  uint64_t i;

  *c = (struct sparse_check) {
    .check = check, .sp = sp, .ops = ops, .file = sp->e.store->name,
    .foreign_tables = sp->tables != sp->e.store,
    .tables_per_span = div_round_up (sp->nr_gts, NR_SPANS),
  };
  spread_init (&c->tables);
  spread_init (&c->grains);
  c->spans = malloc (NR_SPANS * sizeof c->spans[0]);
  for (copy = 0; copy < (sp->gd[1] ? 2 : 1); copy++) {
    c->gd_piece[copy] = malloc (GD_PIECE_SIZE);
    c->gt_piece[copy] = malloc (GT_PIECE_SIZE);
    if (!c->gd_piece[copy] || !c->gt_piece[copy] || !c->spans) {
      vmdk_error (&sp->e.ctx->log, "%s: %m", c->file);
      return -1;
    }
    if (!c->foreign_tables)
      sparse_check_add_meta (c, sp->gd[copy], sparse_gd_bytes (sp));
  }
  for (i = 0; i < NR_SPANS; i++)
    c->spans[i] = (struct span) { .first = UINT64_MAX };
  check->result->grains += sp->nr_grains;
  return 0;
}

void
sparse_check_release (struct sparse_check *c)
{
  unsigned copy;

  for (copy = 0; copy < 2; copy++) {
    free (c->gd_piece[copy]);
    free (c->gt_piece[copy]);
  }
  free (c->spans);
}

void
sparse_check_at (struct sparse_check *c, const char *code,
                 enum check_kind kind, uint64_t number, uint64_t position)
{
  check_at (c->check, &(struct check_place) {
      .code = code, .kind = kind, .e = &c->sp->e, .number = number,
      .position = position });
}

/* Directories. */

/* Entries [first, first+n) of both copies; NULL: all 0. */
struct gd_piece {
  uint64_t first, n;
  const uint8_t *entries[2];
};

typedef int (*piece_fn) (struct sparse_check *c, const struct gd_piece *p,
                         void *opaque);

/* The first entry from i on, before last, which isn't in a hole. */
static uint64_t
skip_directory_hole (const struct sparse_check *c, uint64_t i, uint64_t last)
{
  const struct sparse *const sp = c->sp;
  const unsigned size = sp->format->entry_size;
  uint64_t found = last;
  unsigned copy;

  for (copy = 0; copy < 2; copy++) {
    const uint64_t gd = sp->gd[copy];
    uint64_t start;

    if (copy == 1 && gd == 0)
      break;
    start = store_next_data (sp->tables, gd + i * size);
    if ((start - gd) / size < found)
      found = (start - gd) / size;
  }
  return found;
}

static int
load_gd_piece (struct sparse_check *c, struct gd_piece *p)
{
  const struct sparse *const sp = c->sp;
  const unsigned size = sp->format->entry_size;
  unsigned copy;

  for (copy = 0; copy < (sp->gd[1] ? 2 : 1); copy++) {
    if (store_pread (sp->tables, c->gd_piece[copy], p->n * size,
                     sp->gd[copy] + p->first * size) == -1)
      return -1;
    p->entries[copy] = c->gd_piece[copy];
  }
  return 0;
}

static int
walk_directory (struct sparse_check *c, uint64_t first, uint64_t last,
                piece_fn fn, void *opaque)
{
  const uint64_t most = GD_PIECE_SIZE / c->sp->format->entry_size;

  while (first < last) {
    const uint64_t data = skip_directory_hole (c, first, last);
    struct gd_piece p = { .first = first, .n = data - first };

    if (p.n == 0) {
      p.n = last - first < most ? last - first : most;
      if (load_gd_piece (c, &p) == -1)
        return -1;
    }
    if (fn (c, &p, opaque) == -1)
      return -1;
    first += p.n;
  }
  return 0;
}

static const uint8_t *
gde_at (const struct sparse_check *c, const struct gd_piece *p, unsigned copy,
        uint64_t i)
{
  return p->entries[copy] + i * c->sp->format->entry_size;
}

static enum entry_kind
gde_kind (const struct sparse_check *c, const struct gd_piece *p,
          unsigned copy, uint64_t i, uint64_t *position)
{
  const uint64_t value = sparse_check_value (c->sp, gde_at (c, p, copy, i));

  return c->sp->format->decode_gde (c->sp, value, position);
}

static void
report_absent (struct sparse_check *c)
{
  if (c->nr_absent > 0 && c->needs_all_tables)
    check_defect (c->check, VMDK_WARNING, "gde-zero", c->file,
                  "%" PRIu64 " entries of the grain directory from %" PRIu64
                  " on are 0, expected a table for each; some programs "
                  "destroy the file when they write there", c->nr_absent,
                  c->absent_first);
  if (c->nr_absent > 0 && c->needs_all_tables)
    sparse_check_at (c, "gde-zero", AT_GDE_ZERO, c->absent_first,
                     c->nr_absent);
  c->nr_absent = 0;
}

static void
add_absent (struct sparse_check *c, uint64_t first, uint64_t n)
{
  if (c->nr_absent == 0)
    c->absent_first = first;
  c->nr_absent += n;
}

static bool
in_meta (const struct sparse_check *c, uint64_t start, uint64_t length)
{
  unsigned i;

  for (i = 0; i < c->nr_meta; i++)
    if (start < c->meta[i].end && start + length > c->meta[i].start)
      return true;
  return false;
}

static void
gde_at_fault (struct sparse_check *c, const char *code, enum check_kind kind,
              unsigned copy, uint64_t number)
{
  check_at (c->check, &(struct check_place) {
      .code = code, .kind = kind, .e = &c->sp->e, .copy = copy,
      .number = number });
}

static enum entry_kind
check_gde (struct sparse_check *c, unsigned copy, uint64_t number,
           const uint8_t *entry)
{
  const struct sparse *const sp = c->sp;
  const char *const of = copy ? "redundant grain" : "grain";
  const uint64_t value = sparse_check_value (sp, entry);
  uint64_t position = 0;
  const enum entry_kind kind =
    sp->format->decode_gde (sp, value, &position);

  if (kind == ENTRY_BAD)
    check_defect (c->check, VMDK_ERROR, "gde-invalid", c->file,
                  "entry %" PRIu64 " of the %s directory, 0x%" PRIx64 ", %s",
                  number, of, value, sp->format->bad_gde (sp, value));
  if (kind == ENTRY_BAD)
    gde_at_fault (c, "gde-invalid", AT_GDE_INVALID, copy, number);
  if (kind != ENTRY_PLACE)
    return kind;
  if (in_meta (c, position, sparse_gt_bytes (sp))) {
    check_defect (c->check, VMDK_ERROR, "gde-invalid", c->file,
                  "entry %" PRIu64 " of the %s directory, 0x%" PRIx64
                  ", points into a directory or other metadata", number, of,
                  value);
    gde_at_fault (c, "gde-invalid", AT_GDE_INVALID, copy, number);
  }
  spread_add (&c->tables, position - c->table_header,
              sparse_gt_bytes (sp) + c->table_header);
  return kind;
}

static int
check_gd_piece (struct sparse_check *c, const struct gd_piece *p,
                void *opaque)
{
  uint64_t i;

  (void) opaque;
  if (p->entries[0] == NULL) {
    add_absent (c, p->first, p->n);
    return 0;
  }
  for (i = 0; i < p->n; i++) {
    const enum entry_kind kind =
      check_gde (c, 0, p->first + i, gde_at (c, p, 0, i));

    if (kind == ENTRY_ABSENT)
      add_absent (c, p->first + i, 1);
    else
      report_absent (c);
    if (p->entries[1] &&
        (check_gde (c, 1, p->first + i, gde_at (c, p, 1, i)) ==
         ENTRY_ABSENT) != (kind == ENTRY_ABSENT)) {
      check_defect (c->check, VMDK_ERROR, "mirror-differs", c->file,
                    "grain table %" PRIu64 " is only in the %s directory",
                    p->first + i, kind == ENTRY_ABSENT ? "redundant" : "first");
      gde_at_fault (c, "mirror-differs", AT_GDE_ONE_SIDED,
                    kind != ENTRY_ABSENT, p->first + i);
    }
  }
  return 0;
}

/* VMware makes tables for all entries that fit into the last sector of a
 * directory, so those behind the capacity aren't looked at.
 */
static int
check_directory (struct sparse_check *c)
{
  if (walk_directory (c, 0, c->sp->nr_gts, check_gd_piece, NULL) == -1)
    return -1;
  report_absent (c);
  return 0;
}

struct places {
  place_fn fn;
  void *opaque;
};

static int
place_piece (struct sparse_check *c, const struct gd_piece *p, void *opaque)
{
  const struct places *const places = opaque;
  unsigned copy;
  uint64_t i, position;

  for (copy = 0; copy < 2 && p->entries[copy]; copy++)
    for (i = 0; i < p->n; i++)
      if (gde_kind (c, p, copy, i, &position) == ENTRY_PLACE &&
          places->fn (c, places->opaque, copy, p->first + i, position) == -1)
        return -1;
  return 0;
}

int
sparse_check_places (struct sparse_check *c, place_fn fn, void *opaque)
{
  struct places places = { .fn = fn, .opaque = opaque };

  return walk_directory (c, 0, c->sp->nr_gts, place_piece, &places);
}

/* Tables.  Those that follow each other in the file are read together. */

struct table_run {
  uint64_t number, n;
  uint64_t place[2]; /* [1]: 0 if there is no copy */
  bool with_mirror;
  table_fn fn;
};

/* The first byte of [start, end) that isn't in a hole, or end. */
static uint64_t
skip_table_hole (struct sparse_check *c, unsigned copy, uint64_t start,
                 uint64_t end)
{
  if (start < c->hole[copy] || end > c->hole_end[copy]) {
    c->hole[copy] = start;
    c->hole_end[copy] = store_next_data (c->sp->tables, start);
  }
  return c->hole_end[copy] < end ? c->hole_end[copy] : end;
}

/* Tables mostly follow each other to the end: while one piece of them is
 * looked at, the next one is on its way.
 */
static void
prefetch_next (struct sparse_check *c, const struct table_run *run,
               unsigned copy)
{
  const uint64_t size = sparse_gt_bytes (c->sp);

  if ((run->n + 1) * size > GT_PIECE_SIZE)
    store_prefetch (c->sp->tables, run->n * size,
                    run->place[copy] + run->n * size);
}

static int
walk_run (struct sparse_check *c, struct table_run *run)
{
  const uint64_t size = sparse_gt_bytes (c->sp);
  const unsigned copies = run->place[1] ? 2 : 1;
  uint64_t skip = run->n, i;
  unsigned copy;

  for (copy = 0; copy < copies; copy++) {
    const uint64_t start = run->place[copy];
    const uint64_t data = skip_table_hole (c, copy, start,
                                           start + run->n * size);
    if ((data - start) / size < skip)
      skip = (data - start) / size;
  }
  if (skip == run->n)
    return 0;
  for (copy = 0; copy < copies; copy++)
    prefetch_next (c, run, copy);
  for (copy = 0; copy < copies; copy++)
    if (store_pread (c->sp->tables, c->gt_piece[copy],
                     (size_t) ((run->n - skip) * size),
                     run->place[copy] + skip * size) == -1)
      return -1;
  for (i = 0; i < run->n - skip; i++) {
    const struct table_view t = {
      .number = run->number + skip + i,
      .entries = c->gt_piece[0] + i * size,
      .mirror = copies == 2 ? c->gt_piece[1] + i * size : NULL,
    };

    if (run->fn (c, &t) == -1)
      return -1;
  }
  return 0;
}

static bool
extends_run (const struct table_run *run, uint64_t size, uint64_t position,
             uint64_t mirror)
{
  return run->n > 0 && (run->n + 1) * size <= GT_PIECE_SIZE &&
    position == run->place[0] + run->n * size &&
    (run->place[1] ? mirror == run->place[1] + run->n * size : mirror == 0);
}

static int
walk_gd_piece (struct sparse_check *c, const struct gd_piece *p,
               void *opaque)
{
  const struct sparse *const sp = c->sp;
  struct table_run *const run = opaque;
  uint64_t i;

  for (i = 0; p->entries[0] && i < p->n; i++) {
    uint64_t position, mirror = 0;

    if (gde_kind (c, p, 0, i, &position) !=
        ENTRY_PLACE)
      continue;
    if (run->with_mirror && p->entries[1] &&
        gde_kind (c, p, 1, i, &mirror) !=
        ENTRY_PLACE)
      mirror = 0;
    if (!extends_run (run, sparse_gt_bytes (sp), position, mirror) ||
        p->first + i != run->number + run->n) {
      if (run->n > 0 && walk_run (c, run) == -1)
        return -1;
      run->number = p->first + i;
      run->n = 0;
      run->place[0] = position;
      run->place[1] = mirror;
    }
    run->n++;
  }
  return 0;
}

static int
walk_tables (struct sparse_check *c, uint64_t first, uint64_t last,
             bool with_mirror, table_fn fn)
{
  struct table_run run = { .with_mirror = with_mirror, .fn = fn };

  if (walk_directory (c, first, last, walk_gd_piece, &run) == -1)
    return -1;
  return run.n > 0 ? walk_run (c, &run) : 0;
}

int
sparse_check_walk (struct sparse_check *c, uint64_t start, uint64_t end,
                   uint64_t *next, table_fn fn)
{
  const uint64_t per_span = c->tables_per_span;
  const uint64_t n = div_round_up (c->sp->nr_gts, per_span);
  uint64_t i, j;

  for (i = 0; i < n; i = j + 1) {
    for (j = i; j < n && c->spans[j].first < end && c->spans[j].end > start;
         j++)
      ;
    if (j > i && walk_tables (c, i * per_span, j < n ? j * per_span
                              : c->sp->nr_gts, false, fn) == -1)
      return -1;
    if (j < n && next && c->spans[j].first >= end &&
        c->spans[j].first < *next)
      *next = c->spans[j].first;
  }
  return 0;
}

/* Entries. */

static void
report_mirror (struct sparse_check *c, const struct table_view *t)
{
  const struct sparse *const sp = c->sp;
  const unsigned size = sp->format->entry_size;
  uint64_t first = UINT64_MAX, n = 0, i;

  for (i = 0; i < sp->gtes_per_gt; i++)
    if (memcmp (t->entries + i * size, t->mirror + i * size, size) != 0) {
      if (first == UINT64_MAX)
        first = i;
      n++;
    }
  check_defect (c->check, VMDK_ERROR, "mirror-differs", c->file,
                "grain table %" PRIu64 " and its redundant copy differ in %"
                PRIu64 " entries, the first for grain %" PRIu64 ": 0x%" PRIx64
                " and 0x%" PRIx64, t->number, n,
                t->number * sp->gtes_per_gt + first,
                sparse_check_value (sp, t->entries + first * size),
                sparse_check_value (sp, t->mirror + first * size));
  sparse_check_at (c, "mirror-differs", AT_GT_DIFFERS, t->number, 0);
}

static const char *
code_of_bad_gte (const struct sparse *sp, uint64_t value)
{
  if (sp->format->entry_size == 8)
    return value >> 60 == 3 ? "gte-past-end" : "gte-invalid";
  return value * SECTOR_SIZE >= sparse_data_end (sp) ? "gte-past-end"
    : "gte-in-metadata";
}

static void
report_gte (struct sparse_check *c, uint64_t grain, uint64_t value)
{
  const struct sparse *const sp = c->sp;

  check_defect (c->check, VMDK_ERROR, code_of_bad_gte (sp, value), c->file,
                "the entry of grain %" PRIu64 ", 0x%" PRIx64 ", %s", grain,
                value, sp->format->bad_gte (sp, value));
  sparse_check_at (c, code_of_bad_gte (sp, value), AT_GTE_INVALID, grain,
                   sp->format->entry_size == 4 ? value * SECTOR_SIZE : 0);
}

/* Entries of grains that follow each other differ by so much. */
static uint64_t
entry_step (const struct sparse *sp)
{
  return sp->format->entry_size == 4 ? sp->e.grain_size / SECTOR_SIZE
    : UINT64_C (1) << 48; /* the low bits of the number are on top */
}

static uint64_t
count_steps (const uint8_t *entry, unsigned size, uint64_t most,
             uint64_t step)
{
  uint64_t n = 1;

  if (size == 4) {
    uint32_t next = le32_at (entry) + (uint32_t) step;

    for (; n < most && le32_at (entry + 4 * n) == next; n++)
      next += (uint32_t) step;
  }
  else {
    uint64_t next = le64_at (entry) + step;

    for (; n < most && le64_at (entry + 8 * n) == next; n++)
      next += step;
  }
  return n;
}

uint64_t
sparse_check_run (const struct sparse *sp, const uint8_t *entries,
                  uint64_t i, uint64_t n, uint64_t position)
{
  const unsigned size = sp->format->entry_size;
  const uint64_t run =
    sp->packed ? 1 : count_steps (entries + i * size, size, n - i,
                                  entry_step (sp));
  uint64_t last;

  /* If the last one is in its place, those between are in theirs. */
  if (run > 1 && sp->format->decode_gte
      (sp, sparse_check_value (sp, entries + (i + run - 1) * size), &last) ==
      ENTRY_PLACE && last - position == (run - 1) * sp->e.grain_size)
    return run;
  return 1;
}

static void
own (struct sparse_check *c, uint64_t grain, uint64_t position,
     uint64_t length)
{
  struct span *const span =
    &c->spans[grain / c->sp->gtes_per_gt / c->tables_per_span];
  const uint64_t last = position + length -
    (length < c->sp->e.grain_size ? length : c->sp->e.grain_size);

  spread_add (&c->grains, position, length);
  if (position < span->first)
    span->first = position;
  if (last >= span->end)
    span->end = last + 1;
}

void
sparse_check_own (struct sparse_check *c, uint64_t grain, uint64_t position)
{
  own (c, grain, position, c->sp->packed ? SECTOR_SIZE
       : c->sp->e.grain_size);
}

/* What the guest can see of the last grain may be all that is stored. */
static void
check_cut (struct sparse_check *c, uint64_t grain, uint64_t position)
{
  const struct sparse *const sp = c->sp;
  const uint64_t left = sp->capacity - grain * sp->e.grain_size;
  const uint64_t valid = left < sp->e.grain_size ? left : sp->e.grain_size;

  if (position + valid <=
      div_round_up (sparse_data_end (sp), SECTOR_SIZE) * SECTOR_SIZE)
    return;
  check_defect (c->check, VMDK_ERROR, "gte-past-end", c->file,
                "grain %" PRIu64 " at offset %" PRIu64 " reaches past the "
                "end of the file at %" PRIu64, grain, position,
                sparse_data_end (sp));
  sparse_check_at (c, "gte-past-end", AT_GTE_CUT, grain, position);
}

/* n grains that follow each other: of these only the last can be cut. */
static void
add_grains (struct sparse_check *c, uint64_t grain, uint64_t position,
            uint64_t n)
{
  const struct sparse *const sp = c->sp;
  const uint64_t length = sp->packed ? SECTOR_SIZE : n * sp->e.grain_size;

  c->check->result->allocated += n;
  own (c, grain, position, length);
  if (position + length > c->last_grain_end) /* more isn't known if packed */
    c->last_grain_end = position + length;
  if (!sp->packed)
    check_cut (c, grain + n - 1, position + length - sp->e.grain_size);
  if (c->ops->placed)
    c->ops->placed (c, grain, position, n);
}

static void
check_past_capacity (struct sparse_check *c, const struct table_view *t)
{
  const struct sparse *const sp = c->sp;
  bool some = false;
  uint64_t i;

  for (i = sparse_check_nr_entries (sp, t->number); i < sp->gtes_per_gt; i++) {
    const uint64_t value =
      sparse_check_value (sp, t->entries + i * sp->format->entry_size);

    if (value != 0)
      check_defect (c->check, VMDK_WARNING, "entry-past-capacity", c->file,
                    "the entry of grain %" PRIu64 ", 0x%" PRIx64 ", should "
                    "be 0: the disk has only %" PRIu64 " grains",
                    t->number * sp->gtes_per_gt + i, value, sp->nr_grains);
    some |= value != 0;
  }
  if (some)
    sparse_check_at (c, "entry-past-capacity", AT_PAST_CAPACITY, t->number, 0);
}

static int
check_table (struct sparse_check *c, const struct table_view *t)
{
  const struct sparse *const sp = c->sp;
  const unsigned size = sp->format->entry_size;
  const uint64_t n = sparse_check_nr_entries (sp, t->number);
  uint64_t i, run;

  if (t->mirror && memcmp (t->entries, t->mirror, sparse_gt_bytes (sp)) != 0)
    report_mirror (c, t);
  for (i = 0; i < n; i += run) {
    const uint8_t *const entry = t->entries + i * size;
    const uint64_t value = sparse_check_value (sp, entry);
    const uint64_t grain = t->number * sp->gtes_per_gt + i;
    uint64_t position;

    run = 1;
    if (value == 0)
      continue;
    switch (sp->format->decode_gte (sp, value, &position)) {
    case ENTRY_ABSENT: break;
    case ENTRY_BAD: report_gte (c, grain, value); break;
    case ENTRY_PLACE:
      run = sparse_check_run (sp, t->entries, i, n, position);
      add_grains (c, grain, position, run);
      break;
    case ENTRY_ZERO:
      if (c->ops->zeroed)
        c->ops->zeroed (c, grain, value);
    }
  }
  check_past_capacity (c, t);
  return 0;
}

static void
check_capacity (struct sparse_check *c)
{
  const struct sparse *const sp = c->sp;

  if (sp->capacity - sp->e.size >= sp->e.grain_size)
    check_defect (c->check, VMDK_WARNING, "capacity-mismatch", c->file,
                  "the header's capacity is %" PRIu64 " sectors, but the "
                  "extent line says %" PRIu64, sp->capacity / SECTOR_SIZE,
                  sp->e.size / SECTOR_SIZE);
  if (sp->capacity - sp->e.size >= sp->e.grain_size)
    check_at_code (c->check, "capacity-mismatch", (struct extent *) &sp->e);
}

int
sparse_check_tables (struct sparse_check *c)
{
  check_capacity (c);
  if (check_directory (c) == -1 ||
      (!c->foreign_tables && sparse_check_shared_tables (c) == -1))
    return -1;
  if (c->shared_tables > MAX_SHARED_TABLES) {
    check_defect (c->check, VMDK_ERROR, "tables-hopeless", c->file,
                  "with %" PRIu64 " tables that share space, the entries of "
                  "tables weren't looked at", c->shared_tables);
    check_at_code (c->check, "tables-hopeless", &c->sp->e);
    return 0;
  }
  return walk_tables (c, 0, c->sp->nr_gts, true, check_table);
}
