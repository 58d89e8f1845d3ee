/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * seSparse extents, the snapshots of ESXi since VMFS 6: headers and
 * entries.  Every place is taken from the header; the constants that all
 * known images share are required, since no one knows what others mean.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sesparse.h"

/* Entries. */

static enum entry_kind
decode_gde (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  const struct sesparse *const ss = (const struct sesparse *) sp;
  const uint64_t index = v & UINT32_MAX;

  if (v == 0)
    return ENTRY_ABSENT;
  if (v >> 32 != SESPARSE_GDE_TABLE || index >= ss->nr_tables)
    return ENTRY_BAD;
  *position = ss->region[REGION_GTS].offset + index * sparse_gt_bytes (sp);
  return *position + sparse_gt_bytes (sp) <= sparse_data_end (sp) ? ENTRY_PLACE
    : ENTRY_BAD;
}

static const char *
bad_gde (const struct sparse *sp, uint64_t value)
{
  const struct sesparse *const ss = (const struct sesparse *) sp;

  if (value >> 32 != SESPARSE_GDE_TABLE)
    return "has an unknown type, expected 0 or 0x10000000 in its upper half";
  return (value & UINT32_MAX) >= ss->nr_tables ?
    "names a grain table past the end of their region" :
    "names a grain table past the end of the file; was it truncated?";
}

static uint64_t
gte_index (uint64_t v)
{
  return (v >> 48 & 0xfff) | (v & UINT64_C (0xffffffffffff)) << 12;
}

static enum entry_kind
decode_gte (const struct sparse *sp, uint64_t v, uint64_t *position)
{
  const struct sesparse *const ss = (const struct sesparse *) sp;
  uint64_t offset;

  switch (v >> 60) {
  case SESPARSE_GTE_UNALLOCATED:
    return v == 0 ? ENTRY_ABSENT : ENTRY_BAD;
  case SESPARSE_GTE_UNMAPPED:
  case SESPARSE_GTE_ZERO:
    return ENTRY_ZERO;
  case SESPARSE_GTE_ALLOCATED:
    break;
  default:
    return ENTRY_BAD;
  }
  if (__builtin_mul_overflow (gte_index (v), sp->e.grain_size, &offset) ||
      offset >= ss->region[REGION_GRAINS].size)
    return ENTRY_BAD;
  *position = ss->region[REGION_GRAINS].offset + offset;
  return *position < sparse_data_end (sp) ? ENTRY_PLACE : ENTRY_BAD;
}

static const char *
bad_gte (const struct sparse *sp, uint64_t value)
{
  const struct sesparse *const ss = (const struct sesparse *) sp;

  if (value >> 60 != SESPARSE_GTE_ALLOCATED)
    return "has an unknown type, expected 0 (then all must be 0) to 3 in its "
      "upper 4 bits";
  return gte_index (value) >=
    div_round_up (ss->region[REGION_GRAINS].size, sp->e.grain_size) ?
    "names a grain past the end of their region" :
    "names a grain past the end of the file; was it truncated?";
}

static const struct sparse_format sesparse_format = {
  .entry_size = 8,
  .decode_gde = decode_gde,
  .decode_gte = decode_gte,
  .bad_gde = bad_gde,
  .bad_gte = bad_gte,
};

/* Headers. */

static int
bad_field (const struct sesparse *ss, const char *header, const char *field,
           uint64_t found, uint64_t expected)
{
  vmdk_error (&ss->sp.e.ctx->log,
              "%s: seSparse %s header: %s is 0x%" PRIx64 ", expected 0x%"
              PRIx64, ss->sp.e.store->name, header, field, found, expected);
  errno = EINVAL;
  return -1;
}

const char *
sesparse_region_name (enum sesparse_region r)
{
  static const char *const names[NR_REGIONS] = {
    [REGION_VOLATILE_HEADER] = "volatileHeader",
    [REGION_JOURNAL_HEADER] = "journalHeader",
    [REGION_JOURNAL] = "journal",
    [REGION_GD] = "grainDirectory",
    [REGION_GTS] = "grainTables",
    [REGION_FREE_BITMAP] = "freeBitmap",
    [REGION_BACK_MAP] = "backMap",
    [REGION_GRAINS] = "grains",
  };

  return names[r];
}

static bool
all_zero (const uint8_t *p, size_t n)
{
  while (n > 0 && *p == 0)
    p++, n--;
  return n == 0;
}

