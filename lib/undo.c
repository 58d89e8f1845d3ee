/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Undo files: writing one, and making the changes that it can take back.
 *
 * The order: the undo file is complete, durable and has its name; then the
 * files change, what is behind their old end before what names it, and
 * everything but their first sectors, and are synced; then the first
 * sectors, which say where all else is, and are synced; then what is to be
 * cut off.  A crash leaves either no change at all, or some, and an undo
 * file that takes them back.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "le.h"
#include "new-file.h"
#include "undo.h"

/* What changes. */

struct walk {
  struct overlay *o;
  change_fn fn;
  void *opaque;
  uint8_t before[UNDO_MAX_BYTES], after[UNDO_MAX_BYTES];
};

static uint32_t
length_in (uint64_t size, uint64_t offset, uint64_t count)
{
  if (offset >= size)
    return 0;
  return (uint32_t) (size - offset < count ? size - offset : count);
}

/* Sectors [first, end) of what w has from start on. */
static int
walk_sectors (const struct walk *w, uint64_t start, size_t first, size_t end)
{
  const uint64_t offset = start + first * SECTOR_SIZE;
  const uint64_t count = (end - first) * SECTOR_SIZE;
  const struct change c = {
    .offset = offset,
    .before = w->before + first * SECTOR_SIZE,
    .after = w->after + first * SECTOR_SIZE,
    .nr_before = length_in (w->o->base->size, offset, count),
    .nr_after = length_in (w->o->size, offset, count),
  };

  return c.nr_after > 0 ? w->fn (w->opaque, &c) : 0;
}

static bool
differs (const struct walk *w, size_t sector)
{
  return memcmp (w->before + sector * SECTOR_SIZE,
                 w->after + sector * SECTOR_SIZE, SECTOR_SIZE) != 0;
}

static int
walk_pages (struct walk *w, uint64_t start, uint64_t end)
{
  const size_t count = (size_t) (end - start);
  size_t i, j;

  memset (w->before, 0, count);
  if (start < w->o->base->size &&
      store_pread (w->o->base, w->before, count, start) == -1)
    return -1;
  if (overlay_read (w->o, w->after, count, start) == -1)
    return -1;
  for (i = 0; i < count / SECTOR_SIZE; i = j + 1) {
    for (j = i; j < count / SECTOR_SIZE && differs (w, j); j++)
      ;
    if (j > i && walk_sectors (w, start, i, j) == -1)
      return -1;
  }
  return 0;
}

int
undo_walk (struct overlay *o, change_fn fn, void *opaque)
{
  struct walk *const w = malloc (sizeof *w);
  uint64_t start, end = 0;
  int r = 0;

  if (w == NULL) {
    vmdk_error (o->log, "%s: %m", o->base->name);
    return -1;
  }
  *w = (struct walk) { .o = o, .fn = fn, .opaque = opaque };
  while (r == 0 && overlay_next (o, end, UNDO_MAX_BYTES, &start, &end))
    r = walk_pages (w, start, end);
  free (w);
  return r;
}

/* Writing the undo file. */

struct writer {
  struct store *store;
  uint64_t offset;   /* of what is in buf */
  size_t used;
  uint32_t crc;      /* of all before */
  uint8_t buf[3 * UNDO_MAX_BYTES];
};

static int
flush (struct writer *w)
{
  if (store_pwrite (w->store, w->buf, w->used, w->offset) == -1)
    return -1;
  w->offset += w->used;
  w->used = 0;
  return 0;
}

static int
put (struct writer *w, const void *data, size_t count)
{
  if (w->used + count > sizeof w->buf && flush (w) == -1)
    return -1;
  memcpy (w->buf + w->used, data, count);
  w->used += count;
  w->crc = (uint32_t) crc32 (w->crc, data, (uInt) count);
  return 0;
}

static int
put_32 (struct writer *w, uint32_t value)
{
  const le32 v = to_le32 (value);

  return put (w, &v, sizeof v);
}

static int
put_64 (struct writer *w, uint64_t value)
{
  return put_32 (w, (uint32_t) value) == -1 ||
    put_32 (w, (uint32_t) (value >> 32)) == -1 ? -1 : 0;
}

static int
put_chunk (struct writer *w, enum undo_chunk type, size_t length)
{
  return put_32 (w, type) == -1 || put_32 (w, (uint32_t) length) == -1 ? -1
    : 0;
}

static int
put_change (void *opaque, const struct change *c)
{
  struct writer *const w = opaque;
  const size_t sectors = (size_t) div_round_up (c->nr_after, SECTOR_SIZE);
  size_t i;

  if (put_chunk (w, UNDO_BYTES, 16 + c->nr_before + sectors * 4) == -1 ||
      put_64 (w, c->offset) == -1 || put_32 (w, c->nr_before) == -1 ||
      put_32 (w, c->nr_after) == -1 ||
      put (w, c->before, c->nr_before) == -1)
    return -1;
  for (i = 0; i < sectors; i++) {
    const size_t left = c->nr_after - i * SECTOR_SIZE;
    const uInt n = (uInt) (left < SECTOR_SIZE ? left : SECTOR_SIZE);

    if (put_32 (w, (uint32_t) crc32 (0, c->after + i * SECTOR_SIZE, n)) == -1)
      return -1;
  }
  return 0;
}

