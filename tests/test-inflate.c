/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Inflating: what is taken, what is refused, and that the pool of
 * decompressors keeps to its budget when many threads want one.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "inflate.h"

#define GRAIN 65536
#define NR_THREADS 8
#define INPUT_SIZE 1000
#define BUDGET (3 * INPUT_SIZE)

static uint8_t plain[2 * GRAIN], packed[4 * GRAIN], out[GRAIN + 16];
static struct inflater_pool *pool;
static atomic_uint in_use, most_in_use;

/* window_bits: 15 for a zlib stream, -15 for bare deflate data. */
static size_t
deflate_plain (size_t count, int level, int window_bits)
{
  z_stream z = { .next_in = plain, .avail_in = (uInt) count,
                 .next_out = packed, .avail_out = sizeof packed };

  assert (deflateInit2 (&z, level, Z_DEFLATED, window_bits, 9,
                        Z_DEFAULT_STRATEGY) == Z_OK);
  assert (deflate (&z, Z_FINISH) == Z_STREAM_END);
  deflateEnd (&z);
  return z.total_out;
}

/* Inflates to out; true if that worked and gave count bytes of plain. */
static const char *
run (const uint8_t *data, size_t size, size_t *count)
{
  struct inflater *const i = inflater_acquire (pool, size);
  const char *r;

  assert (i && i->size >= size);
  memset (out, 0x5a, sizeof out);
  memcpy (i->input, data, size);
  *count = GRAIN;
  r = inflater_run (i, i->input, size, out, count);
  inflater_release (pool, i);
  for (size = GRAIN; size < sizeof out; size++)
    assert (out[size] == 0x5a);
  return r;
}

static void
test_sizes (int window_bits)
{
  static const size_t sizes[] = { 0, 1, 511, 512, GRAIN - 1, GRAIN };
  size_t i, n, count;
  int level;

  for (level = 0; level <= 9; level += 3)
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      n = deflate_plain (sizes[i], level, window_bits);
      assert (run (packed, n, &count) == NULL);
      assert (count == sizes[i] && memcmp (out, plain, count) == 0);
      /* What follows the stream doesn't matter. */
      assert (run (packed, n + 100, &count) == NULL && count == sizes[i]);
    }
}

static void
test_too_long (int window_bits)
{
  size_t n = deflate_plain (GRAIN + 1, 6, window_bits), count;
  const char *r = run (packed, n, &count);

  assert (r && strstr (r, "more than a grain"));
  n = deflate_plain (sizeof plain, 0, window_bits);
  r = run (packed, n, &count);
  assert (r && strstr (r, "more than a grain"));
}

static void
test_bad (int window_bits)
{
  const size_t n = deflate_plain (GRAIN, 6, window_bits);
  size_t i, count;

  for (i = 0; i < n; i += 1 + n / 500)
    assert (run (packed, i, &count) != NULL); /* truncated */
  memset (packed, 0xff, n);
  assert (run (packed, n, &count) != NULL);
  memset (packed, 0, n);
  assert (run (packed, n, &count) != NULL);
}

/* Whatever is changed, nothing is written behind the grain. */
static void
test_rubbish (int window_bits)
{
  const size_t n = deflate_plain (GRAIN, 6, window_bits);
  uint32_t random = 1;
  size_t count;
  int i;

  for (i = 0; i < 2000; i++) {
    const size_t at = (random = random * 1103515245 + 12345) % n;
    const uint8_t saved = packed[at];

    packed[at] ^= (uint8_t) (1u << (random >> 28 & 7));
    run (packed, n, &count);
    assert (count <= GRAIN);
    packed[at] = saved;
  }
}

static void *
use_pool (void *opaque)
{
  int i;

  (void) opaque;
  for (i = 0; i < 2000; i++) {
    struct inflater *const inflater = inflater_acquire (pool, INPUT_SIZE);
    const unsigned n = atomic_fetch_add (&in_use, 1) + 1;

    assert (inflater);
    if (n > atomic_load (&most_in_use))
      atomic_store (&most_in_use, n);
    memset (inflater->input, i, INPUT_SIZE);
    atomic_fetch_sub (&in_use, 1);
    inflater_release (pool, inflater);
  }
  return NULL;
}

static void
test_budget (void)
{
  pthread_t threads[NR_THREADS];
  struct inflater *large;
  int i;

  pool = inflater_pool_new (BUDGET);
  assert (pool);
  for (i = 0; i < NR_THREADS; i++)
    assert (pthread_create (&threads[i], NULL, use_pool, NULL) == 0);
  for (i = 0; i < NR_THREADS; i++)
    pthread_join (threads[i], NULL);
  assert (most_in_use >= 1 && most_in_use <= BUDGET / INPUT_SIZE);

  /* A single one may be larger than all of it. */
  large = inflater_acquire (pool, 10 * BUDGET);
  assert (large && large->size >= 10 * BUDGET);
  inflater_release (pool, large);
  inflater_pool_free (pool);
}

int
main (void)
{
  size_t i;

  for (i = 0; i < sizeof plain; i++)
    plain[i] = (uint8_t) (i * i >> 7 ^ i * 2654435761u >> 27);
  pool = inflater_pool_new (GRAIN);
  assert (pool);
  test_sizes (15);
  test_sizes (-15);
  test_too_long (15);
  test_too_long (-15);
  test_bad (15);
  test_bad (-15);
  test_rubbish (15);
  test_rubbish (-15);
  inflater_pool_free (pool);
  inflater_pool_free (NULL);
  test_budget ();
  return 0;
}
