/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving a link a new content ID.  A descriptor in a file of its own is
 * replaced as a whole.  Where that can't be done, and inside of an extent,
 * it is changed sector by sector, which the edit allows.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor-edit.h"
#include "le.h"
#include "relabel.h"

static int
write_sectors (struct store *s, uint64_t offset, const char *old,
               const char *new, size_t length)
{
  size_t i;

  for (i = 0; i < length; i += SECTOR_SIZE) {
    const size_t n =
      length - i < SECTOR_SIZE ? length - i : (size_t) SECTOR_SIZE;

    if (memcmp (old + i, new + i, n) != 0 &&
        store_pwrite (s, new + i, n, offset + i) == -1)
      return -1;
  }
  return store_sync (s);
}

static int
change_in_place (struct link *l, const char *text, size_t length,
                 uint32_t *cid)
{
  const struct descriptor_edit edit = {
    .drop_change_track = l->ctx->drop_cbt, .in_place = true,
  };
  size_t new_length;
  char *const new = descriptor_change (&l->ctx->log, l->store->name, text,
                                       length, &edit, &new_length, cid);
  int r;

  if (new == NULL)
    return -1;
  r = write_sectors (l->store, l->desc_offset, text, new, length);
  free (new);
  return r;
}

/* 1: the file can't be replaced. */
static int
replace (struct link *l, const char *text, size_t length, uint32_t *cid)
{
  const struct descriptor_edit edit = {
    .drop_change_track = l->ctx->drop_cbt,
  };
  size_t new_length;
  char *new;
  int r;

  if (l->embedded || l->folder == NULL || l->store->ops->replace == NULL)
    return 1;
  new = descriptor_change (&l->ctx->log, l->store->name, text, length, &edit,
                           &new_length, cid);
  if (new == NULL)
    return -1;
  r = l->store->ops->replace (l->store, l->folder, new, new_length);
  if (r == -1 && errno == EOPNOTSUPP)
    r = 1;
  free (new);
  return r;
}

int
relabel (struct link *l)
{
  uint32_t cid;
  char *text;
  int r;

  if (l->desc == NULL)
    return 0;
  if (!l->embedded) /* it may have been replaced, and something failed */
    l->desc_length = (size_t) l->store->size;
  text = malloc (l->desc_length + 1);
  if (text == NULL) {
    vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
    return -1;
  }
  r = store_pread (l->store, text, l->desc_length, l->desc_offset);
  if (r == 0) {
    r = replace (l, text, l->desc_length, &cid);
    if (r == 1)
      r = change_in_place (l, text, l->desc_length, &cid);
  }
  if (r == 0)
    __atomic_store_n (&l->desc->cid, cid, __ATOMIC_RELAXED);
  if (r == 0 && l->ctx->drop_cbt && l->desc->change_track)
    vmdk_warning (&l->ctx->log, "%s: VMware's change tracking was ended: the "
                  "next backup must be a full one, and %s can be deleted",
                  l->store->name, l->desc->change_track);
  free (text);
  return r;
}
