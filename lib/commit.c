/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Bringing what a child says into its parent.
 *
 * Crash safety.  Whatever the child says itself, the guest never reads from
 * the parent, and nothing else of the parent changes.  So at any time
 * the child reads as before, however much was written to the parent, and
 * to do it all again does no harm.  What the child says must not become
 * less before all is durable, and doesn't change at all.
 *
 * The parent's content changes, and so its content ID must, before the
 * content does; and the child must name the new one.  These are two files,
 * which can't change in one step:
 *
 *   1. a marker, a file beside the child, says what will be done;
 *   2. the parent gets the new content ID;
 *   3. the child names it;
 *   4. the marker is removed;
 *   5. the data are written.
 *
 * Each step is durable before the next one.  Between 2 and 3 the child
 * can't be opened, as its parent seems to have changed, but its content
 * hasn't, and the marker says so to the next commit, which goes on with
 * step 2 or 3.  After 3 both fit together again.
 *
 * Where the parent's extent can't be written in place, it is built anew
 * before step 1, and step 5 is to give it the old one's name.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "commit-marker.h"
#include "descriptor-write.h"
#include "disk.h"
#include "first-error.h"
#include "in-use.h"
#include "own-file.h"
#include "relabel.h"
#include "rewrite.h"
#include "transfer.h"

struct commit {
  struct vmdk_disk *disk;
  struct link *child, *parent;
  bool delete_child;
  const struct vmdk_progress *progress;
  struct commit_marker marker;
  uint32_t new_cid;
};

/* What must be so. */

static int
refuse (const struct link *l, int err, const char *why)
{
  vmdk_error (&l->ctx->log, "%s: can't be committed: %s", l->store->name,
              why);
  errno = err;
  return -1;
}

static int
check_links (const struct commit *c)
{
  const struct link *const child = c->child;

  if (child->desc == NULL)
    return refuse (child, EINVAL, "there is no descriptor in this file, so "
                   "it can't have a parent");
  if (c->parent == NULL)
    return refuse (child, EINVAL, child->desc->parent_hint ||
                   child->desc->parent_cid != CID_NONE ?
                   "its parent wasn't opened" : "it has no parent");
  if (c->parent->desc == NULL)
    return refuse (child, EINVAL, "there is no descriptor in its parent, and "
                   "so no content ID");
  if (child->size == c->parent->size)
    return 0;
  vmdk_error (&child->ctx->log, "%s: can't be committed: it has %" PRIu64
              " bytes, but its parent %s has %" PRIu64 "; resize the smaller "
              "one first", child->store->name, child->size,
              c->parent->store->name, c->parent->size);
  errno = EINVAL;
  return -1;
}

/* A marker that doesn't fit is of another time. */
static bool
is_marked (const struct commit *c)
{
  const struct commit_marker *const m = &c->marker;
  const uint32_t parent = c->parent->desc->cid;
  const uint32_t child = c->child->desc->parent_cid;

  return m->valid && (parent == m->was || parent == m->now) &&
    (child == m->was || (child == m->now && parent == m->now));
}

static int
report_marker (const struct commit *c)
{
  vmdk_error (&c->child->ctx->log, "%s: says that a commit of %s was "
              "interrupted, but not of the disks as they are now; if they "
              "are what they should be, remove it", c->marker.path,
              c->child->store->name);
  errno = EINVAL;
  return -1;
}

static int
report_mismatch (const struct commit *c)
{
  vmdk_error (&c->child->ctx->log, "%s: can't be committed: it was made over "
              "a parent with CID %08" PRIx32 ", but %s has CID %08" PRIx32
              ": the parent was modified since the child was created, or is "
              "another disk; if you know that they belong together, use "
              "vmdk-img fix-cid first", c->child->store->name,
              c->child->desc->parent_cid, c->parent->store->name,
              c->parent->desc->cid);
  errno = EINVAL;
  return -1;
}

/* Also finds the new content ID. */
static int
check_cids (struct commit *c)
{
  if (c->marker.exists && !is_marked (c))
    return report_marker (c);
  if (c->marker.exists) {
    c->new_cid = c->marker.now;
    return 0;
  }
  if (c->child->desc->parent_cid == CID_NONE ||
      c->child->desc->parent_cid != c->parent->desc->cid)
    return report_mismatch (c);
  do
    if (cid_random (&c->child->ctx->log, &c->new_cid) == -1)
      return -1;
  while (c->new_cid == c->parent->desc->cid);
  return 0;
}

static int
check_children (const struct commit *c)
{
  char name[EXCERPT_SIZE];

  if (c->delete_child && in_use_find_child (c->child, NULL, name)) {
    vmdk_error (&c->child->ctx->log, "%s: can't be deleted: it is the parent "
                "of \"%s\" beside it; commit that one to it first, or leave "
                "out --delete", c->child->store->name, name);
    errno = EPERM;
    return -1;
  }
  return c->child->ctx->allow_parent_write ? 0 :
    in_use_as_parent (c->parent, c->child);
}

static int
start (struct commit *c)
{
  if (check_links (c) == -1 || link_start_change (c->child) == -1 ||
      commit_marker_read (c->child, &c->marker) == -1)
    return -1;
  return check_cids (c) == -1 ? -1 : check_children (c);
}

/* Content IDs: steps 1 to 4. */

static struct descriptor_changes
changes_of_parent (const struct commit *c)
{
  return (struct descriptor_changes) {
    .cid = &c->new_cid, .drop_change_track = c->parent->ctx->drop_cbt,
  };
}

