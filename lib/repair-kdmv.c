/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing the header of hosted sparse extents, and what it names: the
 * descriptor inside, overHead, the two directories.
 *
 * A field of the header that is wrong makes much else look wrong, so that
 * comes first, and nothing else is done in the same round.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "build.h" /* is_zero */
#include "repair-kdmv.h"

/* Tables are looked at in pieces. */
#define PIECE 65536

/* So many tables at most are made for directory entries that are 0, or
 * copied with a directory.
 */
#define MAX_NEW_TABLES (1 << 20)

int
repair_kdmv_field (struct kdmv *k, size_t offset, uint64_t bytes)
{
  const uint64_t sectors = htole64 (bytes / SECTOR_SIZE);

  return repair_patch (&k->sp.e, offset, &sectors, sizeof sectors);
}

#define SET_FIELD(k, field, bytes) \
  repair_kdmv_field ((k), offsetof (struct kdmv_header_disk, field), (bytes))

/* Where the front metadata end. */

/* Makes *end the end of what begins at most a grain behind it. */
static void
reach (const struct kdmv *k, uint64_t *end, uint64_t start, uint64_t length)
{
  if (start <= *end + k->sp.e.grain_size && start + length > *end)
    *end = start + length;
}

static int
reach_tables (struct kdmv *k, uint64_t *end)
{
  const struct sparse *const sp = &k->sp;
  unsigned copy;
  uint64_t i;

  for (copy = 0; copy < 2; copy++) {
    if (sp->gd[copy])
      reach (k, end, sp->gd[copy],
             div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) * SECTOR_SIZE);
    for (i = 0; i < sp->nr_gts; i++) {
      uint64_t table;

      if (repair_next_table (sp, copy, &i, &table) == -1)
        return -1;
      if (table != 0)
        reach (k, end, table, sparse_gt_bytes (sp));
    }
  }
  return 0;
}

/* The lowest place at or behind front that an entry of the table names. */
static int
lowest_in_table (struct kdmv *k, uint64_t table, uint64_t front,
                 uint64_t *lowest)
{
  const size_t size = sparse_gt_bytes (&k->sp);
  uint8_t *const buf = malloc (size);
  size_t i;
  int r = -1;

  if (buf == NULL)
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", k->sp.e.store->name);
  else
    r = store_pread (k->sp.tables, buf, size, table);
  for (i = 0; r == 0 && i < size; i += 4) {
    const uint64_t place = le32_at (buf + i) * SECTOR_SIZE;

    if (place >= front && place < k->sp.e.store->size && place < *lowest)
      *lowest = place;
  }
  free (buf);
  return r;
}

int
repair_kdmv_front (struct kdmv *k, uint64_t *front, uint64_t *first_grain)
{
  uint64_t before, i;

  *front = k->descriptor_end;
  *first_grain = UINT64_MAX;
  do { /* tables may come in any order, but mostly come in one */
    before = *front;
    if (reach_tables (k, front) == -1)
      return -1;
  } while (*front != before);
  for (i = 0; i < k->sp.nr_gts; i++) {
    uint64_t table;

    if (repair_next_table (&k->sp, 0, &i, &table) == -1 ||
        (table != 0 &&
         lowest_in_table (k, table, *front, first_grain) == -1))
      return -1;
  }
  return 0;
}

/* Grains begin at multiples of their size from overHead on, where that is
 * so.
 */
static int
set_overhead (struct repair *r, struct kdmv *k, const char *code)
{
  const uint64_t grain = k->sp.e.grain_size;
  uint64_t front, first, value;

  if (repair_kdmv_front (k, &front, &first) == -1)
    return -1;
  value = div_round_up (front, grain) * grain;
  if (first != UINT64_MAX && (value > first || value % grain != first % grain))
    value = first - (first - front) / grain * grain;
  if (value > k->sp.e.store->size)
    value = front;
  if (value == k->h.overhead)
    return 0;
  if (SET_FIELD (k, overhead, value) == -1)
    return -1;
  repair_done (r, code, k->sp.e.store->name, "overHead was sector %" PRIu64
               ", and is %" PRIu64 " now, behind the tables in front",
               k->h.overhead / SECTOR_SIZE, value / SECTOR_SIZE);
  return 0;
}

/* The embedded descriptor. */

