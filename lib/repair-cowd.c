/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing COWD extents.  There is no copy of anything, so that what can't
 * be right is given up, and reads as the parent does.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cowd.h"
#include "repair-sparse.h"

/* freeSector has 32 bits. */
#define MAX_FILE (UINT32_MAX * SECTOR_SIZE)

static int
set_field (struct cowd *c, size_t offset, uint32_t value)
{
  const le32 field = to_le32 (value);

  return repair_patch (&c->sp.e, offset, &field, sizeof field);
}

#define SET_FIELD(c, field, value) \
  set_field ((c), offsetof (struct cowd_header_disk, field), (value))

/* The directory. */

/* Another entry for just the same table: both get what the guest sees. */
static int
is_whole_table (const struct sparse *sp, const struct check_place *p,
                bool *is)
{
  uint64_t i, position;

  *is = false;
  for (i = 0; i < sp->nr_gts && !*is; i++) {
    if (repair_next_table (sp, 0, &i, &position) == -1)
      return -1;
    *is = position == p->position && i != p->number;
  }
  return 0;
}

static int
copy_table (struct repair *r, struct sparse *sp, const struct check_place *p)
{
  const uint64_t at = repair_end (sp, 0, SECTOR_SIZE);
  const size_t size = sparse_gt_bytes (sp);
  uint8_t *buf;
  int result;

  if (at + size > MAX_FILE)
    return 0;
  buf = malloc (size);
  if (buf == NULL) {
    vmdk_error (&r->log, "%s: %m", sp->e.store->name);
    return -1;
  }
  result = store_pread (sp->tables, buf, size, p->position);
  if (result == 0)
    result = store_pwrite (sp->tables, buf, size, at);
  free (buf);
  if (result == -1 ||
      repair_set_gde (sp, 0, p->number, at / SECTOR_SIZE) == -1)
    return -1;
  repair_done (r, p->code, sp->e.store->name, "grain table %" PRIu64 " was "
               "another's, too; it is a copy of that now", p->number);
  return 0;
}

static int
drop_table (struct repair *r, struct sparse *sp, const struct check_place *p)
{
  if (repair_set_gde (sp, 0, p->number, 0) == -1)
    return -1;
  r->result->content_changed = true;
  repair_grains (r, p->code, &sp->e, p->number * sp->gtes_per_gt,
                 sp->gtes_per_gt, "were in a grain table that is lost; they "
                 "read as if they had never been written");
  return 0;
}

static int
repair_directory (struct repair *r, struct sparse *sp)
{
  const uint64_t before = r->made;
  const struct check_place *p;
  size_t i = 0;

  if (repair_has (r, &sp->e, "tables-hopeless"))
    return 0;
  while ((p = repair_next (r, &sp->e, AT_GDE_INVALID, &i)))
    if (drop_table (r, sp, p) == -1)
      return -1;
  for (i = 0; r->made == before &&
         (p = repair_next (r, &sp->e, AT_GT_SHARED, &i)); ) {
    bool whole;

    if (is_whole_table (sp, p, &whole) == -1 ||
        (whole ? copy_table (r, sp, p) : drop_table (r, sp, p)) == -1)
      return -1;
  }
  return 0;
}

/* The header. */

