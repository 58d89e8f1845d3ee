/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Parts of a store.  Reading finds the piece by a binary search: a file in
 * an archive may have been cut into thousands of them.  Writing is for one
 * that is open at its end.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store-part.h"

struct piece {
  uint64_t start;  /* of its first byte in the part */
  uint64_t offset; /* and in base */
};

struct part {
  struct store s; /* must come first */
  struct store *base;
  size_t n;
  struct piece pieces[]; /* each ends where the next one starts */
};

static struct part *
part_of (struct store *s)
{
  return (struct part *) s;
}

/* Where the byte at offset is in base, and how many follow it there. */
static uint64_t
find (const struct part *p, uint64_t offset, uint64_t *left)
{
  size_t low = 0, high = p->n;

  while (high - low > 1) {
    const size_t mid = low + (high - low) / 2;

    if (offset < p->pieces[mid].start)
      high = mid;
    else
      low = mid;
  }
  *left = (high < p->n ? p->pieces[high].start : p->s.size) - offset;
  return p->pieces[low].offset + (offset - p->pieces[low].start);
}

static int
part_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  struct part *const p = part_of (s);
  char *to = buf;

  while (count > 0 && offset < s->size) {
    uint64_t left;
    const uint64_t at = find (p, offset, &left);
    const size_t n = count < left ? count : (size_t) left;

    if (store_pread (p->base, to, n, at) == -1)
      return -1;
    to += n;
    offset += n;
    count -= n;
  }
  memset (to, 0, count);
  return 0;
}

/* Goes on in the next piece where there is nothing of the kind in one. */
static int
next (struct part *p, int (*ask) (struct store *s, uint64_t offset,
                                  uint64_t *found),
      uint64_t offset, uint64_t *found)
{
  while (offset < p->s.size) {
    uint64_t left, at_base;
    const uint64_t at = find (p, offset, &left);

    if (ask == NULL || at >= p->base->size ||
        ask (p->base, at, &at_base) == -1)
      return -1;
    if (at_base - at < left) {
      *found = offset + (at_base - at);
      return 0;
    }
    offset += left;
  }
  *found = UINT64_MAX;
  return 0;
}

static int
part_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  struct part *const p = part_of (s);

  return next (p, p->base->ops->next_data, offset, found);
}

static int
part_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  struct part *const p = part_of (s);

  return next (p, p->base->ops->next_hole, offset, found);
}

static void
part_prefetch (struct store *s, uint64_t count, uint64_t offset)
{
  struct part *const p = part_of (s);

  while (count > 0 && offset < s->size) {
    uint64_t left;
    const uint64_t at = find (p, offset, &left);
    const uint64_t n = count < left ? count : left;

    store_prefetch (p->base, n, at);
    offset += n;
    count -= n;
  }
}

static int
part_lock (struct store *s, bool write)
{
  return store_lock (part_of (s)->base, write);
}

static void
part_unlock (struct store *s)
{
  store_unlock (part_of (s)->base);
}

static void
part_close (struct store *s)
{
  store_unref (part_of (s)->base);
  store_destroy (s);
  free (s);
}

/* Writing: there is one piece, whose end is that of base.  base also keeps
 * account of what isn't durable, so everything goes by way of it.
 */

static uint64_t
at_base (struct store *s, uint64_t offset)
{
  return part_of (s)->pieces[0].offset + offset;
}

static int
refuse_length (struct store *s)
{
  errno = EFBIG;
  vmdk_error (s->log, "%s: %m", s->name);
  return -1;
}

static int
tail_pwrite (struct store *s, const void *buf, size_t count, uint64_t offset)
{
  if (offset > INT64_MAX - part_of (s)->pieces[0].offset)
    return refuse_length (s);
  return store_pwrite (part_of (s)->base, buf, count, at_base (s, offset));
}

static int
tail_punch (struct store *s, uint64_t count, uint64_t offset)
{
  const int r = store_punch (part_of (s)->base, count, at_base (s, offset));

  if (r != 1)
    return r;
  errno = EOPNOTSUPP;
  return -1;
}

static int
tail_zero (struct store *s, uint64_t count, uint64_t offset)
{
  return store_zero (part_of (s)->base, count, at_base (s, offset), false);
}

static int
tail_resize (struct store *s, uint64_t size)
{
  if (size > INT64_MAX - part_of (s)->pieces[0].offset) {
    errno = EFBIG;
    return -1;
  }
  return store_resize (part_of (s)->base, at_base (s, size));
}

static int
tail_sync (struct store *s)
{
  return store_sync (part_of (s)->base);
}

static const struct store_ops part_ops = {
  .pread = part_pread,
  .next_data = part_next_data,
  .next_hole = part_next_hole,
  .prefetch = part_prefetch,
  .lock = part_lock,
  .unlock = part_unlock,
  .close = part_close,
};

static const struct store_ops tail_ops = {
  .pread = part_pread,
  .next_data = part_next_data,
  .next_hole = part_next_hole,
  .prefetch = part_prefetch,
  .pwrite = tail_pwrite,
  .punch = tail_punch,
  .zero = tail_zero,
  .resize = tail_resize,
  .sync = tail_sync,
  .close = part_close,
};

/* Takes base over. */
static struct part *
part_new (const struct vmdk_log *log, const struct store_ops *ops,
          struct store *base, const char *name, size_t n)
{
  struct part *const p = calloc (1, sizeof *p + n * sizeof p->pieces[0]);

  if (p == NULL) {
    vmdk_error (log, "%s: %m", name);
    store_unref (base);
    return NULL;
  }
  p->base = base;
  p->n = n;
  if (store_init (&p->s, ops, log, name) == 0)
    return p;
  part_close (&p->s);
  return NULL;
}

struct store *
store_part_new (const struct vmdk_log *log, struct store *base,
                const char *name, const struct store_piece *pieces, size_t n)
{
  struct part *const p = part_new (log, &part_ops, base, name, n);
  uint64_t size = 0;
  size_t i;

  if (p == NULL)
    return NULL;
  for (i = 0; i < n; i++) {
    p->pieces[i] = (struct piece) { .start = size,
                                    .offset = pieces[i].offset };
    size += pieces[i].length;
  }
  p->s.size = size;
  p->s.lower = base;
  p->s.parallel = base->parallel;
  p->s.read_only = "it lies in an archive, where disks are only read; unpack "
    "it first";
  return &p->s;
}

struct store *
store_tail_new (const struct vmdk_log *log, struct store *base,
                const char *name, uint64_t offset)
{
  struct part *const p = part_new (log, &tail_ops, base, name, 1);

  if (p == NULL)
    return NULL;
  p->pieces[0].offset = offset;
  p->s.size = base->size > offset ? base->size - offset : 0;
  p->s.writable = base->writable;
  p->s.fresh_is_zero = base->fresh_is_zero;
  p->s.can_punch = base->can_punch;
  p->s.can_zero = base->can_zero;
  return &p->s;
}
