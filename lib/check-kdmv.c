/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking hosted sparse extents: the header, and what plain ones have.
 */

#include <config.h>

#include <inttypes.h>

#include "check-kdmv.h"

/* The header. */

static void
check_padding (struct check *check, const char *file,
               const struct kdmv_header_disk *d)
{
  size_t i;

  for (i = 0; i < sizeof d->pad; i++)
    if (d->pad[i] != 0) {
      check_defect (check, VMDK_NOTE, "header-padding", file,
                    "byte %zu of the header is 0x%02x, expected 0",
                    offsetof (struct kdmv_header_disk, pad) + i, d->pad[i]);
      return;
    }
}

static void
check_one_directory (struct check *check, struct kdmv *k, unsigned copy,
                     uint64_t offset)
{
  const char *const field = copy ? "rgdOffset" : "gdOffset";
  const uint64_t size = sparse_gd_bytes (&k->sp);
  const uint64_t file_size = k->sp.e.store->size;
  const char *const file = k->sp.e.store->name;
  const char *const code =
    offset == 0 || offset >= k->descriptor_end ? "directory-misplaced"
    : "descriptor-misplaced";

  if (offset < k->descriptor_end)
    check_defect (check, VMDK_ERROR, code, file,
                  "%s is sector %" PRIu64 ", but header and descriptor need "
                  "%" PRIu64 " sectors", field, offset / SECTOR_SIZE,
                  k->descriptor_end / SECTOR_SIZE);
  else if (offset > file_size || size > file_size - offset)
    check_defect (check, VMDK_ERROR, code, file,
                  "%s is sector %" PRIu64 ", but the %" PRIu64 " bytes of the "
                  "grain directory don't fit there into the file of %" PRIu64
                  " bytes", field, offset / SECTOR_SIZE, size, file_size);
  else if (offset < k->h.overhead && offset + size > k->h.overhead) {
    check_defect (check, VMDK_ERROR, "overhead", file,
                  "overHead is sector %" PRIu64 ", which is inside of the "
                  "directory at %s", k->h.overhead / SECTOR_SIZE, field);
    check_at_code (check, "overhead", &k->sp.e);
    return;
  }
  else if (copy == 1 && k->sp.gd[0] == k->h.gd_offset &&
           kdmv_directories_overlap (k))
    check_defect (check, VMDK_ERROR, code, file,
                  "rgdOffset is sector %" PRIu64 ", but the %" PRIu64
                  " bytes of a grain directory there overlap those at "
                  "gdOffset, sector %" PRIu64, offset / SECTOR_SIZE, size,
                  k->h.gd_offset / SECTOR_SIZE);
  else
    return;
  check_at (check, &(struct check_place) {
      .code = code, .e = &k->sp.e, .copy = copy });
}

static void
check_directories (struct check *check, struct kdmv *k,
                   const struct kdmv_header_disk *d)
{
  if (!k->recovered)
    check_one_directory (check, k, 0, k->h.gd_offset);
  if (k->h.flags & KDMV_FLAG_REDUNDANT)
    check_one_directory (check, k, 1, k->h.rgd_offset);
  else if (le64_get (d->rgd_offset) != 0)
    check_defect (check, VMDK_NOTE, "rgd-unannounced", k->sp.e.store->name,
                  "rgdOffset is %" PRIu64 ", but the flags 0x%" PRIx32
                  " don't say that it is valid", le64_get (d->rgd_offset),
                  k->h.flags);
}

static int
check_header (struct check *check, struct kdmv *k)
{
  struct store *const store = k->sp.e.store;
  struct kdmv_header_disk d;

  if (store_pread (store, &d, sizeof d, 0) == -1)
    return -1;
  check_padding (check, store->name, &d);
  check_directories (check, k, &d);
  if (k->h.descriptor_offset != 0 && k->h.descriptor_size != 0 &&
      (k->h.descriptor_offset < SECTOR_SIZE ||
       k->descriptor_end > k->h.overhead)) {
    check_defect (check, VMDK_ERROR, "descriptor-misplaced", store->name,
                  "the descriptor ends at sector %" PRIu64 ", but grains "
                  "begin at overHead, sector %" PRIu64,
                  k->descriptor_end / SECTOR_SIZE,
                  k->h.overhead / SECTOR_SIZE);
    check_at_code (check, "descriptor-misplaced", &k->sp.e);
  }
  if (k->h.unclean || d.unclean != 0) {
    check_defect (check, VMDK_WARNING, "unclean", store->name,
                  "uncleanShutdown is set: the program that wrote it last "
                  "crashed, or still has it open");
    check_at_code (check, "unclean", &k->sp.e);
  }
  return 0;
}

/* Entries. */

void
kdmv_check_zeroed (struct sparse_check *c, uint64_t grain, uint64_t value)
{
  const struct kdmv *const k = (const struct kdmv *) c->sp;

  (void) value;
  if (!(k->h.flags & KDMV_FLAG_ZEROED)) {
    check_defect (c->check, VMDK_WARNING, "zeroed-without-flag", c->file,
                  "the entry of grain %" PRIu64 " is 1, which means zero "
                  "only when the header has flag 0x4; some programs read "
                  "sector 1 instead", grain);
    sparse_check_at (c, "zeroed-without-flag", AT_GTE_ZEROED, grain, 0);
  }
}

static void
check_placed (struct sparse_check *c, uint64_t grain, uint64_t position,
              uint64_t n)
{
  const struct kdmv *const k = (const struct kdmv *) c->sp;

  if ((position - k->h.overhead) % c->sp->e.grain_size == 0)
    return;
  if (c->unaligned == 0)
    c->first_unaligned = grain;
  c->unaligned += n;
}

static const struct sparse_check_ops plain_ops = {
  .zeroed = kdmv_check_zeroed,
  .placed = check_placed,
};

static int
check_overhead (struct sparse_check *c, void *opaque, unsigned copy,
                uint64_t number, uint64_t position)
{
  const struct kdmv *const k = (const struct kdmv *) c->sp;

  (void) opaque;
  (void) copy;
  if (position < k->h.overhead &&
      position + sparse_gt_bytes (c->sp) > k->h.overhead) {
    check_defect (c->check, VMDK_ERROR, "overhead", c->file,
                  "overHead is sector %" PRIu64 ", which is inside of grain "
                  "table %" PRIu64, k->h.overhead / SECTOR_SIZE, number);
    check_at_code (c->check, "overhead", &c->sp->e);
  }
  return 0;
}

static int
check_plain (struct sparse_check *c)
{
  c->needs_all_tables = true;
  c->least_gap = c->sp->e.grain_size;
  if (sparse_check_tables (c) == -1 ||
      sparse_check_places (c, check_overhead, NULL) == -1 ||
      sparse_check_space (c, 0) == -1)
    return -1;
  if (c->unaligned > 0)
    check_defect (c->check, VMDK_NOTE, "grain-unaligned", c->file,
                  "%" PRIu64 " grains aren't at a multiple of their size "
                  "from overHead on, the first is grain %" PRIu64,
                  c->unaligned, c->first_unaligned);
  sparse_check_tail (c);
  return 0;
}

int
kdmv_check (struct extent *e, struct check *check)
{
  struct kdmv *const k = (struct kdmv *) e;
  struct sparse_check c;
  int r;

  if (check_header (check, k) == -1)
    return -1;
  if (k->sp.packed)
    return stream_check (k, check);
  r = sparse_check_init (&c, check, &k->sp, &plain_ops);
  if (r == 0)
    r = check_plain (&c);
  sparse_check_release (&c);
  return r;
}
