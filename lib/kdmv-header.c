/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The header of hosted sparse extents, and the footer of streams, which
 * has the same layout: decoded, with everything checked that can be
 * without the rest of the file.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kdmv.h"

/* A header that is being decoded, for messages. */
struct source {
  const struct vmdk_log *log;
  const char *name;
  const char *what;
};

static int __attribute__ ((__format__ (__printf__, 2, 3)))
bad_header (const struct source *src, const char *fmt, ...)
{
  char text[200];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  vmdk_error (src->log, "%s: hosted sparse %s: %s", src->name, src->what,
              text);
  errno = EINVAL;
  return -1;
}

static int
get_bytes (const struct source *src, const char *field, le64 sectors,
           uint64_t *bytes)
{
  if (sectors_to_bytes (le64_get (sectors), bytes))
    return 0;
  return bad_header (src, "%s is 0x%" PRIx64 " sectors, which is too large",
                     field, le64_get (sectors));
}

static int
check_kind (const struct source *src, const struct kdmv_header_disk *d)
{
  static const uint8_t newlines[4] = { '\n', ' ', '\r', '\n' };
  const uint32_t flags = le32_get (d->flags);
  const uint16_t compression = le16_get (d->compression);

  if (le32_get (d->magic) != KDMV_MAGIC)
    return bad_header (src, "magic is 0x%" PRIx32 ", expected 0x%" PRIx32,
                       le32_get (d->magic), KDMV_MAGIC);
  if (le32_get (d->version) < 1 || le32_get (d->version) > 3)
    return bad_header (src, "version is %" PRIu32 ", expected 1, 2 or 3",
                       le32_get (d->version));
  if (flags & KDMV_FLAGS_INCOMPATIBLE)
    return bad_header (src, "flags 0x%" PRIx32 " have unknown bits 0x%" PRIx32
                       "; is the disk encrypted?", flags,
                       flags & KDMV_FLAGS_INCOMPATIBLE);
  if ((flags & KDMV_FLAG_NEWLINES) && memcmp (d->newlines, newlines, 4) != 0)
    return bad_header (src, "the newline bytes are %02x %02x %02x %02x, "
                       "expected 0a 20 0d 0a: the file was damaged by a "
                       "transfer as text", d->newlines[0], d->newlines[1],
                       d->newlines[2], d->newlines[3]);
  if ((flags & KDMV_FLAG_MARKERS) && !(flags & KDMV_FLAG_COMPRESSED))
    return bad_header (src, "flags 0x%" PRIx32 " say that there are markers, "
                       "but not that grains are compressed", flags);
  if (compression !=
      (flags & KDMV_FLAG_COMPRESSED ? KDMV_COMPRESS_DEFLATE
       : KDMV_COMPRESS_NONE))
    return bad_header (src, "compressAlgorithm is %d, which doesn't fit the "
                       "flags 0x%" PRIx32, compression, flags);
  return 0;
}

static int
check_geometry (const struct source *src, const struct kdmv_header_disk *d)
{
  const uint64_t grain = le64_get (d->grain_size);
  const uint32_t gtes = le32_get (d->gtes_per_gt);

  if (!is_power_of_2 (grain) || grain > KDMV_MAX_GRAIN_SECTORS)
    return bad_header (src, "grainSize is %" PRIu64 " sectors, expected a "
                       "power of 2 from 1 to %d", grain,
                       KDMV_MAX_GRAIN_SECTORS);
  if (!is_power_of_2 (gtes) || gtes < KDMV_MIN_GTES_PER_GT ||
      gtes > KDMV_MAX_GTES_PER_GT)
    return bad_header (src, "numGTEsPerGT is %" PRIu32 ", expected a power "
                       "of 2 from %d to %d", gtes, KDMV_MIN_GTES_PER_GT,
                       KDMV_MAX_GTES_PER_GT);
  if (le64_get (d->capacity) > VMDK_MAX_SIZE / SECTOR_SIZE)
    return bad_header (src, "capacity is %" PRIu64 " sectors, expected at "
                       "most %" PRIu64, le64_get (d->capacity),
                       VMDK_MAX_SIZE / SECTOR_SIZE);
  return 0;
}

static int
decode_places (const struct source *src, const struct kdmv_header_disk *d,
               struct kdmv_header *h)
{
  if (get_bytes (src, "overHead", d->overhead, &h->overhead) == -1)
    return -1;
  if (le64_get (d->descriptor_offset) != 0 &&
      (get_bytes (src, "descriptorOffset", d->descriptor_offset,
                  &h->descriptor_offset) == -1 ||
       get_bytes (src, "descriptorSize", d->descriptor_size,
                  &h->descriptor_size) == -1))
    return -1;
  if ((h->flags & KDMV_FLAG_REDUNDANT) &&
      get_bytes (src, "rgdOffset", d->rgd_offset, &h->rgd_offset) == -1)
    return -1;
  h->gd_offset = KDMV_GD_AT_END;
  if (le64_get (d->gd_offset) == KDMV_GD_AT_END)
    return 0;
  return get_bytes (src, "gdOffset", d->gd_offset, &h->gd_offset);
}

int
kdmv_decode_header (const struct vmdk_log *log, const char *name,
                    const char *what, const struct kdmv_header_disk *disk,
                    struct kdmv_header *h)
{
  const struct source src = { .log = log, .name = name, .what = what };

  if (check_kind (&src, disk) == -1 || check_geometry (&src, disk) == -1)
    return -1;
  *h = (struct kdmv_header) {
    .version = le32_get (disk->version),
    .flags = le32_get (disk->flags),
    .capacity = le64_get (disk->capacity) * SECTOR_SIZE,
    .grain_size = (uint32_t) (le64_get (disk->grain_size) * SECTOR_SIZE),
    .gtes_per_gt = le32_get (disk->gtes_per_gt),
    .unclean = disk->unclean != 0,
  };
  return decode_places (&src, disk, h);
}

int
kdmv_read_header (const struct vmdk_log *log, struct store *store,
                  struct kdmv_header *h)
{
  struct kdmv_header_disk disk;

  if (store->size < sizeof disk) {
    vmdk_error (log, "%s: truncated: the file has %" PRIu64 " bytes, but a "
                "hosted sparse header alone needs %zu", store->name,
                store->size, sizeof disk);
    errno = EINVAL;
    return -1;
  }
  if (store_pread (store, &disk, sizeof disk, 0) == -1)
    return -1;
  return kdmv_decode_header (log, store->name, "header", &disk, h);
}