static int
check_constants (const struct sesparse *ss,
                 const struct sesparse_header_disk *d)
{
  const struct {
    const char *field;
    le64 found;
    uint64_t expected;
  } constants[] = {
    { "magic", d->magic, SESPARSE_MAGIC },
    { "version", d->version, SESPARSE_VERSION },
    { "grainSize", d->grain_size, SESPARSE_GRAIN_SECTORS },
    { "grainTableSize", d->gt_size, SESPARSE_GT_SECTORS },
    { "flags", d->flags, 0 },
    { "reserved1", d->reserved[0], 0 },
    { "reserved2", d->reserved[1], 0 },
    { "reserved3", d->reserved[2], 0 },
    { "reserved4", d->reserved[3], 0 },
  };
  size_t i;

  for (i = 0; i < sizeof constants / sizeof constants[0]; i++)
    if (le64_get (constants[i].found) != constants[i].expected)
      return bad_field (ss, "const", constants[i].field,
                        le64_get (constants[i].found),
                        constants[i].expected);
  if (!all_zero (d->pad, sizeof d->pad))
    return bad_field (ss, "const", "padding", 1, 0);
  if (le64_get (d->capacity) == 0 ||
      le64_get (d->capacity) > VMDK_MAX_SIZE / SECTOR_SIZE) {
    vmdk_error (&ss->sp.e.ctx->log, "%s: seSparse const header: capacity is "
                "%" PRIu64 " sectors, expected 1 to %" PRIu64,
                ss->sp.e.store->name, le64_get (d->capacity),
                VMDK_MAX_SIZE / SECTOR_SIZE);
    errno = EINVAL;
    return -1;
  }
  return 0;
}

static int
bad_region (const struct sesparse *ss, enum sesparse_region r,
            const char *what)
{
  vmdk_error (&ss->sp.e.ctx->log,
              "%s: seSparse const header: region %s (%" PRIu64 " bytes at %"
              PRIu64 ") %s", ss->sp.e.store->name, sesparse_region_name (r),
              ss->region[r].size, ss->region[r].offset, what);
  errno = EINVAL;
  return -1;
}

/* Too large in sectors to be told in bytes. */
static int
huge_region (const struct sesparse *ss, enum sesparse_region r,
             const struct sesparse_region_disk *disk)
{
  vmdk_error (&ss->sp.e.ctx->log,
              "%s: seSparse const header: region %s (%" PRIu64 " sectors at %"
              PRIu64 ") is too large, expected that it ends before 2^63 bytes",
              ss->sp.e.store->name, sesparse_region_name (r),
              le64_get (disk->size), le64_get (disk->offset));
  errno = EINVAL;
  return -1;
}

static int
check_disjoint (const struct sesparse *ss, enum sesparse_region r)
{
  int i;

  for (i = 0; i < (int) r; i++)
    if (ss->region[i].offset < ss->region[r].offset + ss->region[r].size &&
        ss->region[r].offset < ss->region[i].offset + ss->region[i].size)
      return bad_region (ss, r, "overlaps another region");
  return 0;
}

static int
decode_regions (struct sesparse *ss, const struct sesparse_header_disk *d)
{
  const struct sesparse_region_disk *const disk = &d->volatile_header;
  int i;

  for (i = 0; i < NR_REGIONS; i++) {
    uint64_t end;

    if (!sectors_to_bytes (le64_get (disk[i].offset),
                           &ss->region[i].offset) ||
        !sectors_to_bytes (le64_get (disk[i].size), &ss->region[i].size) ||
        __builtin_add_overflow (ss->region[i].offset, ss->region[i].size,
                                &end) || end > VMDK_MAX_SIZE)
      return huge_region (ss, i, &disk[i]);
    if (ss->region[i].offset < SECTOR_SIZE)
      return bad_region (ss, i, "overlaps the header");
    if (check_disjoint (ss, i) == -1)
      return -1;
  }
  return 0;
}

/* The directory must be there.  What comes behind it may be missing at the
 * end of the file, where nothing refers to it.
 */
static int
check_regions (struct sesparse *ss)
{
  struct sparse *const sp = &ss->sp;

  ss->nr_tables = ss->region[REGION_GTS].size / sparse_gt_bytes (sp);
  sp->gd[0] = ss->region[REGION_GD].offset;
  sp->data_start = ss->region[REGION_GRAINS].offset;
  if (ss->region[REGION_GD].size < sparse_gd_bytes (sp))
    return bad_region (ss, REGION_GD, "is too small for the capacity");
  if (sp->gd[0] + sparse_gd_bytes (sp) > sp->e.store->size)
    return bad_region (ss, REGION_GD,
                       "isn't all in the file: it was truncated");
  if (ss->region[REGION_GRAINS].size < sp->capacity)
    return bad_region (ss, REGION_GRAINS, "is too small for the capacity");
  return 0;
}

