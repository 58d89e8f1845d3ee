/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Where new grains and tables go, and how the file grows.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "allocator.h"
#include "le.h"

/* The file grows by so much, bytes.  Each step costs a sync, and a crash
 * leaves at most one and a half of them unused, as a hole.
 */
#define STEP (UINT64_C (16) << 20)

/* Claims. */

static void
remove_claims (struct claims *c, size_t i, size_t n)
{
  memmove (&c->list[i], &c->list[i + n],
           (c->n - i - n) * sizeof c->list[0]);
  c->n -= n;
}

/* Makes one of the two that are closest to each other. */
static void
join_closest (struct claims *c)
{
  size_t i, best = 0;

  for (i = 1; i + 1 < c->n; i++)
    if (c->list[i + 1].start - c->list[i].end <
        c->list[best + 1].start - c->list[best].end)
      best = i;
  c->list[best].end = c->list[best + 1].end;
  remove_claims (c, best + 1, 1);
}

void
claims_add (struct claims *c, uint64_t start, uint64_t end)
{
  size_t i, j;

  if (end <= c->from)
    return;
  for (i = 0; i < c->n && c->list[i].end < start; i++)
    ;
  /* [i, j) touch the new one. */
  for (j = i; j < c->n && c->list[j].start <= end; j++) {
    if (c->list[j].start < start)
      start = c->list[j].start;
    if (c->list[j].end > end)
      end = c->list[j].end;
  }
  if (j > i)
    remove_claims (c, i + 1, j - i - 1);
  else {
    memmove (&c->list[i + 1], &c->list[i],
             (c->n - i) * sizeof c->list[0]);
    c->n++;
  }
  c->list[i] = (struct claim) { .start = start, .end = end };
  if (c->n > MAX_CLAIMS)
    join_closest (c);
}

void
claims_count (struct claims *c, uint64_t start)
{
  if (start >= c->from && (c->lost++ == 0 || start < c->first_lost))
    c->first_lost = start;
}

static uint64_t
align_up (uint64_t v, uint64_t align)
{
  return div_round_up (v, align) * align;
}

/* The first place from v on that no claim is in the way of. */
static uint64_t
skip_claims (const struct claims *c, uint64_t v, uint64_t bytes,
             uint64_t align)
{
  size_t i;

  v = align_up (v, align);
  for (i = 0; i < c->n && c->list[i].start < v + bytes; i++)
    if (c->list[i].end > v)
      v = align_up (c->list[i].end, align);
  return v;
}

/* The allocator. */

void
allocator_init (struct allocator *a)
{
  pthread_mutex_init (&a->lock, NULL);
  pthread_cond_init (&a->changed, NULL);
}

void
allocator_destroy (struct allocator *a)
{
  pthread_cond_destroy (&a->changed);
  pthread_mutex_destroy (&a->lock);
}

/* What lies before the end of a file may be anything, so only what is
 * behind is fresh.  A device doesn't grow, and there nothing is fresh.
 */
static int
prepare_locked (struct allocator *a)
{
  const bool grows = a->store->fresh_is_zero;

  if (a->ready)
    return 0;
  a->claims = (struct claims) { .from = grows ? a->store->size : 0 };
  if (a->find_claims (a->owner, &a->claims) == -1)
    return -1;
  if (grows && a->claims.lost > 0)
    vmdk_warning (a->store->log,
                  "%s: %" PRIu64 " entries speak of what is behind the end "
                  "of the file at %" PRIu64 ", the first of offset %" PRIu64
                  ": what they stood for was lost when the program that "
                  "wrote it crashed, and will read as zero once the file "
                  "has grown; run vmdk-img check", a->store->name,
                  a->claims.lost, (uint64_t) a->store->size,
                  a->claims.first_lost);
  a->limit = a->store->size;
  a->next = grows && a->limit > a->start ? a->limit : a->start;
  if (!grows && a->claims.n > 0 &&
      a->claims.list[a->claims.n - 1].end > a->next)
    a->next = a->claims.list[a->claims.n - 1].end;
  a->ready = true;
  return 0;
}

static int
report_full (const struct allocator *a, uint64_t end)
{
  if (end > a->max)
    vmdk_error (a->store->log,
                "%s: the extent can't grow beyond %" PRIu64 " bytes, since "
                "its tables have 32 bits for a sector: convert the disk to "
                "one that is split into several extents", a->store->name,
                a->max);
  else
    vmdk_error (a->store->log, "%s: the device is full: it has %" PRIu64
                " bytes", a->store->name, (uint64_t) a->store->size);
  errno = ENOSPC;
  return -1;
}

