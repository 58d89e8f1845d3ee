/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking COWD extents.
 */

#include <config.h>

#include <inttypes.h>

#include "check-sparse.h"
#include "cowd.h"

static int
check_header (struct check *check, struct cowd *c)
{
  struct store *const store = c->sp.e.store;
  struct cowd_header_disk d;

  if (store_pread (store, &d, sizeof d, 0) == -1)
    return -1;
  if (c->flags != COWD_FLAGS) {
    check_defect (check, VMDK_WARNING, "cowd-flags", store->name,
                  "the header's flags are %" PRIu32 ", expected %d", c->flags,
                  COWD_FLAGS);
    check_at_code (check, "cowd-flags", &c->sp.e);
  }
  if (c->unclean)
    check_defect (check, VMDK_WARNING, "unclean", store->name,
                  "uncleanShutdown is set: the program that wrote it last "
                  "crashed, or still has it open");
  if (le32_get (d.generation) != le32_get (d.saved_generation))
    check_defect (check, VMDK_WARNING, "unclean", store->name,
                  "the generation is %" PRIu32 ", but %" PRIu32 " was saved: "
                  "the program that wrote it last may have crashed",
                  le32_get (d.generation), le32_get (d.saved_generation));
  if (c->unclean ||
      le32_get (d.generation) != le32_get (d.saved_generation))
    check_at_code (check, "unclean", &c->sp.e);
  return 0;
}

static void
check_zeroed (struct sparse_check *c, uint64_t grain, uint64_t value)
{
  (void) value;
  check_defect (c->check, VMDK_WARNING, "cowd-zeroed", c->file,
                "the entry of grain %" PRIu64 " is 1; it is read as zero, "
                "but not by all programs", grain);
  sparse_check_at (c, "cowd-zeroed", AT_GTE_ZEROED, grain, 0);
}

static const struct sparse_check_ops ops = {
  .zeroed = check_zeroed,
};

/* Whoever continues writing takes free_sector. */
static void
check_free_sector (struct sparse_check *c)
{
  const struct cowd *const cowd = (const struct cowd *) c->sp;
  const uint64_t size = c->sp->e.store->size;
  const uint64_t free = cowd->free_sector * SECTOR_SIZE;
  uint64_t used = c->sp->gd[0] + sparse_gd_bytes (c->sp);

  if (!spread_empty (&c->tables) && c->tables.end > used)
    used = c->tables.end;
  if (!spread_empty (&c->grains) && c->grains.end > used)
    used = c->grains.end;
  if (free < used)
    check_defect (c->check, VMDK_ERROR, "free-sector", c->file,
                  "freeSector is %" PRIu64 ", but sectors up to %" PRIu64
                  " are in use: the next write would destroy them",
                  cowd->free_sector, div_round_up (used, SECTOR_SIZE));
  else if (free > div_round_up (size, SECTOR_SIZE) * SECTOR_SIZE)
    check_defect (c->check, VMDK_ERROR, "free-sector", c->file,
                  "freeSector is %" PRIu64 ", but the file ends at byte %"
                  PRIu64 "; was it truncated?", cowd->free_sector, size);
  else
    return;
  check_at_code (c->check, "free-sector", &c->sp->e);
}

static int
check_all (struct sparse_check *c)
{
  const struct cowd *const cowd = (const struct cowd *) c->sp;
  const uint64_t free = cowd->free_sector * SECTOR_SIZE;
  const uint64_t size = c->sp->e.store->size;

  if (sparse_check_tables (c) == -1)
    return -1;
  check_free_sector (c);
  /* What hosts allocate ahead, behind freeSector, isn't lost. */
  return sparse_check_space (c, free < size ? free : size);
}

int
cowd_check (struct extent *e, struct check *check)
{
  struct cowd *const cowd = (struct cowd *) e;
  struct sparse_check c;
  int r;

  if (check_header (check, cowd) == -1)
    return -1;
  r = sparse_check_init (&c, check, &cowd->sp, &ops);
  if (r == 0)
    r = check_all (&c);
  sparse_check_release (&c);
  return r;
}
