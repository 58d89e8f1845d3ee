/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing seSparse extents.  What is known of the free bitmap and the back
 * map, of which hosts are the only writers, is what check compares; they are
 * made to agree with the tables, which say what the guest sees.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "repair-sparse.h"
#include "sesparse.h"

#define GTE_TYPE_SHIFT 60
#define BACK_MAP_USED 1

/* Numbers in entries have their low 12 bits on top. */
static uint64_t
encode_number (uint64_t type, uint64_t number)
{
  return type << GTE_TYPE_SHIFT | (number & 0xfff) << 48 | number >> 12;
}

static uint64_t
index_of (const struct sesparse *ss, uint64_t position)
{
  return (position - ss->region[REGION_GRAINS].offset) / ss->sp.e.grain_size;
}

/* The directory. */

static int
drop_table (struct repair *r, struct sesparse *ss,
            const struct check_place *p)
{
  if (repair_set_gde (&ss->sp, 0, p->number, 0) == -1)
    return -1;
  r->result->content_changed = true;
  repair_grains (r, p->code, &ss->sp.e, p->number * ss->sp.gtes_per_gt,
                 ss->sp.gtes_per_gt, "were in a grain table that is lost; "
                 "they read as if they had never been written");
  return 0;
}

/* The first number behind all tables in use. */
static int
next_table (const struct sesparse *ss, uint64_t *next)
{
  const uint64_t size = sparse_gt_bytes (&ss->sp);
  uint64_t i, position;

  *next = 0;
  for (i = 0; i < ss->sp.nr_gts; i++) {
    if (repair_next_table (&ss->sp, 0, &i, &position) == -1)
      return -1;
    if (position != 0 &&
        (position - ss->region[REGION_GTS].offset) / size >= *next)
      *next = (position - ss->region[REGION_GTS].offset) / size + 1;
  }
  return 0;
}

/* Tables lie at numbers, so two that share space are the same. */
static int
copy_table (struct repair *r, struct sesparse *ss,
            const struct check_place *p)
{
  const size_t size = sparse_gt_bytes (&ss->sp);
  uint64_t next;
  uint8_t *buf;
  int result;

  if (next_table (ss, &next) == -1)
    return -1;
  if (next >= ss->nr_tables)
    return drop_table (r, ss, p);
  buf = malloc (size);
  if (buf == NULL) {
    vmdk_error (&r->log, "%s: %m", ss->sp.e.store->name);
    return -1;
  }
  result = store_pread (ss->sp.tables, buf, size, p->position);
  if (result == 0)
    result = store_pwrite (ss->sp.tables, buf, size,
                           ss->region[REGION_GTS].offset + next * size);
  free (buf);
  if (result == -1 ||
      repair_set_gde (&ss->sp, 0, p->number,
                      (uint64_t) SESPARSE_GDE_TABLE << 32 | next) == -1)
    return -1;
  repair_done (r, p->code, ss->sp.e.store->name, "grain table %" PRIu64
               " was another's, too; it is a copy of that now", p->number);
  return 0;
}

static int
repair_directory (struct repair *r, struct sesparse *ss)
{
  const uint64_t before = r->made;
  const struct check_place *p;
  size_t i = 0;

  if (repair_has (r, &ss->sp.e, "tables-hopeless"))
    return 0;
  while ((p = repair_next (r, &ss->sp.e, AT_GDE_INVALID, &i)))
    if (drop_table (r, ss, p) == -1)
      return -1;
  for (i = 0; r->made == before &&
         (p = repair_next (r, &ss->sp.e, AT_GT_SHARED, &i)); )
    if (copy_table (r, ss, p) == -1)
      return -1;
  return 0;
}

/* Free bitmap and back map: pages of them, one at a time. */

#define PAGE 4096

struct page {
  struct store *store;
  uint64_t at; /* UINT64_MAX: none is loaded */
  bool changed;
  uint64_t words[PAGE / 8];
};

static int
save_page (struct page *p)
{
  if (p->at == UINT64_MAX || !p->changed)
    return 0;
  p->changed = false;
  return store_pwrite (p->store, p->words, PAGE, p->at);
}

