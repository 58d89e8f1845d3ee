/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Copying what links say to a disk that is being made.
 *
 * All threads do the same: find the next piece of the new disk about which
 * the links say something (one thread at a time), read and pack it (all
 * side by side), and leave it in the queue, which it has joined when it was
 * found.  Then whatever is ready at the queue's head is placed, one piece
 * after the other, and written, by any threads again.  So the layout
 * depends on the content alone, and nobody waits for a piece that takes
 * longer than others, unless there are too many behind it.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "disk.h"
#include "le.h"
#include "threads.h"

/* Pieces on their way: so that others can go on for a while if a thread has
 * to wait for its disk, or for a processor.
 */
#define NR_SLOTS(threads) (2 * (size_t) (threads) + 4)

/* After so many pieces, the system is asked to begin to make them durable,
 * so that this doesn't all remain for the end.
 */
#define PIECES_TO_SYNC 32

/* Of data in a piece; where there are more, zeroes between them are read
 * as well.
 */
#define MAX_RANGES 64

struct range {
  size_t offset, length; /* in the piece */
};

/* Memory for a piece on its way. */
struct slot {
  struct slot *next;    /* of those that are free */
  bool ready;           /* read and packed */
  uint64_t number;      /* of the piece, as they are placed */
  struct piece piece;
  uint64_t start;       /* of the piece in the guest's disk */
  struct range ranges[MAX_RANGES];
  size_t nr_ranges;
  bool *absent;         /* room for piece.absent */
};

/* Looks for pieces. */
struct finder {
  uint64_t cursor;      /* what is before was found; in the guest's disk */
  uint64_t end;
  size_t build;         /* the first one that ends behind the cursor */
  struct window *windows;
  uint64_t found;       /* something that a link says */
  struct slot *slot;    /* for the piece that is looked at */

  /* What was last heard of the holes of a file: from hole to data is one,
   * from there to stop there are data.
   */
  const struct store *store;
  uint64_t hole, data, stop;
};

struct pipeline {
  const struct copy *c;
  struct new_image *image;
  bool with_absent;     /* what links don't say is to be absent */
  bool limited;         /* not all links are looked at, or with_absent */

  pthread_mutex_t find_lock; /* protects the finder; the outer lock */
  struct finder finder;

  struct slot *slots;
  size_t nr_slots;

  pthread_mutex_t lock; /* protects what follows, and slot.ready */
  pthread_cond_t freed; /* a slot, or there is an error */
  struct slot *free;    /* what was used last comes first: it is in the
                           processor's cache */
  struct slot **queue;  /* a ring of nr_slots: */
  uint64_t nr_taken, nr_placed; /* its tail and head, modulo nr_slots */
  int err;              /* the first one; 0: none */
};

/* Finding pieces. */

/* Whether the copy has to say anything there. */
static bool
is_said (const struct pipeline *p, const struct run *run)
{
  if (run->kind == RUN_ZERO)
    return p->with_absent;
  return run->kind != RUN_ABSENT;
}

static int
walk (struct pipeline *p, uint64_t offset, uint64_t length, walk_fn fn)
{
  return disk_walk_links (p->c->top, p->c->nr_links, offset, length,
                          p->finder.windows, fn, p);
}

/* The first *length bytes of a run are a hole of the file, or none are. */
static bool
is_hole (struct finder *f, const struct run *run, uint64_t done,
         uint64_t *length)
{
  const uint64_t at = run->file_offset + done;
  bool hole;

  *length = run->length - done;
  if (run->kind != RUN_DATA)
    return false;
  if (f->store != run->store || at < f->hole || at >= f->stop) {
    f->store = run->store;
    f->hole = at;
    store_find_data (run->store, at, UINT64_MAX, &f->data, &f->stop);
  }
  hole = at < f->data;
  if (*length > (hole ? f->data : f->stop) - at)
    *length = (hole ? f->data : f->stop) - at;
  return hole;
}

