/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making a disk larger.  Its last extent grows, and a split disk gets more
 * of them.
 *
 * How large the disk is, its descriptor says.  So everything else comes
 * first, and is durable: the last extent has room for more, new extents
 * have their names.  None of it can be seen.  Then the descriptor changes,
 * in one step: after a crash it is the old one, and the disk has its old
 * size, or the new one.  What an interrupted try has left is used, or
 * written over, by the next.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "build.h"
#include "descriptor-edit.h"
#include "descriptor-write.h"
#include "disk.h"
#include "le.h"
#include "relabel.h"
#include "resize.h"
#include "sound.h"

/* 2047 MiB, so that an extent with its tables is below 2 GiB. */
#define USUAL_PIECE (UINT64_C (4192256) * SECTOR_SIZE)

#define READ_SIZE ((size_t) 1 << 20)

struct resizing {
  struct link *l;
  struct extent *last;
  uint64_t size;       /* of the disk, bytes */
  uint64_t last_size;  /* of the last extent */
  struct more_extents more;
};

static int
refuse (const struct link *l, int err, const char *why)
{
  vmdk_error (&l->ctx->log, "%s: can't be resized: %s", l->store->name, why);
  errno = err;
  return -1;
}

/* What can't be resized. */

static int
check_size (const struct link *l, uint64_t size)
{
  if (size > VMDK_MAX_SIZE)
    return refuse (l, EFBIG, "it would be too large");
  if (size >= l->size)
    return 0;
  vmdk_error (&l->ctx->log, "%s: has %" PRIu64 " bytes, and can't be made "
              "smaller, to %" PRIu64 ": that isn't supported; copy what is "
              "in it to a new disk", l->store->name, l->size, size);
  errno = EINVAL;
  return -1;
}

static bool
has_parent (const struct link *l)
{
  return l->parent ||
    (l->desc && (l->desc->parent_hint || l->desc->parent_cid != CID_NONE));
}

static bool
is_type (const struct link *l, const char *type)
{
  const char *const own = l->desc->create_type;

  return own && strcasecmp (own, type) == 0;
}

static int
check_link (const struct link *l)
{
  if (l->desc == NULL)
    return refuse (l, ENOTSUP, "it has no VMDK descriptor, which would say "
                   "how large it is; open the descriptor of the disk");
  if (has_parent (l))
    return refuse (l, ENOTSUP, "it has a parent, and all disks of a chain "
                   "must have the same size; commit it to its parent, or "
                   "make it independent with vmdk-img pull, first");
  if (is_type (l, "fullDevice") || is_type (l, "partitionedDevice"))
    return refuse (l, ENOTSUP, "it stands for a device");
  return 0;
}

static const char *
why_not (const struct extent *e)
{
  if (strcmp (e->format, "stream") == 0)
    return "its last extent is a stream (streamOptimized), which isn't made "
      "to be changed; convert it first";
  if (strcmp (e->format, "hosted sparse") != 0 &&
      strcmp (e->format, "flat") != 0)
    return "its last extent is of a kind for which that isn't supported; "
      "convert it first";
  if (!session_may_write (e))
    return "its last extent may not be written, by its descriptor";
  if (e->store->extents != 1)
    return "the file of its last extent has another part of the disk, too";
  return NULL;
}

static int
check_last (const struct resizing *r)
{
  const struct extent *const e = r->last;
  const char *const why = why_not (e);

  if (why)
    return refuse (r->l, ENOTSUP, why);
  if (e->ops->write->was_interrupted && e->ops->write->was_interrupted (e))
    return refuse (r->l, EIO, "the program that wrote its last extent "
                   "didn't close it; run vmdk-img repair first");
  return 0;
}

/* A regular file grows; a device doesn't. */
static int
check_file (const struct resizing *r)
{
  if (r->last->store->fresh_is_zero && r->last->store->ops->resize)
    return extent_see_sound (r->last, "resized");
  return refuse (r->l, ENOTSUP, "its last extent isn't a regular file");
}

/* How much of the new size goes where. */
static void
plan (struct resizing *r)
{
  const struct link *const l = r->l;
  const uint64_t more = r->size - l->size, old = r->last->size;
  uint64_t room = more;

  r->more = (struct more_extents) { .l = r->l };
  if (is_type (l, "twoGbMaxExtentSparse") ||
      is_type (l, "twoGbMaxExtentFlat")) {
    r->more.piece = l->nr_extents > 1 ? l->extents[0]->size : USUAL_PIECE;
    room = old < r->more.piece ? r->more.piece - old : 0;
  }
  r->last_size = old + (more < room ? more : room);
  r->more.size = more - (r->last_size - old);
}

/* Doing it. */

static uint64_t
flat_end (const struct extent *e, uint64_t size)
{
  uint64_t end;

  return __builtin_add_overflow (e->line->offset, size, &end) ? UINT64_MAX
    : end;
}

static int
report_data (const struct extent *e, uint64_t offset)
{
  vmdk_error (&e->ctx->log, "%s: can't be resized: there are data behind the "
              "extent, at offset %" PRIu64 ", which aren't a part of the "
              "disk, but would become one; if they are of no use, shorten "
              "the file to %" PRIu64 " bytes", e->store->name, offset,
              e->line->offset + e->size);
  errno = EEXIST;
  return -1;
}