/* The word at an offset of the file. */
static uint64_t *
word_at (struct page *p, uint64_t offset)
{
  const uint64_t at = offset - offset % PAGE;

  if (at != p->at) {
    if (save_page (p) == -1 ||
        store_pread (p->store, p->words, PAGE, at) == -1)
      return NULL;
    p->at = at;
  }
  return &p->words[offset % PAGE / 8];
}

struct maps {
  struct sesparse *ss;
  struct page bitmap, back;
  uint64_t set, named; /* how many were wrong */
};

static int
set_bit (struct maps *m, uint64_t index)
{
  const uint64_t mask = htole64 (UINT64_C (1) << index % 64);
  uint64_t *word;

  if (index / 8 >= m->ss->region[REGION_FREE_BITMAP].size)
    return 0;
  word = word_at (&m->bitmap, m->ss->region[REGION_FREE_BITMAP].offset +
                  index / 64 * 8);
  if (word == NULL)
    return -1;
  if (!(*word & mask)) {
    *word |= mask;
    m->bitmap.changed = true;
    m->set++;
  }
  return 0;
}

static bool
names_grain (const struct sesparse *ss, uint64_t entry, uint64_t grain)
{
  const uint64_t n =
    (entry >> 48 & 0xfff) | (entry & UINT64_C (0xffffffffffff)) << 12;

  return entry >> 60 == BACK_MAP_USED &&
    (n == grain || (n % SESPARSE_GTES_PER_GT == grain % SESPARSE_GTES_PER_GT
                    && n / SESPARSE_GTES_PER_GT < ss->nr_tables));
}

static int
set_owner (struct maps *m, uint64_t index, uint64_t grain)
{
  uint64_t *word;

  if (index >= m->ss->region[REGION_BACK_MAP].size / 8)
    return 0;
  word = word_at (&m->back, m->ss->region[REGION_BACK_MAP].offset +
                  index * 8);
  if (word == NULL)
    return -1;
  if (!names_grain (m->ss, le64toh (*word), grain)) {
    *word = htole64 (encode_number (BACK_MAP_USED, grain));
    m->back.changed = true;
    m->named++;
  }
  return 0;
}

static int
map_table (struct maps *m, uint64_t number, const uint8_t *table)
{
  const struct sparse *const sp = &m->ss->sp;
  uint64_t i, position;

  for (i = 0; i < sp->gtes_per_gt; i++) {
    const uint64_t grain = number * sp->gtes_per_gt + i;

    if (sp->format->decode_gte (sp, le64_at (table + 8 * i), &position) !=
        ENTRY_PLACE)
      continue;
    if (set_bit (m, index_of (m->ss, position)) == -1 ||
        set_owner (m, index_of (m->ss, position), grain) == -1)
      return -1;
  }
  return 0;
}

