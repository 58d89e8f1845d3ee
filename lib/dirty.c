/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Entries that were changed in memory and aren't in the file yet.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "dirty.h"
#include "tables.h"

struct dirty_page {
  struct dirty_page *next;
  struct page_place at;
  size_t begin, end; /* what differs from the file, whole sectors */
  uint8_t frozen[TABLE_PAGE_SIZE];
};

void
dirty_init (struct dirty *d)
{
  d->pages = NULL;
  pthread_mutex_init (&d->lock, NULL);
}

void
dirty_destroy (struct sparse *sp, struct dirty *d)
{
  dirty_clean (sp, d->pages);
  pthread_mutex_destroy (&d->lock);
}

/* The record of a page, which is its note. */
static struct dirty_page *
record_locked (struct sparse *sp, struct dirty *d, const struct page_place *at)
{
  void **const note = cache_note (at->data);
  struct dirty_page *p = *note;

  if (p)
    return p;
  p = malloc (sizeof *p);
  if (p == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: changing a grain table: %m",
                sp->e.store->name);
    return NULL;
  }
  p->at = *at;
  p->begin = SIZE_MAX;
  p->end = 0;
  p->next = d->pages;
  d->pages = *note = p;
  cache_pin (sp->e.ctx->tables, at->data);
  sp->nr_dirty++;
  sp->e.ctx->nr_dirty++;
  return p;
}

static void
add_range (struct dirty_page *p, size_t begin, size_t end)
{
  begin = begin / SECTOR_SIZE * SECTOR_SIZE;
  end = div_round_up (end, SECTOR_SIZE) * SECTOR_SIZE;
  if (end > p->at.size)
    end = p->at.size;
  if (begin < p->begin)
    p->begin = begin;
  if (end > p->end)
    p->end = end;
}

/* Readers take no lock: they see each entry as it was or as it will be. */
static void
store_entry (const struct sparse *sp, const void *page, uint64_t i,
             uint64_t value)
{
  if (sp->format->entry_size == 4)
    __atomic_store_n ((uint32_t *) page + i, htole32 ((uint32_t) value),
                      __ATOMIC_RELEASE);
  else
    __atomic_store_n ((uint64_t *) page + i, htole64 (value),
                      __ATOMIC_RELEASE);
}

int
dirty_set (struct sparse *sp, struct dirty *d, const struct page_place *at,
           uint64_t i, uint64_t n, uint64_t value, uint64_t step)
{
  const size_t size = sp->format->entry_size;
  struct dirty_page *p;
  uint64_t k;

  pthread_mutex_lock (&d->lock);
  p = record_locked (sp, d, at);
  if (p) {
    for (k = 0; k < n; k++)
      store_entry (sp, at->data, i + k, value + k * step);
    add_range (p, i * size, (i + n) * size);
  }
  pthread_mutex_unlock (&d->lock);
  return p ? 0 : -1;
}

struct dirty_page *
dirty_freeze (struct dirty *d)
{
  struct dirty_page *frozen, *p;

  pthread_mutex_lock (&d->lock);
  frozen = d->pages;
  d->pages = NULL;
  for (p = frozen; p; p = p->next) {
    memcpy (p->frozen + p->begin, (const char *) p->at.data + p->begin,
            p->end - p->begin);
    *cache_note (p->at.data) = NULL;
  }
  pthread_mutex_unlock (&d->lock);
  return frozen;
}

int
dirty_write (struct sparse *sp, struct dirty_page *frozen)
{
  const struct dirty_page *p;
  unsigned copy;

  for (p = frozen; p; p = p->next)
    for (copy = 0; copy < 2; copy++)
      if (p->at.place[copy] != 0 &&
          store_pwrite (sp->tables, p->frozen + p->begin, p->end - p->begin,
                        p->at.place[copy] + p->begin) == -1)
        return -1;
  return 0;
}

static void
drop (struct sparse *sp, struct dirty_page *p)
{
  cache_put (sp->e.ctx->tables, p->at.data);
  sp->nr_dirty--;
  sp->e.ctx->nr_dirty--;
  free (p);
}

void
dirty_clean (struct sparse *sp, struct dirty_page *frozen)
{
  while (frozen) {
    struct dirty_page *const p = frozen;

    frozen = p->next;
    drop (sp, p);
  }
}

void
dirty_again (struct sparse *sp, struct dirty *d, struct dirty_page *frozen)
{
  pthread_mutex_lock (&d->lock);
  while (frozen) {
    struct dirty_page *const p = frozen;
    void **const note = cache_note (p->at.data);
    struct dirty_page *const newer = *note;

    frozen = p->next;
    if (newer) {
      add_range (newer, p->begin, p->end);
      drop (sp, p);
      continue;
    }
    p->next = d->pages;
    d->pages = *note = p;
  }
  pthread_mutex_unlock (&d->lock);
}
