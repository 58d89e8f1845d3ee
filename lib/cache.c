/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The bounded cache: hash tables in shards, each with a lock of its own
 * and a queue in order of age.  What is to be evicted is taken from the
 * old end of the queue, but an entry that was used since it came there
 * gets a second turn.
 *
 * Pins are only taken under the shard's lock, and dropped without it: an
 * entry that is seen unpinned under the lock can't become pinned.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cache.h"

#define FIRST_BUCKETS 64

/* Entries of one size are allocated so many at a time: one by one, they
 * would make the heap grow in tiny steps.
 */
#define FRAMES_PER_SLAB 32

/* Larger ones get a mapping of their own, which is gone when they are: the
 * heap keeps such pieces, for each thread, and so takes many times as much.
 */
#define LARGE_ENTRY (128 << 10)

struct entry {
  struct entry *next_in_bucket;
  struct entry *older, *newer;
  const void *owner;
  uint64_t number;
  size_t size;
  void *note; /* its user's */
  atomic_uint pins;
  bool filling;
  bool used; /* since it last came to the old end */
  alignas (max_align_t) unsigned char data[];
};

struct slab {
  struct slab *next;
  alignas (max_align_t) unsigned char frames[];
};

struct shard {
  pthread_mutex_t lock; /* Protects the fields below, and all of an entry
                           but its pins and its data. */
  pthread_cond_t filled; /* some entry is no longer being filled */
  struct entry **buckets;
  size_t nr_buckets; /* a power of two */
  size_t nr_entries;
  struct entry *oldest, *newest;
  struct entry *unused; /* frames of slabs */
  struct slab *slabs;
  struct cache_stats stats;
};

struct cache {
  size_t shard_budget;
  size_t frame_size; /* 0: no slabs */
  unsigned nr_shards; /* a power of two */
  struct shard shards[];
};

static size_t
hash (const void *owner, uint64_t number)
{
  uint64_t h = number + ((uint64_t) (uintptr_t) owner << 20);

  h *= UINT64_C (0x9e3779b97f4a7c15);
  h ^= h >> 32;
  h *= UINT64_C (0xd6e8feb86659fd93);
  return (size_t) (h ^ h >> 29);
}

static struct shard *
shard_of (struct cache *c, size_t h)
{
  return &c->shards[h & (c->nr_shards - 1)];
}

/* The bucket takes other bits of the hash than the shard did. */
static struct entry **
bucket_of (struct shard *s, size_t h)
{
  return &s->buckets[h >> 8 & (s->nr_buckets - 1)];
}

static struct entry *
find_locked (struct shard *s, size_t h, const void *owner, uint64_t number)
{
  struct entry *e = *bucket_of (s, h);

  while (e && (e->number != number || e->owner != owner))
    e = e->next_in_bucket;
  return e;
}

static void
unqueue_locked (struct shard *s, struct entry *e)
{
  *(e->older ? &e->older->newer : &s->oldest) = e->newer;
  *(e->newer ? &e->newer->older : &s->newest) = e->older;
}

static void
queue_locked (struct shard *s, struct entry *e)
{
  e->older = s->newest;
  e->newer = NULL;
  *(s->newest ? &s->newest->newer : &s->oldest) = e;
  s->newest = e;
}

static size_t
frame_bytes (const struct cache *c)
{
  return (sizeof (struct entry) + c->frame_size + alignof (max_align_t) - 1) /
    alignof (max_align_t) * alignof (max_align_t);
}

/* What an entry of that size takes: of frames, a small one as well. */
static size_t
footprint (const struct cache *c, size_t size)
{
  return c->frame_size ? frame_bytes (c) : sizeof (struct entry) + size;
}

static void
add_slab_locked (struct cache *c, struct shard *s)
{
  const size_t size = frame_bytes (c);
  struct slab *const slab = malloc (sizeof *slab + FRAMES_PER_SLAB * size);
  size_t i;

  if (slab == NULL)
    return;
  slab->next = s->slabs;
  s->slabs = slab;
  for (i = 0; i < FRAMES_PER_SLAB; i++) {
    struct entry *const e = (struct entry *) (slab->frames + i * size);

    e->next_in_bucket = s->unused;
    s->unused = e;
  }
}

static struct entry *
allocate (size_t size)
{
  const size_t bytes = sizeof (struct entry) + size;
  void *p;

  if (size < LARGE_ENTRY)
    return malloc (bytes);
  p = mmap (NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
            /* cppcheck-suppress invalidFunctionArg ; there is no file */
            -1, 0);
  /* cppcheck-suppress memleak ; it doesn't see p after the question mark */
  return p == MAP_FAILED ? NULL : p;
}

