/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making a child independent of its parents.
 *
 * Crash safety: first everything that a parent says and the child doesn't
 * is written to the child, and made durable.  Meanwhile the guest sees what
 * it saw before, since the parents are still there, and haven't changed.
 * Then, in one step, the descriptor names no parent any more.  Interrupted,
 * it is a child like before, with more in it; the next run does the rest.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>

#include "disk.h"
#include "first-error.h"
#include "relabel.h"
#include "rewrite.h"
#include "transfer.h"

static const uint32_t no_parent = CID_NONE;

static const struct descriptor_changes independent = {
  .parent_cid = &no_parent, .parent_hint = "",
};

static int
refuse (const struct link *top, const char *why)
{
  vmdk_error (&top->ctx->log, "%s: %s", top->store->name, why);
  errno = EINVAL;
  return -1;
}

/* 0: there is nothing to do, as after an interruption at the last moment. */
static int
has_parent (const struct link *top)
{
  if (top->desc == NULL)
    return refuse (top, "there is no descriptor in this file, so it can't "
                   "have a parent");
  if (top->parent)
    return 1;
  if (top->desc->parent_hint || top->desc->parent_cid != CID_NONE)
    return refuse (top, "its parent wasn't opened, so nothing can be pulled "
                   "from it");
  return 0;
}

static int
write_missing (struct vmdk_disk *part, const struct vmdk_progress *progress)
{
  const struct transfer t = {
    .to = part, .from = part->top->parent, .look = transfer_missing,
    .looked_at = part->top, .progress = progress,
  };

  part->session.keep_content = part->session.required = true;
  if (vmdk_start_writing (part) == -1 ||
      link_check_change (part->top, &independent) == -1 ||
      transfer_check (&t, part->top) == -1 ||
      session_settle (&part->session, part->top) == -1)
    return -1;
  return transfer_run (&t);
}

/* The extents are cleanly closed before the last step. */
static int
pull_in_place (struct vmdk_disk *disk, const struct vmdk_progress *progress)
{
  struct vmdk_disk part;
  int r, err;

  disk_borrow_link (&part, disk, disk->top);
  r = write_missing (&part, progress);
  err = errno;
  if (disk_return_link (&part) == -1 && r == 0)
    return -1;
  errno = err;
  return r == -1 ? -1 : link_change_descriptor (disk->top, &independent);
}

/* Where the descriptor is in a file of its own, the new extent is used with
 * the old descriptor for a moment, and so must still be that of a child.
 */
static int
pull_to_new_extent (struct link *top, const struct vmdk_progress *progress)
{
  const struct copy c = {
    .top = top, .nr_links = UINT_MAX, .progress = progress,
  };
  struct rewrite *rewrite;
  int r;

  if (session_check_change_tracking (top) == -1 ||
      link_start_change (top) == -1 ||
      link_check_change (top, &independent) == -1)
    return -1;
  rewrite = rewrite_build (top, &c, !top->embedded, &independent);
  if (rewrite == NULL)
    return -1;
  r = rewrite_swap (rewrite);
  if (r == 0 && !top->embedded)
    r = link_change_descriptor (top, &independent);
  rewrite_free (rewrite);
  return r;
}

static int
pull (struct vmdk_disk *disk, const struct vmdk_progress *progress)
{
  const int r = has_parent (disk->top);

  if (r <= 0)
    return r;
  return rewrite_is_possible (disk->top) ?
    pull_to_new_extent (disk->top, progress) : pull_in_place (disk, progress);
}

/* All threads meet a full disk at once, and one message is enough. */
int
vmdk_pull (struct vmdk_disk *disk, const struct vmdk_progress *progress)
{
  struct first_error first;
  int r;

  first_error_init (&first, &disk->ctx->log);
  disk->ctx->log = first.log;
  r = pull (disk, progress);
  disk->ctx->log = first.real;
  return r;
}
