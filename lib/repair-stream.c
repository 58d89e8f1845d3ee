/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing streams.  What is wrong with tables and directory is put right
 * in one way: the disk is opened by its markers, as with recover=true, and
 * the tables that come out of that are written behind the last grain, with
 * a new directory, footer and end.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "repair-kdmv.h"

/* New tables, in the order in which they are written. */
struct rebuild {
  struct repair *r;
  struct kdmv *k;
  uint8_t *table;
  uint64_t grains, tables; /* numbers */
  uint64_t end;            /* of the last grain */
  uint64_t at;             /* where the next thing is written */
};

static int
write_marker (struct rebuild *b, uint32_t type, uint64_t sectors)
{
  struct kdmv_marker_disk m = { .type = to_le32 (type) };
  uint8_t sector[SECTOR_SIZE] = { 0 };
  const uint64_t value = htole64 (sectors);

  memcpy (&m.value, &value, sizeof value);
  memcpy (sector, &m, sizeof m);
  if (store_pwrite (b->k->sp.e.store, sector, sizeof sector, b->at) == -1)
    return -1;
  b->at += sizeof sector;
  return 0;
}

/* The end of a grain, by its marker. */
static int
measure (struct rebuild *b, uint64_t position)
{
  uint8_t header[KDMV_MARKER_GRAIN_HEADER];
  uint64_t end;

  if (store_pread (b->k->sp.e.store, header, sizeof header, position) == -1)
    return -1;
  end = position + div_round_up (sizeof header + le32_at (header + 8),
                                 SECTOR_SIZE) * SECTOR_SIZE;
  if (end > b->end)
    b->end = end;
  b->grains++;
  return 0;
}

/* Loads the first table of those that were found, from *number on; false:
 * there are no more.
 */
static int
load_next (struct rebuild *b, uint64_t *number, bool *is)
{
  const struct sparse *const sp = &b->k->sp;
  uint64_t from;

  if (repair_next_table (sp, 0, number, &from) == -1)
    return -1;
  *is = from != 0;
  return *is ? store_pread (sp->tables, b->table, sparse_gt_bytes (sp), from)
    : 0;
}

static int
measure_all (struct rebuild *b)
{
  const struct sparse *const sp = &b->k->sp;
  uint64_t i, position;
  size_t j;
  bool is;

  for (i = 0; ; i++) {
    if (load_next (b, &i, &is) == -1)
      return -1;
    if (!is)
      return 0;
    b->tables++;
    for (j = 0; j < sp->gtes_per_gt; j++)
      if (sp->format->decode_gte (sp, le32_at (b->table + 4 * j),
                                  &position) == ENTRY_PLACE &&
          measure (b, position) == -1)
        return -1;
  }
}

/* The directory follows the tables, and is written with them. */
static int
write_tables (struct rebuild *b, uint64_t gd)
{
  const struct sparse *const sp = &b->k->sp;
  const size_t size = sparse_gt_bytes (sp);
  uint64_t i;
  bool is;

  for (i = 0; ; i++) {
    uint32_t gde;

    if (load_next (b, &i, &is) == -1)
      return -1;
    if (!is)
      return 0;
    if (write_marker (b, KDMV_MARKER_GT, size / SECTOR_SIZE) == -1)
      return -1;
    gde = htole32 ((uint32_t) (b->at / SECTOR_SIZE));
    if (store_pwrite (sp->e.store, b->table, size, b->at) == -1 ||
        store_pwrite (sp->e.store, &gde, sizeof gde, gd + i * 4) == -1)
      return -1;
    b->at += size;
  }
}

/* The header, with the directory at gd, or at the end. */
static int
write_header (struct rebuild *b, uint64_t at, uint64_t gd)
{
  struct store *const s = b->k->sp.e.store;
  const uint64_t capacity = htole64 (b->k->sp.capacity / SECTOR_SIZE);
  const uint64_t offset =
    htole64 (gd == KDMV_GD_AT_END ? gd : gd / SECTOR_SIZE);
  struct kdmv_header_disk h;
  const uint32_t flags = b->k->h.flags & ~KDMV_FLAG_REDUNDANT;

  if (store_pread (s, &h, sizeof h, 0) == -1)
    return -1;
  h.flags = to_le32 (flags);
  memset (&h.rgd_offset, 0, sizeof h.rgd_offset);
  memcpy (&h.gd_offset, &offset, sizeof offset);
  if (at != 0 || le64_get (h.capacity) != 0)
    memcpy (&h.capacity, &capacity, sizeof capacity);
  h.unclean = 0;
  return store_pwrite (s, &h, sizeof h, at);
}

