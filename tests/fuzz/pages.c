/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Contents of files in memory: an ascending list of pages, as inputs have
 * few of them, wherever they are.  Pages come from a pool, which is small:
 * an image that makes us write more finds its disk full.
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MAX_PAGES 8192 /* 32 MiB */
#define PAGES_AT_A_TIME 64

union free_page {
  union free_page *next;
  uint8_t bytes[PAGE];
};
static union free_page *free_pages;
static size_t nr_pages; /* of the pool */

void
complain (const char *fmt, ...)
{
  va_list args;

  fputs ("fuzz: ", stderr);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  abort ();
}

static void
grow_pool (void)
{
  union free_page *more;
  size_t i;

  if (nr_pages >= MAX_PAGES)
    return;
  more = malloc (PAGES_AT_A_TIME * sizeof *more);
  if (more == NULL)
    return;
  nr_pages += PAGES_AT_A_TIME;
  for (i = 0; i < PAGES_AT_A_TIME; i++) {
    more[i].next = free_pages;
    free_pages = &more[i];
  }
}

static uint8_t *
take_page (void)
{
  union free_page *p;

  if (free_pages == NULL)
    grow_pool ();
  p = free_pages;
  if (p == NULL)
    return NULL;
  free_pages = p->next;
  memset (p->bytes, 0, PAGE);
  return p->bytes;
}

static void
give_page (uint8_t *bytes)
{
  union free_page *const p = (union free_page *) bytes;

  p->next = free_pages;
  free_pages = p;
}

/* The place of the first page that isn't before number. */
static size_t
find (const struct pages *p, uint64_t number)
{
  size_t low = 0, high = p->nr;

  if (high > 0 && p->list[high - 1].number < number)
    return high;
  while (low < high) {
    const size_t middle = (low + high) / 2;

    if (p->list[middle].number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static const uint8_t *
look_up (const struct pages *p, uint64_t number)
{
  const size_t i = find (p, number);

  return i < p->nr && p->list[i].number == number ? p->list[i].bytes : NULL;
}

/* The list has room for a power of two. */
static uint8_t *
insert (struct pages *p, size_t i, uint64_t number)
{
  uint8_t *bytes;

  if ((p->nr & (p->nr - 1)) == 0 || p->nr == 0) {
    struct page *const list =
      realloc (p->list, (p->nr ? 2 * p->nr : 1) * sizeof *list);

    if (list == NULL)
      return NULL;
    p->list = list;
  }
  bytes = take_page ();
  if (bytes == NULL)
    return NULL;
  memmove (p->list + i + 1, p->list + i, (p->nr - i) * sizeof p->list[0]);
  p->list[i] = (struct page) { .number = number, .bytes = bytes };
  p->nr++;
  return bytes;
}

void
pages_clear (struct pages *p)
{
  size_t i;

  for (i = 0; i < p->nr; i++)
    give_page (p->list[i].bytes);
  free (p->list);
  *p = (struct pages) { .size = 0 };
}

void
pages_clone (struct pages *to, const struct pages *from)
{
  size_t i;

  *to = (struct pages) { .size = from->size };
  for (i = 0; i < from->nr; i++)
    if (!pages_write (to, from->list[i].bytes, PAGE,
                      from->list[i].number * PAGE))
      complain ("the pool of pages is too small");
}

static size_t
in_page (size_t count, uint64_t offset)
{
  const size_t left = (size_t) (PAGE - offset % PAGE);

  return count < left ? count : left;
}

void
pages_read (const struct pages *p, void *buf, size_t count, uint64_t offset)
{
  uint8_t *to = buf;

  while (count > 0) {
    const size_t n = in_page (count, offset);
    const uint8_t *const from = look_up (p, offset / PAGE);

    if (from)
      memcpy (to, from + offset % PAGE, n);
    else
      memset (to, 0, n);
    to += n;
    offset += n;
    count -= n;
  }
}

bool
pages_write (struct pages *p, const void *buf, size_t count, uint64_t offset)
{
  const uint8_t *from = buf;

  while (count > 0) {
    const size_t n = in_page (count, offset);
    const size_t i = find (p, offset / PAGE);
    uint8_t *to;

    if (i < p->nr && p->list[i].number == offset / PAGE)
      to = p->list[i].bytes;
    else
      to = insert (p, i, offset / PAGE);
    if (to == NULL)
      return false;
    memcpy (to + offset % PAGE, from, n);
    from += n;
    offset += n;
    count -= n;
  }
  return true;
}

/* Whole pages become holes. */
void
pages_zero (struct pages *p, uint64_t count, uint64_t offset)
{
  const uint64_t end = count > UINT64_MAX - offset ? UINT64_MAX
    : offset + count;
  size_t i = find (p, offset / PAGE), kept = i;

  for (; i < p->nr && p->list[i].number * PAGE < end; i++) {
    const uint64_t start = p->list[i].number * PAGE;
    const uint64_t from = offset > start ? offset - start : 0;
    const uint64_t to = end - start < PAGE ? end - start : PAGE;

    if (from == 0 && to == PAGE) {
      give_page (p->list[i].bytes);
      continue;
    }
    memset (p->list[i].bytes + from, 0, (size_t) (to - from));
    p->list[kept++] = p->list[i];
  }
  if (kept == i)
    return;
  memmove (p->list + kept, p->list + i, (p->nr - i) * sizeof p->list[0]);
  p->nr -= i - kept;
  if (p->nr > 0) { /* room for a power of two */
    size_t room = 1;
    struct page *list;

    while (room < p->nr)
      room *= 2;
    list = realloc (p->list, room * sizeof *list);
    if (list)
      p->list = list;
  }
}

void
pages_resize (struct pages *p, uint64_t size)
{
  if (size < p->size)
    pages_zero (p, UINT64_MAX, size);
  p->size = size;
}

uint64_t
pages_next_data (const struct pages *p, uint64_t offset)
{
  const size_t i = find (p, offset / PAGE);
  uint64_t start;

  if (i >= p->nr)
    return UINT64_MAX;
  start = p->list[i].number * PAGE;
  return start > offset ? start : offset;
}

uint64_t
pages_next_hole (const struct pages *p, uint64_t offset)
{
  uint64_t number = offset / PAGE;
  size_t i;

  for (i = find (p, number); i < p->nr && p->list[i].number == number; i++)
    number++;
  return number == offset / PAGE ? offset : number * PAGE;
}

/* A hole is as good as zeroes. */
static bool
has_all_of (const struct pages *a, const struct pages *b)
{
  static const uint8_t zeroes[PAGE];
  size_t i;

  for (i = 0; i < b->nr; i++) {
    const uint8_t *const bytes = look_up (a, b->list[i].number);

    if (memcmp (bytes ? bytes : zeroes, b->list[i].bytes, PAGE) != 0)
      return false;
  }
  return true;
}

bool
pages_equal (const struct pages *a, const struct pages *b)
{
  return a->size == b->size && has_all_of (a, b) && has_all_of (b, a);
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
