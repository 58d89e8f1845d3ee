/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking seSparse extents.  Free bitmap and back map are compared with
 * the tables in windows of grains, with a word in memory for each that
 * tells the guest's grain.  What is known of both maps comes from one
 * extent of a host, so differences are warnings.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>

#include "check-sparse.h"
#include "sesparse.h"

#define WINDOW (UINT64_C (1) << CHECK_WINDOW_BITS) /* grains */
#define UNMAPPED (UINT64_C (1) << 63)
#define NO_INDEX UINT64_MAX
#define MAP_PIECE 4096 /* entries of the back map that are read at a time */

/* The layout. */

static uint64_t
round_mib (uint64_t bytes)
{
  return div_round_up (bytes, UINT64_C (1) << 20) << 20;
}

/* Where a host puts the regions of an extent of this capacity. */
static void
expected_regions (const struct sesparse *ss, uint64_t offset[NR_REGIONS],
                  uint64_t size[NR_REGIONS])
{
  const struct sparse *const sp = &ss->sp;
  const uint64_t gts = round_mib (sp->nr_gts * sparse_gt_bytes (sp));
  int i;

  size[REGION_VOLATILE_HEADER] = SECTOR_SIZE;
  size[REGION_JOURNAL_HEADER] = 2 * SECTOR_SIZE;
  size[REGION_JOURNAL] = 2048 * SECTOR_SIZE;
  size[REGION_GD] = round_mib (sparse_gd_bytes (sp));
  size[REGION_GTS] = gts;
  size[REGION_FREE_BITMAP] = round_mib (div_round_up (sp->nr_grains, 8));
  size[REGION_BACK_MAP] = gts;
  size[REGION_GRAINS] = sp->capacity;
  offset[REGION_VOLATILE_HEADER] = SECTOR_SIZE;
  offset[REGION_JOURNAL_HEADER] = 2 * SECTOR_SIZE;
  offset[REGION_JOURNAL] = 2048 * SECTOR_SIZE;
  for (i = REGION_GD; i < NR_REGIONS; i++)
    offset[i] = offset[i - 1] + size[i - 1];
}

static void
check_layout (struct check *check, const struct sesparse *ss)
{
  uint64_t offset[NR_REGIONS], size[NR_REGIONS];
  int i;

  expected_regions (ss, offset, size);
  for (i = 0; i < NR_REGIONS; i++)
    if (ss->region[i].offset != offset[i] || ss->region[i].size != size[i]) {
      check_defect (check, VMDK_WARNING, "sesparse-layout",
                    ss->sp.e.store->name,
                    "region %s has %" PRIu64 " sectors at %" PRIu64
                    ", expected %" PRIu64 " at %" PRIu64,
                    sesparse_region_name (i),
                    ss->region[i].size / SECTOR_SIZE,
                    ss->region[i].offset / SECTOR_SIZE,
                    size[i] / SECTOR_SIZE, offset[i] / SECTOR_SIZE);
      break; /* all behind it are moved with it */
    }
}

static void
check_file_end (struct check *check, struct sesparse *ss)
{
  const uint64_t file_size = ss->sp.e.store->size;
  int i;

  for (i = 0; i < REGION_GRAINS; i++)
    if (ss->region[i].offset + ss->region[i].size > file_size) {
      check_defect (check, VMDK_ERROR, "region-past-end",
                    ss->sp.e.store->name,
                    "region %s ends at offset %" PRIu64 ", but the file at %"
                    PRIu64 "; was it truncated?", sesparse_region_name (i),
                    ss->region[i].offset + ss->region[i].size, file_size);
      check_at_code (check, "region-past-end", &ss->sp.e);
    }
}

/* Entries. */

/* Entries of tables and back map hold a number with its low 12 bits on top
 * of the other 48.
 */
static uint64_t
entry_number (uint64_t v)
{
  return (v >> 48 & 0xfff) | (v & UINT64_C (0xffffffffffff)) << 12;
}

/* The grain in the file that an entry owns.  An unmapped one still owns
 * its grain, but number 0 there mostly means that it never had any.
 */