static int
write_end (struct rebuild *b, uint64_t gd)
{
  static const uint8_t zeroes[SECTOR_SIZE];

  if (write_marker (b, KDMV_MARKER_FOOTER, 1) == -1 ||
      write_header (b, b->at, gd) == -1 ||
      store_pwrite (b->k->sp.e.store, zeroes, sizeof zeroes,
                    b->at + SECTOR_SIZE) == -1)
    return -1;
  return write_header (b, 0, KDMV_GD_AT_END);
}

static int
set_length (struct rebuild *b, uint64_t size)
{
  struct store *const s = b->k->sp.e.store;

  if (store_resize (s, size) == 0)
    return 0;
  vmdk_error (&b->r->log, "%s: setting its length to %" PRIu64 " bytes: %m",
              s->name, size);
  return -1;
}

static int
rebuild (struct rebuild *b)
{
  const struct sparse *const sp = &b->k->sp;
  const uint64_t gt_sectors = sparse_gt_bytes (sp) / SECTOR_SIZE;
  const uint64_t gd_sectors = div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE);
  const uint64_t old_size = sp->e.store->size;
  uint64_t gd;

  b->end = div_round_up (sp->data_start, SECTOR_SIZE) * SECTOR_SIZE;
  if (measure_all (b) == -1)
    return -1;
  b->at = b->end;
  gd = b->end + (b->tables * (1 + gt_sectors) + 1) * SECTOR_SIZE;
  if (gd / SECTOR_SIZE + gd_sectors > UINT32_MAX)
    return 0;
  /* What follows the last grain goes, and isn't seen again. */
  if (set_length (b, b->end) == -1 ||
      set_length (b, gd + gd_sectors * SECTOR_SIZE) == -1 ||
      write_tables (b, gd) == -1 ||
      write_marker (b, KDMV_MARKER_GD, gd_sectors) == -1)
    return -1;
  b->at = gd + gd_sectors * SECTOR_SIZE;
  if (write_end (b, gd) == -1)
    return -1;
  b->r->result->content_changed = true;
  repair_done (b->r, "footer-missing", sp->e.store->name, "%" PRIu64 " tables,"
               " the directory and the footer were made anew from the markers "
               "of %" PRIu64 " grains; what else there was behind offset %"
               PRIu64 " (%" PRIu64 " bytes) is gone, and all other grains "
               "read as if they had never been written", b->tables, b->grains,
               b->end, old_size > b->end ? old_size - b->end : 0);
  return 0;
}

static int
rebuild_tables (struct repair *r, struct kdmv *k)
{
  struct rebuild b = { .r = r, .k = k };
  int result = -1;

  b.table = malloc (sparse_gt_bytes (&k->sp));
  if (b.table == NULL)
    vmdk_error (&r->log, "%s: %m", k->sp.e.store->name);
  else
    result = rebuild (&b);
  free (b.table);
  return result;
}

/* Small things, which don't need that. */

/* The stream ends with a sector of zeroes behind its footer, or where nothing
 * is used any more.
 */
static int
fix_end (struct repair *r, struct kdmv *k, const char *code, uint64_t end)
{
  static const uint8_t zeroes[SECTOR_SIZE];
  struct store *const s = k->sp.e.store;
  const uint64_t old_size = s->size;

  if (k->has_footer &&
      store_pwrite (s, zeroes, sizeof zeroes, end - SECTOR_SIZE) == -1)
    return -1;
  if (store_resize (s, end) == -1) {
    vmdk_error (&r->log, "%s: setting its end: %m", s->name);
    return -1;
  }
  repair_done (r, code, s->name, "the stream ends at offset %" PRIu64 ", and "
               "so does the file now, which had %" PRIu64 " bytes", end,
               old_size);
  return 0;
}

