/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Following parents.  A child says in two ways what it was made over: a
 * hint where the parent is, and the content ID (CID) which the parent had
 * at that time.  Another CID means that the parent was written since, and
 * that child and parent together are no longer any disk that ever was.
 *
 * A file is opened once, whatever its name, so a link whose store is that
 * of a link above it closes a loop.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain.h"
#include "source.h"

/* The folder of the top link is where its descriptor may name files;
 * those of its parents lie in it, too, or in a trusted one.
 */
static int
add_roots (struct context *ctx, const struct folder *folder)
{
  const char *const *dir = ctx->options->trusted_dirs;
  struct folder *root;

  if (folder) {
    root = folder_again (ctx, folder);
    if (root == NULL || context_add_root (ctx, root) == -1)
      return -1;
  }
  for (; dir && *dir; dir++) {
    root = folder_open (ctx, *dir);
    if (root == NULL || context_add_root (ctx, root) == -1)
      return -1;
  }
  return 0;
}

static int
refuse_parent (struct context *ctx, const struct source *s)
{
  vmdk_error (&ctx->log, "%s: a raw disk has no parent (parent=FILE)",
              s->store->name);
  errno = EINVAL;
  return -1;
}

static struct link *
open_top (struct context *ctx)
{
  struct source s;

  if (source_open (ctx, &s) == -1)
    return NULL;
  if (add_roots (ctx, s.folder) == -1 ||
      (s.raw && ctx->options->parent && refuse_parent (ctx, &s) == -1)) {
    store_unref (s.store);
    folder_close (s.folder);
    return NULL;
  }
  return s.raw ? link_open_raw (ctx, s.store, s.folder)
    : link_open (ctx, s.store, s.folder);
}

/* Whether a link has a parent. */

static int
contradiction (const struct link *l, const char *what)
{
  const struct vmdk_log *const log = &l->ctx->log;

  switch (l->ctx->options->cid_check) {
  case VMDK_CID_FAIL:
    vmdk_error (log, "%s: %s; if the disk has a parent, name it with "
                "parent=FILE; to read this layer alone, use "
                "single-link=true; to do as the hint says, use cid-check=off",
                l->store->name, what);
    errno = EINVAL;
    return -1;
  case VMDK_CID_WARN:
    vmdk_warning (log, "%s: %s", l->store->name, what);
    break;
  case VMDK_CID_OFF:
    break;
  }
  return 0;
}

/* 1: yes, 0: no, -1: it contradicts itself. */
static int
has_parent (const struct link *l)
{
  const struct descriptor *const d = l->desc;

  if (d == NULL)
    return 0;
  if (d->parent_cid == CID_NONE && d->parent_hint == NULL)
    return 0;
  if (d->parent_cid == CID_NONE)
    return contradiction (l, "there is a parentFileNameHint, but parentCID "
                          "is ffffffff, which means no parent") == -1 ? -1 : 1;
  if (d->parent_hint == NULL)
    return contradiction (l, "parentCID names a parent, but there is no "
                          "parentFileNameHint");
  return 1;
}

/* Finding it. */

static bool
matches_cid (void *opaque, struct store *store)
{
  const uint32_t *const expected = opaque;
  uint32_t cid;

  return link_peek_cid (store, &cid) && cid == *expected;
}

/* The marker of a commit is removed when both content IDs are in place. */
static bool
was_being_committed (const struct link *child)
{
  char *marker;
  bool exists;

  if (child->folder == NULL ||
      asprintf (&marker, "%s.commit", child->store->name) == -1)
    return false;
  exists = access (marker, F_OK) == 0;
  free (marker);
  return exists;
}