static uint64_t
owned_index (const struct sesparse *ss, uint64_t value)
{
  const uint64_t index = entry_number (value);
  const uint64_t type = value >> 60;

  if (type != SESPARSE_GTE_ALLOCATED &&
      (type != SESPARSE_GTE_UNMAPPED || index == 0))
    return NO_INDEX;
  if (index >= div_round_up (ss->region[REGION_GRAINS].size,
                             ss->sp.e.grain_size) ||
      ss->region[REGION_GRAINS].offset + index * ss->sp.e.grain_size >=
      sparse_data_end (&ss->sp))
    return NO_INDEX;
  return index;
}

static void
check_zeroed (struct sparse_check *c, uint64_t grain, uint64_t value)
{
  const struct sesparse *const ss = (const struct sesparse *) c->sp;
  const uint64_t index = owned_index (ss, value);

  if (index != NO_INDEX)
    sparse_check_own (c, grain, ss->region[REGION_GRAINS].offset +
                      index * c->sp->e.grain_size);
}

static const struct sparse_check_ops ops = {
  .zeroed = check_zeroed,
};

static void
check_free_gt (struct sparse_check *c)
{
  const struct sesparse *const ss = (const struct sesparse *) c->sp;
  uint64_t used;

  if (spread_empty (&c->tables))
    return;
  used = (c->tables.end - ss->region[REGION_GTS].offset) /
    sparse_gt_bytes (c->sp);
  if (ss->free_gt < used) {
    check_defect (c->check, VMDK_WARNING, "free-gt-number", c->file,
                  "freeGTNumber is %" PRIu64 ", but grain table %" PRIu64
                  " is in use", ss->free_gt, used - 1);
    check_at_code (c->check, "free-gt-number", &c->sp->e);
  }
}

/* Windows of grains of the file. */

struct finding {
  uint64_t count, first;
};

struct owners {
  struct sparse_check c; /* must come first */
  uint64_t first;   /* the window's, a multiple of 64 */
  uint64_t *owner;  /* guest's grain + 1, UNMAPPED; 0: none */
  uint64_t low, high; /* of these, [low, high) may be other than 0 */
  uint64_t next;    /* the first index behind the window that was seen */
  uint8_t *bitmap;  /* WINDOW bits */
  struct finding free, leaked, back;
};

static struct sesparse *
extent_of (const struct owners *o)
{
  return (struct sesparse *) o->c.sp;
}

static void
found (struct finding *f, uint64_t index)
{
  if (f->count++ == 0)
    f->first = index;
}

static void
take_entry (struct owners *o, uint64_t grain, uint64_t value)
{
  const uint64_t index = owned_index (extent_of (o), value);
  const uint64_t slot = index - o->first;
  uint64_t *owner;

  if (index == NO_INDEX || index < o->first)
    return;
  if (slot >= WINDOW) {
    if (index < o->next)
      o->next = index;
    return;
  }
  owner = &o->owner[slot];
  if (*owner != 0)
    check_defect (o->c.check, VMDK_ERROR, "grain-shared", o->c.file,
                  "grains %" PRIu64 " and %" PRIu64 " have the same place, "
                  "number %" PRIu64, (*owner & ~UNMAPPED) - 1, grain,
                  o->first + slot);
  if (*owner != 0)
    sparse_check_at (&o->c, "grain-shared", AT_GRAIN_SHARED, grain, 0);
  *owner = grain + 1;
  if (value >> 60 == SESPARSE_GTE_UNMAPPED)
    *owner |= UNMAPPED;
  if (slot < o->low)
    o->low = slot;
  if (slot >= o->high)
    o->high = slot + 1;
}

static int
take_table (struct sparse_check *c, const struct table_view *t)
{
  const uint64_t n = sparse_check_nr_entries (c->sp, t->number);
  uint64_t i;

  for (i = 0; i < n; i++) {
    const uint64_t value = le64_at (t->entries + i * sizeof (le64));

    if (value != 0)
      take_entry ((struct owners *) c,
                  t->number * c->sp->gtes_per_gt + i, value);
  }
  return 0;
}

