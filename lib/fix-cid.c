/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making children accept their parents as they are now.  Only what a child
 * says about its parent changes, one descriptor after the other, from the
 * top on: each change is complete in itself, and the order doesn't matter.
 */

#include <config.h>

#include <errno.h>

#include "descriptor-edit.h"
#include "disk.h"
#include "relabel.h"

static uint32_t
cid_of (const struct link *l)
{
  return __atomic_load_n (&l->desc->cid, __ATOMIC_RELAXED);
}

static int
refuse (const struct link *l, const char *why)
{
  vmdk_error (&l->ctx->log, "%s: %s", l->store->name, why);
  errno = EINVAL;
  return -1;
}

/* Without a number there is nothing that could be named. */
static int
check_link (const struct link *child)
{
  if (child->desc == NULL)
    return refuse (child, "there is no descriptor in this file, so it can't "
                   "name a parent");
  if (child->parent->desc == NULL || !child->parent->desc->has_cid ||
      cid_of (child->parent) == CID_NONE)
    return refuse (child->parent, "has no content ID that a child could "
                   "name");
  return 0;
}

static int
fix (struct link *child, uint32_t cid)
{
  if (link_start_change (child) == -1)
    return -1;
  return link_change_descriptor (child, &(struct descriptor_changes) {
      .parent_cid = &cid });
}

int
vmdk_fix_cid (struct vmdk_disk *disk, bool dry_run, vmdk_cid_fn fn,
              void *opaque)
{
  struct link *l;

  if (disk->top->parent == NULL)
    return refuse (disk->top, "has no parent, so there is nothing to fix");
  for (l = disk->top; l->parent; l = l->parent)
    if (check_link (l) == -1)
      return -1;
  for (l = disk->top; l->parent; l = l->parent) {
    const uint32_t was = l->desc->parent_cid, now = cid_of (l->parent);

    if (was == now)
      continue;
    if (!dry_run && fix (l, now) == -1)
      return -1;
    fn (opaque, l->store->name, l->parent->store->name, was, now);
  }
  return 0;
}