/* Bytes of its text, in whole sectors. */
static int
text_sectors (struct store *s, uint64_t offset, uint64_t size, uint64_t *text)
{
  const size_t count =
    size > VMDK_MAX_DESCRIPTOR ? VMDK_MAX_DESCRIPTOR : (size_t) size;
  char *const buf = malloc (count + 1);
  int r;

  if (buf == NULL) {
    vmdk_error (s->log, "%s: %m", s->name);
    return -1;
  }
  r = store_pread (s, buf, count, offset);
  if (r == 0)
    *text = div_round_up (strnlen (buf, count), SECTOR_SIZE) * SECTOR_SIZE;
  free (buf);
  return r;
}

/* Makes the descriptor end before limit, if its text does. */
static int
shrink_descriptor (struct repair *r, struct store *s, const char *code,
                   uint64_t offset, uint64_t size, uint64_t limit)
{
  uint64_t text = 0, sectors;

  if (limit <= offset || limit >= offset + size ||
      text_sectors (s, offset, size, &text) == -1)
    return limit <= offset || limit >= offset + size ? 0 : -1;
  if (text > limit - offset)
    return 0;
  sectors = htole64 ((limit - offset) / SECTOR_SIZE);
  if (store_pwrite (s, &sectors, sizeof sectors,
                    offsetof (struct kdmv_header_disk, descriptor_size)) == -1)
    return -1;
  repair_done (r, code, s->name, "descriptorSize was %" PRIu64 " sectors, "
               "and is %" PRIu64 " now, up to what follows the descriptor",
               size / SECTOR_SIZE, (limit - offset) / SECTOR_SIZE);
  return 0;
}

/* Grains begin inside of the descriptor: either is wrong. */
static int
fix_descriptor_end (struct repair *r, struct kdmv *k)
{
  uint64_t front, first;

  if (repair_kdmv_front (k, &front, &first) == -1)
    return -1;
  if (front > k->h.overhead && (first == UINT64_MAX || first >= front))
    return set_overhead (r, k, "descriptor-misplaced");
  return shrink_descriptor (r, k->sp.e.store, "descriptor-misplaced",
                            k->h.descriptor_offset, k->h.descriptor_size,
                            k->h.overhead);
}

/* Directories that aren't where the header says. */

int
repair_kdmv_same_table (struct kdmv *k, uint64_t a, uint64_t b, bool *same)
{
  const size_t size = sparse_gt_bytes (&k->sp);
  uint8_t *const buf = malloc (2 * size);
  int r = -1;

  if (buf == NULL)
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", k->sp.e.store->name);
  else if (store_pread (k->sp.tables, buf, size, a) == 0)
    r = store_pread (k->sp.tables, buf + size, size, b);
  *same = r == 0 && memcmp (buf, buf + size, size) == 0;
  free (buf);
  return r;
}

int
repair_kdmv_is_copy (struct kdmv *k, uint64_t offset, bool *is)
{
  struct sparse other = k->sp;
  uint64_t i;

  *is = offset >= SECTOR_SIZE && offset <= k->sp.e.store->size &&
    sparse_gd_bytes (&k->sp) <= k->sp.e.store->size - offset &&
    offset != k->sp.gd[0];
  other.gd[1] = offset;
  for (i = 0; *is && i < k->sp.nr_gts; i++) {
    uint64_t a, b;

    if (repair_find_table (&k->sp, 0, i, &a) == -1)
      return -1;
    b = 0;
    if (repair_get_gde (&other, 1, i, &b) == -1)
      return -1;
    b *= SECTOR_SIZE;
    if (a == b || a < SECTOR_SIZE || b < SECTOR_SIZE ||
        b > k->sp.e.store->size ||
        sparse_gt_bytes (&k->sp) > k->sp.e.store->size - b)
      *is = a == 0 && b == 0;
    else if (repair_kdmv_same_table (k, a, b, is) == -1)
      return -1;
  }
  return 0;
}

/* A copy of the sound directory and its tables, behind all else. */
static int
append_directory (struct kdmv *k, uint64_t *offset)
{
  struct sparse *const sp = &k->sp;
  const uint64_t gd_size =
    div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) * SECTOR_SIZE;
  const size_t size = sparse_gt_bytes (sp);
  uint8_t *const table = malloc (size);
  uint64_t at, i, from;
  int r = 0;

  if (table == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
    return -1;
  }
  *offset = repair_end (sp, 0, SECTOR_SIZE);
  at = *offset + gd_size;
  for (i = 0; r == 0 && i < sp->nr_gts; i++) {
    const uint32_t gde = htole32 ((uint32_t) (at / SECTOR_SIZE));

    r = repair_next_table (sp, 0, &i, &from);
    if (r == -1 || from == 0)
      continue;
    r = store_pread (sp->tables, table, size, from);
    if (r == 0)
      r = store_pwrite (sp->tables, table, size, at);
    if (r == 0)
      r = store_pwrite (sp->tables, &gde, sizeof gde, *offset + i * 4);
    at += size;
  }
  free (table);
  return r;
}