/* What is cut off is lost otherwise; its holes come back by themselves. */
static int
put_tail (struct writer *w, struct overlay *o)
{
  uint8_t *const buf = malloc (UNDO_MAX_BYTES);
  uint64_t p = o->size, start, stop;
  int r = buf ? 0 : -1;

  if (buf == NULL)
    vmdk_error (o->log, "%s: %m", o->base->name);
  while (r == 0 && p < o->base->size) {
    struct change c = { .offset = p, .before = buf };

    store_find_data (o->base, p, o->base->size, &start, &stop);
    if (start >= stop)
      break;
    c.offset = start;
    c.nr_before = length_in (stop, start, UNDO_MAX_BYTES);
    r = store_pread (o->base, buf, c.nr_before, start);
    if (r == 0)
      r = put_change (w, &c);
    p = start + c.nr_before;
  }
  free (buf);
  return r;
}

/* Names are relative to the folder of the undo file where that is possible,
 * so that the folder can be moved.
 */
static char *
name_for (const struct overlay *o, const char *path)
{
  char *const file = realpath (o->base->name, NULL);
  const char *const slash = strrchr (path, '/');
  char *folder, *dir, *name = NULL;
  size_t n;

  if (file == NULL)
    return NULL;
  dir = slash == path ? strdup ("/")
    : slash ? strndup (path, (size_t) (slash - path)) : strdup (".");
  folder = dir ? realpath (dir, NULL) : NULL;
  n = folder ? strlen (folder) : 0;
  if (folder && strcmp (folder, "/") != 0 &&
      strncmp (file, folder, n) == 0 && file[n] == '/')
    name = strdup (file + n + 1);
  else if (folder)
    name = strdup (file);
  free (dir);
  free (folder);
  free (file);
  return name;
}

static int
put_file (struct writer *w, struct overlay *o, const char *path)
{
  char *const name = name_for (o, path);
  int r = -1;

  if (name == NULL)
    vmdk_error (o->log, "%s: finding its place: %m", o->base->name);
  else if (put_chunk (w, UNDO_FILE, 16 + strlen (name)) == 0 &&
           put_64 (w, o->base->size) == 0 && put_64 (w, o->size) == 0 &&
           put (w, name, strlen (name)) == 0 &&
           undo_walk (o, put_change, w) == 0)
    r = put_tail (w, o);
  free (name);
  return r;
}

static int
put_all (struct writer *w, const char *path, struct overlay *const *files,
         size_t nr_files)
{
  uint32_t crc;
  size_t i;

  if (put (w, UNDO_MAGIC, 8) == -1 || put_32 (w, UNDO_VERSION) == -1 ||
      put_32 (w, 0) == -1)
    return -1;
  for (i = 0; i < nr_files; i++)
    if ((i == 0 || overlay_is_changed (files[i])) &&
        put_file (w, files[i], path) == -1)
      return -1;
  crc = w->crc;
  return put_chunk (w, UNDO_END, 4) == -1 || put_32 (w, crc) == -1 ? -1
    : flush (w);
}

int
undo_write (const struct vmdk_log *log, const char *path, bool beside,
            struct overlay *const *files, size_t nr_files)
{
  struct new_file *const f = beside
    ? new_file_begin_beside (log, path, files[0]->base, false)
    : new_file_begin (log, path, false);
  struct writer *w;
  size_t i;
  int r = -1;

  if (f == NULL)
    return -1;
  for (i = 0; i < nr_files; i++)
    new_file_limit_mode (f, &files[i]->base, 1);
  w = calloc (1, sizeof *w);
  if (w == NULL)
    vmdk_error (log, "%s: %m", path);
  else {
    w->store = f->store;
    w->crc = (uint32_t) crc32 (0, NULL, 0);
    r = put_all (w, path, files, nr_files);
  }
  if (r == 0)
    r = new_files_publish (&f, 1);
  new_file_free (f);
  free (w);
  return r;
}

/* Making the changes. */

struct maker {
  struct overlay *o;
  uint64_t from, to; /* only what is in [from, to) */
};

static int
make_change (void *opaque, const struct change *c)
{
  const struct maker *const m = opaque;
  uint64_t start = c->offset, end = c->offset + c->nr_after;

  if (start < m->from)
    start = m->from;
  if (end > m->to)
    end = m->to;
  if (start >= end)
    return 0;
  return store_pwrite (m->o->base, c->after + (start - c->offset),
                       (size_t) (end - start), start);
}

static int
make_part (struct overlay *o, uint64_t from, uint64_t to)
{
  struct maker m = { .o = o, .from = from, .to = to };

  if (!overlay_is_changed (o))
    return 0;
  if (undo_walk (o, make_change, &m) == -1)
    return -1;
  return store_sync (o->base);
}

static int
set_size (struct overlay *o)
{
  if (store_resize (o->base, o->size) == 0)
    return store_sync (o->base);
  vmdk_error (o->log, "%s: setting its length to %" PRIu64 " bytes: %m",
              o->base->name, o->size);
  return -1;
}

/* Metadata may name what is new behind the old end, so that comes first. */
static int
make_all_but (struct overlay *o, uint64_t first)
{
  const uint64_t old_end =
    o->base->size / SECTOR_SIZE * SECTOR_SIZE > first ?
    o->base->size / SECTOR_SIZE * SECTOR_SIZE : first;

  if (o->size > o->base->size && set_size (o) == -1)
    return -1;
  if (make_part (o, old_end, UINT64_MAX) == -1)
    return -1;
  return make_part (o, first, old_end);
}

int
undo_make_changes (struct overlay *const *files, size_t nr_files,
                   uint64_t first)
{
  size_t i;

  for (i = 0; i < nr_files; i++)
    if (make_all_but (files[i], first) == -1)
      return -1;
  for (i = 0; i < nr_files; i++)
    if (make_part (files[i], 0, first) == -1)
      return -1;
  for (i = 0; i < nr_files; i++)
    if (files[i]->size < files[i]->base->size && set_size (files[i]) == -1)
      return -1;
  return 0;
}
