/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Contents of files in memory: blocks that are shared by all copies until
 * one of them is written.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash.h"

struct block {
  unsigned refs;
  uint8_t bytes[BLOCK];
};

void
die (const char *fmt, ...)
{
  va_list args;

  fputs ("crash-sim: ", stderr);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  exit (2);
}

void *
grab (size_t size)
{
  void *const p = calloc (1, size);

  if (p == NULL)
    die ("out of memory");
  return p;
}

/* Makes room for one more than n, by powers of two. */
void *
grow_array (void *array, size_t n, size_t size)
{
  if ((n & (n - 1)) != 0)
    return array;
  array = realloc (array, (n ? 2 * n : 1) * size);
  if (array == NULL)
    die ("out of memory");
  return array;
}

/* splitmix64 */
uint64_t
rng_next (struct rng *r)
{
  uint64_t z = r->x += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t
rng_below (struct rng *r, uint64_t n)
{
  return rng_next (r) % n;
}

static void
put_block (struct block *b)
{
  if (b && --b->refs == 0)
    free (b);
}

void
blob_clone (struct blob *to, const struct blob *from)
{
  size_t i;

  *to = (struct blob) { .size = from->size, .nr = from->nr };
  if (from->nr == 0)
    return;
  to->blocks = malloc (from->nr * sizeof to->blocks[0]);
  if (to->blocks == NULL)
    die ("out of memory");
  memcpy (to->blocks, from->blocks, from->nr * sizeof to->blocks[0]);
  for (i = 0; i < to->nr; i++)
    if (to->blocks[i])
      to->blocks[i]->refs++;
}

void
blob_clear (struct blob *b)
{
  size_t i;

  for (i = 0; i < b->nr; i++)
    put_block (b->blocks[i]);
  free (b->blocks);
  *b = (struct blob) { .size = 0 };
}

const uint8_t *
blob_block (const struct blob *b, uint64_t i)
{
  return i < b->nr && b->blocks[i] ? b->blocks[i]->bytes : NULL;
}

void
blob_read (const struct blob *b, void *buf, size_t count, uint64_t offset)
{
  uint8_t *p = buf;

  while (count > 0) {
    const size_t in = offset % BLOCK;
    const size_t n = count < BLOCK - in ? count : BLOCK - in;
    const uint8_t *const from = blob_block (b, offset / BLOCK);

    if (from)
      memcpy (p, from + in, n);
    else
      memset (p, 0, n);
    p += n;
    offset += n;
    count -= n;
  }
}

/* A block that may be changed. */
static uint8_t *
own_block (struct blob *b, uint64_t i)
{
  struct block *new;

  if (i >= b->nr) {
    size_t nr = b->nr ? b->nr : 64;

    while (nr <= i)
      nr *= 2;
    b->blocks = realloc (b->blocks, nr * sizeof b->blocks[0]);
    if (b->blocks == NULL)
      die ("out of memory");
    memset (b->blocks + b->nr, 0, (nr - b->nr) * sizeof b->blocks[0]);
    b->nr = nr;
  }
  if (b->blocks[i] && b->blocks[i]->refs == 1)
    return b->blocks[i]->bytes;
  new = grab (sizeof *new);
  if (b->blocks[i])
    memcpy (new->bytes, b->blocks[i]->bytes, BLOCK);
  new->refs = 1;
  put_block (b->blocks[i]);
  b->blocks[i] = new;
  return new->bytes;
}

void
blob_write (struct blob *b, const void *buf, size_t count, uint64_t offset)
{
  const uint8_t *p = buf;

  while (count > 0) {
    const size_t in = offset % BLOCK;
    const size_t n = count < BLOCK - in ? count : BLOCK - in;

    memcpy (own_block (b, offset / BLOCK) + in, p, n);
    p += n;
    offset += n;
    count -= n;
  }
}

void
blob_zero (struct blob *b, uint64_t count, uint64_t offset)
{
  while (count > 0 && offset / BLOCK < b->nr) {
    const size_t in = offset % BLOCK;
    const size_t n = count < BLOCK - in ? (size_t) count : BLOCK - in;

    if (n == BLOCK) {
      put_block (b->blocks[offset / BLOCK]);
      b->blocks[offset / BLOCK] = NULL;
    }
    else if (b->blocks[offset / BLOCK])
      memset (own_block (b, offset / BLOCK) + in, 0, n);
    offset += n;
    count -= n;
  }
}

void
blob_set_size (struct blob *b, uint64_t size)
{
  blob_zero (b, UINT64_MAX - size, size);
  b->size = size;
}

uint64_t
blob_next (const struct blob *b, uint64_t offset, bool data)
{
  uint64_t i = offset / BLOCK;

  if (data) {
    while (i < b->nr && b->blocks[i] == NULL)
      i++;
    if (i >= b->nr)
      return NEVER;
  }
  else
    while (i < b->nr && b->blocks[i])
      i++;
  return i == offset / BLOCK ? offset : i * BLOCK;
}

void
blob_load (struct blob *b, int fd, const char *name)
{
  static const uint8_t zeroes[BLOCK];
  uint8_t buf[BLOCK];
  uint64_t offset = 0;
  struct stat st;

  *b = (struct blob) { .size = 0 };
  if (fstat (fd, &st) == -1)
    die ("%s: %s", name, strerror (errno));
  while (offset < (uint64_t) st.st_size) {
    ssize_t r = lseek (fd, (off_t) offset, SEEK_DATA);

    if (r == -1)
      break; /* only a hole */
    offset = (uint64_t) r / BLOCK * BLOCK;
    r = pread (fd, buf, sizeof buf, (off_t) offset);
    if (r <= 0)
      break;
    if (memcmp (buf, zeroes, (size_t) r) != 0)
      blob_write (b, buf, (size_t) r, offset);
    offset += BLOCK;
  }
  b->size = (uint64_t) st.st_size;
}
