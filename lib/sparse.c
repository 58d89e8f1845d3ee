/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The two-level engine: from a guest offset to a run, by the entries of a
 * page of a grain table.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "le.h"
#include "sparse.h"
#include "tables.h"

void
sparse_set_geometry (struct sparse *sp)
{
  sp->nr_grains = div_round_up (sp->capacity, sp->e.grain_size);
  sp->nr_gts = div_round_up (sp->nr_grains, sp->gtes_per_gt);
}

void
sparse_release (struct sparse *sp)
{
  store_unref (sp->tables);
  sp->tables = NULL;
  free (sp->absent);
  sp->absent = NULL;
}

/* A range of the extent that is to be mapped. */
struct want {
  uint64_t grain;    /* the first one */
  uint64_t in_grain; /* bytes */
  uint64_t length;   /* bytes from there */
};

static uint64_t
grains_wanted (const struct sparse *sp, const struct want *w)
{
  return div_round_up (w->in_grain + w->length, sp->e.grain_size);
}

/* Sets a run that ends with the grain before end, or with the wish. */
static void
set_run (const struct sparse *sp, const struct want *w, enum run_kind kind,
         uint64_t end, struct run *run)
{
  uint64_t grains = end - w->grain;

  if (grains > grains_wanted (sp, w))
    grains = grains_wanted (sp, w);
  run->kind = kind;
  run->length = grains * sp->e.grain_size - w->in_grain;
  if (run->length > w->length)
    run->length = w->length;
}

static int
report_gte (const struct sparse *sp, uint64_t grain, uint64_t value)
{
  vmdk_error (&sp->e.ctx->log,
              "%s: entry %" PRIu64 " of grain table %" PRIu64 " (grain %"
              PRIu64 "), 0x%" PRIx64 ", %s", sp->e.store->name,
              grain % sp->gtes_per_gt, grain / sp->gtes_per_gt, grain, value,
              sp->format->bad_gte (sp, value));
  errno = EIO;
  return -1;
}

/* Grains don't overlap, so only one of a sound file can reach past its
 * end.  Writers leave out the end of the last grain.
 */
static void
warn_short (struct sparse *sp, uint64_t grain, uint64_t position)
{
  const uint64_t end = sparse_data_end (sp);
  uint64_t valid = sp->e.size - grain * sp->e.grain_size;

  if (valid > sp->e.grain_size)
    valid = sp->e.grain_size;
  if (position + valid > end &&
      !atomic_exchange (&sp->warned_short, true))
    vmdk_warning (&sp->e.ctx->log,
                  "%s: grain %" PRIu64 " at offset %" PRIu64 " reaches past "
                  "the end of the file at %" PRIu64 "; what is missing "
                  "reads as zero; was the file truncated?",
                  sp->e.store->name, grain, position, end);
}

/* How many entries from i on, before n, continue what entry i says. */
static uint64_t
count_alike (const struct sparse *sp, const void *page, uint64_t i,
             uint64_t n, enum entry_kind kind, uint64_t position)
{
  const uint64_t begin = i;

  if (kind == ENTRY_ABSENT)
    return tables_skip_zeroes (sp, page, i, n) - begin;
  for (i++; i < n; i++) {
    uint64_t next;

    if (tables_gte (sp, page, i, &next) != kind)
      break;
    position += sp->e.grain_size;
    if (kind == ENTRY_PLACE && next != position)
      break;
  }
  return i - begin;
}

/* The next grain of a stream usually follows in the file: the distance
 * tells how long the compressed one is without reading its marker.
 */
static uint32_t
packed_hint (const struct sparse *sp, const void *page, uint64_t i,
             uint64_t position)
{
  uint64_t next;

  if (i + 1 < tables_per_page (sp) &&
      tables_gte (sp, page, i + 1, &next) == ENTRY_PLACE &&
      next > position && next - position <= UINT32_MAX)
    return (uint32_t) (next - position);
  return 0;
}

static void
set_place (struct sparse *sp, const struct want *w, const void *page,
           uint64_t i, uint64_t position, struct run *run)
{
  run->extent = &sp->e;
  run->store = sp->e.store;
  if (sp->packed) {
    run->kind = RUN_PACKED;
    run->file_offset = position;
    run->grain = w->grain;
    run->in_grain = (uint32_t) w->in_grain;
    run->packed_hint = packed_hint (sp, page, i, position);
  }
  else {
    const uint64_t last =
      (w->in_grain + run->length - 1) / sp->e.grain_size;

    run->kind = RUN_DATA;
    run->file_offset = position + w->in_grain;
    position += last * sp->e.grain_size;
    if (__builtin_expect (position + sp->e.grain_size > sparse_data_end (sp),
                          0))
      warn_short (sp, w->grain + last, position);
  }
}

