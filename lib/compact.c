/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving back space that a disk has no use for, without a change to what
 * the guest sees: so the content ID stays, and children of the disk remain
 * what they are.  Here are flat extents, where zeroes become holes;
 * compact-sparse.c has those with tables.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "compact.h"
#include "descriptor-edit.h"
#include "le.h"
#include "relabel.h"

#define READ_SIZE ((size_t) 1 << 20)
#define BLOCK 4096
#define LEAST_HOLE 65536 /* smaller ones would only make fragments */

int
compact_ask (const struct compaction *c, uint64_t done)
{
  const struct vmdk_progress *const p = c->progress;

  if (p->fn == NULL ||
      p->fn (p->opaque, (c->done + done) / 2, c->disk->top->size) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

/* Flat extents.  Only zeroes are punched, so that nothing that is read
 * changes, whatever crashes when.
 */

struct flat_job {
  struct compaction *c;
  struct extent *e;
  uint64_t start, end; /* of the extent's bytes in the file */
  bool thick;          /* holes have space, too */
  uint64_t zero;       /* zeroes begin here, */
  uint64_t at;         /* and up to here was looked at */
  uint8_t *buf;
};

static int
punch_zeroes (struct flat_job *j)
{
  const uint64_t first = div_round_up (j->zero, BLOCK) * BLOCK;
  uint64_t end = j->at / BLOCK * BLOCK, start, stop;

  if (j->at == j->end && j->end == j->e->store->size)
    end = j->end;
  if (end < first || end - first < LEAST_HOLE || !j->e->store->can_punch)
    return 0;
  store_find_data (j->e->store, first, end, &start, &stop);
  if (start == stop && !j->thick)
    return 0;
  return session_will_change (&j->c->disk->session, j->c->disk->top,
                              j->e) == -1 ||
    store_punch (j->e->store, end - first, first) == -1 ? -1 : 0;
}

/* What was read of the file from j->at on. */
static int
look_at (struct flat_job *j, size_t count)
{
  size_t i, n;

  for (i = 0; i < count; i += n) {
    n = BLOCK - (size_t) (j->at % BLOCK);
    if (n > count - i)
      n = count - i;
    if (!is_zero (j->buf + i, n)) {
      if (punch_zeroes (j) == -1)
        return -1;
      j->zero = j->at + n;
    }
    j->at += n;
  }
  return 0;
}

static int
look_at_data (struct flat_job *j, uint64_t stop)
{
  while (j->at < stop) {
    const uint64_t left = stop - j->at;
    const size_t n = left < READ_SIZE ? (size_t) left : READ_SIZE;

    if (compact_ask (j->c, 2 * (j->at - j->start)) == -1 ||
        store_pread (j->e->store, j->buf, n, j->at) == -1 ||
        look_at (j, n) == -1)
      return -1;
  }
  return 0;
}

static int
run_flat (struct flat_job *j)
{
  uint64_t start, stop;

  while (j->at < j->end) {
    store_find_data (j->e->store, j->at, j->end, &start, &stop);
    j->at = start;
    if (look_at_data (j, stop) == -1)
      return -1;
  }
  return punch_zeroes (j);
}

static int
compact_flat (struct compaction *c, struct extent *e)
{
  struct flat_job j = {
    .c = c, .e = e, .start = e->line->offset, .zero = e->line->offset,
    .at = e->line->offset, .end = e->line->offset + e->size,
    .thick = store_allocated (e->store) >= e->store->size,
  };
  int r;

  if (j.end > e->store->size)
    j.end = e->store->size;
  j.buf = malloc (READ_SIZE);
  if (j.buf == NULL) {
    vmdk_error (&e->ctx->log, "%s: %m", e->store->name);
    return -1;
  }
  r = run_flat (&j);
  free (j.buf);
  return r;
}

/* The disk. */

static int
refuse (const struct link *l, int err, const char *why)
{
  vmdk_error (&l->ctx->log, "%s: can't be compacted: %s", l->store->name,
              why);
  errno = err;
  return -1;
}

static int
check_formats (const struct link *l)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    if (strcmp (l->extents[i]->format, "stream") == 0 ||
        strcmp (l->extents[i]->format, "seSparse") == 0)
      return refuse (l, ENOTSUP, "that isn't supported for extents of its "
                     "type; vmdk-img convert writes a disk that has only "
                     "what is needed");
  return 0;
}

static int
check_files (const struct link *l)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    if (session_may_write (l->extents[i]) &&
        !l->extents[i]->store->fresh_is_zero)
      return refuse (l, ENOTSUP, "it lies on a device, whose space can't be "
                     "given back");
  return 0;
}

/* The mark of an extent that is being changed ends VMware's change tracking;
 * if that is allowed, the descriptor must say so, too.
 */
static int
end_tracking (struct link *l)
{
  const struct descriptor_changes changes = { .drop_change_track = true };

  if (!l->ctx->drop_cbt || l->desc == NULL || l->desc->change_track == NULL)
    return 0;
  return link_change_descriptor (l, &changes);
}

/* Where holes can't be made, it was tried. */
static void
warn_no_punch (const struct link *l)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    if (session_may_write (l->extents[i]) &&
        !l->extents[i]->store->can_punch) {
      vmdk_warning (&l->ctx->log, "%s: its file system can't make holes in "
                    "files, so what is free inside of it remains",
                    l->extents[i]->store->name);
      return;
    }
}

static uint64_t
all_allocated (const struct link *l)
{
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    if (l->extents[i]->store)
      sum += store_allocated (l->extents[i]->store);
  return sum;
}

static int
compact_extents (struct compaction *c)
{
  const struct link *const l = c->disk->top;
  size_t i;

  for (i = 0; i < l->nr_extents; i++) {
    struct extent *const e = l->extents[i];

    if (compact_ask (c, 0) == -1)
      return -1;
    if (session_may_write (e) &&
        (e->grain_size ? compact_sparse (c, e) : compact_flat (c, e)) == -1)
      return -1;
    c->done += 2 * e->size;
  }
  return session_flush (c->disk->top);
}

int
vmdk_compact (struct vmdk_disk *disk, bool punch_only,
              const struct vmdk_progress *progress, uint64_t *freed)
{
  struct compaction c = {
    .disk = disk, .punch_only = punch_only, .progress = progress,
    .has_parent = disk->top->parent != NULL,
  };
  uint64_t before, after;
  int r;

  *freed = 0;
  disk->session.keep_content = true;
  disk->session.required = true;
  if (check_formats (disk->top) == -1 || vmdk_start_writing (disk) == -1 ||
      check_files (disk->top) == -1 || end_tracking (disk->top) == -1)
    return -1;
  before = all_allocated (disk->top);
  r = compact_extents (&c);
  after = all_allocated (disk->top);
  if (after < before)
    *freed = before - after;
  if (r == 0)
    warn_no_punch (disk->top);
  return r;
}
