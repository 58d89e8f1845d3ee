/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is the same for every store: counting references, the answers of
 * a store that doesn't know about holes or reading ahead, writing zeroes
 * where there is no better way, and when a sync is needed.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "le.h"
#include "store.h"

int
store_init (struct store *s, const struct store_ops *ops,
            const struct vmdk_log *log, const char *name)
{
  *s = (struct store) { .ops = ops, .log = log, .refs = 1 };
  pthread_mutex_init (&s->sync_lock, NULL);
  s->name = strdup (name);
  if (s->name)
    return 0;
  vmdk_error (log, "%s: %m", name);
  return -1;
}

void
store_destroy (struct store *s)
{
  pthread_mutex_destroy (&s->sync_lock);
  free (s->name);
}

struct store *
store_ref (struct store *s)
{
  s->refs++;
  return s;
}

void
store_unref (struct store *s)
{
  if (s && --s->refs == 0)
    s->ops->close (s);
}

uint64_t
store_next_data (struct store *s, uint64_t offset)
{
  uint64_t found;

  if (offset >= s->size)
    return UINT64_MAX;
  if (s->ops->next_data == NULL ||
      s->ops->next_data (s, offset, &found) == -1)
    return offset;
  return found < s->size ? found : UINT64_MAX;
}

void
store_find_data (struct store *s, uint64_t offset, uint64_t end,
                 uint64_t *start, uint64_t *stop)
{
  *start = *stop = store_next_data (s, offset);
  if (*start >= end) {
    *start = *stop = end;
    return;
  }
  if (s->ops->next_hole == NULL ||
      s->ops->next_hole (s, *start, stop) == -1 || *stop > s->size)
    *stop = s->size;
  if (*stop > end)
    *stop = end;
}

void
store_prefetch (struct store *s, uint64_t count, uint64_t offset)
{
  if (s->ops->prefetch)
    s->ops->prefetch (s, count, offset);
}

int
store_lock (struct store *s, bool write)
{
  return s->ops->lock ? s->ops->lock (s, write) : 0;
}

void
store_unlock (struct store *s)
{
  if (s->ops->unlock)
    s->ops->unlock (s);
}

/* Writing. */

int
store_make_writable (struct store *s)
{
  if (s->writable)
    return 0;
  if (s->ops->make_writable == NULL) {
    errno = EROFS;
    return -1;
  }
  if (s->ops->make_writable (s) == -1)
    return -1;
  s->writable = true;
  return 0;
}

/* A change comes before its mark, so that a sync that takes the mark away
 * covers it.  Mostly the mark is there, and only read.
 */
static void
mark_unsynced (struct store *s)
{
  if (!atomic_load_explicit (&s->unsynced, memory_order_acquire))
    atomic_store (&s->unsynced, true);
}

static void
raise_size (struct store *s, uint64_t size)
{
  uint64_t old = atomic_load_explicit (&s->size, memory_order_relaxed);

  while (old < size && !atomic_compare_exchange_weak (&s->size, &old, size))
    ;
}

int
store_pwrite (struct store *s, const void *buf, size_t count, uint64_t offset)
{
  const int r = s->ops->pwrite (s, buf, count, offset);

  mark_unsynced (s);
  if (r == 0)
    raise_size (s, offset + count);
  return r;
}

int
store_resize (struct store *s, uint64_t size)
{
  const int r = s->ops->resize (s, size);

  mark_unsynced (s);
  if (r == 0)
    s->size = size;
  return r;
}

static int
write_zeroes (struct store *s, uint64_t count, uint64_t offset)
{
  static const uint8_t zeroes[64 << 10];

  while (count > 0) {
    const size_t n = count < sizeof zeroes ? (size_t) count : sizeof zeroes;

    if (s->ops->pwrite (s, zeroes, n, offset) == -1)
      return -1;
    count -= n;
    offset += n;
  }
  return 0;
}

int
store_punch (struct store *s, uint64_t count, uint64_t offset)
{
  int r;

  if (!s->can_punch)
    return 1;
  r = s->ops->punch (s, count, offset);
  mark_unsynced (s);
  if (r == -1 && errno == EOPNOTSUPP) {
    s->can_punch = false;
    return 1;
  }
  if (!s->tried_punch)
    s->tried_punch = true;
  return r;
}

/* Where the system can't do it, writing does. */
static int
allocate_by_writing (struct store *s, uint64_t size)
{
  uint8_t buf[16 << 10];
  uint64_t offset;

  for (offset = 0; offset < size; offset += sizeof buf) {
    const size_t n = size - offset < sizeof buf ? (size_t) (size - offset)
      : sizeof buf;

    if (store_pread (s, buf, n, offset) == -1 ||
        store_pwrite (s, buf, n, offset) == -1)
      return -1;
  }
  return 0;
}

int
store_allocate (struct store *s, uint64_t size)
{
  int r = -1;

  if (s->ops->allocate) {
    r = s->ops->allocate (s, size, 0);
    mark_unsynced (s);
    if (r == -1 && errno != EOPNOTSUPP)
      return -1;
  }
  if (r == -1)
    return allocate_by_writing (s, size);
  raise_size (s, size);
  return 0;
}

static int
zero_kept (struct store *s, uint64_t count, uint64_t offset)
{
  if (s->ops->zero == NULL)
    return 1;
  if (s->ops->zero (s, count, offset) == -1)
    return errno == EOPNOTSUPP ? 1 : -1;
  if (!s->can_zero)
    s->can_zero = true;
  return 0;
}

int
store_zero (struct store *s, uint64_t count, uint64_t offset, bool may_punch)
{
  int r = 1;

  if (offset >= s->size)
    return 0;
  if (count > s->size - offset)
    count = s->size - offset;
  if (may_punch)
    r = store_punch (s, count, offset);
  if (r == 1)
    r = zero_kept (s, count, offset);
  if (r == 1)
    r = write_zeroes (s, count, offset);
  mark_unsynced (s);
  return r;
}

/* Where nothing was punched yet, it is tried so far behind the end that
 * nobody can be writing there.
 */
#define FAR_BEHIND (UINT64_C (1) << 40)

bool
store_zeroes_fast (struct store *s, bool may_punch)
{
  if (may_punch && s->can_punch && !s->tried_punch)
    store_punch (s, 4096, s->size + FAR_BEHIND);
  return s->can_zero || (may_punch && s->can_punch);
}

uint64_t
store_allocated (struct store *s)
{
  return s->ops->allocated ? s->ops->allocated (s) : 0;
}

void
store_start_sync (struct store *s)
{
  if (s->ops->start_sync)
    s->ops->start_sync (s);
}

/* Who waits here for another's sync mostly finds that it has covered his
 * writes as well.
 */
int
store_sync (struct store *s)
{
  int r = 0;

  if (!s->writable)
    return 0;
  pthread_mutex_lock (&s->sync_lock);
  if (s->lost) {
    vmdk_error (s->log, "%s: an earlier sync of this file failed, so what "
                "was written before may be lost; nothing can be promised "
                "until the disk is opened again", s->name);
    errno = EIO;
    r = -1;
  }
  else if (atomic_exchange (&s->unsynced, false)) {
    r = s->ops->sync (s);
    s->lost = r == -1;
  }
  pthread_mutex_unlock (&s->sync_lock);
  return r;
}