/* Where the last of what is used ends. */
static int
used_end (const struct sparse *sp, uint64_t *end)
{
  const size_t size = sparse_gt_bytes (sp);
  uint8_t *const buf = malloc (size);
  uint64_t i, table, place;
  size_t j;
  int r = buf ? 0 : -1;

  if (buf == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  *end = sp->gd[0] + sparse_gd_bytes (sp);
  for (i = 0; r == 0 && i < sp->nr_gts; i++) {
    r = repair_next_table (sp, 0, &i, &table);
    if (r == 0 && table != 0) {
      *end = table + size > *end ? table + size : *end;
      r = store_pread (sp->tables, buf, size, table);
    }
    for (j = 0; r == 0 && table != 0 && j < size; j += 4)
      if (sp->format->decode_gte (sp, le32_at (buf + j), &place) ==
          ENTRY_PLACE && place + sp->e.grain_size > *end)
        *end = place + sp->e.grain_size;
  }
  free (buf);
  return r;
}

static int
fix_free_sector (struct repair *r, struct cowd *c)
{
  struct store *const s = c->sp.e.store;
  uint64_t end;

  if (used_end (&c->sp, &end) == -1)
    return -1;
  end = div_round_up (end, SECTOR_SIZE) * SECTOR_SIZE;
  if (end > s->size && store_resize (s, end) == -1)
    return -1;
  if (SET_FIELD (c, free_sector, (uint32_t) (end / SECTOR_SIZE)) == -1)
    return -1;
  repair_done (r, "free-sector", s->name, "freeSector was %" PRIu64 ", and is "
               "%" PRIu64 " now, behind all that is used", c->free_sector,
               end / SECTOR_SIZE);
  return 0;
}

static int
mark_clean (struct repair *r, struct cowd *c)
{
  struct store *const s = c->sp.e.store;
  struct cowd_header_disk d;

  if (store_pread (s, &d, sizeof d, 0) == -1 ||
      SET_FIELD (c, unclean, 0) == -1 ||
      SET_FIELD (c, saved_generation, le32_get (d.generation)) == -1)
    return -1;
  repair_done (r, "unclean", s->name, "marked as closed");
  return 0;
}

static int
repair_cowd_header (struct repair *r, struct cowd *c)
{
  struct extent *const e = &c->sp.e;

  if (repair_has (r, e, "free-sector"))
    return fix_free_sector (r, c);
  if (repair_has (r, e, "cowd-flags")) {
    if (SET_FIELD (c, flags, COWD_FLAGS) == -1)
      return -1;
    repair_done (r, "cowd-flags", e->store->name, "the flags are %d now",
                 COWD_FLAGS);
    return 0;
  }
  if (repair_has (r, e, "unclean") && repair_is_sound (r, e))
    return mark_clean (r, c);
  return 0;
}

static uint64_t
new_place (const struct sparse *sp)
{
  const uint64_t at = repair_end (sp, 0, SECTOR_SIZE);

  return at + sp->e.grain_size > MAX_FILE ? 0 : at;
}

static uint64_t
encode (const struct sparse *sp, uint64_t position)
{
  (void) sp;
  return position / SECTOR_SIZE;
}

int
repair_cowd (struct extent *e, struct repair *r)
{
  static const struct repair_format format = {
    .lost = 0, .new_place = new_place, .encode = encode,
    .lost_as = "are lost; they read as if they had never been written",
  };
  struct cowd *const c = (struct cowd *) e;
  const uint64_t before = r->made;

  if (repair_directory (r, &c->sp) == -1 ||
      (r->made == before && repair_entries (r, &c->sp, &format) == -1) ||
      (r->made == before && repair_cowd_header (r, c) == -1))
    return -1;
  return 0;
}

/* Before it is opened: the number of directory entries follows from the
 * capacity.
 */
static int
fix_entries (struct repair *r, struct store *s, struct cowd_header_disk *d)
{
  const uint64_t per_table =
    le32_get (d->grain_size) * (uint64_t) COWD_GTES_PER_GT;
  const uint64_t needed =
    per_table ? div_round_up (le32_get (d->capacity), per_table) : 0;

  if (le32_get (d->nr_gdes) >= needed)
    return 0;
  repair_found (r, "cowd-directory", s->name, "numGDEntries is too small for "
                "numSectors");
  d->nr_gdes = to_le32 ((uint32_t) needed);
  if (store_pwrite (s, d, sizeof *d, 0) == -1)
    return -1;
  repair_done (r, "cowd-directory", s->name, "numGDEntries is %" PRIu64
               " now, as numSectors needs", needed);
  return 0;
}

int
repair_header_cowd (struct repair *r, struct store *s)
{
  struct cowd_header_disk d;

  if (s->size < sizeof d)
    return 0;
  if (store_pread (s, &d, sizeof d, 0) == -1)
    return -1;
  return fix_entries (r, s, &d);
}