/* Bits for those of the 64 grains from slot on that are allocated, and for
 * those that are owned at all.
 */
static void
owned_bits (const struct owners *o, uint64_t slot, uint64_t *allocated,
            uint64_t *owned)
{
  unsigned i;

  *allocated = *owned = 0;
  if (slot >= o->high || slot + 64 <= o->low)
    return;
  for (i = 0; i < 64; i++) {
    const uint64_t owner = o->owner[slot + i];

    *owned |= (uint64_t) (owner != 0) << i;
    *allocated |= (uint64_t) (owner != 0 && !(owner & UNMAPPED)) << i;
  }
}

static void
add_findings (struct finding *f, uint64_t index, uint64_t bits)
{
  if (bits == 0)
    return;
  if (f->count == 0)
    f->first = index + (uint64_t) __builtin_ctzll (bits);
  f->count += (uint64_t) __builtin_popcountll (bits);
}

/* 1: in use.  Unmapped grains may be either. */
static int
compare_bitmap (struct owners *o)
{
  const struct sesparse *const ss = extent_of (o);
  const uint64_t start = o->first / 8;
  const uint64_t size = ss->region[REGION_FREE_BITMAP].size;
  uint64_t bytes = WINDOW / 8, slot;

  if (start >= size)
    return 0;
  if (bytes > size - start)
    bytes = size - start;
  if (store_pread (ss->sp.e.store, o->bitmap, (size_t) bytes,
                   ss->region[REGION_FREE_BITMAP].offset + start) == -1)
    return -1;
  for (slot = 0; slot < bytes * 8; slot += 64) {
    const uint64_t word = le64_at (o->bitmap + slot / 8);
    uint64_t allocated, owned;

    owned_bits (o, slot, &allocated, &owned);
    if (o->first + slot == 0) /* perhaps an unmapped entry's: owned_index */
      owned |= 1;
    add_findings (&o->free, o->first + slot, allocated & ~word);
    add_findings (&o->leaked, o->first + slot, word & ~owned);
  }
  return 0;
}

/* The number may be the guest's grain, or a table's place and the slot in
 * it: the only extent of a host that was seen can't tell.
 */
static bool
names_grain (const struct sesparse *ss, uint64_t entry, uint64_t grain)
{
  const uint64_t n = entry_number (entry);

  return entry >> 60 == 1 &&
    (n == grain || (n % SESPARSE_GTES_PER_GT == grain % SESPARSE_GTES_PER_GT
                    && n / SESPARSE_GTES_PER_GT < ss->nr_tables));
}

static int
compare_back_map (struct owners *o)
{
  const struct sesparse *const ss = extent_of (o);
  const uint64_t entries =
    ss->region[REGION_BACK_MAP].size / sizeof (le64);
  uint8_t piece[MAP_PIECE * sizeof (le64)];
  uint64_t slot, loaded = UINT64_MAX;

  for (slot = o->low; slot < o->high; slot++) {
    const uint64_t owner = o->owner[slot];
    const uint64_t index = o->first + slot;

    if (owner == 0 || (owner & UNMAPPED) || index >= entries)
      continue;
    if (index / MAP_PIECE != loaded) {
      loaded = index / MAP_PIECE;
      if (store_pread (ss->sp.e.store, piece, sizeof piece,
                       ss->region[REGION_BACK_MAP].offset +
                       loaded * sizeof piece) == -1)
        return -1;
    }
    if (!names_grain (ss, le64_at (piece + index % MAP_PIECE * sizeof (le64)),
                      owner - 1))
      found (&o->back, index);
  }
  return 0;
}

