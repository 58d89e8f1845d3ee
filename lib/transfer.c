/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing to a disk in place what links say.  All threads do the same:
 * find the next part that is to be written, one thread at a time, then read
 * and write it, side by side.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "build.h"
#include "threads.h"
#include "transfer.h"

#define MOST_THREADS 8
#define PART_SIZE ((size_t) 1 << 20)
#define MAX_ZERO (UINT64_C (64) << 20) /* so that there is progress */
/* Zeroes among data are found in these; a grain of most disks. */
#define BLOCK_SIZE ((size_t) 64 << 10)

struct part {
  uint64_t offset, length;
  bool zero;
};

struct work {
  const struct transfer *t;
  unsigned zero_flags;
  pthread_mutex_t lock; /* protects what follows */
  uint64_t cursor;
  struct window *windows;
  int err;              /* the first one; 0: none */
};

/* Looking. */

int
transfer_own (const struct transfer *t, uint64_t offset, uint64_t *length,
              struct window *windows, enum transfer_kind *kind)
{
  struct extent *const e = link_find_extent (t->looked_at, offset);
  const uint64_t left = e->start + e->size - offset;
  struct run run;

  if (e->ops->map (e, offset - e->start, left < *length ? left : *length,
                   windows, &run) == -1)
    return -1;
  *length = run.length;
  *kind = run.kind == RUN_ABSENT ? TRANSFER_NOTHING
    : run.kind == RUN_ZERO ? TRANSFER_ZERO : TRANSFER_DATA;
  return 0;
}

struct seen {
  uint64_t length;
  bool data; /* the first length bytes are data, or none of them */
};

static int
see_run (void *opaque, unsigned depth, uint64_t offset, const struct run *run)
{
  struct seen *const s = opaque;
  const bool data = run->kind == RUN_DATA || run->kind == RUN_PACKED;

  (void) depth;
  (void) offset;
  if (s->length > 0 && data != s->data)
    return 1;
  s->data = data;
  s->length += run->length;
  return s->length >= PART_SIZE && data;
}

int
transfer_missing (const struct transfer *t, uint64_t offset,
                  uint64_t *length, struct window *windows,
                  enum transfer_kind *kind)
{
  struct seen seen = { .length = 0 };

  if (transfer_own (t, offset, length, windows, kind) == -1)
    return -1;
  if (*kind != TRANSFER_NOTHING) {
    *kind = TRANSFER_NOTHING;
    return 0;
  }
  if (disk_walk_link (t->looked_at->parent, 0, offset, *length, windows + 1,
                      see_run, &seen) == -1)
    return -1;
  *length = seen.length;
  *kind = seen.data ? TRANSFER_DATA : TRANSFER_NOTHING;
  return 0;
}

static struct window *
make_windows (const struct transfer *t)
{
  const struct link *l;
  struct window *windows;
  size_t n = 0;

  for (l = t->looked_at; l; l = l->parent)
    n++;
  windows = calloc (n, sizeof windows[0]);
  if (windows == NULL)
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): that is a link */
    vmdk_error (&t->looked_at->ctx->log, "%s: %m",
                t->looked_at->store->name);
  return windows;
}

/* Parts of data don't cross a multiple of their size, so that no grain is
 * written by two threads, nor in two steps.
 */
static uint64_t
limit_of (const struct transfer *t, const struct part *p)
{
  const uint64_t most = p->zero ? MAX_ZERO :
    PART_SIZE - p->offset % PART_SIZE;
  const uint64_t left = t->looked_at->size - p->offset;

  return most < left ? most : left;
}

/* A part may consist of many grains, which lie anywhere. */
static int
extend_part (const struct transfer *t, struct window *windows,
             struct part *p)
{
  const uint64_t limit = limit_of (t, p);
  const enum transfer_kind wanted = p->zero ? TRANSFER_ZERO : TRANSFER_DATA;

  if (p->length > limit)
    p->length = limit;
  while (p->length < limit) {
    uint64_t length = limit - p->length;
    enum transfer_kind kind = TRANSFER_NOTHING;

    if (t->look (t, p->offset + p->length, &length, windows, &kind) == -1)
      return -1;
    if (kind != wanted)
      break;
    p->length += length;
  }
  return 0;
}

/* 1: there is a part, from *offset on; 0: there are no more; -1 */
static int
find_part (const struct transfer *t, struct window *windows,
           uint64_t *offset, struct part *p)
{
  const uint64_t end = t->looked_at->size;
  enum transfer_kind kind = TRANSFER_NOTHING;
  uint64_t length;

  for (; *offset < end; *offset += length) {
    length = end - *offset;
    if (t->look (t, *offset, &length, windows, &kind) == -1)
      return -1;
    if (kind != TRANSFER_NOTHING)
      break;
  }
  if (*offset >= end)
    return 0;
  *p = (struct part) {
    .offset = *offset, .length = length, .zero = kind == TRANSFER_ZERO,
  };
  return extend_part (t, windows, p) == -1 ? -1 : 1;
}

int
transfer_is_needed (const struct transfer *t)
{
  struct window *const windows = make_windows (t);
  uint64_t offset = 0;
  struct part p;
  int r;

  if (windows == NULL)
    return -1;
  r = find_part (t, windows, &offset, &p);
  free (windows);
  return r;
}

