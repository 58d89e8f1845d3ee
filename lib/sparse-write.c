/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing two-level extents: giving places to grains and publishing their
 * entries.  The rules are in sparse-write.h.  What comes before the first
 * change, and at the end, is in sparse-session.c.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sparse-write.h"
#include "tables.h"

/* Grains are allocated in pieces of at most so many bytes, so that a large
 * request has its grains beside each other, and others get their turn.
 */
#define MOST_AT_ONCE (UINT64_C (4) << 20)

/* The part of a request that is done in one go: whole grains, or a part of
 * one grain, always within one page of a table.
 */
struct job {
  struct sparse *sp;
  struct sparse_writer *w;
  const struct fill *fill;
  uint64_t grain, n;   /* the first one, and how many */
  uint64_t head;       /* bytes of the first one before the request's */
  uint64_t length;     /* bytes of the request */
  uint64_t valid;      /* bytes of these grains that the extent has */
  enum entry_kind kind; /* what the entries are now */
  uint64_t index;      /* of the first entry in the page */
  struct page_place page;
};

static bool
is_whole (const struct job *j)
{
  return j->head == 0 && j->length == j->valid;
}

static void
set_job (struct job *j, struct sparse *sp, const struct fill *f)
{
  const uint64_t size = sp->e.grain_size;
  const uint64_t per_page = tables_per_page (sp);
  uint64_t left;

  *j = (struct job) { .sp = sp, .w = sp->writer, .fill = f, .n = 1 };
  j->grain = f->offset / size;
  j->head = f->offset % size;
  j->index = j->grain % per_page;
  left = sp->e.size - j->grain * size;
  if (j->head == 0 && f->length >= size) {
    j->n = f->length / size;
    if (j->n > per_page - j->index)
      j->n = per_page - j->index;
    if (j->n > 1 && j->n * size > MOST_AT_ONCE)
      j->n = size < MOST_AT_ONCE ? MOST_AT_ONCE / size : 1;
  }
  j->valid = j->n * size < left ? j->n * size : left;
  j->length = j->valid - j->head;
  if (j->length > f->length)
    j->length = f->length;
}

/* Publishing. */

/* The entries that are frozen here are of grains that are complete, so the
 * sync makes these durable.  Without any, that is all there is to do.
 */
int
sparse_flush (struct extent *e)
{
  struct sparse *const sp = (struct sparse *) e;
  struct sparse_writer *const w = sp->writer;
  struct dirty_page *frozen;
  int r;

  pthread_mutex_lock (&w->round_lock);
  frozen = dirty_freeze (&w->dirty);
  r = store_sync (e->store);
  if (frozen && r == 0)
    r = dirty_write (sp, frozen);
  if (frozen && r == 0)
    r = store_sync (e->store);
  if (r == 0)
    dirty_clean (sp, frozen);
  else
    dirty_again (sp, &w->dirty, frozen);
  pthread_mutex_unlock (&w->round_lock);
  return r;
}

/* Finding the page. */

int
sparse_set_gde (struct sparse *sp, unsigned copy, uint64_t number,
                uint64_t place)
{
  struct sparse_writer *const w = sp->writer;
  struct page_place at = { .place = { 0 } };
  uint64_t i;
  int r;

  at.data = tables_gd_page (sp, copy, number, &i, &at.place[0], &at.size);
  if (at.data == NULL)
    return -1;
  r = dirty_set (sp, &w->dirty, &at, i, 1, place / SECTOR_SIZE, 0);
  cache_put (sp->e.ctx->tables, at.data);
  return r;
}

/* Its entries are all zero, which in a file it is by itself. */
static int
clear_table (struct sparse *sp, uint64_t place, uint64_t bytes)
{
  if (sp->e.store->fresh_is_zero)
    return 0;
  return store_zero (sp->e.store, bytes, place, false);
}

static int
make_table_locked (struct sparse *sp, uint64_t number)
{
  struct sparse_writer *const w = sp->writer;
  const uint64_t bytes = sparse_gt_bytes (sp);
  const unsigned copies = sp->gd[1] ? 2 : 1;
  uint64_t place[2];
  const int r = tables_places (sp, number, place);

  if (r != 0)
    return r == 1 ? 0 : -1; /* another thread has made it */
  if (allocator_reserve (&w->allocator, bytes * copies, SECTOR_SIZE,
                         &place[0]) == -1)
    return -1;
  if (clear_table (sp, place[0], bytes * copies) == -1 ||
      (copies == 2 &&
       sparse_set_gde (sp, 1, number, place[0] + bytes) == -1)) {
    allocator_give_back (&w->allocator, place[0], bytes * copies);
    return -1;
  }
  if (sparse_set_gde (sp, 0, number, place[0]) == 0)
    return 0;
  /* The entry may have been published meanwhile, so the place isn't free.
   * Its page is there, and dirty, so that taking it back can't fail.
   */
  if (copies == 2)
    sparse_set_gde (sp, 1, number, 0);
  return -1;
}

