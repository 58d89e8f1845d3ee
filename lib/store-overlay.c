/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes to a file that aren't made.  A page of the temporary file is the
 * whole page as it is after the changes, at the place that it has in the
 * file, so that no index is needed but a bit for each page.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "le.h"
#include "store-overlay.h"
#include "temporary.h"

/* Bits for so many pages: 128 MiB of the file.  There are only those pieces in
 * which something is changed, since what is wrong may be written anywhere.
 */
#define PIECE 32768

struct overlay_piece {
  uint64_t number; /* of its first page, divided by PIECE */
  uint64_t *bits;
};

/* The first piece with that number or a larger one, or nr_changed. */
static size_t
find_piece (const struct overlay *o, uint64_t number)
{
  size_t from = 0, end = o->nr_changed;

  while (from < end) {
    const size_t middle = from + (end - from) / 2;

    if (o->changed[middle].number < number)
      from = middle + 1;
    else
      end = middle;
  }
  return from;
}

static bool
is_changed (const struct overlay *o, uint64_t page)
{
  const size_t i = find_piece (o, page / PIECE);

  return i < o->nr_changed && o->changed[i].number == page / PIECE &&
    (o->changed[i].bits[page % PIECE / 64] >> page % 64 & 1);
}

static int
add_piece (struct overlay *o, size_t i, uint64_t number)
{
  uint64_t *bits;

  if (o->nr_changed == o->max_changed) {
    const size_t max = o->max_changed * 2 + 16;
    struct overlay_piece *const more =
      reallocarray (o->changed, max, sizeof *more);

    if (more == NULL)
      return -1;
    o->changed = more;
    o->max_changed = max;
  }
  bits = calloc (PIECE / 64, sizeof *bits);
  if (bits == NULL)
    return -1;
  memmove (o->changed + i + 1, o->changed + i,
           (o->nr_changed - i) * sizeof o->changed[0]);
  o->changed[i].number = number;
  o->changed[i].bits = bits;
  o->nr_changed++;
  return 0;
}

static int
mark (struct overlay *o, uint64_t page)
{
  const size_t i = find_piece (o, page / PIECE);

  if ((i == o->nr_changed || o->changed[i].number != page / PIECE) &&
      add_piece (o, i, page / PIECE) == -1)
    return -1;
  o->changed[i].bits[page % PIECE / 64] |= UINT64_C (1) << page % 64;
  return 0;
}

/* The first page of [page, end) that is changed, or UINT64_MAX. */
static uint64_t
next_changed (const struct overlay *o, uint64_t page, uint64_t end)
{
  size_t i = find_piece (o, page / PIECE);

  for (; i < o->nr_changed && page < end; i++) {
    const struct overlay_piece *const piece = &o->changed[i];
    const uint64_t first = piece->number * PIECE;

    if (page < first)
      page = first;
    while (page < end && page < first + PIECE) {
      const uint64_t word = piece->bits[page % PIECE / 64] >> page % 64;

      if (word != 0) {
        page += (uint64_t) __builtin_ctzll (word);
        return page < end ? page : UINT64_MAX;
      }
      page = (page / 64 + 1) * 64;
    }
  }
  return UINT64_MAX;
}

static int
report_temporary (const struct overlay *o)
{
  vmdk_error (o->log, "%s: temporary file in folder %s: %m; TMPDIR names "
              "another", o->base->name, temporary_folder ());
  return -1;
}

/* What base has, as far as it is still there. */
static int
read_base (struct overlay *o, uint8_t *buf, size_t count, uint64_t offset)
{
  size_t n = count;

  if (offset >= o->from_base)
    n = 0;
  else if (n > o->from_base - offset)
    n = (size_t) (o->from_base - offset);
  memset (buf + n, 0, count - n);
  return n > 0 ? store_pread (o->base, buf, n, offset) : 0;
}

/* How many bytes from offset on, at most count, are in pages that are all
 * changed, or all aren't.
 */
