/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is where in the file of a two-level extent.  The tables say it, and
 * have been checked before: no two grains are in one place, and both copies
 * of a table say the same.
 *
 * Where grains are at multiples of their size, which is so in all hosted
 * sparse extents but for odd ones, a unit is a grain; what else touches a
 * unit makes it used.  In COWD extents, grains can be at any sector.  So
 * there is a bit for each sector; of files that need more bits than are
 * in a window only holes are made.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "compact.h"
#include "le.h"
#include "scan.h"
#include "sparse-write.h"
#include "tables.h"

#define MAX_BITS (UINT64_C (1) << 28) /* 32 MiB, twice */

/* The survey. */

static void
see_fixed (struct space *s, uint64_t start, uint64_t length)
{
  if (start + length > s->fixed_end)
    s->fixed_end = start + length;
}

static void
see_grain (struct space *s, uint64_t place)
{
  const uint64_t size = s->sp->e.grain_size;

  if (!s->any)
    s->residue = place % size;
  s->any = true;
  s->unaligned = s->unaligned || place % size != s->residue;
  if (place + size > s->used_end)
    s->used_end = place + size;
}

/* Grains of copies are those of the first table. */
static const void *
entries_of (const struct scanned_table *t)
{
  return t->kind[0] == ENTRY_PLACE ? t->data[0] : t->data[1];
}

static int
survey_table (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  struct space *const s = opaque;
  const void *const entries = entries_of (t);
  unsigned copy;
  uint64_t i, place;

  for (copy = 0; copy < 2; copy++)
    if (t->kind[copy] == ENTRY_PLACE)
      see_fixed (s, t->place[copy], sparse_gt_bytes (sp));
  for (i = 0; entries && i < sp->gtes_per_gt; i++)
    if (tables_gte (sp, entries, i, &place) == ENTRY_PLACE)
      see_grain (s, place);
  return 0;
}

static int
survey (struct space *s)
{
  const struct sparse *const sp = s->sp;
  unsigned copy;

  see_fixed (s, 0, sp->data_start);
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    see_fixed (s, sp->gd[copy], sparse_gd_bytes (sp));
  s->residue = sp->data_start % sp->e.grain_size;
  if (scan_tables (s->sp, survey_table, s) == -1)
    return -1;
  if (s->fixed_end > s->used_end)
    s->used_end = s->fixed_end;
  s->used_end = div_round_up (s->used_end, SECTOR_SIZE) * SECTOR_SIZE;
  s->end = s->used_end;
  return 0;
}

static void
choose_unit (struct space *s, bool aligned)
{
  const uint64_t size = s->sp->e.grain_size;
  const uint64_t start = s->sp->data_start;

  s->unit = aligned && !s->unaligned ? size : SECTOR_SIZE;
  s->per_grain = size / s->unit;
  s->movable = !aligned || !s->unaligned;
  s->origin = start;
  if (s->unit == size && start % size != s->residue)
    s->origin = start + (size + s->residue - start % size) % size;
  if (s->end < s->origin)
    s->end = s->origin;
}

/* Marking. */

static void
set_bit (uint64_t *bits, uint64_t i)
{
  bits[i / 64] |= UINT64_C (1) << i % 64;
}

/* All units that it touches. */
static void
mark_in (const struct space *s, uint64_t *bits, uint64_t start,
         uint64_t length)
{
  uint64_t end = start + length, i;

  if (end <= s->window)
    return;
  i = start > s->window ? (start - s->window) / s->unit : 0;
  end = div_round_up (end - s->window, s->unit);
  for (; i < end && i < s->nr_bits; i++)
    set_bit (bits, i);
}

static void
mark (struct space *s, uint64_t start, uint64_t length)
{
  mark_in (s, s->used, start, length);
}

static int
mark_table (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  struct space *const s = opaque;
  const void *const entries = entries_of (t);
  unsigned copy;
  uint64_t i, place;

  for (copy = 0; copy < 2; copy++)
    if (t->kind[copy] == ENTRY_PLACE)
      mark (s, t->place[copy], sparse_gt_bytes (sp));
  for (i = 0; entries && i < sp->gtes_per_gt; i++) {
    if (tables_gte (sp, entries, i, &place) != ENTRY_PLACE)
      continue;
    mark (s, place, sp->e.grain_size);
    if (place >= s->window && (place - s->window) / s->unit < s->nr_bits)
      set_bit (s->begins, (place - s->window) / s->unit);
  }
  return 0;
}