static int
make_table (struct sparse *sp, uint64_t number)
{
  struct sparse_writer *const w = sp->writer;
  int r;

  pthread_mutex_lock (&w->tables_lock);
  r = make_table_locked (sp, number);
  pthread_mutex_unlock (&w->tables_lock);
  return r;
}

/* Finds the page of the job, pinned, and makes the table if there is none. */
static int
find_page (struct job *j)
{
  struct sparse *const sp = j->sp;
  const uint64_t number = j->grain / sp->gtes_per_gt;
  const uint64_t first = j->grain - j->index;
  const uint64_t offset = first % sp->gtes_per_gt * sp->format->entry_size;
  struct table_page page;
  uint64_t end;

  if (tables_find (sp, j->grain, j->grain, NULL, &page, &end) == -1)
    return -1;
  if (page.data == NULL &&
      (make_table (sp, number) == -1 ||
       tables_find (sp, j->grain, j->grain, NULL, &page, &end) == -1))
    return -1;
  j->page = (struct page_place) {
    .data = page.data, .size = tables_page_size (sp),
  };
  if (tables_places (sp, number, j->page.place) == -1) {
    tables_put (sp, &page);
    return -1;
  }
  j->page.place[0] += offset;
  if (j->page.place[1])
    j->page.place[1] += offset;
  return 0;
}

/* How many grains of the job are alike, and what they are. */
static void
find_alike (struct job *j)
{
  uint64_t position, n = 1;

  j->kind = tables_gte (j->sp, j->page.data, j->index, &position);
  while (n < j->n && tables_gte (j->sp, j->page.data, j->index + n,
                                 &position) == j->kind)
    n++;
  if (n == j->n)
    return;
  j->n = n;
  j->length = j->valid = n * j->sp->e.grain_size;
}

/* Filling grains. */

static int
set_places (struct job *j, uint64_t place)
{
  return dirty_set (j->sp, &j->w->dirty, &j->page, j->index, j->n,
                    place / SECTOR_SIZE, j->sp->e.grain_size / SECTOR_SIZE);
}

/* Whether a part of the grain, which the request doesn't cover, has to be
 * written: by what is in the parent, or because the place isn't fresh.
 */
static int
must_write (const struct job *j, uint64_t offset, uint64_t length)
{
  const struct below *const below = j->fill->below;
  const uint64_t start = j->grain * j->sp->e.grain_size + offset;
  uint64_t n;
  int r;

  if (length == 0)
    return 0;
  if (!j->sp->e.store->fresh_is_zero)
    return 1;
  if (j->kind != ENTRY_ABSENT || below == NULL)
    return 0;
  r = below->find_zero (below, start, length, &n);
  return r == -1 ? -1 : r == 0 || n < length;
}

static int
read_below (const struct job *j, uint8_t *buf, uint64_t offset,
            uint64_t length)
{
  const struct below *const below = j->fill->below;

  if (j->kind != ENTRY_ABSENT || below == NULL || length == 0)
    return 0; /* buf is zeroed */
  return below->pread (below, buf + offset, (size_t) length,
                       j->grain * j->sp->e.grain_size + offset);
}

/* Writes [from, to) of a grain, with the request's part in it. */
static int
write_with_rest (const struct job *j, uint64_t place, uint64_t from,
                 uint64_t to)
{
  const uint64_t after = j->head + j->length;
  uint8_t *const buf = calloc (1, (size_t) j->valid);
  int r = -1;

  if (buf == NULL)
    vmdk_error (&j->sp->e.ctx->log, "%s: allocating a grain: %m",
                j->sp->e.store->name);
  else if (read_below (j, buf, from, j->head - from) == 0 &&
           read_below (j, buf, after, to - after) == 0) {
    if (j->fill->buf)
      memcpy (buf + j->head, j->fill->buf, (size_t) j->length);
    r = store_pwrite (j->sp->e.store, buf + from, (size_t) (to - from),
                      place + from);
  }
  free (buf);
  return r;
}

/* One grain, of which the request has a part. */
static int
write_part (const struct job *j, uint64_t place)
{
  const uint64_t after = j->head + j->length;
  const int with_head = must_write (j, 0, j->head);
  const int with_tail = must_write (j, after, j->valid - after);

  if (with_head == -1 || with_tail == -1)
    return -1;
  if (with_head || with_tail || !j->sp->e.store->fresh_is_zero)
    return write_with_rest (j, place, with_head ? 0 : j->head,
                            with_tail ? j->valid : after);
  if (j->fill->buf == NULL)
    return 0;
  return store_pwrite (j->sp->e.store, j->fill->buf, (size_t) j->length,
                       place + j->head);
}

static int
write_grains (const struct job *j, uint64_t place)
{
  struct store *const store = j->sp->e.store;

  if (!is_whole (j))
    return write_part (j, place);
  if (j->fill->buf)
    return store_pwrite (store, j->fill->buf, (size_t) j->length, place);
  if (store->fresh_is_zero)
    return 0;
  return store_zero (store, j->length, place, false);
}