static void
release (struct entry *e)
{
  if (e->size < LARGE_ENTRY)
    free (e);
  else
    munmap (e, sizeof *e + e->size);
}

/* NULL: no memory. */
static struct entry *
new_memory_locked (struct cache *c, struct shard *s, size_t size)
{
  struct entry *e;

  if (c->frame_size == 0)
    return allocate (size);
  if (s->unused == NULL)
    add_slab_locked (c, s);
  e = s->unused;
  if (e)
    s->unused = e->next_in_bucket;
  return e;
}

static void
drop_memory_locked (struct cache *c, struct shard *s, struct entry *e)
{
  if (c->frame_size == 0)
    release (e);
  else {
    e->next_in_bucket = s->unused;
    s->unused = e;
  }
}

static void
remove_locked (const struct cache *c, struct shard *s, struct entry *e)
{
  struct entry **p = bucket_of (s, hash (e->owner, e->number));

  while (*p != e)
    p = &(*p)->next_in_bucket;
  *p = e->next_in_bucket;
  unqueue_locked (s, e);
  s->nr_entries--;
  s->stats.bytes -= footprint (c, e->size);
}

/* More buckets when they fill up.  Without memory for that, chains just
 * become longer.
 */
static void
grow_buckets_locked (struct shard *s)
{
  const size_t nr = s->nr_buckets * 2;
  struct entry **const buckets = calloc (nr, sizeof *buckets);
  struct entry *e;

  if (buckets == NULL)
    return;
  free (s->buckets);
  s->buckets = buckets;
  s->nr_buckets = nr;
  for (e = s->oldest; e; e = e->newer) {
    struct entry **const b = bucket_of (s, hash (e->owner, e->number));

    e->next_in_bucket = *b;
    *b = e;
  }
}

static void
insert_locked (const struct cache *c, struct shard *s, size_t h,
               struct entry *e)
{
  struct entry **b;

  if (s->nr_entries >= s->nr_buckets)
    grow_buckets_locked (s);
  b = bucket_of (s, h);
  e->next_in_bucket = *b;
  *b = e;
  queue_locked (s, e);
  s->nr_entries++;
  s->stats.bytes += footprint (c, e->size);
}

/* Takes one entry out, the oldest that is neither pinned nor was used
 * lately.  NULL: all are pinned.
 */
static struct entry *
evict_locked (const struct cache *c, struct shard *s)
{
  size_t tries = 2 * s->nr_entries;

  while (tries-- > 0) {
    struct entry *const e = s->oldest;

    /* What was freed was taken out of this list before. */
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses track of lists */
    if (!e->used &&
        atomic_load_explicit (&e->pins, memory_order_acquire) == 0) {
      remove_locked (c, s, e);
      s->stats.evictions++;
      return e;
    }
    e->used = false;
    unqueue_locked (s, e);
    queue_locked (s, e);
  }
  return NULL;
}

/* Evicts until there is room for an entry of that size, if it can.  Returns
 * the memory of one of the same size, if there was one: most are, and the
 * heap isn't good at giving their memory back.  (A new mapping is better:
 * it takes no memory while its filler waits for its turn to inflate.)
 */
static struct entry *
make_room_locked (struct cache *c, struct shard *s, size_t size)
{
  struct entry *e, *same = NULL;

  while (s->stats.bytes + footprint (c, size) > c->shard_budget &&
         (e = evict_locked (c, s)))
    if (same == NULL && c->frame_size == 0 && e->size == size &&
        size < LARGE_ENTRY)
      same = e;
    else
      drop_memory_locked (c, s, e);
  return same;
}

/* After many were pinned at a time. */
static void
trim_locked (struct cache *c, struct shard *s)
{
  struct entry *e;

  while (s->stats.bytes > c->shard_budget && (e = evict_locked (c, s)))
    drop_memory_locked (c, s, e);
}

static const void *
pin_locked (struct shard *s, struct entry *e)
{
  atomic_fetch_add_explicit (&e->pins, 1, memory_order_relaxed);
  e->used = true;
  s->stats.hits++;
  return e->data;
}

const void *
cache_find (struct cache *c, const void *owner, uint64_t number)
{
  const size_t h = hash (owner, number);
  struct shard *const s = shard_of (c, h);
  const void *data = NULL;
  struct entry *e;

  pthread_mutex_lock (&s->lock);
  e = find_locked (s, h, owner, number);
  if (e && !e->filling)
    data = pin_locked (s, e);
  pthread_mutex_unlock (&s->lock);
  return data;
}

