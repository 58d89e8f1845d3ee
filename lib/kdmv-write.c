/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing hosted sparse extents: what their header and their two
 * directories have to do with it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "kdmv.h"
#include "scan.h"
#include "sparse-write.h"

/* 2^32 sectors */
#define MAX_FILE (UINT64_C (1) << 41)

static int
refuse (const struct sparse *sp, int err, const char *why)
{
  vmdk_error (&sp->e.ctx->log, "%s: can't be written: %s", sp->e.store->name,
              why);
  errno = err;
  return -1;
}

/* Where only one directory has a table, the other one was damaged: unless
 * a writer was interrupted, which is put in order later.
 */
static int
compare_directories (struct sparse *sp, void *opaque,
                     const struct scanned_table *t)
{
  (void) opaque;
  if (t->kind[0] == ENTRY_BAD || t->kind[1] == ENTRY_BAD ||
      (!sp->unclean && t->kind[0] != t->kind[1])) {
    vmdk_error (&sp->e.ctx->log, "%s: can't be written: the entries of grain "
                "table %" PRIu64 " in the two grain directories contradict "
                "each other; run vmdk-img repair", sp->e.store->name,
                t->number);
    errno = EIO;
    return -1;
  }
  return 0;
}

static int
kdmv_start (struct sparse *sp, uint64_t *free_from)
{
  const struct kdmv *const k = (const struct kdmv *) sp;
  const bool redundant = (k->h.flags & KDMV_FLAG_REDUNDANT) != 0;

  *free_from = sp->data_start;
  if (k->h.version == 3 && !sp->e.ctx->drop_cbt)
    return refuse (sp, EPERM, "VMware keeps track of the changes of this "
                   "disk (its header has version 3), and wouldn't see ours; "
                   "drop-cbt=true ends that, and then the next backup must "
                   "be a full one");
  if (sp->gd[0] != k->h.gd_offset ||
      (redundant && k->h.rgd_offset != k->h.gd_offset && sp->gd[1] == 0))
    return refuse (sp, EIO, "one of its two grain directories is damaged; "
                   "run vmdk-img repair");
  if (sp->gd[1] == 0)
    return 0;
  return scan_directories (sp, compare_directories, NULL);
}

/* The header is one sector, so it changes in one step. */

static int
read_header (struct sparse *sp, struct kdmv_header_disk *h)
{
  return store_pread (sp->e.store, h, sizeof *h, 0);
}

static int
kdmv_mark (struct sparse *sp, bool unclean)
{
  struct kdmv_header_disk h;

  if (read_header (sp, &h) == -1)
    return -1;
  h.unclean = unclean;
  if (le32_get (h.version) == 3)
    h.version = to_le32 (le32_get (h.flags) & KDMV_FLAG_ZEROED ? 2 : 1);
  return store_pwrite (sp->e.store, &h, sizeof h, 0);
}

/* The header must say so before the first such entry does: it is written
 * before the entry is set, and so is durable before that is published.
 */
static int
kdmv_allow_zeroed (struct sparse *sp)
{
  const enum vmdk_zeroed_grains how = sp->e.ctx->zeroed_grains;
  struct kdmv_header_disk h;

  if (how == VMDK_ZEROED_NEVER)
    return 0;
  if (read_header (sp, &h) == -1)
    return -1;
  if (le32_get (h.flags) & KDMV_FLAG_ZEROED)
    return 1;
  if (how != VMDK_ZEROED_ALWAYS)
    return 0;
  h.flags = to_le32 (le32_get (h.flags) | KDMV_FLAG_ZEROED);
  if (le32_get (h.version) < 2)
    h.version = to_le32 (2);
  return store_pwrite (sp->e.store, &h, sizeof h, 0) == -1 ? -1 : 1;
}

int
kdmv_set_directories (struct sparse *sp, const uint64_t gd[2])
{
  struct kdmv *const k = (struct kdmv *) sp;
  struct kdmv_header_disk h;

  if (read_header (sp, &h) == -1)
    return -1;
  h.gd_offset = to_le64 (gd[0] / SECTOR_SIZE);
  if (le32_get (h.flags) & KDMV_FLAG_REDUNDANT)
    h.rgd_offset = to_le64 ((sp->gd[1] ? gd[1] : gd[0]) / SECTOR_SIZE);
  if (store_pwrite (sp->e.store, &h, sizeof h, 0) == -1)
    return -1;
  sp->gd[0] = k->h.gd_offset = gd[0];
  if (k->h.rgd_offset)
    k->h.rgd_offset = sp->gd[1] ? gd[1] : gd[0];
  if (sp->gd[1])
    sp->gd[1] = gd[1];
  return store_sync (sp->e.store);
}

const struct sparse_write_format kdmv_write_format = {
  .max_file = MAX_FILE,
  .align_grains = true,
  .start = kdmv_start,
  .mark = kdmv_mark,
  .allow_zeroed = kdmv_allow_zeroed,
};