static int
check_cid (const struct link *child, const struct link *parent)
{
  const struct vmdk_log *const log = &child->ctx->log;
  const enum vmdk_cid_check how = child->ctx->options->cid_check;
  const uint32_t expected = child->desc ? child->desc->parent_cid : CID_NONE;
  const uint32_t found = parent->desc ? parent->desc->cid : CID_NONE;

  /* Without a parentCID there is nothing to compare, and whoever opens
   * the parent all the same was told, or named it.
   */
  if (found == expected || expected == CID_NONE || how == VMDK_CID_OFF)
    return 0;
#define MISMATCH \
  "%s: was made over a parent with CID %08" PRIx32 ", but %s has CID %08" \
  PRIx32 ": the parent was modified since the child was created, or is " \
  "another disk"
  if (how == VMDK_CID_WARN) {
    vmdk_warning (log, MISMATCH, child->store->name, expected,
                  parent->store->name, found);
    return 0;
  }
  errno = EINVAL;
  if (was_being_committed (child)) {
    vmdk_error (log, "%s: committing it to %s was interrupted, of which "
                "%s.commit tells; run vmdk-img commit again",
                child->store->name, parent->store->name, child->store->name);
    return -1;
  }
  vmdk_error (log, MISMATCH "; bring back the parent as it was, or name the "
              "right one with parent=FILE; cid-check=warn serves the mixture, "
              "which may never have been on any disk",
              child->store->name, expected, parent->store->name, found);
  return -1;
}

static int
check_loop (const struct link *top, const struct link *child,
            const struct store *parent, unsigned depth)
{
  const struct link *l;

  for (l = top; l; l = l->parent)
    if (l->store == parent) {
      vmdk_error (&top->ctx->log, "%s: the chain is a loop: its parent is "
                  "%s, which is above it", child->store->name, parent->name);
      errno = EINVAL;
      return -1;
    }
  if (depth >= VMDK_MAX_CHAIN) {
    vmdk_error (&top->ctx->log, "%s: the chain has more than %d links",
                child->store->name, VMDK_MAX_CHAIN);
    errno = EINVAL;
    return -1;
  }
  return 0;
}

static void
warn_sizes (const struct link *child, const struct link *parent)
{
  if (child->size != parent->size)
    vmdk_warning (&child->ctx->log, "%s has %" PRIu64 " bytes, but its "
                  "parent %s has %" PRIu64, child->store->name, child->size,
                  parent->store->name, parent->size);
}

/* The parent that the user named is only the top link's. */
static struct store *
find_parent (const struct link *top, const struct link *child,
             struct folder **folder)
{
  struct context *const ctx = child->ctx;
  uint32_t expected;

  if (child == top && ctx->options->parent && child->desc &&
      child->desc->parent_cid == CID_NONE)
    vmdk_warning (&ctx->log, "%s: says that it has no parent (parentCID is "
                  "ffffffff); %s is used because parent= names it",
                  child->store->name, ctx->options->parent);
  if (child == top && ctx->options->parent)
    return resolve_by_hand (ctx, ctx->options->parent, folder);
  expected = child->desc->parent_cid;
  return resolve_parent (ctx, child->store->name, child->folder,
                         child->desc->encoding, child->desc->parent_hint,
                         matches_cid, &expected, folder);
}

/* Opens the parent of the lowest link of the chain.  0: it has none. */
static int
open_parent (struct link *top, struct link *child, unsigned depth)
{
  const bool by_hand = child == top && top->ctx->options->parent;
  const int has = by_hand ? 1 : has_parent (child);
  struct folder *folder = NULL;
  struct store *store;

  if (has <= 0)
    return has;
  store = find_parent (top, child, &folder);
  if (store == NULL)
    return -1;
  if (check_loop (top, child, store, depth) == -1) {
    store_unref (store);
    folder_close (folder);
    return -1;
  }
  child->parent = link_open (top->ctx, store, folder);
  if (child->parent == NULL || check_cid (child, child->parent) == -1)
    return -1;
  warn_sizes (child, child->parent);
  return 1;
}

struct link *
chain_open (struct context *ctx)
{
  struct link *const top = open_top (ctx);
  struct link *l = top;
  unsigned depth = 1;
  int r = 1;

  if (top == NULL || ctx->options->single_link)
    return top;
  while ((r = open_parent (top, l, depth)) == 1) {
    l = l->parent;
    depth++;
  }
  if (r == 0)
    return top;
  chain_close (top);
  return NULL;
}

void
chain_close (struct link *top)
{
  while (top) {
    struct link *const parent = top->parent;

    link_close (top);
    top = parent;
  }
}