/* Decodes the wanted entries of a page. */
static int
map_page (struct sparse *sp, const struct want *w, const void *page,
          struct run *run)
{
  const uint64_t per_page = tables_per_page (sp);
  const uint64_t i = w->grain % per_page;
  const uint64_t wanted = grains_wanted (sp, w);
  const uint64_t n = wanted < per_page - i ? i + wanted : per_page;
  uint64_t position = 0, alike;
  const enum entry_kind kind = tables_gte (sp, page, i, &position);

  if (kind == ENTRY_BAD)
    return report_gte (sp, w->grain, tables_value (sp, page, i));
  if (kind == ENTRY_PLACE && sp->packed)
    alike = 1;
  else
    alike = count_alike (sp, page, i, n, kind, position);
  set_run (sp, w, kind == ENTRY_ZERO ? RUN_ZERO : RUN_ABSENT,
           w->grain + alike, run);
  if (kind == ENTRY_PLACE)
    set_place (sp, w, page, i, position, run);
  return 0;
}

/* Absent grains. */

#define BITS 64 /* in a word */

static bool
known_absent (const atomic_ullong *absent, uint64_t grain)
{
  return atomic_load_explicit (&absent[grain / BITS],
                               memory_order_relaxed) >> grain % BITS & 1;
}

/* How many grains from the first one on needn't be looked up. */
static uint64_t
count_absent (const struct sparse *sp, const struct want *w)
{
  const atomic_ullong *const absent = sp->absent;
  const uint64_t wanted = grains_wanted (sp, w);
  uint64_t n = 0;

  if (absent == NULL || sp->writer != NULL)
    return 0;
  while (n < wanted && known_absent (absent, w->grain + n))
    n++;
  return n;
}

/* Takes room for the bits, if there is enough. */
static void
make_absent (struct sparse *sp)
{
  const uint64_t grains = div_round_up (sp->e.size, sp->e.grain_size);
  const uint64_t words = div_round_up (grains, BITS);
  const size_t size = (size_t) words * sizeof (atomic_ullong);
  size_t room = sp->e.ctx->absent_room;
  atomic_ullong *bits, *none = NULL;

  do
    if (words > room / sizeof *bits)
      return;
  while (!atomic_compare_exchange_weak (&sp->e.ctx->absent_room, &room,
                                        room - size));
  bits = calloc (1, size);
  if (bits && atomic_compare_exchange_strong (&sp->absent, &none, bits))
    return;
  free (bits); /* another thread was quicker, or no memory */
  atomic_fetch_add (&sp->e.ctx->absent_room, size);
}

/* What was found absent before there was a writer is marked; a mark that
 * comes late isn't looked at any more.
 */
static void
mark_absent (struct sparse *sp, const struct want *w, const struct run *run)
{
  uint64_t n = div_round_up (w->in_grain + run->length, sp->e.grain_size);
  uint64_t grain = w->grain;
  atomic_ullong *absent;

  if (sp->writer != NULL)
    return;
  if (sp->absent == NULL)
    make_absent (sp);
  absent = sp->absent;
  for (; absent && n > 0; grain++, n--)
    atomic_fetch_or_explicit (&absent[grain / BITS], 1ULL << grain % BITS,
                              memory_order_relaxed);
}

int
sparse_map (struct extent *e, uint64_t offset, uint64_t length,
            struct window *window, struct run *run)
{
  struct sparse *const sp = (struct sparse *) e;
  const struct want w = {
    .grain = offset / e->grain_size,
    .in_grain = offset % e->grain_size,
    .length = length,
  };
  struct table_page page;
  uint64_t end;
  int r;

  /* A window shows one copy of the tables, as the file has it. */
  if (sp->nr_dirty != 0 || sp->unclean)
    window = NULL;
  *run = (struct run) { 0 };
  if (window == NULL && (end = count_absent (sp, &w)) > 0) {
    set_run (sp, &w, RUN_ABSENT, w.grain + end, run);
    return 0;
  }
  if (tables_find (sp, w.grain, w.grain + grains_wanted (sp, &w) - 1, window,
                   &page, &end) == -1)
    return -1;
  if (page.data == NULL) {
    set_run (sp, &w, RUN_ABSENT, end, run);
    return 0;
  }
  r = map_page (sp, &w, page.data, run);
  tables_put (sp, &page);
  if (r == 0 && window == NULL && run->kind == RUN_ABSENT)
    mark_absent (sp, &w, run);
  return r;
}