/* Fills the entry that was just put in, pinned, and wakes who waits. */
static const void *
fill_entry (struct cache *c, struct shard *s, struct entry *e,
            cache_fill_fn fill, void *opaque)
{
  const int r = fill (opaque, e->data, e->size);
  const int err = errno;

  pthread_mutex_lock (&s->lock);
  e->filling = false;
  pthread_cond_broadcast (&s->filled);
  if (r == -1) {
    remove_locked (c, s, e);
    drop_memory_locked (c, s, e);
  }
  trim_locked (c, s);
  pthread_mutex_unlock (&s->lock);
  if (r == 0)
    return e->data;
  errno = err;
  return NULL;
}

static struct entry *
new_entry_locked (struct cache *c, struct shard *s, size_t h,
                  const void *owner, uint64_t number, size_t size)
{
  struct entry *e = make_room_locked (c, s, size);

  if (e == NULL)
    e = new_memory_locked (c, s, size);
  s->stats.misses++;
  if (e == NULL)
    return NULL;
  e->owner = owner;
  e->number = number;
  e->size = size;
  e->note = NULL;
  e->filling = true;
  e->used = false;
  atomic_init (&e->pins, 1);
  insert_locked (c, s, h, e);
  return e;
}

const void *
cache_get (struct cache *c, const void *owner, uint64_t number, size_t size,
           cache_fill_fn fill, void *opaque)
{
  const size_t h = hash (owner, number);
  struct shard *const s = shard_of (c, h);
  struct entry *e;

  pthread_mutex_lock (&s->lock);
  while ((e = find_locked (s, h, owner, number)) && e->filling)
    pthread_cond_wait (&s->filled, &s->lock);
  if (e) {
    const void *const data = pin_locked (s, e);

    pthread_mutex_unlock (&s->lock);
    return data;
  }
  e = new_entry_locked (c, s, h, owner, number, size);
  pthread_mutex_unlock (&s->lock);
  if (e == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  return fill_entry (c, s, e, fill, opaque);
}

static struct entry *
entry_of (const void *data)
{
  return (struct entry *) ((char *) data - offsetof (struct entry, data));
}

/* What is pinned can't be evicted, so that needs no lock. */
void
cache_pin (struct cache *c, const void *data)
{
  (void) c;
  atomic_fetch_add_explicit (&entry_of (data)->pins, 1, memory_order_relaxed);
}

void **
cache_note (const void *data)
{
  return &entry_of (data)->note;
}

void
cache_put (struct cache *c, const void *data)
{
  struct entry *const e = entry_of (data);

  (void) c;
  atomic_fetch_sub_explicit (&e->pins, 1, memory_order_release);
}

struct cache_stats
cache_get_stats (struct cache *c)
{
  struct cache_stats sum = { 0 };
  unsigned i;

  for (i = 0; i < c->nr_shards; i++) {
    struct shard *const s = &c->shards[i];

    pthread_mutex_lock (&s->lock);
    sum.hits += s->stats.hits;
    sum.misses += s->stats.misses;
    sum.evictions += s->stats.evictions;
    sum.bytes += s->stats.bytes;
    pthread_mutex_unlock (&s->lock);
  }
  return sum;
}

struct cache *
cache_new (size_t budget, unsigned nr_shards, size_t frame_size)
{
  struct cache *const c =
    calloc (1, sizeof *c + nr_shards * sizeof c->shards[0]);
  unsigned i;

  if (c == NULL)
    return NULL;
  c->shard_budget = budget / nr_shards;
  c->nr_shards = nr_shards;
  c->frame_size = frame_size;
  for (i = 0; i < nr_shards; i++) {
    struct shard *const s = &c->shards[i];

    pthread_mutex_init (&s->lock, NULL);
    pthread_cond_init (&s->filled, NULL);
    s->nr_buckets = FIRST_BUCKETS;
    s->buckets = calloc (s->nr_buckets, sizeof *s->buckets);
    if (s->buckets == NULL) {
      c->nr_shards = i + 1;
      cache_free (c);
      return NULL;
    }
  }
  return c;
}

static void
free_shard (struct cache *c, struct shard *s)
{
  while (s->oldest && c->frame_size == 0) {
    struct entry *const e = s->oldest;

    s->oldest = e->newer;
    release (e);
  }
  while (s->slabs) {
    struct slab *const slab = s->slabs;

    s->slabs = slab->next;
    free (slab);
  }
  free (s->buckets);
  pthread_cond_destroy (&s->filled);
  pthread_mutex_destroy (&s->lock);
}

void
cache_free (struct cache *c)
{
  unsigned i;

  if (c == NULL)
    return;
  for (i = 0; i < c->nr_shards; i++)
    free_shard (c, &c->shards[i]);
  free (c);
}
