/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Hosted sparse extents: redundant directory, entries, opening.  A stream
 * is one of these with compressed grains, and mostly with its directory
 * behind them; stream.c knows the rest.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "kdmv.h"
#include "sparse-write.h"

/* Entries. */

static enum entry_kind
decode_gde (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  const struct kdmv *const k = (const struct kdmv *) sp;

  if (v == 0)
    return ENTRY_ABSENT;
  *position = v * SECTOR_SIZE;
  if (*position < k->descriptor_end ||
      *position + sparse_gt_bytes (sp) > sp->tables->size)
    return ENTRY_BAD;
  return ENTRY_PLACE;
}

static const char *
bad_gde (const struct sparse *sp, uint64_t value)
{
  return value * SECTOR_SIZE + sparse_gt_bytes (sp) > sp->tables->size ?
    "points past the end of the file" :
    "points into the header or the descriptor";
}

/* 1 means zero also when the header doesn't say that it may: sector 1
 * can never hold a grain.
 */
static enum entry_kind
decode_gte (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  *position = v * SECTOR_SIZE;
  if (v == 0)
    return ENTRY_ABSENT;
  if (v == KDMV_GTE_ZEROED)
    return ENTRY_ZERO;
  if (*position < sp->data_start || *position >= sparse_data_end (sp))
    return ENTRY_BAD;
  return ENTRY_PLACE;
}

static const char *
bad_gte (const struct sparse *sp, uint64_t value)
{
  return value * SECTOR_SIZE >= sparse_data_end (sp) ?
    "points past the end of the file; was it truncated?" :
    "points into the metadata in front of the grains";
}

const struct sparse_format kdmv_format = {
  .entry_size = 4,
  .decode_gde = decode_gde,
  .decode_gte = decode_gte,
  .bad_gde = bad_gde,
  .bad_gte = bad_gte,
};

/* Opening. */

/* A directory must lie in the file, behind header and descriptor. */
static bool
directory_fits (const struct kdmv *k, uint64_t offset)
{
  const uint64_t size = k->sp.e.store->size;

  return offset >= k->descriptor_end && offset <= size &&
    sparse_gd_bytes (&k->sp) <= size - offset;
}

static int
report_directory (const struct kdmv *k, const char *field, uint64_t offset)
{
  const struct sparse *const sp = &k->sp;

  vmdk_error (&sp->e.ctx->log,
              "%s: the grain directory for a capacity of %" PRIu64
              " sectors needs %" PRIu64 " bytes, which don't fit between "
              "the descriptor and the end of the file (%" PRIu64 " bytes) at "
              "%s %" PRIu64 "; was the file truncated?",
              sp->e.store->name, sp->capacity / SECTOR_SIZE,
              sparse_gd_bytes (sp), sp->e.store->size, field,
              offset / SECTOR_SIZE);
  errno = EINVAL;
  return -1;
}

bool
kdmv_directories_overlap (const struct kdmv *k)
{
  const uint64_t size = sparse_gd_bytes (&k->sp);
  const uint64_t a = k->h.gd_offset, b = k->h.rgd_offset;

  return b != 0 && a != b && (a < b ? b - a : a - b) < size;
}

/* Chooses between the two directories. */
static int
place_directories (struct kdmv *k)
{
  struct sparse *const sp = &k->sp;
  const uint64_t rgd = k->h.rgd_offset;
  const bool gd_ok = directory_fits (k, k->h.gd_offset);
  const bool rgd_ok = rgd != 0 && directory_fits (k, rgd) &&
    !(gd_ok && kdmv_directories_overlap (k));

  if (!gd_ok && !rgd_ok)
    return report_directory (k, "gdOffset", k->h.gd_offset);
  sp->gd[0] = gd_ok ? k->h.gd_offset : rgd;
  sp->gd[1] = gd_ok && rgd_ok && rgd != k->h.gd_offset ? rgd : 0;
  if (!gd_ok || (rgd != 0 && !rgd_ok))
    vmdk_warning (&sp->e.ctx->log,
                  "%s: the %sgrain directory at %s %" PRIu64 " can't be "
                  "right; only the other copy is used; run vmdk-img repair",
                  sp->e.store->name, gd_ok ? "redundant " : "",
                  gd_ok ? "rgdOffset" : "gdOffset",
                  (gd_ok ? rgd : k->h.gd_offset) / SECTOR_SIZE);
  return 0;
}

static int
report_no_footer (const struct kdmv *k)
{
  vmdk_error (&k->sp.e.ctx->log,
              "%s: truncated: its header says that the grain directory is "
              "at the end, but there is no footer in the last sectors "
              "before byte %" PRIu64 "; get the whole file, or read what "
              "is there with recover=true",
              k->sp.e.store->name, k->sp.e.store->size);
  errno = EINVAL;
  return -1;
}

static void
kdmv_info (const struct extent *e, struct vmdk_extent_info *info)
{
  const struct kdmv *const k = (const struct kdmv *) e;

  info->version = k->h.version;
  info->flags = k->h.flags;
  info->compressed = k->sp.packed;
  info->zeroed_grains = (k->h.flags & KDMV_FLAG_ZEROED) != 0;
  info->redundant = k->h.rgd_offset != 0;
  info->unclean = k->h.unclean;
  info->recovered = k->recovered;
}

static void
kdmv_close (struct extent *e)
{
  sparse_writer_free ((struct sparse *) e);
  sparse_release ((struct sparse *) e);
  free (e);
}