/* The footer is what is used. */
static int
copy_footer (struct repair *r, struct kdmv *k)
{
  struct store *const s = k->sp.e.store;
  const uint64_t at_end = htole64 (KDMV_GD_AT_END);
  struct kdmv_header_disk header, footer;
  le64 capacity;

  if (store_pread (s, &header, sizeof header, 0) == -1 ||
      store_pread (s, &footer, sizeof footer, k->footer) == -1)
    return -1;
  capacity = le64_get (footer.capacity) ? footer.capacity : header.capacity;
  footer.capacity = capacity;
  footer.descriptor_offset = header.descriptor_offset;
  footer.descriptor_size = header.descriptor_size;
  memcpy (&footer.gd_offset, &at_end, sizeof at_end);
  if (store_pwrite (s, &footer, sizeof footer, 0) == -1)
    return -1;
  repair_done (r, "footer-differs", s->name, "the header says the same as the "
               "footer now");
  return 0;
}

/* A marker that names no grain at all, where the tables name one. */
static int
fix_marker (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  const uint64_t sectors = k->sp.e.grain_size / SECTOR_SIZE;
  const uint64_t lba = htole64 (p->number * sectors);
  struct store *const s = k->sp.e.store;
  uint8_t marker[8];

  if (store_pread (s, marker, sizeof marker, p->position) == -1)
    return -1;
  if (le64_at (marker) % sectors == 0 &&
      le64_at (marker) < k->sp.capacity / SECTOR_SIZE)
    return 0;
  if (store_pwrite (s, &lba, sizeof lba, p->position) == -1)
    return -1;
  repair_done (r, p->code, s->name, "the marker of grain %" PRIu64 " at "
               "offset %" PRIu64 " names it now", p->number, p->position);
  return 0;
}

static int
fix_markers (struct repair *r, struct kdmv *k)
{
  size_t i;

  for (i = 0; i < r->nr_places; i++)
    if (r->places[i].e == &k->sp.e &&
        strcmp (r->places[i].code, "marker-lba") == 0 &&
        fix_marker (r, k, &r->places[i]) == -1)
      return -1;
  return 0;
}

static bool
wants_rescan (const struct repair *r, const struct extent *e)
{
  static const char *const codes[] = {
    "marker-lba", "grain-length", "table-marker", "grain-shared",
    "gte-in-metadata", "gte-past-end", "gde-invalid", "gt-shared",
    "gte-invalid",
  };
  size_t i;

  for (i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (repair_has (r, e, codes[i]))
      return true;
  return false;
}

static const struct check_place *
find_code (const struct repair *r, const struct extent *e, const char *code)
{
  size_t i;

  for (i = 0; i < r->nr_places; i++)
    if (r->places[i].e == e && strcmp (r->places[i].code, code) == 0)
      return &r->places[i];
  return NULL;
}

/* In the header, and in the footer. */
static int
set_flag (struct repair *r, struct kdmv *k)
{
  if (k->has_footer && repair_has (r, &k->sp.e, "zeroed-without-flag")) {
    const uint32_t flags = htole32 (k->h.flags | KDMV_FLAG_ZEROED);

    if (store_pwrite (k->sp.e.store, &flags, sizeof flags, k->footer +
                      offsetof (struct kdmv_header_disk, flags)) == -1)
      return -1;
  }
  return repair_kdmv_clean (r, k);
}

static uint64_t
no_place (const struct sparse *sp)
{
  (void) sp;
  return 0;
}

int
repair_stream (struct extent *e, struct repair *r)
{
  static const struct repair_format format = {
    .lost = 0, .new_place = no_place,
    .lost_as = "are lost; they read as if they had never been written",
  };
  struct kdmv *const k = (struct kdmv *) e;
  const uint64_t before = r->made;
  const struct check_place *p;

  if (k->recovered)
    return rebuild_tables (r, k);
  if (repair_has (r, e, "footer-missing"))
    return fix_end (r, k, "footer-missing", k->footer + 2 * SECTOR_SIZE);
  if (fix_markers (r, k) == -1)
    return -1;
  if (r->made == before && (k->h.flags & KDMV_FLAG_MARKERS) &&
      r->rescans < 2 && wants_rescan (r, e)) {
    r->rescan = true;
    r->rescans++;
    r->made++;
    return 0;
  }
  p = find_code (r, e, "trailing-data");
  if (p && fix_end (r, k, p->code, p->position) == -1)
    return -1;
  if (r->made == before && repair_has (r, e, "footer-differs") &&
      k->has_footer && copy_footer (r, k) == -1)
    return -1;
  if (r->made == before && repair_entries (r, &k->sp, &format) == -1)
    return -1;
  return r->made == before ? set_flag (r, k) : 0;
}