static struct descriptor_changes
changes_of_child (const struct commit *c)
{
  return (struct descriptor_changes) { .parent_cid = &c->new_cid };
}

static int
relabel_parent (const struct commit *c)
{
  struct link *const parent = c->parent;
  const struct descriptor_changes changes = changes_of_parent (c);

  if (parent->desc->cid == c->new_cid)
    return 0;
  if (parent->ctx->drop_cbt && parent->desc->change_track)
    vmdk_warning (&parent->ctx->log, "%s: VMware's change tracking is ended: "
                  "the next backup must be a full one, and %s can be deleted",
                  parent->store->name, parent->desc->change_track);
  return link_change_descriptor (parent, &changes);
}

static int
relabel_child (const struct commit *c)
{
  const struct descriptor_changes changes = changes_of_child (c);

  return c->child->desc->parent_cid == c->new_cid ? 0
    : link_change_descriptor (c->child, &changes);
}

/* Once there is a marker, nothing should be in the way. */
static int
check_changes (const struct commit *c)
{
  const struct descriptor_changes parent = changes_of_parent (c);
  const struct descriptor_changes child = changes_of_child (c);

  return link_check_change (c->parent, &parent) == -1 ? -1
    : link_check_change (c->child, &child);
}

static int
change_cids (struct commit *c)
{
  if (!c->marker.exists) {
    c->marker.was = c->parent->desc->cid;
    c->marker.now = c->new_cid;
    if (check_changes (c) == -1 ||
        commit_marker_write (c->child, &c->marker) == -1)
      return -1;
  }
  if (relabel_parent (c) == -1 || relabel_child (c) == -1)
    return -1;
  return commit_marker_remove (c->child, &c->marker);
}

/* Data. */

static struct transfer
transfer_of (struct commit *c, struct vmdk_disk *to)
{
  return (struct transfer) {
    .to = to, .from = c->child, .look = transfer_own,
    .looked_at = c->child, .progress = c->progress,
  };
}

static int
write_in_place (struct commit *c, struct vmdk_disk *part)
{
  const struct transfer t = transfer_of (c, part);

  /* Children were looked for, and the content ID is our task. */
  part->session.keep_content = part->session.required = true;
  if (vmdk_start_writing (part) == -1 ||
      transfer_check (&t, c->parent) == -1 || change_cids (c) == -1 ||
      session_settle (&part->session, c->parent) == -1)
    return -1;
  return transfer_run (&t);
}

static int
commit_in_place (struct commit *c)
{
  struct vmdk_disk part;
  int r, err;

  disk_borrow_link (&part, c->disk, c->parent);
  r = write_in_place (c, &part);
  err = errno;
  if (disk_return_link (&part) == -1 && r == 0)
    return -1;
  errno = err;
  return r;
}

static int
commit_to_new_extent (struct commit *c)
{
  const struct copy copy = {
    .top = c->child, .nr_links = c->parent->parent ? 2 : UINT_MAX,
    .progress = c->progress,
  };
  const struct descriptor_changes changes = changes_of_parent (c);
  struct rewrite *rewrite;
  int r;

  if (session_check_change_tracking (c->parent) == -1 ||
      link_start_change (c->parent) == -1)
    return -1;
  rewrite = rewrite_build (c->parent, &copy, c->parent->parent != NULL,
                           &changes);
  if (rewrite == NULL)
    return -1;
  r = change_cids (c);
  if (r == 0)
    r = rewrite_swap (rewrite);
  rewrite_free (rewrite);
  return r;
}

/* Where the child says nothing, nothing is to be changed; but an
 * interrupted change is completed.
 */
static int
commit_data (struct commit *c)
{
  const struct transfer t = transfer_of (c, NULL);
  const int needed = c->marker.exists ? 1 : transfer_is_needed (&t);

  if (needed <= 0)
    return needed;
  return rewrite_is_possible (c->parent) ? commit_to_new_extent (c) :
    commit_in_place (c);
}

/* Deleting. */

/* Parts that it shares with its parents aren't its own. */
static bool
is_own_file (const struct link *l, size_t i)
{
  const struct store *const s = l->extents[i]->store;
  const struct link *below;

  if (s == NULL || s == l->store || s->no_file)
    return false;
  for (below = l->parent; below; below = below->parent) {
    size_t j;

    for (j = 0; j < below->nr_extents; j++)
      if (below->extents[j]->store == s || below->store == s)
        return false;
  }
  while (i > 0)
    if (l->extents[--i]->store == s)
      return false; /* it was before */
  return true;
}

/* The descriptor first: what remains after a crash is no disk. */
static int
delete_files (const struct link *l)
{
  size_t i;
  int r = own_file_remove (l->store);

  for (i = 0; i < l->nr_extents && r == 0; i++)
    if (is_own_file (l, i))
      r = own_file_remove (l->extents[i]->store);
  return r;
}

static int
run (struct commit *c)
{
  if (start (c) == -1 || commit_data (c) == -1)
    return -1;
  return c->delete_child ? delete_files (c->child) : 0;
}

/* All threads meet a full disk at once, and one message is enough. */
int
vmdk_commit (struct vmdk_disk *disk, bool delete_child,
             const struct vmdk_progress *progress)
{
  struct commit c = {
    .disk = disk, .child = disk->top, .parent = disk->top->parent,
    .delete_child = delete_child, .progress = progress,
  };
  struct first_error first;
  int r;

  first_error_init (&first, &disk->ctx->log);
  disk->ctx->log = first.log;
  r = run (&c);
  disk->ctx->log = first.real;
  commit_marker_free (&c.marker);
  return r;
}