/* 1: the grains are marked as zero. */
static int
mark_zeroed (struct job *j)
{
  int r;

  if (j->fill->buf || !is_whole (j) ||
      j->sp->write_format->allow_zeroed == NULL)
    return 0;
  pthread_mutex_lock (&j->w->tables_lock);
  r = j->sp->write_format->allow_zeroed (j->sp);
  pthread_mutex_unlock (&j->w->tables_lock);
  if (r != 1)
    return r;
  return dirty_set (j->sp, &j->w->dirty, &j->page, j->index, j->n, 1, 0) == -1
    ? -1 : 1;
}

static int
allocate (struct job *j)
{
  const uint64_t size = j->sp->e.grain_size;
  uint64_t place;
  const int r = mark_zeroed (j);

  if (r != 0)
    return r == 1 ? 0 : -1;
  if (allocator_reserve (&j->w->allocator, j->n * size,
                         j->sp->write_format->align_grains ? size
                         : SECTOR_SIZE, &place) == -1)
    return -1;
  if (write_grains (j, place) == 0 && set_places (j, place) == 0)
    return 0;
  allocator_give_back (&j->w->allocator, place, j->n * size);
  return -1;
}

/* With the grains locked.  -1, or the job's length is what was done. */
static int
run_job (struct job *j)
{
  int r = 0;

  if (find_page (j) == -1)
    return -1;
  find_alike (j);
  switch (j->kind) {
  case ENTRY_ABSENT:
    r = allocate (j);
    break;
  case ENTRY_ZERO:
    if (j->fill->buf)
      r = allocate (j);
    break;
  case ENTRY_PLACE: /* another thread was quicker */
  case ENTRY_BAD:   /* map will say so */
    j->length = 0;
  }
  cache_put (j->sp->e.ctx->tables, j->page.data);
  return r;
}

/* Zeroes. */

/* Over nothing, or over zeroes, there is nothing to do; and the rest of a
 * trim is left alone where it isn't a whole grain.  *f becomes what has to
 * be done, beginning at the same place; 1: the first *done bytes needn't.
 */
static int
skip_zeroes (const struct sparse *sp, struct fill *f, uint64_t *done)
{
  const uint64_t size = sp->e.grain_size;
  const uint64_t head = f->offset % size;
  uint64_t n;
  int r;

  *done = f->length;
  if (f->kind == RUN_ZERO || f->below == NULL)
    return 1;
  r = f->below->find_zero (f->below, f->offset, f->length, &n);
  if (r == -1)
    return -1;
  if (r == 1 && n < f->length && head + n < size)
    n = 1; /* something in the first grain isn't */
  else if (r == 1) {
    *done = n < f->length ? (head + n) / size * size - head : n;
    return 1;
  }
  /* Whole grains, if any part of them must be done. */
  n = div_round_up (head + n, size) * size - head;
  if (n < f->length)
    f->length = n;
  *done = size - head < f->length ? size - head : f->length;
  if (f->trim && (head != 0 || (f->length < size && f->offset + f->length <
                                sp->e.size)))
    return 1;
  return 0;
}

static int
sparse_fill (struct extent *e, const struct fill *fill, uint64_t *done)
{
  struct sparse *const sp = (struct sparse *) e;
  struct fill f = *fill;
  struct held_range held;
  struct job j;
  int r;

  if (f.buf == NULL) {
    r = skip_zeroes (sp, &f, done);
    if (r != 0)
      return r == 1 ? 0 : -1;
  }
  set_job (&j, sp, &f);
  if (sp->nr_dirty > 0 && e->ctx->nr_dirty >= j.w->most_dirty &&
      sparse_flush (e) == -1)
    return -1;
  range_lock (&j.w->grains, &held, j.grain, j.grain + j.n - 1);
  r = run_job (&j);
  range_unlock (&j.w->grains, &held);
  *done = j.length;
  return r;
}

/* Whole grains are, as holes or marked ones; parts need what is around
 * them.
 */
static int
sparse_fills_fast (struct extent *e, const struct fill *fill, bool *fast)
{
  const struct sparse *const sp = (const struct sparse *) e;
  struct fill f = *fill;
  struct job j;

  *fast = true;
  while (f.length > 0 && *fast) {
    uint64_t done;
    const struct fill whole = f;
    const int r = skip_zeroes (sp, &f, &done);

    if (r == -1)
      return -1;
    if (r == 0) {
      set_job (&j, (struct sparse *) sp, &f);
      *fast = is_whole (&j) && e->store->fresh_is_zero;
      done = j.length;
    }
    f = whole;
    f.offset += done;
    f.length -= done;
  }
  return 0;
}

static bool
sparse_is_behind (const struct extent *e)
{
  return ((const struct sparse *) e)->nr_dirty != 0;
}

const struct extent_write_ops sparse_write_ops = {
  .start = sparse_start_writing,
  .was_interrupted = sparse_was_interrupted,
  .will_change = sparse_will_change,
  .fill = sparse_fill,
  .fills_fast = sparse_fills_fast,
  .is_behind = sparse_is_behind,
  .flush = sparse_flush,
  .finish = sparse_finish,
};
