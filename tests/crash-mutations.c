/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Mutations: what would be on the disk if the library had left out a sync,
 * or had written something too early.  They are made in what was written
 * down, so that the library needs nothing for them.  And, since that
 * depends on what a part of a file is for, the map of it.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "crash.h"

enum mutation mutation;

static const char *const mutation_names[] = {
  [M_NONE] = "none",
  /* The sync before tables are written isn't made. */
  [M_TABLES_FIRST] = "tables-first",
  /* No sync makes a new length durable, */
  [M_LENGTH] = "length",
  /* ... or not the first one. */
  [M_GROWTH] = "growth",
  /* A request with FUA syncs nothing, */
  [M_FUA] = "fua",
  /* ... or not the tables. */
  [M_FUA_ENTRY] = "fua-entry",
  /* The descriptor is never synced. */
  [M_CID] = "cid",
  /* The header is never synced. */
  [M_UNCLEAN] = "unclean",
  /* A table is written with what it says later. */
  [M_UNFROZEN] = "unfrozen",
};

const char *
mutation_name (enum mutation m)
{
  return mutation_names[m];
}

/* What parts of files are. */

static uint32_t
get32 (const struct blob *b, uint64_t offset)
{
  uint8_t p[4];

  blob_read (b, p, 4, offset);
  return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
    (uint32_t) p[3] << 24;
}

static uint64_t
get64 (const struct blob *b, uint64_t offset)
{
  return get32 (b, offset) | (uint64_t) get32 (b, offset + 4) << 32;
}

static void
add_region (struct regions *r, enum region_kind kind, unsigned copy,
            uint64_t number, uint64_t start, uint64_t length)
{
  r->list = grow_array (r->list, r->nr, sizeof r->list[0]);
  r->list[r->nr++] = (struct region) {
    .kind = kind, .copy = copy, .number = number,
    .start = start, .end = start + length,
  };
}

static void
add_directory (struct regions *r, const struct blob *b, unsigned copy,
               uint64_t start, uint64_t n, uint64_t table_bytes)
{
  uint64_t i;

  add_region (r, R_DIRECTORY, copy, 0, start, n * 4);
  for (i = 0; i < n; i++) {
    const uint32_t sector = get32 (b, start + i * 4);

    if (sector > 1)
      add_region (r, R_TABLE, copy, i, (uint64_t) sector * SECTOR,
                  table_bytes);
  }
}

static void
find_in_kdmv (struct regions *r, const struct blob *b)
{
  const uint64_t gtes = get32 (b, 44);
  const uint64_t covered = get64 (b, 20) * gtes;
  const uint64_t n = covered ? (get64 (b, 12) + covered - 1) / covered : 0;

  add_region (r, R_HEADER, 0, 0, 0, SECTOR);
  add_region (r, R_DESCRIPTOR, 0, 0, get64 (b, 28) * SECTOR,
              get64 (b, 36) * SECTOR);
  add_directory (r, b, 0, get64 (b, 56) * SECTOR, n, gtes * 4);
  if (get64 (b, 48) != 0)
    add_directory (r, b, 1, get64 (b, 48) * SECTOR, n, gtes * 4);
}

static void
find_in_cowd (struct regions *r, const struct blob *b)
{
  add_region (r, R_HEADER, 0, 0, 0, 4 * SECTOR);
  add_directory (r, b, 0, get32 (b, 20) * UINT64_C (512), get32 (b, 24),
                 4096 * 4);
}

void
find_regions (struct scenario *s, const struct world *end)
{
  size_t i;

  s->regions = grab ((end->nr + 1) * sizeof s->regions[0]);
  for (i = 0; i < end->nr; i++) {
    const struct blob *const b = &end->files[i].now;
    struct regions *const r = &s->regions[i];
    char start[22] = "";

    blob_read (b, start, 21, 0);
    if (memcmp (start, "KDMV", 4) == 0)
      find_in_kdmv (r, b);
    else if (memcmp (start, "COWD", 4) == 0)
      find_in_cowd (r, b);
    else if (strcmp (start, "# Disk DescriptorFile") == 0)
      add_region (r, R_DESCRIPTOR, 0, 0, 0, UINT32_MAX);
  }
}

void
free_regions (struct scenario *s)
{
  size_t i;

  for (i = 0; s->regions && i < s->initial->nr; i++)
    free (s->regions[i].list);
  free (s->regions);
}

