/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The bounded cache: that entries are what was filled in, that one fill
 * serves all who wait for it, and that memory stays within the budget.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache.h"

#define NR_THREADS 8
#define SIZE 2048
#define OVERHEAD 256 /* of one entry, generously */

static const char owner_a, owner_b;
static atomic_uint nr_fills;

/* What an entry holds follows from its owner and number. */
struct request {
  const void *owner;
  uint64_t number;
  int err;        /* not 0: fail with this */
  unsigned delay; /* milliseconds */
};

static struct request
want (const void *owner, uint64_t number)
{
  return (struct request) { .owner = owner, .number = number };
}

static uint8_t
expected (const void *owner, uint64_t number)
{
  return (uint8_t) (number * 7 + (owner == &owner_b ? 100 : 0));
}

static int
fill (void *opaque, void *data, size_t size)
{
  const struct request *const r = opaque;
  const struct timespec delay = { .tv_nsec = r->delay * 1000000L };

  atomic_fetch_add (&nr_fills, 1);
  if (r->delay)
    nanosleep (&delay, NULL);
  memset (data, expected (r->owner, r->number), size);
  errno = r->err;
  return r->err ? -1 : 0;
}

static bool
is_right (const uint8_t *data, size_t size, const struct request *r)
{
  size_t i;

  for (i = 0; i < size; i++)
    if (data[i] != expected (r->owner, r->number))
      return false;
  return true;
}

static void
get (struct cache *c, struct request r, size_t size)
{
  const void *const data =
    cache_get (c, r.owner, r.number, size, fill, &r);

  assert (data && is_right (data, size, &r));
  cache_put (c, data);
}

static void
test_simple (size_t frame_size)
{
  struct cache *const c = cache_new (100000, 4, frame_size);
  const void *data;

  assert (c);
  nr_fills = 0;
  assert (cache_find (c, &owner_a, 1) == NULL);
  get (c, want (&owner_a, 1), SIZE);
  get (c, want (&owner_b, 1), SIZE);
  get (c, want (&owner_a, UINT64_MAX), SIZE / 4);
  assert (nr_fills == 3);
  get (c, want (&owner_a, 1), SIZE);
  assert (nr_fills == 3);
  data = cache_find (c, &owner_b, 1);
  assert (data && *(const uint8_t *) data == expected (&owner_b, 1));
  cache_put (c, data);
  assert (cache_get_stats (c).misses == 3);
  assert (cache_get_stats (c).bytes >= 2 * SIZE + SIZE / 4);
  cache_free (c);
  cache_free (NULL);
}

static void
test_failing (void)
{
  struct cache *const c = cache_new (100000, 1, 0);
  struct request r = want (&owner_a, 5);

  r.err = EIO;
  assert (cache_get (c, r.owner, r.number, SIZE, fill, &r) == NULL);
  assert (errno == EIO);
  assert (cache_find (c, r.owner, r.number) == NULL);
  assert (cache_get_stats (c).bytes == 0);
  r.err = 0;
  get (c, r, SIZE);
  cache_free (c);
}

/* With frames an entry takes a whole one, however small it is. */
static void
test_budget (size_t frame_size, size_t size)
{
  const size_t budget = 1000000;
  const size_t each = (frame_size ? frame_size : size) + OVERHEAD;
  struct cache *const c = cache_new (budget, 4, frame_size);
  uint64_t i;
  size_t kept = 0;

  for (i = 0; i < 5000; i++) {
    get (c, want (&owner_a, i), size);
    assert (cache_get_stats (c).bytes <= budget);
  }
  assert (cache_get_stats (c).evictions > 0);
  for (i = 0; i < 5000; i++) {
    const void *const data = cache_find (c, &owner_a, i);

    kept += data != NULL;
    if (data)
      cache_put (c, data);
  }
  assert (kept * (frame_size ? frame_size : size) <= budget);
  assert (kept >= budget / each * 8 / 10);
  cache_free (c);
}

/* What is used stays when much else passes through once. */
static void
test_second_chance (void)
{
  struct cache *const c = cache_new (100 * (SIZE + OVERHEAD), 1, SIZE);
  unsigned fills = 0;
  uint64_t i;

  for (i = 0; i < 2000; i++) {
    nr_fills = 0;
    get (c, want (&owner_a, i % 4), SIZE);
    fills += nr_fills;
    get (c, want (&owner_b, i), SIZE);
  }
  assert (fills == 4);
  cache_free (c);
}

