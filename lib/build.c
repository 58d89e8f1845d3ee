/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is the same for builds of several formats: seeing what is zero, and
 * the grains of formats that keep them as they are.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "build-grains.h"

/* If the first bytes are zero and each byte is the same as the one so many
 * before it, then all are.  The C library compares as fast as the machine
 * can, and stops at the first difference.
 */
#define FIRST_BYTES 16

bool
is_zero (const void *data, size_t count)
{
  static const uint8_t zeroes[FIRST_BYTES];
  const uint8_t *const p = data;

  if (count <= FIRST_BYTES)
    return memcmp (p, zeroes, count) == 0;
  return memcmp (p, zeroes, FIRST_BYTES) == 0 &&
    memcmp (p, p + FIRST_BYTES, count - FIRST_BYTES) == 0;
}

int
build_resize (struct build *b, uint64_t size)
{
  if (store_resize (b->store, size) == 0)
    return 0;
  vmdk_error (b->log, "%s: making it %" PRIu64 " bytes long: %m%s", b->name,
              size, errno != EFBIG ? "" : " for its file system, or for "
              "ulimit -f; a sparse type needs less");
  return -1;
}

int
piece_reserve (struct piece *p, size_t size)
{
  uint8_t *packed;

  if (p->packed_size >= size)
    return 0;
  packed = realloc (p->packed, size);
  if (packed == NULL) {
    vmdk_error (p->build->log, "%s: realloc: %m", p->build->name);
    return -1;
  }
  p->packed = packed;
  p->packed_size = size;
  return 0;
}

/* Grains as they are. */

int
grains_check_size (const struct build *b, uint64_t most)
{
  if (is_power_of_2 (b->grain_size) && b->grain_size >= SECTOR_SIZE &&
      b->grain_size <= most)
    return 0;
  vmdk_error (b->log, "%s: grains of %" PRIu32 " bytes can't be made, only "
              "of a power of 2 from 512 to %" PRIu64, b->name, b->grain_size,
              most);
  errno = EINVAL;
  return -1;
}

static enum grain_kind
kind_of (const struct build *b, const struct piece *p, size_t i)
{
  if (p->absent && p->absent[i])
    return GRAIN_NONE;
  if (!is_zero (p->data + i * b->grain_size, b->grain_size))
    return GRAIN_DATA;
  return b->has_parent ? GRAIN_HOLE : GRAIN_NONE;
}

int
grains_pack (struct build *b, struct piece *p)
{
  const size_t n = (size_t) div_round_up (p->length, b->grain_size);
  size_t i;

  if (piece_reserve (p, n) == -1)
    return -1;
  p->packed_length = n;
  for (i = 0; i < n; i++)
    p->packed[i] = (uint8_t) kind_of (b, p, i);
  return 0;
}

/* Neighbours in the guest are neighbours in the file. */
int
grains_write (struct build *b, const struct piece *p, bool fixed)
{
  const size_t grain = b->grain_size;
  uint64_t place = p->place;
  size_t i, n;

  for (i = 0; i < p->packed_length; i += n) {
    for (n = 1; i + n < p->packed_length; n++)
      if (p->packed[i + n] != p->packed[i])
        break;
    if (p->packed[i] == GRAIN_DATA &&
        store_pwrite (b->store, p->data + i * grain, n * grain, place) == -1)
      return -1;
    if (fixed || p->packed[i] != GRAIN_NONE)
      place += n * grain;
  }
  return 0;
}
