/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * COWD extents, the snapshots of ESXi on VMFS 5 and before: header and
 * entries.  Tables and grains lie mixed; only the directory tells which
 * is which.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cowd.h"
#include "sparse-write.h"

static enum entry_kind
decode_gde (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  *position = v * SECTOR_SIZE;
  if (v == 0)
    return ENTRY_ABSENT;
  if (*position < sp->data_start ||
      *position + sparse_gt_bytes (sp) > sp->tables->size)
    return ENTRY_BAD;
  return ENTRY_PLACE;
}

/* 1 is said to mean zero by some, and where others read sector 1 there
 * are zeroes: it is a part of the header that no one uses.
 */
static enum entry_kind
decode_gte (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  *position = v * SECTOR_SIZE;
  if (v == 0)
    return ENTRY_ABSENT;
  if (v == 1)
    return ENTRY_ZERO;
  if (*position < sp->data_start || *position >= sparse_data_end (sp))
    return ENTRY_BAD;
  return ENTRY_PLACE;
}

static const char *
bad_gde (const struct sparse *sp, uint64_t value)
{
  return value * SECTOR_SIZE < sp->data_start ?
    "points into the header or the directory" :
    "points past the end of the file; was it truncated?";
}

static const struct sparse_format cowd_format = {
  .entry_size = 4,
  .decode_gde = decode_gde,
  .decode_gte = decode_gte,
  .bad_gde = bad_gde,
  .bad_gte = bad_gde,
};

static int
bad_field (const struct cowd *c, const char *field, uint64_t found,
           const char *expected)
{
  vmdk_error (&c->sp.e.ctx->log,
              "%s: COWD header: %s is %" PRIu64 ", expected %s",
              c->sp.e.store->name, field, found, expected);
  errno = EINVAL;
  return -1;
}

static int
check_directory (struct cowd *c, uint32_t gd_sector)
{
  struct sparse *const sp = &c->sp;
  const uint64_t end =
    gd_sector * SECTOR_SIZE +
    div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) * SECTOR_SIZE;

  if (gd_sector < COWD_HEADER_SECTORS)
    return bad_field (c, "gdOffset", gd_sector, "4 or more");
  if (c->nr_gdes < sp->nr_gts) {
    vmdk_error (&sp->e.ctx->log,
                "%s: COWD header: numGDEntries is %" PRIu32 ", expected at "
                "least %" PRIu64 " for numSectors %" PRIu64,
                sp->e.store->name, c->nr_gdes, sp->nr_gts,
                sp->capacity / SECTOR_SIZE);
    errno = EINVAL;
    return -1;
  }
  if (end > sp->e.store->size) {
    vmdk_error (&sp->e.ctx->log,
                "%s: truncated: the grain directory ends at byte %" PRIu64
                ", but the file has only %" PRIu64 " bytes",
                sp->e.store->name, end, sp->e.store->size);
    errno = EINVAL;
    return -1;
  }
  sp->gd[0] = gd_sector * SECTOR_SIZE;
  sp->data_start = COWD_HEADER_SECTORS * SECTOR_SIZE;
  if (gd_sector == COWD_HEADER_SECTORS)
    sp->data_start = end;
  return 0;
}

static int
decode_header (struct cowd *c, const struct cowd_header_disk *d)
{
  struct sparse *const sp = &c->sp;
  const uint32_t grain = le32_get (d->grain_size);

  c->version = le32_get (d->version);
  c->flags = le32_get (d->flags);
  c->nr_gdes = le32_get (d->nr_gdes);
  c->free_sector = le32_get (d->free_sector);
  c->unclean = sp->unclean = le32_get (d->unclean) != 0;
  if (c->version != COWD_VERSION)
    return bad_field (c, "version", c->version, "1");
  if (grain < 1 || grain > COWD_MAX_GRAIN_SECTORS)
    return bad_field (c, "grainSize", grain, "1 to 2048 sectors");
  if (le32_get (d->capacity) == 0)
    return bad_field (c, "numSectors", 0, "more");
  sp->e.grain_size = (uint32_t) (grain * SECTOR_SIZE);
  sp->capacity = le32_get (d->capacity) * SECTOR_SIZE;
  sp->gtes_per_gt = COWD_GTES_PER_GT;
  sparse_set_geometry (sp);
  return check_directory (c, le32_get (d->gd_offset));
}

static int
cowd_init (struct cowd *c)
{
  struct sparse *const sp = &c->sp;
  struct cowd_header_disk disk;

  if (sp->e.store->size < sizeof disk) {
    vmdk_error (&sp->e.ctx->log,
                "%s: truncated: the file has %" PRIu64 " bytes, but a COWD "
                "header alone needs %zu", sp->e.store->name,
                sp->e.store->size, sizeof disk);
    errno = EINVAL;
    return -1;
  }
  if (store_pread (sp->e.store, &disk, sizeof disk, 0) == -1 ||
      decode_header (c, &disk) == -1 ||
      extent_set_size (&sp->e, sp->capacity) == -1)
    return -1;
  vmdk_debug (&sp->e.ctx->log, VMDK_TOPIC_DESCRIPTOR,
              "%s: COWD, %" PRIu64 " bytes, grains of %" PRIu32
              ", directory at %" PRIu64 ", free from sector %" PRIu64,
              sp->e.store->name, sp->capacity, sp->e.grain_size, sp->gd[0],
              c->free_sector);
  return 0;
}

static void
cowd_info (const struct extent *e, struct vmdk_extent_info *info)
{
  const struct cowd *const c = (const struct cowd *) e;

  info->version = c->version;
  info->flags = c->flags;
  info->unclean = c->unclean;
}

static void
cowd_close (struct extent *e)
{
  sparse_writer_free ((struct sparse *) e);
  sparse_release ((struct sparse *) e);
  free (e);
}

static const struct extent_ops cowd_ops = {
  .map = sparse_map,
  .write = &sparse_write_ops,
  .check = cowd_check,
  .info = cowd_info,
  .close = cowd_close,
};

struct extent *
cowd_open (struct context *ctx, struct store *store,
           const struct extent_line *line)
{
  struct cowd *const c = calloc (1, sizeof *c);

  if (c == NULL) {
    vmdk_error (&ctx->log, "calloc: %m");
    store_unref (store);
    return NULL;
  }
  c->sp.e.ops = &cowd_ops;
  c->sp.e.format = "COWD";
  c->sp.e.ctx = ctx;
  c->sp.e.store = store;
  c->sp.e.line = line;
  c->sp.format = &cowd_format;
  c->sp.write_format = &cowd_write_format;
  c->sp.tables = store_ref (store);
  if (cowd_init (c) == -1) {
    extent_close (&c->sp.e);
    return NULL;
  }
  return &c->sp.e;
}