int
space_load (struct space *s, uint64_t start)
{
  const struct sparse *const sp = s->sp;
  unsigned copy;

  s->window = start;
  memset (s->used, 0, (size_t) div_round_up (s->nr_bits, 64) * 8);
  memset (s->begins, 0, (size_t) div_round_up (s->nr_bits, 64) * 8);
  mark (s, 0, sp->data_start);
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    mark (s, sp->gd[copy], sparse_gd_bytes (sp));
  return scan_tables (s->sp, mark_table, s);
}

int
space_open (struct space *s, struct sparse *sp)
{
  uint64_t words;

  *s = (struct space) { .sp = sp };
  if (survey (s) == -1)
    return -1;
  choose_unit (s, sp->write_format->align_grains);
  s->nr_bits = div_round_up (s->end - s->origin, s->unit);
  if (s->nr_bits > MAX_BITS) {
    s->nr_bits = MAX_BITS;
    s->movable = false;
  }
  words = div_round_up (s->nr_bits, 64);
  s->used = malloc ((size_t) words * 8 + 8);
  s->begins = malloc ((size_t) words * 8 + 8);
  if (s->used == NULL || s->begins == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
    return -1;
  }
  return space_load (s, s->origin);
}

void
space_close (struct space *s)
{
  free (s->used);
  free (s->begins);
}

/* What isn't a grain. */

struct fixed {
  const struct space *s;
  uint64_t *bits;
};

static int
mark_fixed_table (struct sparse *sp, void *opaque,
                  const struct scanned_table *t)
{
  const struct fixed *const f = opaque;
  unsigned copy;

  for (copy = 0; copy < 2; copy++)
    if (t->kind[copy] == ENTRY_PLACE)
      mark_in (f->s, f->bits, t->place[copy], sparse_gt_bytes (sp));
  return 0;
}

uint64_t *
space_fixed (const struct space *s)
{
  struct sparse *const sp = s->sp;
  struct fixed f = {
    .s = s,
    .bits = calloc ((size_t) div_round_up (s->nr_bits, 64) + 1, 8),
  };
  unsigned copy;

  if (f.bits == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
    return NULL;
  }
  mark_in (s, f.bits, 0, sp->data_start);
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    mark_in (s, f.bits, sp->gd[copy], sparse_gd_bytes (sp));
  if (scan_directories (sp, mark_fixed_table, &f) == 0)
    return f.bits;
  free (f.bits);
  return NULL;
}

/* Looking. */

static bool
is_set (const uint64_t *bits, uint64_t i)
{
  return (bits[i / 64] >> i % 64 & 1) != 0;
}

static uint64_t
find_bit (const struct space *s, const uint64_t *bits, uint64_t i, bool set)
{
  while (i < s->nr_bits) {
    const uint64_t word = set ? bits[i / 64] : ~bits[i / 64];
    const uint64_t rest = word >> i % 64;

    if (rest != 0) {
      i += (uint64_t) __builtin_ctzll (rest);
      return i < s->nr_bits ? i : s->nr_bits;
    }
    i += 64 - i % 64;
  }
  return s->nr_bits;
}

uint64_t
space_find (const struct space *s, uint64_t i, bool used)
{
  return find_bit (s, s->used, i, used);
}

uint64_t
space_find_run (const struct space *s, const uint64_t *bits, uint64_t i,
                uint64_t n)
{
  uint64_t run;

  while ((i = find_bit (s, bits, i, false)) < s->nr_bits) {
    for (run = 1; run < n && i + run < s->nr_bits && !is_set (bits, i + run);
         run++)
      ;
    if (run == n)
      return i;
    i += run;
  }
  return s->nr_bits;
}

uint64_t
space_find_slot (const struct space *s, uint64_t i)
{
  return space_find_run (s, s->used, i, s->per_grain);
}

uint64_t
space_find_grain (const struct space *s, uint64_t i)
{
  while (i > 0) {
    const uint64_t low = (i - 1) / 64 * 64;
    uint64_t word = s->begins[low / 64];

    if (i - low < 64)
      word &= (UINT64_C (1) << (i - low)) - 1;
    if (word != 0)
      return low + 63 - (uint64_t) __builtin_clzll (word);
    i = low;
  }
  return s->nr_bits;
}