static size_t
same_kind (const struct overlay *o, size_t count, uint64_t offset,
           bool *changed)
{
  uint64_t page = offset / OVERLAY_PAGE;
  uint64_t end;

  *changed = is_changed (o, page);
  if (!*changed) {
    end = next_changed (o, page, (offset + count - 1) / OVERLAY_PAGE + 1);
    end = end > UINT64_MAX / OVERLAY_PAGE ? UINT64_MAX : end * OVERLAY_PAGE;
  }
  else {
    while (is_changed (o, page) && page * OVERLAY_PAGE < offset + count)
      page++;
    end = page * OVERLAY_PAGE;
  }
  return end - offset < count ? (size_t) (end - offset) : count;
}

int
overlay_read (struct overlay *o, void *buf, size_t count, uint64_t offset)
{
  uint8_t *p = buf;

  while (count > 0) {
    bool changed;
    const size_t n = same_kind (o, count, offset, &changed);

    if (changed && temporary_read (o->fd, p, n, offset) == -1)
      return report_temporary (o);
    if (!changed && read_base (o, p, n, offset) == -1)
      return -1;
    p += n;
    count -= n;
    offset += n;
  }
  return 0;
}

static int
write_pages (struct overlay *o, const void *buf, size_t count,
             uint64_t offset)
{
  uint64_t page;

  if (o->fd == -1)
    o->fd = temporary_open ();
  if (o->fd == -1 || temporary_write (o->fd, buf, count, offset) == -1)
    return report_temporary (o);
  for (page = offset / OVERLAY_PAGE; page * OVERLAY_PAGE < offset + count;
       page++)
    if (mark (o, page) == -1)
      return report_temporary (o);
  return 0;
}

/* A part of a page. */
static int
write_part (struct overlay *o, const void *buf, size_t count,
            uint64_t offset)
{
  const uint64_t start = offset / OVERLAY_PAGE * OVERLAY_PAGE;
  uint8_t page[OVERLAY_PAGE];

  if (overlay_read (o, page, sizeof page, start) == -1)
    return -1;
  memcpy (page + (offset - start), buf, count);
  return write_pages (o, page, sizeof page, start);
}

/* The store. */

struct overlay_view {
  struct store s; /* must come first */
  struct overlay *o;
};

static struct overlay *
overlay_of (struct store *s)
{
  return ((struct overlay_view *) s)->o;
}

static int
overlay_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  return overlay_read (overlay_of (s), buf, count, offset);
}

static int
overlay_pwrite (struct store *s, const void *buf, size_t count,
                uint64_t offset)
{
  struct overlay *const o = overlay_of (s);
  const uint64_t end = offset + count;
  const uint8_t *p = buf;

  while (offset < end) {
    const uint64_t left = OVERLAY_PAGE - offset % OVERLAY_PAGE;
    size_t n = (size_t) (end - offset);
    int r;

    if (left == OVERLAY_PAGE && n >= OVERLAY_PAGE) {
      n -= n % OVERLAY_PAGE;
      r = write_pages (o, p, n, offset);
    }
    else {
      if (n > left)
        n = (size_t) left;
      r = write_part (o, p, n, offset);
    }
    if (r == -1)
      return -1;
    p += n;
    offset += n;
  }
  if (end > o->size)
    o->size = end;
  return 0;
}

static uint64_t
next_in_base (struct overlay *o, uint64_t offset)
{
  const uint64_t found =
    offset < o->from_base ? store_next_data (o->base, offset) : UINT64_MAX;

  return found < o->from_base ? found : UINT64_MAX;
}

static int
overlay_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  struct overlay *const o = overlay_of (s);
  const uint64_t base = next_in_base (o, offset);
  const uint64_t page = next_changed (o, offset / OVERLAY_PAGE,
                                      base / OVERLAY_PAGE + 1);

  *found = base;
  if (page != UINT64_MAX && page * OVERLAY_PAGE < base)
    *found = page * OVERLAY_PAGE > offset ? page * OVERLAY_PAGE : offset;
  if (*found >= o->size)
    *found = UINT64_MAX;
  return 0;
}