/* Hosted products write one directory, its tables, the other one and its
 * tables.  Where the lost one should then be, it mostly is.
 */
static int
find_directory (struct kdmv *k, unsigned copy, uint64_t *offset, bool *found)
{
  const struct sparse *const sp = &k->sp;
  const uint64_t all =
    div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) * SECTOR_SIZE +
    sp->nr_gts * sparse_gt_bytes (sp);
  const uint64_t good = sp->gd[0];

  *found = false;
  if (copy == 1 && good < all)
    return 0;
  *offset = copy == 0 ? good + all : good - all;
  return repair_kdmv_is_copy (k, *offset, found);
}

static int
restore_directory (struct repair *r, struct kdmv *k, unsigned copy)
{
  const struct sparse *const sp = &k->sp;
  const size_t field = copy ? offsetof (struct kdmv_header_disk, rgd_offset)
    : offsetof (struct kdmv_header_disk, gd_offset);
  uint64_t offset;
  bool found;

  if (sp->nr_gts > MAX_NEW_TABLES ||
      find_directory (k, copy, &offset, &found) == -1)
    return sp->nr_gts > MAX_NEW_TABLES ? 0 : -1;
  if (!found) {
    const uint64_t end = sp->e.store->size + sparse_gd_bytes (sp) +
      sp->nr_gts * sparse_gt_bytes (sp) + 2 * SECTOR_SIZE;

    if (end / SECTOR_SIZE > UINT32_MAX)
      return 0;
    if (append_directory (k, &offset) == -1)
      return -1;
  }
  if (repair_kdmv_field (k, field, offset) == -1)
    return -1;
  repair_done (r, "directory-misplaced", sp->e.store->name,
               "%s is sector %" PRIu64 " now, where %s", copy ? "rgdOffset"
               : "gdOffset", offset / SECTOR_SIZE, found ?
               "the directory was found" :
               "a copy of the other directory and its tables was put");
  return 0;
}

/* A directory inside of the descriptor, or nowhere. */
static int
fix_directory (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  const uint64_t offset = p->copy ? k->h.rgd_offset : k->h.gd_offset;
  bool is_copy = false;

  if (offset >= SECTOR_SIZE && offset < k->descriptor_end &&
      repair_kdmv_is_copy (k, offset, &is_copy) == -1)
    return -1;
  if (is_copy)
    return shrink_descriptor (r, k->sp.e.store, p->code,
                              k->h.descriptor_offset, k->h.descriptor_size,
                              offset);
  return restore_directory (r, k, p->copy);
}

/* The header says that the disk is larger than the extent line does. */

