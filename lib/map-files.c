/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the files of a link hold besides the guest's data: where metadata
 * are, by the directories, and holes, by the file system.  Nothing is
 * judged here; that is for check.
 */

#include <config.h>

#include "disk.h"
#include "scan.h"

struct files {
  struct store *store; /* that is being looked at */
  vmdk_part_fn fn;
  void *opaque;

  /* What was last heard of the file: a hole, and data up to stop. */
  uint64_t hole, data, stop;

  /* Tables that follow each other, not told yet. */
  uint64_t start, end;
};

static int
tell (const struct files *f, enum vmdk_part part, uint64_t start,
      uint64_t end)
{
  if (end > f->store->size)
    end = f->store->size;
  return start >= end ? 0
    : f->fn (f->opaque, f->store->name, part, start, end - start);
}

/* Asks the system only about what the last answer doesn't reach. */
static void
find_data (struct files *f, uint64_t offset)
{
  if (offset >= f->hole && offset < f->stop)
    return;
  f->hole = offset;
  store_find_data (f->store, offset, f->store->size, &f->data, &f->stop);
}

/* Tells what of [start, end) isn't holes. */
static int
tell_stored (struct files *f, uint64_t start, uint64_t end)
{
  if (end > f->store->size)
    end = f->store->size;
  while (start < end) {
    uint64_t stop;

    find_data (f, start);
    if (start < f->data)
      start = f->data;
    stop = f->stop < end ? f->stop : end;
    if (tell (f, VMDK_METADATA, start, stop) == -1)
      return -1;
    start = stop > start ? stop : end;
  }
  return 0;
}

static int
tell_tables (struct files *f)
{
  const uint64_t start = f->start, end = f->end;

  f->start = f->end = 0;
  return tell_stored (f, start, end);
}

/* What the end of the front metadata leaves of it. */
static int
add_metadata (struct files *f, const struct sparse *sp, uint64_t start,
              uint64_t length)
{
  uint64_t end;

  if (__builtin_add_overflow (start, length, &end))
    end = UINT64_MAX;
  if (start < sp->data_start)
    start = sp->data_start;
  if (start >= end)
    return 0;
  if (start == f->end && f->end > f->start) {
    f->end = end;
    return 0;
  }
  if (tell_tables (f) == -1)
    return -1;
  f->start = start;
  f->end = end;
  return 0;
}

static int
add_table (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  int copy;

  for (copy = 0; copy < 2; copy++)
    if (t->kind[copy] == ENTRY_PLACE &&
        add_metadata (opaque, sp, t->place[copy],
                      sparse_gt_bytes (sp)) == -1)
      return -1;
  return 0;
}

/* Tables that were rebuilt are not in the file. */
static int
tell_metadata (struct files *f, struct sparse *sp)
{
  int copy;

  if (tell_stored (f, 0, sp->data_start) == -1)
    return -1;
  if (sp->tables != sp->e.store)
    return 0;
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    if (add_metadata (f, sp, sp->gd[copy], sparse_gd_bytes (sp)) == -1)
      return -1;
  if (scan_directories (sp, add_table, f) == -1)
    return -1;
  return tell_tables (f);
}

static int
tell_holes (const struct files *f)
{
  uint64_t offset = 0, data, stop;

  while (offset < f->store->size) {
    store_find_data (f->store, offset, f->store->size, &data, &stop);
    if (tell (f, VMDK_HOLE, offset, data) == -1)
      return -1;
    if (stop <= offset)
      break; /* the file has changed */
    offset = stop;
  }
  return 0;
}

static bool
told_before (const struct link *l, size_t n)
{
  size_t i;

  for (i = 0; i < n; i++)
    if (l->extents[i]->store == l->extents[n]->store)
      return true;
  return false;
}

int
vmdk_map_files (struct vmdk_disk *disk, size_t link, vmdk_part_fn fn,
                void *opaque)
{
  const struct link *const l = disk_link (disk, link);
  size_t i;

  for (i = 0; i < l->nr_extents; i++) {
    struct extent *const e = l->extents[i];
    struct files f = { .store = e->store, .fn = fn, .opaque = opaque };

    if (e->store == NULL || e->store->no_file)
      continue;
    if (!told_before (l, i) && tell_holes (&f) == -1)
      return -1;
    /* All extents with grains are two-level ones. */
    if (e->grain_size > 0 &&
        tell_metadata (&f, (struct sparse *) e) == -1)
      return -1;
  }
  return 0;
}