static int
look_for_data (const struct extent *e, uint8_t *buf, uint64_t at,
               uint64_t end)
{
  uint64_t start, stop;

  while (at < end) {
    size_t n;

    store_find_data (e->store, at, end, &start, &stop);
    n = stop - start < READ_SIZE ? (size_t) (stop - start) : READ_SIZE;
    if (n > 0 && store_pread (e->store, buf, n, start) == -1)
      return -1;
    if (n > 0 && !is_zero (buf, n))
      return report_data (e, start);
    at = start + n;
  }
  return 0;
}

/* What the file has behind the extent belongs to somebody else, if it isn't
 * zero, as an interrupted try leaves it.
 */
static int
check_behind (const struct extent *e, uint64_t size)
{
  const uint64_t new_end = flat_end (e, size);
  uint8_t *const buf = malloc (READ_SIZE);
  int r;

  if (buf == NULL) {
    vmdk_error (&e->ctx->log, "%s: %m", e->store->name);
    return -1;
  }
  r = look_for_data (e, buf, e->line->offset + e->size,
                     new_end < e->store->size ? new_end : e->store->size);
  free (buf);
  return r;
}

/* Nothing that the disk has so far is touched. */
static int
grow_flat (const struct extent *e, uint64_t size)
{
  const uint64_t new_end = flat_end (e, size);

  if (e->store->size < new_end && store_resize (e->store, new_end) == -1) {
    vmdk_error (&e->ctx->log, "%s: making it longer, to %" PRIu64
                " bytes: %m", e->store->name, new_end);
    return -1;
  }
  return store_sync (e->store);
}

static int
grow_last (const struct resizing *r)
{
  if (r->last_size == r->last->size)
    return 0;
  return r->last->grain_size ? kdmv_grow (r->last, r->last_size)
    : grow_flat (r->last, r->last_size);
}

static struct geometry
find_geometry (const struct resizing *r)
{
  const char *const adapter = descriptor_ddb (r->l->desc, "adapterType");
  const char *const type = r->l->desc->create_type;

  return geometry_of (adapter ? adapter : "lsilogic",
                      !(type && strncasecmp (type, "vmfs", 4) == 0),
                      r->size);
}

/* From now on, it has the new size.  check: only sees that it can be done. */
static int
change_descriptor (const struct resizing *r, bool check)
{
  struct link *const l = r->l;
  const struct geometry geometry = find_geometry (r);
  uint64_t *const sizes = calloc (l->nr_extents, sizeof sizes[0]);
  uint32_t cid;
  int result = -1;

  if (sizes == NULL)
    return refuse (l, ENOMEM, "out of memory");
  sizes[l->nr_extents - 1] = r->last_size;
  if (cid_random (&l->ctx->log, &cid) == 0) {
    const struct descriptor_changes changes = {
      .cid = &cid, .drop_change_track = l->ctx->drop_cbt,
      .extent_sizes = sizes, .nr_sizes = l->nr_extents,
      .more_extents = r->more.lines, .geometry = &geometry,
    };

    result = check ? link_check_change (l, &changes)
      : link_change_descriptor (l, &changes);
  }
  free (sizes);
  return result;
}

static int
grow (struct resizing *r)
{
  int result = -1;

  plan (r);
  if (r->last->grain_size == 0 && check_behind (r->last, r->last_size) == -1)
    return -1;
  if (more_extents_make (&r->more) == 0 && change_descriptor (r, true) == 0 &&
      grow_last (r) == 0 && more_extents_publish (&r->more) == 0) {
    result = change_descriptor (r, false);
    if (result == -1 && r->more.n > 0)
      vmdk_warning (&r->l->ctx->log, "%s: %zu new extents were made, but may "
                    "not be a part of the disk yet; resize it again, or "
                    "delete what its descriptor doesn't name",
                    r->l->store->name, r->more.n);
  }
  more_extents_free (&r->more);
  return result;
}

static int
ask (const struct link *l, const struct vmdk_progress *progress,
     uint64_t done)
{
  if (progress->fn == NULL ||
      progress->fn (progress->opaque, done, l->size) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

/* A crash may have left the new descriptor inside of an extent where it is
 * only for a time.
 */
static int
finish_former (struct vmdk_disk *disk)
{
  struct link *const l = disk->top;

  if (!l->embedded || l->desc_offset <= SECTOR_SIZE)
    return 0;
  return vmdk_start_writing (disk) == -1 ? -1
    : link_change_descriptor (l, &(struct descriptor_changes) { 0 });
}

int
vmdk_resize (struct vmdk_disk *disk, uint64_t size,
             const struct vmdk_progress *progress)
{
  struct link *const l = disk->top;
  struct resizing r = { .l = l, .last = l->extents[l->nr_extents - 1] };

  r.size = size > VMDK_MAX_SIZE ? size
    : div_round_up (size, SECTOR_SIZE) * SECTOR_SIZE;
  disk->session.required = true;
  if (check_link (l) == -1 || check_size (l, r.size) == -1)
    return -1;
  if (r.size == l->size)
    return finish_former (disk);
  if (check_last (&r) == -1 || vmdk_start_writing (disk) == -1 ||
      check_file (&r) == -1 || ask (l, progress, 0) == -1)
    return -1;
  return grow (&r);
}
