/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making and dropping what all parts of one open disk share.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "context.h"

/* Bytes for what is known to be absent from extents that nobody writes. */
#define ABSENT_ROOM (4 << 20)

/* The table cache is asked for every grain, by all threads; the grain
 * cache has few, large entries, which must fit into a shard.
 */
#define TABLE_SHARDS 16
#define GRAIN_SHARDS 1

/* Compressed grains in memory, while they are being inflated. */
#define INFLATER_BUDGET (8 << 20)

void
folder_close (struct folder *f)
{
  if (f == NULL)
    return;
  if (f->fd >= 0)
    close (f->fd);
  free (f->path);
  free (f->absolute);
  free (f);
}

struct context *
context_new (const struct vmdk_options *options)
{
  struct context *const ctx = calloc (1, sizeof *ctx);

  if (ctx == NULL)
    goto no_memory;
  ctx->log = options->log;
  ctx->options = options;
  ctx->table_cache = options->table_cache;
  ctx->grain_cache = options->grain_cache;
  ctx->lock = !options->no_lock;
  ctx->drop_cbt = options->drop_cbt;
  ctx->allow_parent_write = options->allow_parent_write;
  ctx->zeroed_grains = options->zeroed_grains;
  atomic_init (&ctx->absent_room, ABSENT_ROOM);
  ctx->tables = cache_new (options->table_cache, TABLE_SHARDS,
                           TABLE_PAGE_SIZE);
  ctx->grains = cache_new (options->grain_cache, GRAIN_SHARDS, 0);
  ctx->inflaters = inflater_pool_new (INFLATER_BUDGET);
  if (ctx->tables && ctx->grains && ctx->inflaters)
    return ctx;
  context_free (ctx);
no_memory:
  errno = ENOMEM;
  vmdk_error (&options->log, "%m");
  return NULL;
}

void
context_free (struct context *ctx)
{
  size_t i;

  if (ctx == NULL)
    return;
  for (i = 0; i < ctx->nr_stores; i++)
    store_unref (ctx->stores[i]);
  free (ctx->stores);
  for (i = 0; i < ctx->nr_roots; i++)
    folder_close (ctx->roots[i]);
  free (ctx->roots);
  inflater_pool_free (ctx->inflaters);
  cache_free (ctx->grains);
  cache_free (ctx->tables);
  free (ctx);
}

static int
append (struct context *ctx, void ***list, size_t *n, void *item)
{
  void **const longer = realloc (*list, (*n + 1) * sizeof *longer);

  if (longer == NULL) {
    vmdk_error (&ctx->log, "realloc: %m");
    return -1;
  }
  *list = longer;
  longer[(*n)++] = item;
  return 0;
}

struct store *
context_add_file (struct context *ctx, int fd, const char *name)
{
  struct store *s = store_file_new (&ctx->log, fd, name);
  size_t i;

  if (s == NULL)
    return NULL;
  for (i = 0; i < ctx->nr_stores; i++) {
    const struct store_id a = store_identity (ctx->stores[i]);
    const struct store_id b = store_identity (s);

    if (a.dev == b.dev && a.ino == b.ino) {
      store_unref (s);
      return store_ref (ctx->stores[i]);
    }
  }
  if (ctx->wrap) {
    s = ctx->wrap (ctx->wrap_opaque, s);
    if (s == NULL)
      return NULL;
  }
  if (append (ctx, (void ***) &ctx->stores, &ctx->nr_stores, s) == -1) {
    store_unref (s);
    return NULL;
  }
  return store_ref (s);
}

int
context_add_root (struct context *ctx, struct folder *root)
{
  if (append (ctx, (void ***) &ctx->roots, &ctx->nr_roots, root) == 0)
    return 0;
  folder_close (root);
  return -1;
}

/* Enough for all extents of a link and some more.  Not all that is allowed:
 * programs that are started from here inherit it, and some are slower, or
 * wrong, when they may have very many.
 */
#define WANTED_FILES 8192

void
vmdk_raise_file_limit (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) == -1 ||
      limit.rlim_cur >= WANTED_FILES)
    return;
  limit.rlim_cur =
    limit.rlim_max < WANTED_FILES ? limit.rlim_max : WANTED_FILES;
  setrlimit (RLIMIT_NOFILE, &limit);
}