static int
read_volatile_header (struct sesparse *ss)
{
  struct sesparse_volatile_disk d;

  if (ss->region[REGION_VOLATILE_HEADER].size < sizeof d)
    return bad_region (ss, REGION_VOLATILE_HEADER, "is too small");
  if (store_pread (ss->sp.e.store, &d, sizeof d,
                   ss->region[REGION_VOLATILE_HEADER].offset) == -1)
    return -1;
  if (le64_get (d.magic) != SESPARSE_VOLATILE_MAGIC)
    return bad_field (ss, "volatile", "magic", le64_get (d.magic),
                      SESPARSE_VOLATILE_MAGIC);
  if (!all_zero (d.pad, sizeof d.pad))
    return bad_field (ss, "volatile", "padding", 1, 0);
  ss->free_gt = le64_get (d.free_gt);
  ss->next_txn = le64_get (d.next_txn);
  if (le64_get (d.replay_journal) == 0)
    return 0;
  vmdk_error (&ss->sp.e.ctx->log,
              "%s: the extent is dirty (replayJournal is %" PRIu64 "): its "
              "last changes are only in the journal, which can't be "
              "replayed here; open and close the disk on its ESXi host, or "
              "lose them with vmdk-img repair --lose-journal",
              ss->sp.e.store->name, le64_get (d.replay_journal));
  errno = EINVAL;
  return -1;
}

static int
sesparse_init (struct sesparse *ss)
{
  struct sparse *const sp = &ss->sp;
  struct sesparse_header_disk d;

  if (sp->e.store->size < 2 * SECTOR_SIZE) {
    vmdk_error (&sp->e.ctx->log,
                "%s: truncated: the file has %" PRIu64 " bytes, but the "
                "headers of seSparse alone need %" PRIu64,
                sp->e.store->name, sp->e.store->size, 2 * SECTOR_SIZE);
    errno = EINVAL;
    return -1;
  }
  if (store_pread (sp->e.store, &d, sizeof d, 0) == -1 ||
      check_constants (ss, &d) == -1)
    return -1;
  sp->e.grain_size = SESPARSE_GRAIN_SECTORS * SECTOR_SIZE;
  sp->capacity = le64_get (d.capacity) * SECTOR_SIZE;
  sp->gtes_per_gt = SESPARSE_GTES_PER_GT;
  sparse_set_geometry (sp);
  if (decode_regions (ss, &d) == -1 || check_regions (ss) == -1 ||
      read_volatile_header (ss) == -1 ||
      extent_set_size (&sp->e, sp->capacity) == -1)
    return -1;
  vmdk_debug (&sp->e.ctx->log, VMDK_TOPIC_DESCRIPTOR,
              "%s: seSparse, %" PRIu64 " bytes, directory at %" PRIu64
              ", tables at %" PRIu64 ", grains at %" PRIu64,
              sp->e.store->name, sp->capacity, sp->gd[0],
              ss->region[REGION_GTS].offset,
              ss->region[REGION_GRAINS].offset);
  return 0;
}

static void
sesparse_info (const struct extent *e, struct vmdk_extent_info *info)
{
  (void) e;
  info->version = 2;
  info->zeroed_grains = true;
}

static void
sesparse_close (struct extent *e)
{
  sparse_release ((struct sparse *) e);
  free (e);
}

static const struct extent_ops sesparse_ops = {
  .map = sparse_map,
  .check = sesparse_check,
  .info = sesparse_info,
  .close = sesparse_close,
};

struct extent *
sesparse_open (struct context *ctx, struct store *store,
               const struct extent_line *line)
{
  struct sesparse *const ss = calloc (1, sizeof *ss);

  if (ss == NULL) {
    vmdk_error (&ctx->log, "calloc: %m");
    store_unref (store);
    return NULL;
  }
  ss->sp.e.ops = &sesparse_ops;
  ss->sp.e.format = "seSparse";
  ss->sp.e.ctx = ctx;
  ss->sp.e.store = store;
  ss->sp.e.line = line;
  ss->sp.format = &sesparse_format;
  ss->sp.tables = store_ref (store);
  if (sesparse_init (ss) == -1) {
    extent_close (&ss->sp.e);
    return NULL;
  }
  return &ss->sp.e;
}