/* Where the file system or a limit doesn't allow a whole step, a file may
 * still grow by what is needed.  *end becomes its length.
 */
static int
make_longer (struct allocator *a, uint64_t need, uint64_t *end)
{
  struct store *const store = a->store;

  if (store_resize (store, *end) == -1) {
    if (need == 0)
      return -1;
    *end = need;
    if (store_resize (store, *end) == -1) {
      vmdk_error (store->log, "%s: making it longer, from %" PRIu64 " to %"
                  PRIu64 " bytes: %m", store->name, (uint64_t) store->size,
                  need);
      return -1;
    }
  }
  if (store_sync (store) == -1)
    return -1;
  return a->has_grown ? a->has_grown (a->owner, *end) : 0;
}

/* Grows the file without the lock, so that others can take what there is.
 * need is the length that it must have, or 0: that is only for later.
 */
static int
grow_locked (struct allocator *a, uint64_t need)
{
  uint64_t end = need ? align_up (need, STEP) : a->limit + STEP;
  int r, err;

  if (end > a->max)
    end = a->max;
  a->growing = true;
  pthread_mutex_unlock (&a->lock);
  r = make_longer (a, need, &end);
  err = errno;
  pthread_mutex_lock (&a->lock);
  a->growing = false;
  a->no_more_ahead = r == -1;
  if (r == 0)
    a->limit = end;
  pthread_cond_broadcast (&a->changed);
  errno = err;
  return r;
}

static bool
take_back_locked (struct allocator *a, uint64_t bytes, uint64_t align,
                  uint64_t *place)
{
  size_t i;

  for (i = 0; i < a->nr_back; i++) {
    struct claim *const c = &a->back[i];

    if (c->start % align != 0 || c->end - c->start < bytes)
      continue;
    *place = c->start;
    c->start += bytes;
    if (c->start == c->end)
      *c = a->back[--a->nr_back];
    return true;
  }
  return false;
}

static int
reserve_locked (struct allocator *a, uint64_t bytes, uint64_t align,
                uint64_t *place)
{
  if (prepare_locked (a) == -1)
    return -1;
  if (take_back_locked (a, bytes, align, place))
    return 0;
  for (;;) {
    const uint64_t p = skip_claims (&a->claims, a->next, bytes, align);

    if (p + bytes > a->max || (p + bytes > a->limit &&
                               !a->store->fresh_is_zero))
      return report_full (a, p + bytes);
    if (p + bytes <= a->limit) {
      a->next = p + bytes;
      *place = p;
      return 0;
    }
    if (a->growing)
      pthread_cond_wait (&a->changed, &a->lock);
    else if (grow_locked (a, p + bytes) == -1)
      return -1;
  }
}

/* Who finds that less than half a step is left grows the file, while the
 * others go on.  Whatever is wrong with that will be seen when it must be.
 */
static void
grow_ahead_locked (struct allocator *a)
{
  if (a->store->fresh_is_zero && !a->growing && !a->no_more_ahead &&
      a->limit < a->max && a->limit - a->next < STEP / 2)
    grow_locked (a, 0);
}

int
allocator_reserve (struct allocator *a, uint64_t bytes, uint64_t align,
                   uint64_t *place)
{
  int r;

  pthread_mutex_lock (&a->lock);
  r = reserve_locked (a, bytes, align, place);
  if (r == 0)
    grow_ahead_locked (a);
  pthread_mutex_unlock (&a->lock);
  return r;
}

/* Some of it may have been written: it is fresh again only when it has
 * been punched.  If that can't be done it is lost, until it is compacted.
 */
void
allocator_give_back (struct allocator *a, uint64_t place, uint64_t bytes)
{
  const int err = errno;

  if (!a->store->fresh_is_zero || store_punch (a->store, bytes, place) == 0) {
    pthread_mutex_lock (&a->lock);
    if (place + bytes == a->next)
      a->next = place;
    else if (a->nr_back < sizeof a->back / sizeof a->back[0])
      a->back[a->nr_back++] =
        (struct claim) { .start = place, .end = place + bytes };
    pthread_mutex_unlock (&a->lock);
  }
  errno = err;
}

uint64_t
allocator_end (struct allocator *a)
{
  uint64_t end;
  size_t i;

  pthread_mutex_lock (&a->lock);
  end = a->ready ? a->next : 0;
  /* Since the file has grown over them, they can be written. */
  for (i = 0; a->ready && i < a->claims.n; i++)
    if (a->claims.list[i].start < a->limit && a->claims.list[i].end > end)
      end = a->claims.list[i].end;
  pthread_mutex_unlock (&a->lock);
  return end;
}
