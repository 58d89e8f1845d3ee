/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is the same for every store: counting references, and the answers
 * of a store that doesn't know about holes or reading ahead.
 */

#include <config.h>

#include "store.h"

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