/* A changed page may hide a hole, which is no fault: it is data then. */
static int
overlay_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  struct overlay *const o = overlay_of (s);

  for (;;) {
    uint64_t start, stop, page;
    bool changed;

    offset += same_kind (o, SIZE_MAX >> 1, offset, &changed) * changed;
    if (offset >= o->from_base || offset >= o->size)
      break;
    store_find_data (o->base, offset, o->from_base, &start, &stop);
    if (start > offset)
      break;
    page = next_changed (o, offset / OVERLAY_PAGE, stop / OVERLAY_PAGE + 1);
    if (page == UINT64_MAX) {
      offset = stop;
      break;
    }
    offset = page * OVERLAY_PAGE;
  }
  *found = offset < o->size ? offset : o->size;
  return 0;
}

static int
overlay_make_writable (struct store *s)
{
  s->fresh_is_zero = true;
  return 0;
}

/* Pages that are cut off are zero from then on, and are seen so when the
 * file grows again.
 */
static int
overlay_resize (struct store *s, uint64_t size)
{
  struct overlay *const o = overlay_of (s);
  static const uint8_t zeroes[OVERLAY_PAGE];
  uint64_t page = size / OVERLAY_PAGE;

  if (size < o->from_base)
    o->from_base = size;
  while (size < o->size && (page = next_changed (o, page, UINT64_MAX)) !=
         UINT64_MAX) {
    const uint64_t start = page * OVERLAY_PAGE;
    const uint64_t keep = start < size ? size - start : 0;

    if (temporary_write (o->fd, zeroes, (size_t) (OVERLAY_PAGE - keep),
                         start + keep) == -1)
      return report_temporary (o);
    page++;
  }
  o->size = size;
  return 0;
}

static int
overlay_sync (struct store *s)
{
  (void) s;
  return 0;
}

static void
overlay_close (struct store *s)
{
  store_destroy (s);
  free (s);
}

static const struct store_ops overlay_ops = {
  .pread = overlay_pread,
  .next_data = overlay_next_data,
  .next_hole = overlay_next_hole,
  .make_writable = overlay_make_writable,
  .pwrite = overlay_pwrite,
  .resize = overlay_resize,
  .sync = overlay_sync,
  .close = overlay_close,
};

struct store *
overlay_store (struct overlay *o)
{
  struct overlay_view *const v = calloc (1, sizeof *v);

  if (v == NULL) {
    vmdk_error (o->log, "%s: %m", o->base->name);
    return NULL;
  }
  if (store_init (&v->s, &overlay_ops, o->log, o->base->name) == -1) {
    overlay_close (&v->s);
    return NULL;
  }
  v->o = o;
  v->s.size = o->size;
  v->s.lower = o->base;
  store_make_writable (&v->s);
  return &v->s;
}

/* The overlay. */

struct overlay *
overlay_new (const struct vmdk_log *log, struct store *base)
{
  struct overlay *const o = calloc (1, sizeof *o);

  if (o == NULL) {
    vmdk_error (log, "%s: %m", base->name);
    store_unref (base);
    return NULL;
  }
  *o = (struct overlay) {
    .log = log, .base = base, .fd = -1, .size = base->size,
    .from_base = base->size,
  };
  return o;
}

void
overlay_free (struct overlay *o)
{
  size_t i;

  if (o == NULL)
    return;
  for (i = 0; i < o->nr_changed; i++)
    free (o->changed[i].bits);
  free (o->changed);
  if (o->fd >= 0)
    close (o->fd);
  store_unref (o->base);
  free (o);
}

bool
overlay_next (const struct overlay *o, uint64_t offset, uint64_t max,
              uint64_t *start, uint64_t *end)
{
  const uint64_t first =
    next_changed (o, div_round_up (offset, OVERLAY_PAGE), UINT64_MAX);
  uint64_t page = first;

  if (first == UINT64_MAX)
    return false;
  while ((page - first) * OVERLAY_PAGE < max && is_changed (o, page))
    page++;
  *start = first * OVERLAY_PAGE;
  *end = page * OVERLAY_PAGE;
  return true;
}

bool
overlay_is_changed (const struct overlay *o)
{
  return o->size != o->base->size ||
    next_changed (o, 0, UINT64_MAX) != UINT64_MAX;
}
