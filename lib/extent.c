/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is the same for extents of every format.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "cowd-format.h"
#include "extent.h"
#include "kdmv-format.h"
#include "le.h"
#include "sesparse-format.h"

#define CHANGE_TRACK_MAGIC UINT32_C (0xf61972a2)

enum extent_magic
extent_magic (const void *first_8_bytes)
{
  const uint32_t magic = le32_at (first_8_bytes);

  if (magic == KDMV_MAGIC)
    return MAGIC_KDMV;
  if (magic == KDMV_MAGIC_UNFINISHED)
    return MAGIC_KDMV_UNFINISHED;
  if (magic == COWD_MAGIC)
    return MAGIC_COWD;
  if (le64_at (first_8_bytes) == SESPARSE_MAGIC)
    return MAGIC_SESPARSE;
  if (magic == CHANGE_TRACK_MAGIC)
    return MAGIC_CHANGE_TRACK;
  return MAGIC_NONE;
}

void
extent_close (struct extent *e)
{
  struct store *store;

  if (e == NULL)
    return;
  store = e->store;
  e->ops->close (e);
  store_unref (store);
}

/* The line has the last word, since it is what all other extents' places
 * follow from; writers round the capacity up to whole grains.
 */
int
extent_set_size (struct extent *e, uint64_t capacity)
{
  e->size = e->line ? e->line->size : capacity;
  if (e->size == 0 || e->size > VMDK_MAX_SIZE || capacity < e->size) {
    vmdk_error (&e->ctx->log,
                "%s: the header's capacity is %" PRIu64 " sectors, but the "
                "descriptor's extent line says %" PRIu64,
                e->store->name, capacity / SECTOR_SIZE,
                e->size / SECTOR_SIZE);
    errno = EINVAL;
    return -1;
  }
  if (capacity - e->size >= e->grain_size)
    vmdk_warning (&e->ctx->log,
                  "%s: the header's capacity is %" PRIu64 " sectors, but the "
                  "descriptor's extent line says %" PRIu64 ", which is used",
                  e->store->name, capacity / SECTOR_SIZE,
                  e->size / SECTOR_SIZE);
  return 0;
}
