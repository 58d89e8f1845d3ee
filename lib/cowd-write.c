/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing COWD extents: the header's freeSector, from which a host goes
 * on allocating, and its mark of being in use.
 */

#include <config.h>

#include <stddef.h>

#include "cowd.h"
#include "sparse-write.h"

/* freeSector has 32 bits and must be able to name the end. */
#define MAX_FILE (UINT32_MAX * SECTOR_SIZE)

/* Some programs don't raise freeSector; that the file may be longer and
 * entries may be behind it, the allocator sees by itself.  Nor may it be
 * past the end.
 */
static int
cowd_start (struct sparse *sp, uint64_t *free_from)
{
  const struct cowd *const c = (const struct cowd *) sp;
  const uint64_t free = c->free_sector * SECTOR_SIZE;

  *free_from = sp->data_start;
  if (free > *free_from && free <= sp->e.store->size)
    *free_from = free;
  return 0;
}

/* Changes a field by writing its sector. */
static int
set_field (struct sparse *sp, size_t offset, uint32_t value)
{
  const size_t sector = offset / SECTOR_SIZE * SECTOR_SIZE;
  const le32 field = to_le32 (value);
  uint8_t bytes[SECTOR_SIZE];

  if (store_pread (sp->e.store, bytes, sizeof bytes, sector) == -1)
    return -1;
  memcpy (bytes + (offset - sector), field.b, sizeof field);
  return store_pwrite (sp->e.store, bytes, sizeof bytes, sector);
}

static int
cowd_mark (struct sparse *sp, bool unclean)
{
  return set_field (sp, offsetof (struct cowd_header_disk, unclean), unclean);
}

static int
cowd_set_end (struct sparse *sp, uint64_t end)
{
  if (set_field (sp, offsetof (struct cowd_header_disk, free_sector),
                 (uint32_t) (end / SECTOR_SIZE)) == -1)
    return -1;
  ((struct cowd *) sp)->free_sector = end / SECTOR_SIZE;
  return 0;
}

const struct sparse_write_format cowd_write_format = {
  .max_file = MAX_FILE,
  .start = cowd_start,
  .mark = cowd_mark,
  .set_end = cowd_set_end,
};