/* Pinned entries stay as they are, and memory is given back afterwards. */
static void
test_pins (void)
{
  const size_t size = 200000;
  struct cache *const c = cache_new (2 * size + OVERHEAD, 1, 0);
  struct request r[10];
  const void *data[10];
  size_t i;

  for (i = 0; i < 10; i++) {
    r[i] = want (&owner_a, i);
    data[i] = cache_get (c, r[i].owner, i, size, fill, &r[i]);
    assert (data[i]);
  }
  for (i = 0; i < 10; i++)
    assert (is_right (data[i], size, &r[i]));
  for (i = 0; i < 10; i++) {
    const void *const again = cache_find (c, r[i].owner, i);

    assert (again == data[i]);
    cache_put (c, again);
    cache_put (c, data[i]);
  }
  get (c, want (&owner_b, 0), size);
  assert (cache_get_stats (c).bytes <= 2 * size + OVERHEAD);

  /* Larger than everything is possible, too. */
  get (c, want (&owner_b, 1), 5 * size);
  get (c, want (&owner_b, 2), 1);
  assert (cache_get_stats (c).bytes <= 2 * size + OVERHEAD);
  cache_free (c);
}

/* Threads. */

struct crowd {
  struct cache *cache;
  struct request request;
  unsigned seed;
  unsigned failures;
};

static void *
want_the_same (void *opaque)
{
  struct crowd *const crowd = opaque;
  struct request r = crowd->request;
  const void *const data =
    cache_get (crowd->cache, r.owner, r.number, SIZE, fill, &r);

  if (r.err) {
    assert (data == NULL && errno == r.err);
    return NULL;
  }
  assert (data && is_right (data, SIZE, &r));
  cache_put (crowd->cache, data);
  return NULL;
}

static void *
want_anything (void *opaque)
{
  struct crowd *const crowd = opaque;
  unsigned random = crowd->seed;
  int i;

  for (i = 0; i < 20000; i++) {
    struct request r;
    const void *data;

    random = random * 1103515245 + 12345;
    r = want (random >> 16 & 1 ? &owner_a : &owner_b, random >> 20 & 127);
    r.err = random >> 8 & 31 ? 0 : ENXIO;
    data = cache_get (crowd->cache, r.owner, r.number, SIZE, fill, &r);
    if (data == NULL) {
      assert (errno == ENXIO);
      crowd->failures++;
      continue;
    }
    assert (is_right (data, SIZE, &r));
    cache_put (crowd->cache, data);
  }
  return NULL;
}

static void
run_crowd (struct crowd *crowd, void *(*start) (void *))
{
  pthread_t threads[NR_THREADS];
  int i;

  for (i = 0; i < NR_THREADS; i++)
    assert (pthread_create (&threads[i], NULL, start, &crowd[i]) == 0);
  for (i = 0; i < NR_THREADS; i++)
    pthread_join (threads[i], NULL);
}

static void
test_one_fill_for_all (void)
{
  struct cache *const c = cache_new (100000, 1, 0);
  struct crowd crowd[NR_THREADS];
  unsigned round;
  int i;

  for (round = 0; round < 10; round++) {
    for (i = 0; i < NR_THREADS; i++)
      crowd[i] = (struct crowd) {
        .cache = c,
        .request = { &owner_a, round, (int) (round % 2 * EIO), 10 },
      };
    nr_fills = 0;
    run_crowd (crowd, want_the_same);
    /* After a failure, each of those who waited tries for itself. */
    assert (round % 2 ? nr_fills >= 1 && nr_fills <= NR_THREADS
            : nr_fills == 1);
  }
  cache_free (c);
}

static void
test_crowd (unsigned nr_shards, size_t frame_size)
{
  const size_t budget = 64 * (SIZE + OVERHEAD);
  struct cache *const c = cache_new (budget, nr_shards, frame_size);
  struct crowd crowd[NR_THREADS];
  unsigned failures = 0;
  int i;

  for (i = 0; i < NR_THREADS; i++)
    crowd[i] = (struct crowd) { .cache = c, .seed = (unsigned) i };
  run_crowd (crowd, want_anything);
  for (i = 0; i < NR_THREADS; i++)
    failures += crowd[i].failures;
  assert (failures > 0);
  get (c, want (&owner_a, 1000), SIZE);
  assert (cache_get_stats (c).bytes <=
          budget + NR_THREADS * (SIZE + OVERHEAD));
  cache_free (c);
}

int
main (void)
{
  test_simple (0);
  test_simple (SIZE);
  test_failing ();
  test_budget (0, SIZE);
  test_budget (SIZE, SIZE);
  test_budget (SIZE, SIZE / 4);
  test_budget (0, 150000);
  test_second_chance ();
  test_pins ();
  test_one_fill_for_all ();
  test_crowd (1, 0);
  test_crowd (4, SIZE);
  return 0;
}
