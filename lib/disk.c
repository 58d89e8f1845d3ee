/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A virtual disk: opening it, the walk through its chain, and reading.
 * No lock is held while data are read, and nothing is copied but what
 * comes out of the grain cache.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "in-use.h"
#include "le.h"

void
vmdk_options_init (struct vmdk_options *options)
{
  *options = (struct vmdk_options) {
    .fd = -1,
    .table_cache = VMDK_DEFAULT_TABLE_CACHE,
    .grain_cache = VMDK_DEFAULT_GRAIN_CACHE,
  };
}

static bool
names_extent (const struct link *l, const char *name)
{
  size_t i;

  for (i = 0; l->desc && i < l->desc->nr_extents; i++)
    if (l->desc->extents[i].name &&
        strcmp (l->desc->extents[i].name, name) == 0)
      return true;
  return false;
}

/* A place for an extent that there isn't is mostly a slip, by which the
 * file is taken that the descriptor names.
 */
static void
warn_unused_paths (const struct vmdk_disk *disk,
                   const struct vmdk_options *options)
{
  const struct link *l;
  size_t i;

  for (i = 0; i < options->nr_extents; i++) {
    for (l = disk->top; l; l = l->parent)
      if (names_extent (l, options->extents[i].name))
        break;
    if (l == NULL)
      vmdk_warning (&disk->ctx->log, "extent=%s=%s: no descriptor of this "
                    "disk names such an extent", options->extents[i].name,
                    options->extents[i].path);
  }
}

struct vmdk_disk *
vmdk_open (const struct vmdk_options *options)
{
  struct vmdk_disk *const disk = calloc (1, sizeof *disk);

  if (disk == NULL) {
    vmdk_error (&options->log, "calloc: %m");
    return NULL;
  }
  session_init (&disk->session);
  disk->ctx = context_new (options);
  disk->top = disk->ctx ? chain_open (disk->ctx) : NULL;
  if (disk->top == NULL) {
    const int err = errno;

    vmdk_close (disk);
    errno = err;
    return NULL;
  }
  warn_unused_paths (disk, options);
  in_use_by_vmware (disk->top, false);
  disk->ctx->options = NULL; /* they were only borrowed */
  return disk;
}

static void
report_cache (const struct vmdk_log *log, const char *what,
              struct cache *cache)
{
  const struct cache_stats s = cache_get_stats (cache);

  vmdk_debug (log, VMDK_TOPIC_STATS, "%s cache: %" PRIu64 " hits, %" PRIu64
              " misses, %" PRIu64 " evictions, %zu bytes", what, s.hits,
              s.misses, s.evictions, s.bytes);
}

int
vmdk_close (struct vmdk_disk *disk)
{
  int r = 0;

  if (disk == NULL)
    return 0;
  if (disk->top) {
    r = session_finish (&disk->session, disk->top);
    report_cache (&disk->ctx->log, "table", disk->ctx->tables);
    report_cache (&disk->ctx->log, "grain", disk->ctx->grains);
  }
  session_destroy (&disk->session);
  chain_close (disk->top);
  context_free (disk->ctx);
  free (disk);
  return r;
}

void
disk_borrow_link (struct vmdk_disk *part, struct vmdk_disk *disk,
                  struct link *l)
{
  *part = (struct vmdk_disk) { .ctx = disk->ctx, .top = l };
  session_init (&part->session);
}

int
disk_return_link (struct vmdk_disk *part)
{
  const int r = session_finish (&part->session, part->top);

  session_destroy (&part->session);
  return r;
}

uint64_t
vmdk_size (const struct vmdk_disk *disk)
{
  return disk->top->size;
}

uint32_t
vmdk_grain_size (const struct vmdk_disk *disk)
{
  return disk->top->grain_size;
}

/* The walk. */

struct walk {
  struct window *windows; /* NULL, or one for each link */
  unsigned end;           /* links of that depth aren't looked at */
  walk_fn fn;
  void *opaque;
};

static int
walk_link (const struct walk *w, struct link *l, unsigned depth,
           uint64_t offset, uint64_t length)
{
  while (length > 0) {
    /* A parent may be smaller than its child, and what is past its end is
     * zero, whatever its own parent has there.
     */
    const bool past_end = offset >= l->size;
    struct run run = { .kind = RUN_ABSENT, .length = length };
    int r;

    if (!past_end) {
      struct extent *const e = link_find_extent (l, offset);
      const uint64_t left = e->start + e->size - offset;

      if (e->ops->map (e, offset - e->start, left < length ? left : length,
                       w->windows ? &w->windows[depth] : NULL, &run) == -1)
        return -1;
    }
    if (run.kind == RUN_ABSENT && l->parent && !past_end &&
        depth + 1 < w->end)
      r = walk_link (w, l->parent, depth + 1, offset, run.length);
    else
      r = w->fn (w->opaque, depth, offset, &run);
    if (r != 0)
      return r;
    offset += run.length;
    length -= run.length;
  }
  return 0;
}