/* Whether no table names anything from grain first on. */
static int
is_blank (struct kdmv *k, uint64_t first, bool *blank)
{
  const struct sparse *const sp = &k->sp;
  const size_t size = sparse_gt_bytes (sp);
  uint8_t *const table = malloc (size);
  uint64_t number = first / sp->gtes_per_gt, at;
  size_t skip = first % sp->gtes_per_gt * 4;
  int r = table ? 0 : -1;

  if (table == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  for (; r == 0 && *blank; number++, skip = 0) {
    const uint64_t wanted = number;

    r = repair_next_table (sp, 0, &number, &at);
    if (r == -1 || at == 0)
      break;
    if (number != wanted)
      skip = 0;
    r = store_pread (sp->tables, table, size, at);
    if (r == 0)
      *blank = is_zero (table + skip, size - skip);
  }
  free (table);
  return r;
}

static int
fix_capacity (struct repair *r, struct kdmv *k)
{
  const struct extent *const e = &k->sp.e;
  bool blank = true;

  if (k->sp.capacity - e->size > UINT64_C (1) << 40 ||
      is_blank (k, div_round_up (e->size, e->grain_size), &blank) == -1)
    return k->sp.capacity - e->size > UINT64_C (1) << 40 ? 0 : -1;
  if (!blank)
    return 0;
  if (SET_FIELD (k, capacity, e->size) == -1)
    return -1;
  repair_done (r, "capacity-mismatch", e->store->name, "the header's capacity "
               "was %" PRIu64 " sectors, and is %" PRIu64 " now as in the "
               "extent line; nothing was written behind that",
               k->sp.capacity / SECTOR_SIZE, e->size / SECTOR_SIZE);
  return 0;
}

static const struct check_place *
next_code (const struct repair *r, const struct extent *e, const char *code,
           size_t *i)
{
  const struct check_place *p;

  while ((p = repair_next (r, e, AT_OTHER, i)))
    if (strcmp (p->code, code) == 0)
      return p;
  return NULL;
}

int
repair_kdmv_header (struct repair *r, struct kdmv *k)
{
  const struct extent *const e = &k->sp.e;
  const struct check_place *p;
  size_t i = 0;

  while ((p = next_code (r, e, "directory-misplaced", &i)))
    return fix_directory (r, k, p);
  i = 0;
  while ((p = next_code (r, e, "descriptor-misplaced", &i))) {
    const uint64_t offset = p->copy ? k->h.rgd_offset : k->h.gd_offset;

    return offset < k->descriptor_end ? fix_directory (r, k, p)
      : fix_descriptor_end (r, k);
  }
  /* 1: see lower_overhead */
  if (repair_has (r, e, "overhead") || k->h.overhead <= SECTOR_SIZE)
    return set_overhead (r, k, "overhead");
  if (repair_has (r, e, "capacity-mismatch"))
    return fix_capacity (r, k);
  return 0;
}

/* Grains are in front of overHead, and so are no tables there: it is
 * overHead that is wrong.
 */
static int
fix_large_overhead (struct repair *r, struct kdmv *k)
{
  const struct check_place *p;
  uint64_t front, first;
  size_t i = 0;

  do {
    p = repair_next (r, &k->sp.e, AT_GTE_INVALID, &i);
    if (p == NULL)
      return 0;
  } while (p->position >= k->h.overhead || p->position <= SECTOR_SIZE);
  if (repair_kdmv_front (k, &front, &first) == -1)
    return -1;
  if (first >= k->h.overhead || k->h.overhead - front < k->sp.e.grain_size)
    return 0;
  return set_overhead (r, k, p->code);
}

/* At the end. */

int
repair_kdmv_clean (struct repair *r, struct kdmv *k)
{
  const uint32_t flags = htole32 (k->h.flags | KDMV_FLAG_ZEROED);
  const uint32_t version = htole32 (2);
  struct extent *const e = &k->sp.e;
  const uint8_t clean = 0;

  if (repair_has (r, e, "zeroed-without-flag")) {
    if (repair_patch (e, offsetof (struct kdmv_header_disk, flags), &flags,
                      sizeof flags) == -1 ||
        (k->h.version == 1 &&
         repair_patch (e, offsetof (struct kdmv_header_disk, version),
                       &version, sizeof version) == -1))
      return -1;
    repair_done (r, "zeroed-without-flag", e->store->name, "the header says "
                 "now that entries of 1 mean zero%s",
                 k->h.version == 1 ? " (flag 0x4, version 2)" : " (flag 0x4)");
    return 0;
  }
  if (!repair_has (r, e, "unclean") || !repair_is_sound (r, e))
    return 0;
  if (repair_patch (e, offsetof (struct kdmv_header_disk, unclean), &clean,
                    1) == -1)
    return -1;
  repair_done (r, "unclean", e->store->name, "marked as closed");
  return 0;
}

/* Where grains go. */

static uint64_t
new_place (const struct sparse *sp)
{
  const struct kdmv *const k = (const struct kdmv *) sp;
  const uint64_t at = repair_end (sp, k->h.overhead, sp->e.grain_size);

  return at / SECTOR_SIZE + sp->e.grain_size / SECTOR_SIZE > UINT32_MAX ? 0
    : at;
}

static uint64_t
encode (const struct sparse *sp, uint64_t position)
{
  (void) sp;
  return position / SECTOR_SIZE;
}

int
repair_kdmv (struct extent *e, struct repair *r)
{
  static const struct repair_format format = {
    .lost = 0, .new_place = new_place, .encode = encode,
    .lost_as = "are lost; they read as if they had never been written",
  };
  struct kdmv *const k = (struct kdmv *) e;
  const uint64_t before = r->made;

  if (k->sp.packed)
    return repair_stream (e, r);
  if (repair_kdmv_header (r, k) == -1 ||
      (r->made == before && repair_kdmv_directories (r, k) == -1) ||
      (r->made == before && fix_large_overhead (r, k) == -1) ||
      (r->made == before && repair_kdmv_copies (r, k) == -1) ||
      (r->made == before && repair_entries (r, &k->sp, &format) == -1) ||
      (r->made == before && repair_kdmv_clean (r, k) == -1))
    return -1;
  return 0;
}

/* Before it is opened. */

/* Whether all tables of the directory at gd are in the file. */
static int
has_tables (struct store *s, uint64_t gd, uint64_t nr_gts, uint64_t size,
            bool *has)
{
  uint8_t *const buf = malloc (PIECE);
  uint64_t i, j;
  int r = buf ? 0 : -1;

  if (buf == NULL)
    vmdk_error (s->log, "%s: %m", s->name);
  *has = gd != 0 && gd <= s->size && nr_gts * 4 <= s->size - gd;
  for (i = 0; r == 0 && *has && i < nr_gts; i += PIECE / 4) {
    const uint64_t n = nr_gts - i < PIECE / 4 ? nr_gts - i : PIECE / 4;

    r = store_pread (s, buf, (size_t) (n * 4), gd + i * 4);
    for (j = 0; r == 0 && *has && j < n; j++)
      *has = le32_at (buf + j * 4) * SECTOR_SIZE + size <= s->size;
  }
  free (buf);
  return r;
}

/* The file isn't so long: overHead is wrong, or the file was cut.  It was
 * not if the tables, which lie before, are all there.  The value that is
 * right is found when the disk is open.
 */
static int
lower_overhead (struct repair *r, struct store *s,
                const struct kdmv_header *h)
{
  const uint64_t per_table = (uint64_t) h->grain_size * h->gtes_per_gt;
  const uint64_t overhead = htole64 (1);
  bool has;

  if (h->gd_offset == KDMV_GD_AT_END ||
      has_tables (s, h->gd_offset, div_round_up (h->capacity, per_table),
                  h->gtes_per_gt * UINT64_C (4), &has) == -1)
    return h->gd_offset == KDMV_GD_AT_END ? 0 : -1;
  if (!has)
    return 0;
  repair_found (r, "overhead", s->name, "overHead is behind the end of the "
                "file");
  return store_pwrite (s, &overhead, sizeof overhead,
                       offsetof (struct kdmv_header_disk, overhead));
}

static bool
fits (const struct kdmv_header *h, uint64_t offset, uint64_t end,
      uint64_t file_size)
{
  const uint64_t gd_size =
    div_round_up (div_round_up (h->capacity, h->grain_size), h->gtes_per_gt)
    * 4;

  return offset >= end && offset <= file_size && gd_size <= file_size - offset;
}

/* The descriptor reaches over both directories, or past the end. */
static int
end_descriptor (struct repair *r, struct store *s,
                const struct kdmv_header *h)
{
  const uint64_t offset = h->descriptor_offset;
  uint64_t end, limit = s->size;

  if (__builtin_add_overflow (offset, h->descriptor_size, &end))
    end = UINT64_MAX;
  if (offset == 0 || h->descriptor_size == 0 || offset >= s->size ||
      (end <= s->size && (h->gd_offset == KDMV_GD_AT_END ||
                          fits (h, h->gd_offset, end, s->size) ||
                          fits (h, h->rgd_offset, end, s->size))))
    return 0;
  if (h->gd_offset > offset && h->gd_offset < limit)
    limit = h->gd_offset;
  if (h->rgd_offset > offset && h->rgd_offset < limit)
    limit = h->rgd_offset;
  if (h->overhead > offset && h->overhead < limit)
    limit = h->overhead;
  repair_found (r, "descriptor-misplaced", s->name, "the embedded descriptor "
                "reaches over what follows it, or past the end of the file");
  return shrink_descriptor (r, s, "descriptor-misplaced", offset,
                            end - offset, limit);
}

int
repair_header (struct repair *r, struct store *s)
{
  struct kdmv_header_disk disk;
  struct kdmv_header h;

  if (s->size < sizeof disk)
    return 0;
  if (store_pread (s, &disk, sizeof disk, 0) == -1)
    return -1;
  switch (extent_magic (&disk)) {
  case MAGIC_COWD: return repair_header_cowd (r, s);
  case MAGIC_SESPARSE: return repair_header_sesparse (r, s);
  case MAGIC_KDMV: break;
  default: return 0;
  }
  if (kdmv_decode_header (&vmdk_no_log, s->name, "header", &disk, &h) == -1)
    return 0; /* nothing that can be known; opening it says why */
  if (end_descriptor (r, s, &h) == -1)
    return -1;
  return h.overhead > s->size ? lower_overhead (r, s, &h) : 0;
}
