/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing entries of grain tables: what can't be right is given up, what
 * is used twice gets a copy of its own.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "repair-sparse.h"

static int
get_entry (const struct sparse *sp, uint64_t offset, uint64_t *value)
{
  uint8_t entry[8];

  if (store_pread (sp->tables, entry, sp->format->entry_size, offset) == -1)
    return -1;
  *value = sp->format->entry_size == 4 ? le32_at (entry) : le64_at (entry);
  return 0;
}

static int
set_entry (const struct sparse *sp, uint64_t offset, uint64_t value)
{
  const uint64_t v = htole64 (value); /* its first bytes are the 32-bit one */

  return store_pwrite (sp->tables, &v, sp->format->entry_size, offset);
}

int
repair_get_gde (const struct sparse *sp, unsigned copy, uint64_t number,
                uint64_t *value)
{
  return get_entry (sp, sp->gd[copy] + number * sp->format->entry_size,
                    value);
}

int
repair_set_gde (const struct sparse *sp, unsigned copy, uint64_t number,
                uint64_t value)
{
  return set_entry (sp, sp->gd[copy] + number * sp->format->entry_size,
                    value);
}

int
repair_find_table (const struct sparse *sp, unsigned copy, uint64_t number,
                   uint64_t *position)
{
  uint64_t value;

  *position = 0;
  if (sp->gd[copy] == 0)
    return 0;
  if (repair_get_gde (sp, copy, number, &value) == -1)
    return -1;
  if (sp->format->decode_gde (sp, value, position) != ENTRY_PLACE)
    *position = 0;
  return 0;
}

/* The first one of so many entries that names a table; count: none does. */
static size_t
find_place (const struct sparse *sp, const uint8_t *entries, size_t count,
            uint64_t *position)
{
  size_t i;

  for (i = 0; i < count; i++) {
    const uint64_t value = sp->format->entry_size == 4
      ? le32_at (entries + i * 4) : le64_at (entries + i * 8);

    if (sp->format->decode_gde (sp, value, position) == ENTRY_PLACE)
      return i;
  }
  *position = 0;
  return count;
}

/* Entries that are in a hole name none: a directory of millions of them is
 * made of nothing.
 */
static uint64_t
skip_hole (const struct sparse *sp, unsigned copy, uint64_t number)
{
  const uint64_t size = sp->format->entry_size;
  const uint64_t at = sp->gd[copy] + number * size;
  const uint64_t n = (store_next_data (sp->tables, at) - at) / size;

  return n < sp->nr_gts - number ? number + n : sp->nr_gts;
}

int
repair_next_table (const struct sparse *sp, unsigned copy, uint64_t *number,
                   uint64_t *position)
{
  const size_t size = sp->format->entry_size;
  uint8_t entries[2048];
  size_t count, n;

  *position = 0;
  while (sp->gd[copy] && *number < sp->nr_gts) {
    count = sizeof entries / size;
    if (count > sp->nr_gts - *number)
      count = (size_t) (sp->nr_gts - *number);
    if (store_pread (sp->tables, entries, count * size,
                     sp->gd[copy] + *number * size) == -1)
      return -1;
    n = find_place (sp, entries, count, position);
    *number += n;
    if (n < count)
      return 0;
    if (*number < sp->nr_gts)
      *number = skip_hole (sp, copy, *number);
  }
  *number = sp->nr_gts;
  return 0;
}

int
repair_set_gte (const struct sparse *sp, uint64_t grain, uint64_t value)
{
  unsigned copy;

  for (copy = 0; copy < 2; copy++) {
    const uint64_t number = grain / sp->gtes_per_gt;
    uint64_t table;

    if (repair_find_table (sp, copy, number, &table) == -1)
      return -1;
    if (table != 0 &&
        set_entry (sp, table + grain % sp->gtes_per_gt *
                   sp->format->entry_size, value) == -1)
      return -1;
  }
  return 0;
}

bool
repair_is_sound (const struct repair *r, const struct extent *e)
{
  static const char *const harmless[] = {
    "unclean", "capacity-mismatch", "cowd-flags", "cowd-zeroed",
  };
  size_t i, j;

  for (i = 0; i < r->nr_places; i++) {
    if (r->places[i].e != e)
      continue;
    for (j = 0; j < sizeof harmless / sizeof harmless[0]; j++)
      if (strcmp (r->places[i].code, harmless[j]) == 0)
        break;
    if (j == sizeof harmless / sizeof harmless[0])
      return false;
  }
  return true;
}

uint64_t
repair_end (const struct sparse *sp, uint64_t origin, uint64_t align)
{
  const uint64_t end = sp->e.store->size;

  return end <= origin ? origin
    : origin + div_round_up (end - origin, align) * align;
}