/* walk_fn: stops at the first byte that must be looked at. */
static int
find_first (void *opaque, unsigned depth, uint64_t offset,
            const struct run *run)
{
  struct pipeline *const p = opaque;
  uint64_t done, length;

  (void) depth;
  if (!is_said (p, run))
    return 0;
  for (done = 0; done < run->length; done += length)
    if (!is_hole (&p->finder, run, done, &length) || p->with_absent) {
      p->finder.found = offset + done;
      return 1;
    }
  return 0;
}

static void
add_range (struct slot *s, size_t offset, size_t length)
{
  struct range *const last = s->nr_ranges ? &s->ranges[s->nr_ranges - 1]
    : NULL;

  if (last && (last->offset + last->length == offset ||
               s->nr_ranges == MAX_RANGES))
    last->length = offset + length - last->offset;
  else
    s->ranges[s->nr_ranges++] = (struct range) {
      .offset = offset, .length = length,
    };
}

/* walk_fn: notes what of the piece must be read. */
static int
add_run (void *opaque, unsigned depth, uint64_t offset, const struct run *run)
{
  struct pipeline *const p = opaque;
  struct slot *const s = p->finder.slot;
  uint64_t done, length;

  (void) depth;
  if (!is_said (p, run))
    return 0;
  for (done = 0; done < run->length; done += length)
    if (!is_hole (&p->finder, run, done, &length))
      add_range (s, (size_t) (offset + done - s->start), (size_t) length);
  return 0;
}

/* walk_fn: notes which grains some link says something about. */
static int
add_grains (void *opaque, unsigned depth, uint64_t offset,
            const struct run *run)
{
  struct pipeline *const p = opaque;
  struct slot *const s = p->finder.slot;
  const size_t grain = s->piece.build->grain_size;
  const size_t first = (size_t) (offset - s->start);
  size_t i;

  (void) depth;
  if (is_said (p, run))
    for (i = first / grain; i * grain < first + run->length; i++)
      s->absent[i] = false;
  return 0;
}

/* Of these, all is read: where they say only a part, links below say the
 * rest.
 */
static void
add_ranges_of_grains (struct slot *s)
{
  const size_t grain = s->piece.build->grain_size;
  size_t at;

  for (at = 0; at < s->piece.length; at += grain)
    if (!s->absent[at / grain])
      add_range (s, at, grain < s->piece.length - at ? grain
                 : s->piece.length - at);
}

static int
look_at_piece (struct pipeline *p, struct slot *s)
{
  struct finder *const f = &p->finder;
  uint64_t length = s->piece.length;

  if (length > f->end - s->start)
    length = f->end - s->start;
  f->slot = s;
  s->nr_ranges = 0;
  s->piece.absent = p->with_absent ? s->absent : NULL;
  if (!p->limited)
    return walk (p, s->start, length, add_run);
  memset (s->absent, true, div_round_up (s->piece.length,
                                         s->piece.build->grain_size));
  if (walk (p, s->start, length, add_grains) == -1)
    return -1;
  add_ranges_of_grains (s);
  return 0;
}

/* The piece of the new disk with the byte at offset. */
static void
begin_piece (struct pipeline *p, struct slot *s, uint64_t offset)
{
  const struct new_image *const image = p->image;
  struct finder *const f = &p->finder;
  struct build *b = image->builds[f->build];

  while (offset - image->starts[f->build] >= b->size)
    b = image->builds[++f->build];
  offset -= image->starts[f->build];
  s->piece.build = b;
  s->piece.offset = offset - offset % PIECE_SIZE;
  s->piece.length = PIECE_SIZE;
  if (s->piece.length > b->size - s->piece.offset)
    s->piece.length = (size_t) (b->size - s->piece.offset);
  s->start = image->starts[f->build] + s->piece.offset;
}