int
disk_walk_link (struct link *l, unsigned depth, uint64_t offset,
                uint64_t length, struct window *windows, walk_fn fn,
                void *opaque)
{
  const struct walk w = {
    .windows = windows, .end = UINT_MAX, .fn = fn, .opaque = opaque,
  };

  return walk_link (&w, l, depth, offset, length);
}

int
disk_walk_links (struct link *l, unsigned nr_links, uint64_t offset,
                 uint64_t length, struct window *windows, walk_fn fn,
                 void *opaque)
{
  const struct walk w = {
    .windows = windows, .end = nr_links, .fn = fn, .opaque = opaque,
  };

  return walk_link (&w, l, 0, offset, length);
}

int
disk_check_range (const struct vmdk_disk *disk, uint64_t offset,
                  uint64_t length)
{
  if (offset <= disk->top->size && length <= disk->top->size - offset)
    return 0;
  vmdk_error (&disk->ctx->log, "%s: %" PRIu64 " bytes at offset %" PRIu64
              " are outside of the disk, which has %" PRIu64,
              disk->top->store->name, length, offset, disk->top->size);
  errno = EINVAL;
  return -1;
}

int
disk_walk (struct vmdk_disk *disk, uint64_t offset, uint64_t length,
           struct window *windows, walk_fn fn, void *opaque)
{
  if (disk_check_range (disk, offset, length) == -1)
    return -1;
  return disk_walk_link (disk->top, 0, offset, length, windows, fn, opaque);
}

/* Packed grains. */

static int
fill_grain (void *opaque, void *data, size_t size)
{
  const struct run *const run = opaque;

  (void) size;
  return run->extent->ops->unpack (run->extent, run, data);
}

/* A grain that is read as a whole is inflated to where it is wanted, and
 * isn't kept: who reads so seldom reads it again.  buf may be NULL, to
 * bring it to the cache.
 */
static int
read_packed (struct context *ctx, const struct run *run, void *buf)
{
  struct extent *const e = run->extent;
  const uint8_t *grain = cache_find (ctx->grains, e, run->grain);

  if (grain == NULL && buf && run->length == e->grain_size)
    return e->ops->unpack (e, run, buf);
  if (grain == NULL)
    grain = cache_get (ctx->grains, e, run->grain, e->grain_size, fill_grain,
                       (void *) run);
  if (grain == NULL) {
    if (errno == ENOMEM)
      vmdk_error (&ctx->log, "%s: inflating a grain: %m", e->store->name);
    return -1;
  }
  if (buf)
    memcpy (buf, grain + run->in_grain, run->length);
  cache_put (ctx->grains, grain);
  return 0;
}

/* Reading. */

struct reading {
  struct context *ctx;
  char *buf; /* for the byte at offset */
  uint64_t offset;
};

static int
read_run (void *opaque, unsigned depth, uint64_t offset,
          const struct run *run)
{
  const struct reading *const r = opaque;
  char *const buf = r->buf + (offset - r->offset);

  (void) depth;
  switch (run->kind) {
  case RUN_DATA:
    return store_pread (run->store, buf, (size_t) run->length,
                        run->file_offset);
  case RUN_PACKED:
    return read_packed (r->ctx, run, buf);
  case RUN_ZERO:
  case RUN_ABSENT:
    memset (buf, 0, (size_t) run->length);
    break;
  }
  return 0;
}

int
disk_read_link (struct link *l, void *buf, size_t count, uint64_t offset)
{
  struct reading r = { .ctx = l->ctx, .buf = buf, .offset = offset };

  return disk_walk_link (l, 0, offset, count, NULL, read_run, &r);
}

int
vmdk_pread (struct vmdk_disk *disk, void *buf, size_t count, uint64_t offset)
{
  if (disk_check_range (disk, offset, count) == -1)
    return -1;
  return disk_read_link (disk->top, buf, count, offset);
}

struct prefetch {
  struct context *ctx;
  uint64_t room; /* for inflated grains */
};

static int
prefetch_run (void *opaque, unsigned depth, uint64_t offset,
              const struct run *run)
{
  struct prefetch *const p = opaque;

  (void) depth;
  (void) offset;
  if (run->kind == RUN_DATA)
    store_prefetch (run->store, run->length, run->file_offset);
  if (run->kind != RUN_PACKED)
    return 0;
  if (p->room < run->extent->grain_size)
    return 1;
  p->room -= run->extent->grain_size;
  return read_packed (p->ctx, run, NULL);
}

/* More grains than half of the cache would push each other out. */
int
vmdk_prefetch (struct vmdk_disk *disk, uint64_t count, uint64_t offset)
{
  struct prefetch p = {
    .ctx = disk->ctx, .room = disk->ctx->grain_cache / 2,
  };

  return disk_walk (disk, offset, count, NULL, prefetch_run, &p) == -1 ? -1
    : 0;
}