static const struct extent_ops stream_ops = {
  .map = sparse_map,
  .unpack = stream_unpack,
  .check = kdmv_check,
  .info = kdmv_info,
  .close = kdmv_close,
};

static const struct extent_ops kdmv_ops = {
  .map = sparse_map,
  .write = &sparse_write_ops,
  .check = kdmv_check,
  .info = kdmv_info,
  .close = kdmv_close,
};

static void
apply_header (struct kdmv *k)
{
  struct sparse *const sp = &k->sp;

  if (k->h.capacity == 0 && sp->e.line)
    k->h.capacity = div_round_up (sp->e.line->size, k->h.grain_size) *
      k->h.grain_size;
  sp->packed = (k->h.flags & KDMV_FLAG_COMPRESSED) != 0;
  sp->e.format = sp->packed ? "stream" : "hosted sparse";
  if (!sp->packed) {
    sp->e.ops = &kdmv_ops;
    sp->write_format = &kdmv_write_format;
    sp->unclean = k->h.unclean;
  }
  sp->e.grain_size = k->h.grain_size;
  sp->capacity = k->h.capacity;
  sp->gtes_per_gt = k->h.gtes_per_gt;
  sparse_set_geometry (sp);
}

static int
report_overhead (const struct kdmv *k)
{
  vmdk_error (&k->sp.e.ctx->log,
              "%s: truncated: the header's overHead is %" PRIu64 " sectors, "
              "but the file has only %" PRIu64 " bytes",
              k->sp.e.store->name, k->h.overhead / SECTOR_SIZE,
              k->sp.e.store->size);
  errno = EINVAL;
  return -1;
}

/* No grain can begin before. */
static int
find_data_start (struct kdmv *k)
{
  const struct kdmv_header *const h = &k->h;
  uint64_t end = SECTOR_SIZE;

  if (h->descriptor_offset != 0 &&
      __builtin_add_overflow (h->descriptor_offset, h->descriptor_size, &end))
    end = UINT64_MAX;
  if (end > k->sp.e.store->size && end > SECTOR_SIZE) {
    vmdk_error (&k->sp.e.ctx->log,
                "%s: truncated: the embedded descriptor at sector %" PRIu64
                " has %" PRIu64 " sectors, but the file has only %" PRIu64
                " bytes", k->sp.e.store->name,
                h->descriptor_offset / SECTOR_SIZE,
                h->descriptor_size / SECTOR_SIZE, k->sp.e.store->size);
    errno = EINVAL;
    return -1;
  }
  if (h->overhead > k->sp.e.store->size)
    return report_overhead (k);
  k->descriptor_end = end > SECTOR_SIZE ? end : SECTOR_SIZE;
  k->sp.data_start =
    h->overhead > k->descriptor_end ? h->overhead : k->descriptor_end;
  return 0;
}

/* Puts the tables where the engine finds them. */
static int
find_tables (struct kdmv *k)
{
  const bool markers = (k->h.flags & KDMV_FLAG_MARKERS) != 0;
  const bool recover = k->sp.e.ctx->options->recover && markers;

  if (k->h.gd_offset == KDMV_GD_AT_END) {
    const int r = stream_find_footer (k);

    if (r == -1)
      return -1;
    if (r == 0)
      return recover ? stream_recover (k) : report_no_footer (k);
    apply_header (k);
  }
  /* A directory in front says nothing about what is missing behind. */
  if (k->sp.e.ctx->rescan && markers)
    return stream_recover (k);
  if (recover && !(k->has_footer && directory_fits (k, k->h.gd_offset)))
    return stream_recover (k);
  if (k->h.capacity == 0) {
    vmdk_error (&k->sp.e.ctx->log, "%s: neither header nor descriptor say "
                "how large the disk is (capacity 0)", k->sp.e.store->name);
    errno = EINVAL;
    return -1;
  }
  return place_directories (k);
}

static int
kdmv_init (struct kdmv *k)
{
  struct sparse *const sp = &k->sp;

  if (kdmv_read_header (&sp->e.ctx->log, sp->e.store, &k->h) == -1)
    return -1;
  apply_header (k);
  if (find_data_start (k) == -1 || find_tables (k) == -1 ||
      extent_set_size (&sp->e, sp->capacity) == -1)
    return -1;
  vmdk_debug (&sp->e.ctx->log, VMDK_TOPIC_DESCRIPTOR,
              "%s: %s, version %u, flags 0x%" PRIx32 ", %" PRIu64
              " bytes, grains of %" PRIu32 ", directory at %" PRIu64
              ", redundant one at %" PRIu64 ", data from %" PRIu64,
              sp->e.store->name, sp->e.format, k->h.version, k->h.flags,
              sp->capacity, sp->e.grain_size, sp->gd[0], sp->gd[1],
              sp->data_start);
  return 0;
}

struct extent *
kdmv_open (struct context *ctx, struct store *store,
           const struct extent_line *line)
{
  struct kdmv *const k = calloc (1, sizeof *k);

  if (k == NULL) {
    vmdk_error (&ctx->log, "calloc: %m");
    store_unref (store);
    return NULL;
  }
  k->sp.e.ops = &stream_ops;
  k->sp.e.ctx = ctx;
  k->sp.e.store = store;
  k->sp.e.line = line;
  k->sp.format = &kdmv_format;
  k->sp.tables = store_ref (store);
  if (kdmv_init (k) == -1) {
    extent_close (&k->sp.e);
    return NULL;
  }
  return &k->sp.e;
}
