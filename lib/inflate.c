/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Decompressors: one small codec for each library, and the pool.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#else
#include <zlib.h>
#endif

#include "inflate.h"
#include "vmdkio.h"

struct inflater_pool {
  pthread_mutex_t lock; /* Protects the fields below. */
  pthread_cond_t released;
  struct inflater *idle;
  size_t budget;
  size_t bytes;    /* of all input buffers, idle ones too */
  unsigned in_use;
};

static const char TOO_LONG[] = "inflates to more than a grain";
static const char BAD_DATA[] = "isn't a valid zlib or deflate stream";

/* A zlib stream begins with two bytes that are a multiple of 31 and name
 * method 8.
 */
static bool
has_zlib_header (const uint8_t *data, size_t count)
{
  return count >= 2 && (data[0] & 15) == 8 &&
    (data[0] * 256U + data[1]) % 31 == 0;
}

#ifdef HAVE_LIBDEFLATE

static void *
codec_new (void)
{
  return libdeflate_alloc_decompressor ();
}

static void
codec_free (void *codec)
{
  if (codec)
    libdeflate_free_decompressor (codec);
}

const char *
inflater_run (struct inflater *inflater, const uint8_t *data, size_t count,
              void *out, size_t *out_count)
{
  enum libdeflate_result r;
  size_t n = 0;

  if (has_zlib_header (data, count))
    r = libdeflate_zlib_decompress (inflater->codec, data, count, out,
                                    *out_count, &n);
  else
    r = libdeflate_deflate_decompress (inflater->codec, data, count, out,
                                       *out_count, &n);
  *out_count = n;
  if (r == LIBDEFLATE_INSUFFICIENT_SPACE)
    return TOO_LONG;
  return r == LIBDEFLATE_SUCCESS ? NULL : BAD_DATA;
}

const char *
vmdk_inflate_library (void)
{
  return "libdeflate " LIBDEFLATE_VERSION_STRING;
}

#else /* zlib */

static void *
codec_new (void)
{
  z_stream *const z = calloc (1, sizeof *z);

  if (z && inflateInit (z) != Z_OK) {
    free (z);
    return NULL;
  }
  return z;
}

static void
codec_free (void *codec)
{
  if (codec)
    inflateEnd (codec);
  free (codec);
}

const char *
inflater_run (struct inflater *inflater, const uint8_t *data, size_t count,
              void *out, size_t *out_count)
{
  z_stream *const z = inflater->codec;
  int r;

  if (inflateReset2 (z, has_zlib_header (data, count) ? 15 : -15) != Z_OK)
    return BAD_DATA;
  z->next_in = (Bytef *) data;
  z->avail_in = (uInt) count;
  z->next_out = out;
  z->avail_out = (uInt) *out_count;
  r = inflate (z, Z_FINISH);
  *out_count -= z->avail_out;
  if (r == Z_STREAM_END)
    return NULL;
  return r == Z_BUF_ERROR && z->avail_out == 0 && z->avail_in > 0 ? TOO_LONG
    : BAD_DATA;
}

const char *
vmdk_inflate_library (void)
{
  return "zlib " ZLIB_VERSION;
}

#endif

static void
inflater_free (struct inflater *inflater)
{
  codec_free (inflater->codec);
  free (inflater->input);
  free (inflater);
}

static struct inflater *
inflater_new (size_t size)
{
  struct inflater *const inflater = calloc (1, sizeof *inflater);

  if (inflater == NULL)
    return NULL;
  inflater->size = size;
  inflater->input = malloc (size);
  inflater->codec = codec_new ();
  if (inflater->input == NULL || inflater->codec == NULL) {
    inflater_free (inflater);
    return NULL;
  }
  return inflater;
}

/* Takes an idle one that is large enough, and drops those that aren't. */
static struct inflater *
take_idle_locked (struct inflater_pool *pool, size_t size)
{
  struct inflater *i;

  while ((i = pool->idle)) {
    pool->idle = i->next;
    if (i->size >= size)
      return i;
    pool->bytes -= i->size;
    inflater_free (i);
  }
  return NULL;
}

struct inflater *
inflater_acquire (struct inflater_pool *pool, size_t size)
{
  struct inflater *i;

  pthread_mutex_lock (&pool->lock);
  while ((i = take_idle_locked (pool, size)) == NULL && pool->in_use > 0 &&
         pool->bytes + size > pool->budget)
    pthread_cond_wait (&pool->released, &pool->lock);
  pool->in_use++;
  if (i == NULL)
    pool->bytes += size;
  pthread_mutex_unlock (&pool->lock);
  if (i)
    return i;

  i = inflater_new (size);
  if (i)
    return i;
  pthread_mutex_lock (&pool->lock);
  pool->in_use--;
  pool->bytes -= size;
  pthread_cond_signal (&pool->released);
  pthread_mutex_unlock (&pool->lock);
  errno = ENOMEM;
  return NULL;
}

void
inflater_release (struct inflater_pool *pool, struct inflater *inflater)
{
  pthread_mutex_lock (&pool->lock);
  pool->in_use--;
  inflater->next = pool->idle;
  pool->idle = inflater;
  pthread_cond_signal (&pool->released);
  pthread_mutex_unlock (&pool->lock);
}

struct inflater_pool *
inflater_pool_new (size_t budget)
{
  struct inflater_pool *const pool = calloc (1, sizeof *pool);

  if (pool == NULL)
    return NULL;
  pool->budget = budget;
  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->released, NULL);
  return pool;
}

void
inflater_pool_free (struct inflater_pool *pool)
{
  if (pool == NULL)
    return;
  take_idle_locked (pool, SIZE_MAX);
  pthread_cond_destroy (&pool->released);
  pthread_mutex_destroy (&pool->lock);
  free (pool);
}