static int
map_tables (struct maps *m)
{
  const struct sparse *const sp = &m->ss->sp;
  uint8_t *const table = malloc (sparse_gt_bytes (sp));
  uint64_t i, at;
  int r = table ? 0 : -1;

  if (table == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  for (i = 0; r == 0 && i < sp->nr_gts; i++) {
    r = repair_next_table (sp, 0, &i, &at);
    if (r == -1 || at == 0)
      continue;
    r = store_pread (sp->tables, table, sparse_gt_bytes (sp), at);
    if (r == 0)
      r = map_table (m, i, table);
  }
  free (table);
  if (r == 0 && (save_page (&m->bitmap) == -1 || save_page (&m->back) == -1))
    r = -1;
  return r;
}

static int
fix_maps (struct repair *r, struct sesparse *ss)
{
  struct store *const s = ss->sp.e.store;
  struct maps *const m = calloc (1, sizeof *m);
  int result;

  if (m == NULL) {
    vmdk_error (&r->log, "%s: %m", s->name);
    return -1;
  }
  *m = (struct maps) {
    .ss = ss, .bitmap = { .store = s, .at = UINT64_MAX },
    .back = { .store = s, .at = UINT64_MAX },
  };
  result = map_tables (m);
  if (m->set > 0)
    repair_done (r, "free-bitmap", s->name, "%" PRIu64 " grains in use are "
                 "not free by the bitmap any more", m->set);
  if (m->named > 0)
    repair_done (r, "back-map", s->name, "the back map is right now for %"
                 PRIu64 " more grains", m->named);
  free (m);
  return result;
}

/* The rest. */

static int
fix_end (struct repair *r, struct sesparse *ss)
{
  const uint64_t end = ss->region[REGION_GRAINS].offset;
  struct store *const s = ss->sp.e.store;

  if (s->size >= end)
    return 0;
  if (store_resize (s, end) == -1) {
    vmdk_error (&r->log, "%s: making it longer: %m", s->name);
    return -1;
  }
  repair_done (r, "region-past-end", s->name, "the file has %" PRIu64
               " bytes now, with all metadata; what was missing is zero", end);
  return 0;
}

static int
fix_free_gt (struct repair *r, struct sesparse *ss)
{
  const size_t field = offsetof (struct sesparse_volatile_disk, free_gt);
  uint64_t next, value;

  if (next_table (ss, &next) == -1)
    return -1;
  value = htole64 (next);
  if (repair_patch (&ss->sp.e, ss->region[REGION_VOLATILE_HEADER].offset +
                    field, &value, sizeof value) == -1)
    return -1;
  repair_done (r, "free-gt-number", ss->sp.e.store->name, "freeGTNumber was %"
               PRIu64 ", and is %" PRIu64 " now", ss->free_gt, next);
  return 0;
}

static uint64_t
new_place (const struct sparse *sp)
{
  const struct sesparse *const ss = (const struct sesparse *) sp;
  const uint64_t at =
    repair_end (sp, ss->region[REGION_GRAINS].offset, sp->e.grain_size);

  return index_of (ss, at) >= ss->region[REGION_GRAINS].size /
    sp->e.grain_size ? 0 : at;
}

static uint64_t
encode (const struct sparse *sp, uint64_t position)
{
  return encode_number (SESPARSE_GTE_ALLOCATED,
                        index_of ((const struct sesparse *) sp, position));
}

int
repair_sesparse (struct extent *e, struct repair *r)
{
  static const struct repair_format format = {
    .lost = 0, .new_place = new_place, .encode = encode,
    .zero = (uint64_t) SESPARSE_GTE_ZERO << GTE_TYPE_SHIFT,
    .lost_as = "are lost; they read as if they had never been written",
  };
  struct sesparse *const ss = (struct sesparse *) e;
  const uint64_t before = r->made;

  if (repair_has (r, e, "region-past-end") && fix_end (r, ss) == -1)
    return -1;
  if ((r->made == before && repair_directory (r, ss) == -1) ||
      (r->made == before && repair_entries (r, &ss->sp, &format) == -1))
    return -1;
  if (r->made == before && repair_has (r, e, "free-gt-number") &&
      fix_free_gt (r, ss) == -1)
    return -1;
  if (r->made == before && (repair_has (r, e, "free-bitmap") ||
                            repair_has (r, e, "back-map")))
    return fix_maps (r, ss);
  return 0;
}

/* Before it is opened: only on request are changes forgotten that the
 * journal has, and the tables don't.
 */
int
repair_header_sesparse (struct repair *r, struct store *s)
{
  struct sesparse_volatile_disk v;
  struct sesparse_header_disk d;
  uint64_t offset;

  if (!r->how->lose_journal || s->size < 2 * SECTOR_SIZE)
    return 0;
  if (store_pread (s, &d, sizeof d, 0) == -1)
    return -1;
  if (!sectors_to_bytes (le64_get (d.volatile_header.offset), &offset) ||
      offset < SECTOR_SIZE || offset > s->size - SECTOR_SIZE)
    return 0;
  if (store_pread (s, &v, sizeof v, offset) == -1)
    return -1;
  if (le64_get (v.magic) != SESPARSE_VOLATILE_MAGIC ||
      le64_get (v.replay_journal) == 0)
    return 0;
  repair_found (r, "journal", s->name, "its last changes are only in the "
                "journal");
  memset (&v.replay_journal, 0, sizeof v.replay_journal);
  if (store_pwrite (s, &v, sizeof v, offset) == -1)
    return -1;
  r->result->content_changed = true;
  repair_done (r, "journal", s->name, "changes of tables that are only in the "
               "journal are lost");
  return 0;
}