/* Entries that can't be right. */

static int
give_up (struct repair *r, struct sparse *sp,
         const struct repair_format *format, const struct check_place *p)
{
  if (repair_set_gte (sp, p->number, format->lost) == -1)
    return -1;
  r->result->content_changed = true;
  repair_grains (r, p->code, &sp->e, p->number, 1, format->lost_as);
  return 0;
}

/* The file was cut inside of a grain: what is missing has been read as zero,
 * and becomes zero.  It is lost, so that the content is another one than
 * that which children were made for.
 */
static int
extend (struct repair *r, struct sparse *sp, const struct check_place *p)
{
  const uint64_t end = p->position + sp->e.grain_size;

  if (end > sp->e.store->size && store_resize (sp->e.store, end) == -1) {
    vmdk_error (&sp->e.ctx->log, "%s: making it longer: %m",
                sp->e.store->name);
    return -1;
  }
  r->result->content_changed = true;
  repair_grains (r, p->code, &sp->e, p->number, 1,
                 "lie where the file ended; what is missing is lost, and zero "
                 "now");
  return 0;
}

/* Grains that share space. */

static int
copy_grain (struct sparse *sp, uint64_t from, uint64_t to)
{
  uint8_t *const buf = malloc (sp->e.grain_size);
  int r = -1;

  if (buf == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  else if (store_pread (sp->e.store, buf, sp->e.grain_size, from) == 0)
    r = store_pwrite (sp->e.store, buf, sp->e.grain_size, to);
  free (buf);
  return r;
}

/* What the entry says now; 0: that isn't a place any more. */
static int
current_place (const struct sparse *sp, uint64_t grain, uint64_t *place)
{
  uint64_t table, value;

  *place = 0;
  if (repair_find_table (sp, 0, grain / sp->gtes_per_gt, &table) == -1)
    return -1;
  if (table == 0)
    return 0;
  if (get_entry (sp, table + grain % sp->gtes_per_gt *
                 sp->format->entry_size, &value) == -1)
    return -1;
  if (sp->format->decode_gte (sp, value, place) != ENTRY_PLACE)
    *place = 0;
  return 0;
}

/* Nobody knows which of the two the data belong to.  The guest sees the same
 * as before, but both can be written from now on.
 */
static int
separate (struct repair *r, struct sparse *sp,
          const struct repair_format *format, const struct check_place *p)
{
  const uint64_t to = format->new_place (sp);
  uint64_t from;

  if (current_place (sp, p->number, &from) == -1)
    return -1;
  if (from == 0 && format->zero != 0) /* seSparse: unmapped, gives it up */
    return repair_set_gte (sp, p->number, format->zero) == -1 ? -1
      : (repair_grains (r, p->code, &sp->e, p->number, 1,
                        "give up a place that is another's"), 0);
  if (to == 0 || from == 0)
    return 0;
  if (copy_grain (sp, from, to) == -1 ||
      repair_set_gte (sp, p->number, format->encode (sp, to)) == -1)
    return -1;
  repair_grains (r, p->code, &sp->e, p->number, 1,
                 "had the same place as others, and may be theirs; they have "
                 "a copy of their own now");
  return 0;
}

/* Entries for what is behind the end of the disk. */
static int
clear_past_capacity (struct repair *r, struct sparse *sp,
                     const struct check_place *p)
{
  const uint64_t first = p->number * sp->gtes_per_gt;
  uint64_t grain;

  if (sp->nr_grains <= first ||
      sp->nr_grains - first >= sp->gtes_per_gt)
    return 0;
  for (grain = sp->nr_grains; grain < first + sp->gtes_per_gt; grain++)
    if (repair_set_gte (sp, grain, 0) == -1)
      return -1;
  repair_done (r, p->code, sp->e.store->name, "entries of grain table %"
               PRIu64 " behind the end of the disk are 0 now", p->number);
  return 0;
}

int
repair_entries (struct repair *r, struct sparse *sp,
                const struct repair_format *format)
{
  size_t i;

  for (i = 0; i < r->nr_places; i++) {
    const struct check_place *const p = &r->places[i];
    int result = 0;

    if (p->e != &sp->e)
      continue;
    if (p->kind == AT_GTE_INVALID || p->kind == AT_GTE_IN_METADATA)
      result = give_up (r, sp, format, p);
    else if (p->kind == AT_GTE_CUT)
      result = extend (r, sp, p);
    else if (p->kind == AT_GRAIN_SHARED)
      result = separate (r, sp, format, p);
    else if (p->kind == AT_PAST_CAPACITY)
      result = clear_past_capacity (r, sp, p);
    if (result == -1)
      return -1;
  }
  return 0;
}