const struct region *
region_at (const struct scenario *s, unsigned file, uint64_t offset)
{
  size_t i;

  for (i = 0; s->regions && i < s->regions[file].nr; i++) {
    const struct region *const r = &s->regions[file].list[i];

    if (offset >= r->start && offset < r->end)
      return r;
  }
  return NULL;
}

void
describe_place (const struct scenario *s, unsigned file, uint64_t offset,
                char *buf, size_t size)
{
  const struct region *const r = region_at (s, file, offset);
  static const char *const names[] = {
    [R_DATA] = "data", [R_HEADER] = "header", [R_DESCRIPTOR] = "descriptor",
    [R_DIRECTORY] = "directory", [R_TABLE] = "table",
  };

  if (r == NULL)
    snprintf (buf, size, "data");
  else if (r->kind < R_DIRECTORY)
    snprintf (buf, size, "%s", names[r->kind]);
  else
    snprintf (buf, size, "%s %u, copy %u", names[r->kind],
              (unsigned) r->number, r->copy);
}

/* The mutations. */

static bool
is_in (const struct scenario *s, const struct event *e, enum region_kind kind)
{
  const struct region *const r = region_at (s, e->file, e->offset);

  return r && (r->kind == kind ||
               (kind == R_TABLE && r->kind == R_DIRECTORY));
}

/* Whether the next thing that the request does to the file is to write
 * tables.
 */
static bool
precedes_tables (const struct scenario *s, const struct event *sync)
{
  size_t i;

  for (i = 0; i < s->log->nr; i++) {
    const struct event *const e = s->log->events[i];

    if (!is_guest (e) && e->op == sync->op && e->file == sync->file &&
        e->start > sync->start)
      return e->kind == EV_WRITE && is_in (s, e, R_TABLE);
  }
  return false;
}

/* Whether another sync comes between a change of the length and this. */
static bool
is_first_sync (const struct scenario *s, const struct event *sync,
               const struct event *change)
{
  size_t i;

  for (i = 0; i < s->log->nr; i++) {
    const struct event *const e = s->log->events[i];

    if (e->kind == EV_SYNC && e->file == sync->file &&
        e->start > change->end && e->start < sync->start)
      return false;
  }
  return true;
}

bool
sync_covers (const struct scenario *s, const struct event *sync,
             const struct event *e)
{
  const bool in_fua = sync->op && sync->op->fua;

  switch (mutation) {
  case M_TABLES_FIRST:
    return !precedes_tables (s, sync);
  case M_FUA:
    return !in_fua;
  case M_FUA_ENTRY:
    return !in_fua || !is_in (s, e, R_TABLE);
  case M_CID:
    return e->kind != EV_REPLACE && !is_in (s, e, R_DESCRIPTOR);
  case M_UNCLEAN:
    return !is_in (s, e, R_HEADER);
  default:
    return true;
  }
}

bool
sync_covers_size (const struct scenario *s, const struct event *sync,
                  const struct event *e)
{
  if (mutation == M_LENGTH)
    return false;
  if (mutation == M_GROWTH)
    return !is_first_sync (s, sync, e);
  return sync_covers (s, sync, e);
}

bool
replace_is_durable (void)
{
  return mutation != M_CID;
}

/* Each sector of a table gets what the next write puts there. */
static void
unfreeze (struct scenario *s, struct event *e)
{
  uint64_t at;
  size_t i;

  for (at = 0; at < e->length; at += SECTOR)
    for (i = 0; i < s->log->nr; i++) {
      const struct event *const later = s->log->events[i];
      const uint64_t offset = e->offset + at;

      if (later->kind != EV_WRITE || later->file != e->file ||
          later->start <= e->start || offset < later->offset ||
          offset + SECTOR > later->offset + later->length)
        continue;
      memcpy (e->data + at, later->data + (offset - later->offset),
              at + SECTOR <= e->length ? SECTOR : e->length - at);
      break;
    }
}

void
mutate_log (struct scenario *s)
{
  size_t i;

  if (mutation != M_UNFROZEN)
    return;
  for (i = 0; i < s->log->nr; i++)
    if (s->log->events[i]->kind == EV_WRITE &&
        is_in (s, s->log->events[i], R_TABLE))
      unfreeze (s, s->log->events[i]);
}