static int
report_progress (struct pipeline *p, uint64_t done)
{
  const struct vmdk_progress *const progress = p->c->progress;

  if (progress == NULL || progress->fn == NULL ||
      progress->fn (progress->opaque, done, p->image->size) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

/* 1: found, 0: there are no more, -1 */
static int
find_piece (struct pipeline *p, struct slot *s)
{
  struct finder *const f = &p->finder;
  int r;

  if (f->cursor >= f->end || report_progress (p, f->cursor) == -1)
    return f->cursor >= f->end ? 0 : -1;
  r = walk (p, f->cursor, f->end - f->cursor, find_first);
  if (r != 1) {
    f->cursor = f->end;
    return r;
  }
  begin_piece (p, s, f->found);
  f->cursor = s->start + s->piece.length;
  return look_at_piece (p, s) == -1 ? -1 : 1;
}

/* The queue. */

static void
fail (struct pipeline *p, int err)
{
  pthread_mutex_lock (&p->lock);
  if (p->err == 0)
    p->err = err;
  pthread_cond_broadcast (&p->freed);
  pthread_mutex_unlock (&p->lock);
}

static void
release (struct pipeline *p, struct slot *s)
{
  pthread_mutex_lock (&p->lock);
  s->next = p->free;
  p->free = s;
  pthread_cond_signal (&p->freed);
  pthread_mutex_unlock (&p->lock);
}

/* NULL: there was an error. */
static struct slot *
wait_for_slot (struct pipeline *p)
{
  struct slot *s = NULL;

  pthread_mutex_lock (&p->lock);
  while (p->free == NULL && p->err == 0)
    pthread_cond_wait (&p->freed, &p->lock);
  if (p->err == 0) {
    s = p->free;
    p->free = s->next;
  }
  pthread_mutex_unlock (&p->lock);
  return s;
}

static void
join_queue (struct pipeline *p, struct slot *s)
{
  pthread_mutex_lock (&p->lock);
  s->ready = false;
  p->queue[p->nr_taken++ % p->nr_slots] = s;
  pthread_mutex_unlock (&p->lock);
}

/* NULL: there are no more, or there was an error. */
static struct slot *
take_piece (struct pipeline *p)
{
  struct slot *s;
  int r = 0;

  pthread_mutex_lock (&p->find_lock);
  s = wait_for_slot (p);
  if (s)
    r = find_piece (p, s);
  if (r == 1)
    join_queue (p, s);
  pthread_mutex_unlock (&p->find_lock);
  if (r == -1)
    fail (p, errno);
  if (r == 1)
    return s;
  if (s)
    release (p, s);
  return NULL;
}

/* What is between the ranges is zero. */
static int
read_piece (struct pipeline *p, struct slot *s)
{
  uint8_t *const data = s->piece.data;
  size_t i, at = 0;

  for (i = 0; i < s->nr_ranges; i++) {
    const struct range *const r = &s->ranges[i];

    memset (data + at, 0, r->offset - at);
    if (disk_read_link (p->c->top, data + r->offset, r->length,
                        s->start + r->offset) == -1)
      return -1;
    at = r->offset + r->length;
  }
  memset (data + at, 0, PIECE_SIZE - at);
  return 0;
}

static int
pack_piece (struct slot *s)
{
  struct build *const b = s->piece.build;

  return b->ops->pack ? b->ops->pack (b, &s->piece) : 0;
}

static int
write_piece (struct slot *s)
{
  struct build *const b = s->piece.build;
  const int r = b->ops->write (b, &s->piece);
  const int err = errno;

  free (s->piece.more);
  s->piece.more = NULL;
  if (s->number % PIECES_TO_SYNC == 0)
    store_start_sync (b->store);
  errno = err;
  return r;
}

/* Places the head of the queue.  NULL: it isn't ready, or *err. */
static struct slot *
place_next (struct pipeline *p, int *err)
{
  struct slot **const head = &p->queue[p->nr_placed % p->nr_slots];
  struct slot *s = *head;
  struct build *b;

  if (p->err != 0 || s == NULL || !s->ready)
    return NULL;
  b = s->piece.build;
  if (b->ops->place && b->ops->place (b, &s->piece) == -1) {
    *err = errno;
    return NULL;
  }
  *head = NULL;
  s->number = ++p->nr_placed;
  return s;
}

/* s has become ready. */
static void
write_ready (struct pipeline *p, struct slot *s)
{
  int err = 0;

  for (;;) {
    pthread_mutex_lock (&p->lock);
    if (s)
      s->ready = true;
    s = place_next (p, &err);
    pthread_mutex_unlock (&p->lock);
    if (s == NULL)
      break;
    if (write_piece (s) == -1) {
      err = errno;
      break;
    }
    release (p, s);
    s = NULL;
  }
  if (err != 0)
    fail (p, err);
}

static void *
work (void *opaque)
{
  struct pipeline *const p = opaque;
  struct slot *s;

  while ((s = take_piece (p))) {
    if (read_piece (p, s) == -1 || pack_piece (s) == -1) {
      fail (p, errno);
      break;
    }
    write_ready (p, s);
  }
  return NULL;
}

/* Threads. */

/* A server that is asked several things at once is quicker. */
static unsigned
nr_parallel_reads (const struct link *l)
{
  unsigned most = 0;
  size_t i;

  for (; l; l = l->parent)
    for (i = 0; i < l->nr_extents; i++) {
      const struct store *const s = l->extents[i]->store;

      if (s && s->parallel > most)
        most = s->parallel;
    }
  return most;
}

static unsigned
nr_threads (const struct copy *c)
{
  unsigned n = c->threads;

  if (n == 0) {
    const unsigned reads = nr_parallel_reads (c->top);

    n = nr_processors ();
    if (n < reads)
      n = reads;
  }
  return n < MAX_THREADS ? n : MAX_THREADS;
}

/* Beginning and ending. */

static size_t
smallest_grain (const struct new_image *image)
{
  size_t i, smallest = PIECE_SIZE;

  for (i = 0; i < image->nr_builds; i++)
    if (image->builds[i]->grain_size < smallest)
      smallest = image->builds[i]->grain_size;
  return smallest;
}

static bool
make_slot (const struct pipeline *p, struct slot *s)
{
  s->piece.data = aligned_alloc (4096, PIECE_SIZE);
  if (s->piece.data == NULL)
    return false;
  if (!p->limited)
    return true;
  s->absent = malloc (PIECE_SIZE / smallest_grain (p->image));
  return s->absent != NULL;
}

static int
make_slots (struct pipeline *p, size_t n)
{
  const struct link *l = p->c->top;
  unsigned depth = 0;

  do
    depth++;
  while ((l = l->parent));
  p->finder.windows = calloc (depth, sizeof p->finder.windows[0]);
  p->slots = calloc (n, sizeof p->slots[0]);
  p->queue = calloc (n, sizeof p->queue[0]);
  while (p->finder.windows && p->slots && p->queue && p->nr_slots < n) {
    struct slot *const s = &p->slots[p->nr_slots++];

    if (!make_slot (p, s))
      break;
    s->next = p->free;
    p->free = s;
    if (p->nr_slots == n)
      return 0;
  }
  vmdk_error (p->image->log, "%s: copying: %m", p->c->top->store->name);
  return -1;
}

static void
free_slots (struct pipeline *p)
{
  size_t i;

  for (i = 0; i < p->nr_slots; i++) {
    free (p->slots[i].piece.data);
    free (p->slots[i].piece.packed);
    free (p->slots[i].piece.more);
    free (p->slots[i].absent);
  }
  free (p->queue);
  free (p->slots);
  free (p->finder.windows);
}

static int
run (struct pipeline *p)
{
  run_threads (nr_threads (p->c), work, p);
  if (p->err == 0 && report_progress (p, p->image->size) == -1)
    p->err = errno;
  errno = p->err;
  return p->err ? -1 : 0;
}

int
copy_to_image (const struct copy *c, struct new_image *image)
{
  struct pipeline p = {
    .c = c, .image = image, .with_absent = image->builds[0]->has_parent,
    .finder = {
      .end = c->top->size < image->size ? c->top->size : image->size,
    },
  };
  int r, err;

  p.limited = p.with_absent || c->nr_links != UINT_MAX;
  pthread_mutex_init (&p.find_lock, NULL);
  pthread_mutex_init (&p.lock, NULL);
  pthread_cond_init (&p.freed, NULL);
  r = make_slots (&p, NR_SLOTS (nr_threads (c)));
  if (r == 0)
    r = run (&p);
  err = errno;
  free_slots (&p);
  pthread_cond_destroy (&p.freed);
  pthread_mutex_destroy (&p.lock);
  pthread_mutex_destroy (&p.find_lock);
  errno = err;
  return r;
}
