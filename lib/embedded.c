/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing a descriptor into an extent that has lost it.  The header is
 * believed only as far as no table lies in the space that it gives.
 *
 * The first sector is written last, when all others are durable: it alone
 * makes the space a descriptor, so that there is never a part of one.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "le.h"

struct space {
  uint64_t offset;
  size_t length;
};

static const struct vmdk_log *
log_of (const struct kdmv *k)
{
  return &k->sp.e.ctx->log;
}

static const char *
name_of (const struct kdmv *k)
{
  return k->sp.e.store->name;
}

/* A stream's footer is of no interest here. */
static int
find_space (struct kdmv *k, struct space *space)
{
  struct kdmv_header h;

  if (kdmv_read_header (log_of (k), k->sp.e.store, &h) == -1)
    return -1;
  if (h.descriptor_offset < SECTOR_SIZE || h.descriptor_size == 0 ||
      h.descriptor_offset >= k->sp.e.store->size) {
    vmdk_error (log_of (k), "%s: has no space for a descriptor inside, as is "
                "usual in parts of a split disk: name a file that is to be "
                "the descriptor, and then this one", name_of (k));
    errno = EINVAL;
    return -1;
  }
  *space = (struct space) {
    h.descriptor_offset, h.descriptor_size > VMDK_MAX_DESCRIPTOR ?
    VMDK_MAX_DESCRIPTOR : (size_t) h.descriptor_size,
  };
  return 0;
}

int
embedded_read (struct kdmv *k, char **text, size_t *length)
{
  struct space space;

  if (find_space (k, &space) == -1)
    return -1;
  *text = malloc (space.length);
  *length = space.length;
  if (*text == NULL) {
    vmdk_error (log_of (k), "%s: %m", name_of (k));
    return -1;
  }
  if (store_pread (k->sp.e.store, *text, space.length, space.offset) == 0)
    return 0;
  free (*text);
  return -1;
}

bool
embedded_is_sound (struct kdmv *k, const char *text, size_t length)
{
  struct descriptor *const d =
    descriptor_parse (&vmdk_no_log, name_of (k), text, length);
  const bool sound = d && d->has_cid && d->nr_extents > 0;

  descriptor_free (d);
  return sound;
}

/* What must not be written to. */

static bool
overlaps (const struct space *space, uint64_t offset, uint64_t length)
{
  return offset < space->offset + space->length &&
    offset + length > space->offset;
}

/* 1: none of the tables of a directory is there, 0: one is. */
static int
tables_are_elsewhere (struct kdmv *k, uint64_t directory,
                      const struct space *space)
{
  const uint64_t table = k->sp.gtes_per_gt * sizeof (le32);
  le32 gdes[1024];
  uint64_t i;
  size_t j, n;

  for (i = 0; i < k->sp.nr_gts; i += n) {
    n = k->sp.nr_gts - i < 1024 ? (size_t) (k->sp.nr_gts - i) : 1024;
    if (store_pread (k->sp.e.store, gdes, n * sizeof gdes[0],
                     directory + i * sizeof gdes[0]) == -1)
      return -1;
    for (j = 0; j < n; j++) {
      const uint64_t gt = le32_get (gdes[j]) * SECTOR_SIZE;

      if (gt != 0 && overlaps (space, gt, table))
        return 0;
    }
  }
  return !overlaps (space, directory, k->sp.nr_gts * sizeof gdes[0]);
}

/* No grain begins before data_start. */
static int
check_space (struct kdmv *k, const struct space *space)
{
  int free = space->offset + space->length <= k->sp.data_start;
  size_t i;

  for (i = 0; i < 2 && free == 1; i++)
    if (k->sp.tables == k->sp.e.store && k->sp.gd[i] != 0)
      free = tables_are_elsewhere (k, k->sp.gd[i], space);
  if (free != 0)
    return free == 1 ? 0 : -1;
  vmdk_error (log_of (k), "%s: tables or grains lie where the header has the "
              "descriptor, %zu bytes at offset %" PRIu64 ": name another "
              "file that is to be the descriptor, and then this one",
              name_of (k), space->length, space->offset);
  errno = EINVAL;
  return -1;
}

/* Writing. */

static int
start_writing (struct store *s)
{
  if (store_lock (s, true) == -1)
    return -1;
  if (store_make_writable (s) == 0)
    return 0;
  if (errno == EACCES || errno == EPERM || errno == EROFS)
    vmdk_error (s->log, "%s: can't be written: %m", s->name);
  return -1;
}

static int
write_space (struct kdmv *k, const struct space *space, const char *text)
{
  struct store *const s = k->sp.e.store;
  char *const buf = calloc (1, space->length);
  int r = -1;

  if (buf == NULL) {
    vmdk_error (log_of (k), "%s: %m", name_of (k));
    return -1;
  }
  memcpy (buf, text, strlen (text));
  if (start_writing (s) == 0 &&
      (space->length <= SECTOR_SIZE ||
       store_pwrite (s, buf + SECTOR_SIZE, space->length - SECTOR_SIZE,
                     space->offset + SECTOR_SIZE) == 0) &&
      store_sync (s) == 0 &&
      store_pwrite (s, buf, SECTOR_SIZE, space->offset) == 0)
    r = store_sync (s);
  free (buf);
  return r;
}

size_t
embedded_room (struct kdmv *k)
{
  struct space space;

  return find_space (k, &space) == -1 ? 0 : space.length;
}

int
embedded_write (struct kdmv *k, const char *text)
{
  struct space space;

  if (find_space (k, &space) == -1 || check_space (k, &space) == -1)
    return -1;
  if (strlen (text) <= space.length)
    return write_space (k, &space, text);
  vmdk_error (log_of (k), "%s: the descriptor would have %zu bytes, but there "
              "is space for %zu in it; give the file a shorter name",
              name_of (k), strlen (text), space.length);
  errno = EINVAL;
  return -1;
}