/* The first grain behind the window, or in it, whose bit isn't in a hole. */
static uint64_t
next_in_bitmap (const struct owners *o, uint64_t index)
{
  const struct sesparse *const ss = extent_of (o);
  const uint64_t offset = ss->region[REGION_FREE_BITMAP].offset;
  const uint64_t end = offset + ss->region[REGION_FREE_BITMAP].size;
  uint64_t start;

  if (index / 8 >= end - offset)
    return UINT64_MAX;
  start = store_next_data (ss->sp.e.store, offset + index / 8);
  return start < end ? (start - offset) * 8 : UINT64_MAX;
}

/* Reads the window at o->first, and says where the next one begins. */
static int
check_window (struct owners *o, uint64_t *next)
{
  const uint64_t grains = extent_of (o)->region[REGION_GRAINS].offset;
  const uint32_t size = o->c.sp->e.grain_size;
  const uint64_t start = grains + o->first * size;
  uint64_t begin = UINT64_MAX, bit;

  o->next = UINT64_MAX;
  o->low = WINDOW;
  o->high = 0;
  if (sparse_check_walk (&o->c, start, start + WINDOW * size, &begin,
                         take_table) == -1 ||
      compare_bitmap (o) == -1 || compare_back_map (o) == -1)
    return -1;
  if (o->high > o->low)
    memset (o->owner + o->low, 0,
            (size_t) (o->high - o->low) * sizeof o->owner[0]);
  *next = o->next;
  if (begin != UINT64_MAX && (begin - grains) / size < *next)
    *next = (begin - grains) / size;
  bit = next_in_bitmap (o, o->first + WINDOW);
  if (bit < *next)
    *next = bit;
  return 0;
}

static void
report_findings (struct owners *o)
{
  struct extent *const e = &o->c.sp->e;

  if (o->free.count > 0)
    check_defect (o->c.check, VMDK_WARNING, "free-bitmap", o->c.file,
                  "%" PRIu64 " grains in use are free by the bitmap, the "
                  "first is number %" PRIu64, o->free.count, o->free.first);
  if (o->free.count > 0)
    check_at_code (o->c.check, "free-bitmap", e);
  if (o->back.count > 0)
    check_defect (o->c.check, VMDK_WARNING, "back-map", o->c.file,
                  "the back map is wrong for %" PRIu64 " grains in use, the "
                  "first is number %" PRIu64, o->back.count, o->back.first);
  if (o->back.count > 0)
    check_at_code (o->c.check, "back-map", e);
  if (o->leaked.count > 0)
    check_leak (o->c.check, "leaked-grains", o->c.file,
                o->leaked.count * o->c.sp->e.grain_size,
                "%" PRIu64 " grains are in use by the bitmap, but nothing "
                "refers to them, the first is number %" PRIu64,
                o->leaked.count, o->leaked.first);
}

static int
check_windows (struct owners *o)
{
  uint64_t next = 0;

  while (next != UINT64_MAX) {
    /* At a byte of the bitmap, and not below the one before. */
    o->first = next / 64 * 64;
    if (check_window (o, &next) == -1)
      return -1;
    if (next != UINT64_MAX && next < o->first + WINDOW)
      next = o->first + WINDOW;
  }
  report_findings (o);
  return 0;
}

static int
check_owners (struct owners *o)
{
  int r = -1;

  o->owner = calloc (WINDOW, sizeof o->owner[0]);
  o->bitmap = malloc (WINDOW / 8);
  if (o->owner && o->bitmap)
    r = check_windows (o);
  else
    vmdk_error (&o->c.sp->e.ctx->log, "%s: %m", o->c.file);
  free (o->owner);
  free (o->bitmap);
  return r;
}

int
sesparse_check (struct extent *e, struct check *check)
{
  struct sesparse *const ss = (struct sesparse *) e;
  struct owners o = { 0 };
  int r;

  check_layout (check, ss);
  check_file_end (check, ss);
  r = sparse_check_init (&o.c, check, &ss->sp, &ops);
  if (r == 0)
    r = sparse_check_tables (&o.c);
  if (r == 0)
    check_free_gt (&o.c);
  if (r == 0 && o.c.shared_tables <= MAX_SHARED_TABLES)
    r = check_owners (&o);
  sparse_check_release (&o.c);
  return r;
}
