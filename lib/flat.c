/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Extents without tables: flat ones (the guest's bytes as they are, in a
 * file or on a device), ZERO, and those that may not be accessed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "extent.h"

struct flat {
  struct extent e; /* must come first */
  uint64_t offset; /* of the extent's first byte in the file */
};

static struct flat *
flat_new (struct context *ctx, const struct extent_ops *ops,
          const struct extent_line *line)
{
  struct flat *const f = calloc (1, sizeof *f);

  if (f == NULL) {
    vmdk_error (&ctx->log, "calloc: %m");
    return NULL;
  }
  f->e.ops = ops;
  f->e.ctx = ctx;
  f->e.line = line;
  f->e.size = line->size;
  return f;
}

static int
flat_map (struct extent *e, uint64_t offset, uint64_t length,
          struct window *window, struct run *run)
{
  const struct flat *const f = (const struct flat *) e;

  (void) window;
  *run = (struct run) {
    .kind = RUN_DATA,
    .length = length,
    .store = e->store,
    .file_offset = f->offset + offset,
  };
  return 0;
}

static void
flat_info (const struct extent *e, struct vmdk_extent_info *info)
{
  info->file_offset = ((const struct flat *) e)->offset;
}

static void
flat_close (struct extent *e)
{
  free (e);
}

/* All that there is to it: map says where every byte is. */

static int
flat_start_writing (struct extent *e)
{
  (void) e;
  return 0;
}

static int
flat_sync (struct extent *e)
{
  return store_sync (e->store);
}

static const struct extent_write_ops flat_write_ops = {
  .start = flat_start_writing,
  .will_change = flat_start_writing,
  .flush = flat_sync,
  .finish = flat_sync,
};

static const struct extent_ops flat_ops = {
  .map = flat_map,
  .write = &flat_write_ops,
  .check = flat_check,
  .info = flat_info,
  .close = flat_close,
};

/* Many images were cut short by tools that knew the rest to be zero. */
static void
warn_if_short (const struct flat *f)
{
  const uint64_t end = f->offset + f->e.size;

  if (f->e.store->size < end)
    vmdk_warning (&f->e.ctx->log,
                  "%s: the file has %" PRIu64 " bytes, but the extent needs "
                  "%" PRIu64 "; what is missing reads as zero",
                  f->e.store->name, f->e.store->size, end);
}

static struct flat *
open_file (struct context *ctx, struct store *store,
           const struct extent_line *line, const char *format)
{
  struct flat *const f = flat_new (ctx, &flat_ops, line);

  if (f == NULL) {
    store_unref (store);
    return NULL;
  }
  f->e.format = format;
  f->e.store = store;
  f->offset = line->offset;
  return f;
}

struct extent *
flat_open (struct context *ctx, struct store *store,
           const struct extent_line *line)
{
  struct flat *const f = open_file (ctx, store, line, "flat");

  if (f == NULL)
    return NULL;
  warn_if_short (f);
  return &f->e;
}

/* Its size is that of the file, and the rest of the last sector. */
struct extent *
raw_open (struct context *ctx, struct store *store,
          const struct extent_line *line)
{
  struct flat *const f = open_file (ctx, store, line, "raw");

  return f ? &f->e : NULL;
}

static int
zero_map (struct extent *e, uint64_t offset, uint64_t length,
          struct window *window, struct run *run)
{
  (void) e;
  (void) offset;
  (void) window;
  *run = (struct run) { .kind = RUN_ZERO, .length = length };
  return 0;
}

static const struct extent_ops zero_ops = {
  .map = zero_map,
  .close = flat_close,
};

struct extent *
zero_open (struct context *ctx, const struct extent_line *line)
{
  struct flat *const f = flat_new (ctx, &zero_ops, line);

  if (f == NULL)
    return NULL;
  f->e.format = "zero";
  return &f->e;
}

/* NOACCESS: the range is part of the disk, and so it shows as data, but
 * every read of it fails.  That is a property of a store.
 */
static int
refuse_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  (void) buf;
  (void) count;
  vmdk_error (s->log, "%s: byte %" PRIu64 " of an extent whose access is "
              "NOACCESS was read", s->name, offset);
  errno = EIO;
  return -1;
}

static void
refuse_close (struct store *s)
{
  store_destroy (s);
  free (s);
}

static const struct store_ops refuse_ops = {
  .pread = refuse_pread,
  .close = refuse_close,
};

static struct store *
refuse_new (const struct vmdk_log *log, const char *file, uint64_t size)
{
  struct store *const s = calloc (1, sizeof *s);

  if (s == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  if (store_init (s, &refuse_ops, log, file) == -1) {
    refuse_close (s);
    return NULL;
  }
  s->no_file = true;
  s->size = size;
  return s;
}

struct extent *
no_access_open (struct context *ctx, const char *file,
                const struct extent_line *line)
{
  struct flat *const f = flat_new (ctx, &flat_ops, line);

  if (f == NULL)
    return NULL;
  f->e.format = "no access";
  f->e.store = refuse_new (&ctx->log, file, line->size);
  if (f->e.store == NULL) {
    extent_close (&f->e);
    return NULL;
  }
  return &f->e;
}
