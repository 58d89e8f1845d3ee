/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building an extent anew.  Crash safety: it has no name, or a hidden one,
 * until it is complete and durable, and gets the old one's in one step.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relabel.h"
#include "rewrite.h"

struct rewrite {
  struct link *l;
  struct store *old;
  struct new_file *file;
  struct build *build;
};

typedef struct build *(*new_build) (const struct vmdk_log *log);

/* NULL: can be written in place, or can't be built. */
static new_build
find_build (const struct extent *e)
{
  if (strcmp (e->format, "stream") == 0)
    return build_stream_new;
  return strcmp (e->format, "seSparse") == 0 ? build_sesparse_new : NULL;
}

bool
rewrite_is_possible (const struct link *l)
{
  const struct extent *const e = l->extents[0];

  return l->nr_extents == 1 && e->ops->write == NULL && find_build (e) &&
    e->store->read_only == NULL &&
    (e->line == NULL || e->line->access == ACCESS_RW);
}

/* A stream can't say that a grain is zero where its parent has data. */
static int
refuse_parent (const struct link *l)
{
  vmdk_error (&l->ctx->log, "%s: can't be written: streamOptimized disks are "
              "made to be read only, and this one has a parent; convert it "
              "first", l->store->name);
  errno = ENOTSUP;
  return -1;
}

static int
begin (struct rewrite *r, bool over_parent)
{
  struct link *const l = r->l;
  const struct extent *const e = l->extents[0];
  const bool embedded = l->embedded && l->desc;

  if (e->ops->unpack && over_parent)
    return refuse_parent (l);
  r->file = new_file_begin_over (&l->ctx->log, r->old);
  if (r->file)
    r->build = find_build (e) (&l->ctx->log);
  if (r->build == NULL)
    return -1;
  r->build->log = &l->ctx->log;
  r->build->store = r->file->store;
  r->build->name = r->file->path;
  r->build->size = e->size;
  r->build->grain_size = e->grain_size;
  r->build->has_parent = over_parent;
  r->build->has_descriptor = embedded;
  return r->build->ops->begin (r->build);
}

static int
fill (struct rewrite *r, const struct copy *c)
{
  uint64_t start = 0;
  struct new_image image = {
    .log = &r->l->ctx->log, .size = r->l->size, .builds = &r->build,
    .starts = &start, .nr_builds = 1,
  };

  return copy_to_image (c, &image) == -1 ? -1 :
    r->build->ops->finish (r->build);
}

static int
embed (struct rewrite *r, const struct descriptor_changes *changes)
{
  size_t length;
  char *text;
  int result;

  if (!r->build->has_descriptor)
    return 0;
  text = link_edit_descriptor (r->l, changes, &length);
  if (text == NULL)
    return -1;
  result = r->build->ops->embed (r->build, text, length);
  free (text);
  return result;
}

struct rewrite *
rewrite_build (struct link *l, const struct copy *c, bool over_parent,
               const struct descriptor_changes *d)
{
  struct rewrite *const r = calloc (1, sizeof *r);

  if (r == NULL) {
    vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
    return NULL;
  }
  r->l = l;
  r->old = l->extents[0]->store;
  if (begin (r, over_parent) == 0 && fill (r, c) == 0 && embed (r, d) == 0 &&
      store_sync (r->file->store) == 0)
    return r;
  rewrite_free (r);
  return NULL;
}

int
rewrite_swap (struct rewrite *r)
{
  return new_files_publish (&r->file, 1);
}

void
rewrite_free (struct rewrite *r)
{
  const int err = errno;

  if (r == NULL)
    return;
  if (r->build)
    r->build->ops->free (r->build);
  new_file_free (r->file);
  free (r);
  errno = err;
}
