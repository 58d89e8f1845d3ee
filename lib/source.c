/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opening what the user named.  What it is, its first bytes say; but
 * nothing is looked at in what the user calls raw, since the guest could
 * have written it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ova.h"
#include "resolve.h"
#include "source.h"
#include "store-nbd.h"

/* Locks belong to an open file, so whoever gave us this one would keep
 * ours when we are gone: the file is opened once more, where that is
 * allowed.
 */
static int
open_again (int fd)
{
  const int flags = fcntl (fd, F_GETFL);
  char path[32];
  int again = -1;

  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  if (flags != -1)
    again = open (path, (flags & O_ACCMODE) | O_CLOEXEC | O_NONBLOCK);
  return again != -1 ? again : fcntl (fd, F_DUPFD_CLOEXEC, 0);
}

static struct store *
open_by_number (struct context *ctx)
{
  const struct vmdk_options *const o = ctx->options;
  const int fd = open_again (o->fd);

  if (fd == -1) {
    vmdk_error (&ctx->log, "file descriptor %d: %m", o->fd);
    return NULL;
  }
  return context_add_file (ctx, fd, o->file ? o->file : "(open file)");
}

/* The file itself, whatever is in it. */
static int
open_outer (struct context *ctx, struct source *s)
{
  const struct vmdk_options *const o = ctx->options;

  *s = (struct source) { .raw = o->raw };
  if (o->fd >= 0)
    s->store = open_by_number (ctx);
  else if (o->allow_nbd && store_nbd_is_uri (o->file)) {
    s->store = store_nbd_new (&ctx->log, o->file, o->connections);
    s->raw = o->raw || !o->probe_nbd;
  }
  else
    s->store = resolve_by_hand (ctx, o->file, &s->folder);
  return s->store ? 0 : -1;
}

/* 1: yes, 0: no, -1: it can't be read; reported. */
static int
is_ova (const struct source *s)
{
  uint8_t block[TAR_BLOCK];

  if (s->raw)
    return 0;
  if (store_pread (s->store, block, sizeof block, 0) == -1)
    return -1;
  return tar_is (block);
}

/* Puts the disk in it in place of the archive, in whose folder it has no
 * business.
 */
static int
choose_member (struct context *ctx, struct source *s)
{
  struct ova *const o = ova_open (&ctx->log, s->store);
  const struct ova_disk *const d =
    o ? ova_choose (o, ctx->options->member) : NULL;
  struct store *const member = d ? ova_open_disk (o, d) : NULL;

  ova_free (o);
  if (member == NULL)
    return -1;
  store_unref (s->store);
  folder_close (s->folder);
  s->store = member;
  s->folder = NULL;
  return 0;
}

static int
refuse_member (const struct source *s, const char *member)
{
  char name[EXCERPT_SIZE];

  vmdk_error (s->store->log, "%s: this is no OVA, so there is nothing called "
              "%s in it (member=NAME)", s->store->name,
              vmdk_excerpt (name, sizeof name, member));
  errno = EINVAL;
  return -1;
}

static void
close_source (struct source *s)
{
  const int err = errno;

  store_unref (s->store);
  folder_close (s->folder);
  errno = err;
}

static int
open_inner (struct context *ctx, struct source *s)
{
  int r;

  if (ctx->lock && store_lock (s->store, false) == -1)
    return -1;
  r = is_ova (s);
  if (r == 1)
    return choose_member (ctx, s);
  if (r == 0 && ctx->options->member)
    return refuse_member (s, ctx->options->member);
  return r;
}

int
source_open (struct context *ctx, struct source *s)
{
  if (open_outer (ctx, s) == -1)
    return -1;
  if (open_inner (ctx, s) == 0)
    return 0;
  close_source (s);
  return -1;
}

/* Listing. */

static void
list_disks (const struct ova *o, vmdk_member_fn fn, void *opaque)
{
  size_t i;

  for (i = 0; i < o->nr_disks; i++) {
    const struct ova_disk *const d = &o->disks[i];
    const struct vmdk_member m = {
      .name = d->name, .disk_id = d->disk_id, .capacity = d->capacity,
      .file_size = d->file_size, .compressed = d->compressed,
      .absent = d->absent,
    };

    fn (opaque, &m);
  }
}

/* What is raw isn't even opened. */
static bool
may_be_ova (const struct vmdk_options *o)
{
  const bool export =
    o->fd < 0 && o->allow_nbd && store_nbd_is_uri (o->file);

  return !o->raw && (o->probe_nbd || !export);
}

static int
list_source (struct context *ctx, struct source *s, bool *found,
             vmdk_member_fn fn, void *opaque)
{
  struct ova *o;
  int r;

  if (ctx->lock && store_lock (s->store, false) == -1)
    return -1;
  r = is_ova (s);
  if (r <= 0)
    return r;
  o = ova_open (&ctx->log, s->store);
  if (o == NULL)
    return -1;
  list_disks (o, fn, opaque);
  ova_free (o);
  *found = true;
  return 0;
}

int
vmdk_list_ova (const struct vmdk_options *options, bool *found,
               vmdk_member_fn fn, void *opaque)
{
  struct context *ctx;
  struct source s;
  int r = -1;

  *found = false;
  if (!may_be_ova (options))
    return 0;
  ctx = context_new (options);
  if (ctx && open_outer (ctx, &s) == 0) {
    r = list_source (ctx, &s, found, fn, opaque);
    close_source (&s);
  }
  context_free (ctx);
  return r;
}
