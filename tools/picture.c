/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Counting for a picture of a disk.  The guest's view comes from one walk
 * over the whole chain; what of a file the guest doesn't see, because a
 * link above says something else, from another one over its link alone.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "picture.h"

#define SMALLEST_CELL 4096

struct drawing {
  struct picture *p;
  struct progress_of_walks {
    const struct vmdk_progress *progress;
    uint64_t done, total; /* guest bytes of all walks */
  } walks;
  size_t last_file; /* where the next range is likely to be */

  /* The compressed grain whose end isn't known yet. */
  struct picture_file *packed_file;
  uint64_t packed_at;
  bool packed_all;

  bool shown, all; /* what is being counted */
};

static uint64_t
smaller (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

uint64_t
picture_cell_bytes (const struct picture *p, unsigned cell)
{
  return smaller (p->cell_size, p->size - cell * p->cell_size);
}

uint64_t
picture_piece_bytes (const struct picture_file *f, unsigned piece)
{
  return smaller (f->piece_size, f->size - piece * f->piece_size);
}

uint64_t
picture_unused (const struct file_use *use, uint64_t size)
{
  const uint64_t used = use->stored + use->metadata + use->hole;

  return used < size ? size - used : 0;
}

/* The guest's disk. */

static void
add_to_cells (struct picture *p, const struct vmdk_range *range)
{
  uint64_t offset = range->offset;
  const uint64_t end = offset + range->length;

  while (offset < end) {
    const uint64_t cell = offset / p->cell_size;
    const uint64_t n =
      smaller (end, (cell + 1) * p->cell_size) - offset;

    if (range->status == VMDK_ZERO)
      p->zero[cell] += n;
    else {
      p->stored[cell * p->nr_links + range->link] += n;
      if (range->status == VMDK_PACKED)
        p->packed[cell] += n;
    }
    offset += n;
  }
}

static void
add_to_disk (struct picture *p, const struct vmdk_range *range)
{
  switch (range->status) {
  case VMDK_PACKED:
    p->all_packed += range->length;
    /* fallthrough */
  case VMDK_DATA:
    p->link_stored[range->link] += range->length;
    break;
  case VMDK_ZERO:
    p->all_zero += range->length;
    break;
  case VMDK_ABSENT:
    p->all_absent += range->length;
    return;
  }
  add_to_cells (p, range);
}

/* Files. */

/* Names are those of the open files, so that the same one is the same. */
static struct picture_file *
find_file (struct drawing *d, const char *name, size_t link)
{
  const struct picture *const p = d->p;
  size_t i;

  for (i = 0; i < p->nr_files; i++) {
    const size_t n = (d->last_file + i) % p->nr_files;

    if (p->files[n]->name == name && p->files[n]->link == link) {
      d->last_file = n;
      return p->files[n];
    }
  }
  return NULL;
}

static void
add_to_use (const struct drawing *d, struct file_use *use, uint64_t n,
            bool packed)
{
  if (d->shown)
    use->shown += n;
  if (d->all) {
    use->stored += n;
    if (packed)
      use->packed += n;
  }
}

static void
add_stored (const struct drawing *d, struct picture_file *f, uint64_t offset,
            uint64_t length, bool packed)
{
  const uint64_t end =
    offset < f->size ? offset + smaller (length, f->size - offset) : offset;

  add_to_use (d, &f->total, end - offset, packed);
  while (f->nr_pieces > 0 && offset < end) {
    const uint64_t piece = offset / f->piece_size;
    const uint64_t n = smaller (end, (piece + 1) * f->piece_size) - offset;

    add_to_use (d, &f->pieces[piece], n, packed);
    offset += n;
  }
}

/* A compressed grain mostly reaches to the next one, and is no longer than
 * it would be otherwise.
 */
static void
end_packed (struct drawing *d, uint64_t next)
{
  struct picture_file *const f = d->packed_file;
  const bool all = d->all;
  uint64_t length;

  if (f == NULL)
    return;
  d->all = d->packed_all;
  length = f->longest_grain;
  if (next > d->packed_at)
    length = smaller (length, next - d->packed_at);
  add_stored (d, f, d->packed_at, length, true);
  d->packed_file = NULL;
  d->all = all;
}

static void
add_to_file (struct drawing *d, const struct vmdk_range *range)
{
  struct picture_file *f;

  if (range->file == NULL ||
      (range->status != VMDK_DATA && range->status != VMDK_PACKED))
    return;
  f = find_file (d, range->file, range->link);
  if (f != d->packed_file)
    end_packed (d, 0);
  if (f == NULL)
    return;
  if (range->status == VMDK_DATA) {
    add_stored (d, f, range->file_offset, range->length, false);
    return;
  }
  end_packed (d, range->file_offset);
  d->packed_file = f;
  d->packed_at = range->file_offset;
  d->packed_all = d->all;
}

/* Walks. */

static int
go_on (struct drawing *d, uint64_t length)
{
  struct progress_of_walks *const w = &d->walks;

  w->done += length;
  if (w->progress->fn &&
      w->progress->fn (w->progress->opaque, w->done, w->total) != 0) {
    errno = ECANCELED;
    return -1;
  }
  return 0;
}

static int
take_shown (void *opaque, const struct vmdk_range *range)
{
  struct drawing *const d = opaque;

  add_to_disk (d->p, range);
  /* Of the top link, the guest sees all. */
  d->all = range->link == 0;
  add_to_file (d, range);
  return go_on (d, range->length);
}

static int
take_stored (void *opaque, const struct vmdk_range *range)
{
  struct drawing *const d = opaque;

  add_to_file (d, range);
  return go_on (d, range->length);
}

static int
take_part (void *opaque, const char *file, enum vmdk_part part,
           uint64_t offset, uint64_t length)
{
  struct drawing *const d = opaque;
  struct picture_file *const f =
    find_file (d, file, d->p->files[d->last_file]->link);
  const uint64_t end = offset + length;

  if (f == NULL || end > f->size)
    return 0;
  *(part == VMDK_HOLE ? &f->total.hole : &f->total.metadata) += length;
  while (f->nr_pieces > 0 && offset < end) {
    const uint64_t piece = offset / f->piece_size;
    const uint64_t n = smaller (end, (piece + 1) * f->piece_size) - offset;
    struct file_use *const use = &f->pieces[piece];

    *(part == VMDK_HOLE ? &use->hole : &use->metadata) += n;
    offset += n;
  }
  return 0;
}

static size_t
first_file_of (const struct picture *p, size_t link)
{
  size_t i;

  for (i = 0; i < p->nr_files; i++)
    if (p->files[i]->link == link)
      break;
  return i;
}

static int
walk_link (struct drawing *d, struct vmdk_disk *disk, size_t link)
{
  struct vmdk_link_info info;
  const size_t first = first_file_of (d->p, link);

  if (first == d->p->nr_files)
    return 0;
  vmdk_get_link (disk, link, &info);
  d->last_file = first;
  d->shown = false;
  d->all = true;
  if (link > 0 && vmdk_map_link (disk, link, 0, info.size, true, take_stored,
                                 d) == -1)
    return -1;
  end_packed (d, 0);
  d->last_file = first;
  return vmdk_map_files (disk, link, take_part, d);
}

static int
walk_all (struct drawing *d, struct vmdk_disk *disk)
{
  size_t i;

  d->shown = true;
  if (vmdk_map (disk, 0, d->p->size, true, take_shown, d) == -1)
    return -1;
  end_packed (d, 0);
  for (i = 0; i < d->p->nr_links; i++)
    if (walk_link (d, disk, i) == -1)
      return -1;
  return 0;
}

/* Lengths of compressed grains are guesses, and grains of a damaged image
 * may overlap: no more can be stored than there is room for.
 */
static void
settle (struct file_use *use, uint64_t size)
{
  uint64_t most = size;

  use->metadata = smaller (use->metadata, most);
  most -= use->metadata;
  use->hole = smaller (use->hole, most);
  most -= use->hole;
  if (use->stored > most) {
    const double scale = (double) most / (double) use->stored;

    use->shown = (uint64_t) ((double) use->shown * scale);
    use->packed = (uint64_t) ((double) use->packed * scale);
    use->stored = most;
  }
  use->packed = smaller (use->packed, use->stored);
  use->shown = smaller (use->shown, use->stored);
}

static void
settle_all (struct picture *p)
{
  size_t i;
  unsigned j;

  for (i = 0; i < p->nr_files; i++) {
    struct picture_file *const f = p->files[i];

    settle (&f->total, f->size);
    for (j = 0; j < f->nr_pieces; j++)
      settle (&f->pieces[j], picture_piece_bytes (f, j));
  }
}

/* What there is to be counted. */

static bool
known_file (const struct picture *p, const char *name, size_t link)
{
  size_t i;

  for (i = p->nr_files; i-- > 0 && p->files[i]->link == link; )
    if (p->files[i]->name == name)
      return true;
  return false;
}

static int
add_file (struct picture *p, size_t link, const struct vmdk_extent_info *e)
{
  const bool pieces = p->nr_files < PICTURE_STRIPS && e->file_size > 0;
  struct picture_file *const f =
    calloc (1, sizeof *f - (pieces ? 0 : sizeof f->pieces));
  struct picture_file **const files =
    reallocarray (p->files, p->nr_files + 1, sizeof files[0]);

  if (files)
    p->files = files;
  if (f == NULL || files == NULL) {
    free (f);
    return -1;
  }
  f->name = e->file;
  f->link = link;
  f->size = e->file_size;
  f->longest_grain = e->grain_size + 1024;
  if (pieces) {
    f->piece_size = (f->size - 1) / PICTURE_PIECES + 1;
    f->nr_pieces = (unsigned) ((f->size - 1) / f->piece_size + 1);
  }
  p->files[p->nr_files++] = f;
  return 0;
}

static int
add_files (struct picture *p, const struct vmdk_disk *disk, size_t link)
{
  struct vmdk_link_info l;
  struct vmdk_extent_info e;
  size_t i;

  vmdk_get_link (disk, link, &l);
  for (i = 0; i < l.nr_extents; i++) {
    vmdk_get_extent (disk, link, i, &e);
    if (e.file && !known_file (p, e.file, link) &&
        add_file (p, link, &e) == -1)
      return -1;
  }
  return 0;
}

static int
prepare (struct picture *p, const struct vmdk_disk *disk)
{
  const uint64_t last = vmdk_size (disk) > 0 ? vmdk_size (disk) - 1 : 0;
  size_t i;

  p->size = vmdk_size (disk);
  p->nr_links = vmdk_nr_links (disk);
  p->cell_size = SMALLEST_CELL;
  while (last / p->cell_size >= (uint64_t) PICTURE_COLUMNS * PICTURE_ROWS)
    p->cell_size *= 2;
  p->nr_cells = (unsigned) (last / p->cell_size + 1);
  p->stored = calloc (p->nr_cells * p->nr_links, sizeof p->stored[0]);
  p->packed = calloc (p->nr_cells, sizeof p->packed[0]);
  p->zero = calloc (p->nr_cells, sizeof p->zero[0]);
  p->link_stored = calloc (p->nr_links, sizeof p->link_stored[0]);
  if (!p->stored || !p->packed || !p->zero || !p->link_stored)
    return -1;
  for (i = 0; i < p->nr_links; i++)
    if (add_files (p, disk, i) == -1)
      return -1;
  return 0;
}

static uint64_t
bytes_of_walks (const struct picture *p, const struct vmdk_disk *disk)
{
  uint64_t total = p->size;
  struct vmdk_link_info l;
  size_t i;

  for (i = 1; i < p->nr_links; i++) {
    vmdk_get_link (disk, i, &l);
    total += l.size;
  }
  return total;
}

struct picture *
picture_new (struct vmdk_disk *disk, const struct vmdk_progress *progress)
{
  struct picture *const p = calloc (1, sizeof *p);
  struct drawing d = { .p = p, .walks = { .progress = progress } };

  if (p == NULL || prepare (p, disk) == -1) {
    error_message ("%m");
    picture_free (p);
    return NULL;
  }
  d.walks.total = bytes_of_walks (p, disk);
  if (walk_all (&d, disk) == -1) {
    const int err = errno;

    picture_free (p);
    errno = err;
    return NULL;
  }
  settle_all (p);
  return p;
}

void
picture_free (struct picture *p)
{
  size_t i;

  if (p == NULL)
    return;
  for (i = 0; i < p->nr_files; i++)
    free (p->files[i]);
  free (p->files);
  free (p->stored);
  free (p->packed);
  free (p->zero);
  free (p->link_stored);
  free (p);
}
