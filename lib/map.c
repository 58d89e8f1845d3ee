/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What a range of the disk, or of one link, is: the runs of the walk, with
 * the holes of files found in them, joined to ranges as long as possible.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "disk.h"

/* Shorter ranges have a few pages of tables, which may as well be cached
 * for the reads that mostly come next; bytes.
 */
#define LONG_WALK (UINT64_C (64) << 20)

struct mapping {
  const struct vmdk_log *log;
  vmdk_range_fn fn;
  void *opaque;
  bool detail;
  struct vmdk_range range; /* not reported yet; length 0: none */

  /* What was last heard of the files of a link, and of some below it. */
  struct seen {
    const struct store *store;
    uint64_t hole; /* from here to data is a hole, */
    uint64_t data; /* from here to stop are data */
    uint64_t stop;
  } seen[8];
};

static int
report_range (struct mapping *m)
{
  static const char *const names[] = {
    [VMDK_DATA] = "data", [VMDK_PACKED] = "packed",
    [VMDK_ZERO] = "zero", [VMDK_ABSENT] = "absent",
  };

  if (m->range.length == 0)
    return 0;
  vmdk_debug (m->log, VMDK_TOPIC_EXTENTS, "%" PRIu64 "+%" PRIu64 ": %s",
              m->range.offset, m->range.length, names[m->range.status]);
  return m->fn (m->opaque, &m->range);
}

static bool
continues (const struct mapping *m, const struct vmdk_range *next)
{
  const struct vmdk_range *const range = &m->range;

  if (range->length == 0 || range->status != next->status)
    return false;
  if (!m->detail)
    return true;
  if (range->link != next->link || range->file != next->file)
    return false;
  if (range->file == NULL)
    return true;
  switch (range->status) {
  case VMDK_DATA:
    return range->file_offset + range->length == next->file_offset;
  case VMDK_PACKED:
    return range->file_offset == next->file_offset;
  default:
    return true;
  }
}

static int
add_range (struct mapping *m, const struct vmdk_range *next)
{
  int r;

  if (continues (m, next)) {
    m->range.length += next->length;
    return 0;
  }
  r = report_range (m);
  m->range = *next;
  if (r != 0)
    m->range.length = 0;
  return r;
}

/* Finds the first data of the file from offset on, with as few questions
 * to the system as possible: runs mostly follow each other in the file.
 */
static const struct seen *
find_data (struct mapping *m, unsigned depth, struct store *store,
           uint64_t offset)
{
  struct seen *const s =
    &m->seen[depth % (sizeof m->seen / sizeof m->seen[0])];

  if (s->store == store && offset >= s->hole && offset < s->stop)
    return s;
  s->store = store;
  s->hole = offset;
  store_find_data (store, offset, UINT64_MAX, &s->data, &s->stop);
  return s;
}

/* Parts that are holes in the file read as zero. */
static int
add_data (struct mapping *m, struct vmdk_range *range, const struct run *run)
{
  uint64_t offset = run->file_offset, length = run->length;

  while (length > 0) {
    const struct seen *const s =
      find_data (m, range->link, run->store, offset);
    uint64_t n;
    int r;

    if (offset < s->data) {
      range->status = VMDK_ZERO;
      range->file_offset = 0;
      n = s->data - offset;
    }
    else {
      range->status = VMDK_DATA;
      /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): data have one */
      range->file_offset = run->store->no_file ? 0 : offset;
      n = s->stop - offset;
    }
    range->length = n < length ? n : length;
    r = add_range (m, range);
    if (r != 0)
      return r;
    offset += range->length;
    range->offset += range->length;
    length -= range->length;
  }
  return 0;
}

static int
map_run (void *opaque, unsigned depth, uint64_t offset, const struct run *run)
{
  struct mapping *const m = opaque;
  struct vmdk_range range = {
    .offset = offset,
    .length = run->length,
    .link = depth,
    .file = run->store && !run->store->no_file ? run->store->name : NULL,
  };

  switch (run->kind) {
  case RUN_DATA:
    return add_data (m, &range, run);
  case RUN_PACKED:
    range.status = VMDK_PACKED;
    range.file_offset = run->file_offset;
    break;
  case RUN_ZERO:
    range.status = VMDK_ZERO;
    break;
  case RUN_ABSENT:
    range.status = VMDK_ABSENT;
    break;
  }
  return add_range (m, &range);
}

int
vmdk_map (struct vmdk_disk *disk, uint64_t offset, uint64_t length,
          bool detail, vmdk_range_fn fn, void *opaque)
{
  struct mapping m = {
    .log = &disk->ctx->log, .fn = fn, .opaque = opaque, .detail = detail,
  };
  struct window *windows = NULL;
  int r;

  /* Without memory it only takes longer. */
  if (length >= LONG_WALK)
    windows = calloc (vmdk_nr_links (disk), sizeof *windows);
  r = disk_walk (disk, offset, length, windows, map_run, &m);
  free (windows);
  if (r == 0)
    r = report_range (&m);
  return r == -1 ? -1 : 0;
}

/* One link. */

/* The walk that asks no parent. */
static int
walk_alone (struct mapping *m, const struct link *l, unsigned depth,
            uint64_t offset, uint64_t length, struct window *window)
{
  while (length > 0) {
    struct extent *const e = link_find_extent (l, offset);
    const uint64_t left = e->start + e->size - offset;
    struct run run;
    int r = e->ops->map (e, offset - e->start, left < length ? left : length,
                         window, &run);

    if (r == 0)
      r = map_run (m, depth, offset, &run);
    if (r != 0)
      return r;
    offset += run.length;
    length -= run.length;
  }
  return 0;
}

int
vmdk_map_link (struct vmdk_disk *disk, size_t link, uint64_t offset,
               uint64_t length, bool detail, vmdk_range_fn fn, void *opaque)
{
  struct mapping m = {
    .log = &disk->ctx->log, .fn = fn, .opaque = opaque, .detail = detail,
  };
  const struct link *const l = disk_link (disk, link);
  struct window *window = NULL;
  int r;

  if (offset > l->size || length > l->size - offset) {
    vmdk_error (m.log, "%s: %" PRIu64 " bytes at offset %" PRIu64 " are "
                "outside of the link, which has %" PRIu64, l->store->name,
                length, offset, l->size);
    errno = EINVAL;
    return -1;
  }
  if (length >= LONG_WALK)
    window = calloc (1, sizeof *window);
  r = walk_alone (&m, l, (unsigned) link, offset, length, window);
  free (window);
  if (r == 0)
    r = report_range (&m);
  return r == -1 ? -1 : 0;
}