/* Doing. */

static int
report_progress (const struct work *w)
{
  const struct vmdk_progress *const progress = w->t->progress;

  if (progress->fn == NULL ||
      progress->fn (progress->opaque, w->cursor,
                    w->t->looked_at->size) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

/* False: there are no more, or there was an error. */
static bool
take_part (struct work *w, struct part *p)
{
  int r = 0;

  pthread_mutex_lock (&w->lock);
  if (w->err == 0) {
    r = report_progress (w);
    if (r == 0)
      r = find_part (w->t, w->windows, &w->cursor, p);
    if (r == 1)
      w->cursor += p->length;
    if (r == -1)
      w->err = errno;
  }
  pthread_mutex_unlock (&w->lock);
  return r == 1;
}

static void
fail (struct work *w, int err)
{
  pthread_mutex_lock (&w->lock);
  if (w->err == 0)
    w->err = err;
  pthread_mutex_unlock (&w->lock);
}

static size_t
next_block (uint64_t offset, size_t left)
{
  const size_t n = BLOCK_SIZE - (size_t) (offset % BLOCK_SIZE);

  return n < left ? n : left;
}

/* Writes the blocks that are zero as such. */
static int
write_data (const struct work *w, const struct part *p, const uint8_t *buf)
{
  size_t done, n;

  for (done = 0; done < p->length; done += n) {
    const size_t length = (size_t) p->length;
    const uint64_t offset = p->offset + done;
    bool zero;
    int r;

    n = next_block (offset, length - done);
    zero = is_zero (buf + done, n);
    while (done + n < length) {
      const size_t more = next_block (offset + n, length - done - n);

      if (is_zero (buf + done + n, more) != zero)
        break;
      n += more;
    }
    if (zero)
      r = vmdk_zero (w->t->to, n, offset, w->zero_flags);
    else
      r = vmdk_pwrite (w->t->to, buf + done, n, offset, 0);
    if (r == -1)
      return -1;
  }
  return 0;
}

static int
do_part (const struct work *w, const struct part *p, uint8_t *buf)
{
  if (p->zero)
    return vmdk_zero (w->t->to, p->length, p->offset, w->zero_flags);
  if (disk_read_link (w->t->from, buf, (size_t) p->length, p->offset) == -1)
    return -1;
  return write_data (w, p, buf);
}

static void *
work (void *opaque)
{
  struct work *const w = opaque;
  uint8_t *const buf = malloc (PART_SIZE);
  struct part p;

  if (buf == NULL) {
    vmdk_error (&w->t->to->ctx->log, "%s: %m", w->t->to->top->store->name);
    fail (w, errno);
    return NULL;
  }
  while (take_part (w, &p))
    if (do_part (w, &p, buf) == -1)
      fail (w, errno);
  free (buf);
  return NULL;
}

static unsigned
nr_threads (void)
{
  const unsigned n = nr_processors ();

  return n < MOST_THREADS ? n : MOST_THREADS;
}

/* Space of flat disks was mostly given to them for a reason. */
static unsigned
zero_flags (const struct transfer *t)
{
  return t->to->top->grain_size > 0 ? VMDK_MAY_TRIM : 0;
}

int
transfer_run (const struct transfer *t)
{
  struct work w = {
    .t = t, .zero_flags = zero_flags (t), .windows = make_windows (t),
  };

  if (w.windows == NULL)
    return -1;
  pthread_mutex_init (&w.lock, NULL);
  run_threads (nr_threads (), work, &w);
  pthread_mutex_destroy (&w.lock);
  free (w.windows);
  if (w.err == 0)
    return vmdk_flush (t->to);
  errno = w.err;
  return -1;
}

/* Before. */

static int
report_forbidden (const struct link *to, const struct extent *e)
{
  vmdk_error (&to->ctx->log, "%s: can't be written: there are data for an "
              "extent that is %s, %s", to->store->name, e->format,
              e->line ? extent_access_name (e->line->access) : "read-only");
  errno = EPERM;
  return -1;
}

/* What reads as zero anyway needn't be zeroed. */
static int
check_extent (const struct transfer *t, const struct link *to,
              const struct extent *e, struct window *windows)
{
  const uint64_t size = t->looked_at->size;
  const uint64_t end = e->start + e->size < size ? e->start + e->size : size;
  uint64_t offset = e->start, length;

  for (; offset < end; offset += length) {
    enum transfer_kind kind = TRANSFER_NOTHING;

    length = end - offset;
    if (t->look (t, offset, &length, windows, &kind) == -1)
      return -1;
    if (kind == TRANSFER_DATA || (kind == TRANSFER_ZERO && e->store))
      return report_forbidden (to, e);
  }
  return 0;
}

int
transfer_check (const struct transfer *t, const struct link *to)
{
  struct window *windows = NULL;
  size_t i;
  int r = 0;

  for (i = 0; i < to->nr_extents && r == 0; i++) {
    if (session_may_write (to->extents[i]))
      continue;
    if (windows == NULL)
      windows = make_windows (t);
    r = windows ? check_extent (t, to, to->extents[i], windows) : -1;
  }
  free (windows);
  return r;
}
