/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking streams: footer and markers, and every grain, which is inflated
 * for that.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>

#include "check-kdmv.h"

#define BUFFER_SIZE (1 << 20) /* or the longest grain */
#define FOOTER_SEARCH (1 << 20)

struct stream_check {
  struct sparse_check c; /* must come first */
  struct kdmv *k;
  uint64_t header_size;  /* bytes before a grain's data */
  uint64_t last;         /* where the grain before begins */

  /* A part of the file, and a grain that was inflated. */
  uint8_t *buf;
  size_t buf_size;
  uint64_t buf_start, buf_end;
  uint8_t *grain;
};

/* The file at [position, position+count), which must be in it.  Grains
 * mostly follow each other, then it is read in large pieces.
 */
static const uint8_t *
get_bytes (struct stream_check *s, uint64_t position, size_t count)
{
  struct store *const store = s->c.sp->e.store;
  uint64_t n = count;

  if (position >= s->buf_start && position + count <= s->buf_end)
    return s->buf + (position - s->buf_start);
  if (position >= s->buf_start && position <= s->buf_end + BUFFER_SIZE)
    n = s->buf_size;
  if (n > store->size - position)
    n = store->size - position;
  s->buf_end = s->buf_start;
  if (store_pread (store, s->buf, (size_t) n, position) == -1)
    return NULL;
  s->buf_start = position;
  s->buf_end = position + n;
  return s->buf;
}

static bool
in_file (const struct stream_check *s, uint64_t position, uint64_t count)
{
  const uint64_t size = s->c.sp->e.store->size;

  return position <= size && count <= size - position;
}

/* Grains. */

/* The bytes that the guest can see of it. */
static uint64_t
visible (const struct sparse *sp, uint64_t grain)
{
  const uint64_t start = grain * sp->e.grain_size;

  if (start >= sp->e.size)
    return 0;
  return sp->e.size - start < sp->e.grain_size ? sp->e.size - start
    : sp->e.grain_size;
}

static int
check_data (struct stream_check *s, uint64_t grain, uint64_t position,
            const uint8_t *data, size_t count)
{
  struct context *const ctx = s->c.sp->e.ctx;
  struct inflater *const inflater =
    inflater_acquire (ctx->inflaters, 2 * (size_t) s->c.sp->e.grain_size);
  size_t n = s->c.sp->e.grain_size;
  const char *wrong;

  if (inflater == NULL) {
    vmdk_error (&ctx->log, "%s: %m", s->c.file);
    return -1;
  }
  wrong = inflater_run (inflater, data, count, s->grain, &n);
  inflater_release (ctx->inflaters, inflater);
  if (wrong)
    check_defect (s->c.check, VMDK_ERROR, "grain-corrupt", s->c.file,
                  "grain %" PRIu64 " at offset %" PRIu64 " %s", grain,
                  position, wrong);
  else if (n < visible (s->c.sp, grain))
    check_defect (s->c.check, VMDK_ERROR, "grain-corrupt", s->c.file,
                  "grain %" PRIu64 " at offset %" PRIu64 " inflates to %zu "
                  "bytes, expected %" PRIu64, grain, position, n,
                  visible (s->c.sp, grain));
  return 0;
}

/* False: the grain's data can't be read, which was reported. */
static bool
check_grain_header (struct stream_check *s, uint64_t grain,
                    uint64_t position, const uint8_t *header)
{
  const struct sparse *const sp = s->c.sp;
  const uint64_t lba = grain * (sp->e.grain_size / SECTOR_SIZE);
  const uint32_t size = le32_at (header + s->header_size - 4);
  const uint64_t most = 2 * (uint64_t) sp->e.grain_size - s->header_size;

  if (size == 0 || size > most ||
      !in_file (s, position, s->header_size + size)) {
    check_defect (s->c.check, VMDK_ERROR, "grain-length", s->c.file,
                  "grain %" PRIu64 " at offset %" PRIu64 " has a compressed "
                  "size of %" PRIu32 ", expected 1 to %" PRIu64 ", inside of "
                  "the file", grain, position, size, most);
    check_at_code (s->c.check, "grain-length", &s->c.sp->e);
    return false;
  }
  if ((s->k->h.flags & KDMV_FLAG_MARKERS) && le64_at (header) != lba) {
    check_defect (s->c.check, VMDK_ERROR, "marker-lba", s->c.file,
                  "grain %" PRIu64 " at offset %" PRIu64 " is for guest "
                  "sector %" PRIu64 " by its marker, expected %" PRIu64,
                  grain, position, le64_at (header), lba);
    check_at (s->c.check, &(struct check_place) {
        .code = "marker-lba", .e = &s->c.sp->e, .number = grain,
        .position = position });
  }
  return true;
}

static int
measure (struct sparse_check *c, uint64_t grain, uint64_t position,
         bool again, uint64_t *length)
{
  struct stream_check *const s = (struct stream_check *) c;
  const uint8_t *p;
  uint32_t size;

  *length = 0;
  if (!in_file (s, position, s->header_size)) {
    check_defect (c->check, VMDK_ERROR, "grain-length", c->file,
                  "grain %" PRIu64 " at offset %" PRIu64 " is cut off by the "
                  "end of the file", grain, position);
    check_at_code (c->check, "grain-length", &c->sp->e);
    return 0;
  }
  p = get_bytes (s, position, (size_t) s->header_size);
  if (p == NULL)
    return -1;
  if (!check_grain_header (s, grain, position, p))
    return 0;
  size = le32_at (p + s->header_size - 4);
  *length = div_round_up (s->header_size + size, SECTOR_SIZE) * SECTOR_SIZE;
  if (again)
    return 0;
  p = get_bytes (s, position, (size_t) s->header_size + size);
  if (p == NULL)
    return -1;
  return check_data (s, grain, position, p + s->header_size, size);
}

static void
check_placed (struct sparse_check *c, uint64_t grain, uint64_t position,
              uint64_t n)
{
  struct stream_check *const s = (struct stream_check *) c;

  (void) n; /* 1: they are packed */
  if (position < s->last)
    check_defect (c->check, VMDK_WARNING, "stream-order", c->file,
                  "grain %" PRIu64 " is at offset %" PRIu64 ", before the "
                  "one with the next lower number at %" PRIu64 "; programs "
                  "that read from front to back refuse that", grain,
                  position, s->last);
  s->last = position;
}

/* Markers that name no grain, and padding, are no loss.  One sector of
 * them is enough to be seen.
 */
static int
check_gap (struct sparse_check *c, uint64_t start, uint64_t length,
           uint64_t *unused)
{
  struct stream_check *const s = (struct stream_check *) c;
  const uint64_t size = c->sp->e.store->size;
  const uint64_t end = start + length < size ? start + length : size;
  uint64_t p;

  *unused = 0;
  for (p = start; p < end && end - p >= SECTOR_SIZE; p += SECTOR_SIZE) {
    const uint8_t *sector;

    if (p < s->buf_start || p >= s->buf_end) { /* it may be a large hole */
      const uint64_t data = store_next_data (c->sp->e.store, p);

      if (data >= end)
        break;
      p = data / SECTOR_SIZE * SECTOR_SIZE;
      if (end - p < SECTOR_SIZE)
        break;
    }
    sector = get_bytes (s, p, SECTOR_SIZE);
    if (sector == NULL)
      return -1;
    if (le32_at (sector + 8) != 0) {
      *unused = end - p;
      break;
    }
  }
  return 0;
}

static const struct sparse_check_ops ops = {
  .zeroed = kdmv_check_zeroed,
  .placed = check_placed,
  .measure = measure,
  .gap = check_gap,
};

/* Markers of tables. */

static int
check_marker (struct stream_check *s, const char *what, uint64_t number,
              uint64_t position, uint32_t type, uint64_t sectors)
{
  struct kdmv_marker_disk m;

  if (position < SECTOR_SIZE)
    return 0;
  if (store_pread (s->c.sp->e.store, &m, sizeof m,
                   position - SECTOR_SIZE) == -1)
    return -1;
  if (le32_get (m.size) != 0 || le32_get (m.type) != type ||
      le64_get (m.value) != sectors) {
    check_defect (s->c.check, VMDK_WARNING, "table-marker", s->c.file,
                  "the marker before grain %s %" PRIu64 " has size %" PRIu32
                  ", type %" PRIu32 " and %" PRIu64 " sectors, expected 0, %"
                  PRIu32 " and %" PRIu64, what, number, le32_get (m.size),
                  le32_get (m.type), le64_get (m.value), type, sectors);
    check_at_code (s->c.check, "table-marker", &s->c.sp->e);
  }
  return 0;
}

static int
check_table_marker (struct sparse_check *c, void *opaque, unsigned copy,
                    uint64_t number, uint64_t position)
{
  (void) opaque;
  (void) copy;
  return check_marker ((struct stream_check *) c, "table", number, position,
                       KDMV_MARKER_GT, sparse_gt_bytes (c->sp) / SECTOR_SIZE);
}

static int
check_table_markers (struct stream_check *s)
{
  const uint64_t gd = div_round_up (sparse_gd_bytes (s->c.sp), SECTOR_SIZE);

  if (check_marker (s, "directory", 0, s->c.sp->gd[0], KDMV_MARKER_GD,
                    gd) == -1)
    return -1;
  return sparse_check_places (&s->c, check_table_marker, NULL);
}

/* The footer. */

static bool
is_zero (const uint8_t *p, size_t n)
{
  while (n > 0 && *p == 0)
    p++, n--;
  return n == 0;
}

/* The sector behind a footer's marker. */
static bool
is_footer (const uint8_t *p)
{
  const uint8_t *const marker = p - SECTOR_SIZE;

  return le32_at (p) == KDMV_MAGIC && le32_at (marker + 8) == 0 &&
    le32_at (marker + 12) == KDMV_MARKER_FOOTER;
}

/* The offset of the last one in buf, or 0. */
static size_t
find_footer (const uint8_t *buf, size_t count)
{
  size_t i;

  for (i = count / SECTOR_SIZE; i-- > 1; )
    if (is_footer (buf + i * SECTOR_SIZE))
      return i * SECTOR_SIZE;
  return 0;
}

static void
check_end (struct stream_check *s, uint64_t footer)
{
  struct store *const store = s->c.sp->e.store;
  const uint64_t eos = footer + SECTOR_SIZE;
  uint8_t sector[SECTOR_SIZE];

  if (!in_file (s, eos, SECTOR_SIZE) ||
      store_pread (store, sector, sizeof sector, eos) == -1 ||
      !is_zero (sector, sizeof (struct kdmv_marker_disk))) {
    check_defect (s->c.check, VMDK_ERROR, "footer-missing", s->c.file,
                  "there is no end-of-stream marker at offset %" PRIu64
                  " behind the footer", eos);
    check_at_code (s->c.check, "footer-missing", &s->c.sp->e);
  }
  else if (store->size > eos + SECTOR_SIZE) {
    check_defect (s->c.check, VMDK_WARNING, "trailing-data", s->c.file,
                  "%" PRIu64 " bytes follow the end of the stream at offset %"
                  PRIu64, store->size - eos - SECTOR_SIZE,
                  eos + SECTOR_SIZE);
    check_at (s->c.check, &(struct check_place) {
        .code = "trailing-data", .e = &s->c.sp->e,
        .position = eos + SECTOR_SIZE });
  }
}

static int
check_footer (struct stream_check *s)
{
  struct store *const store = s->c.sp->e.store;
  const uint64_t end = store->size / SECTOR_SIZE * SECTOR_SIZE;
  const uint64_t start = end > FOOTER_SEARCH ? end - FOOTER_SEARCH : 0;
  uint64_t footer;

  if (store_pread (store, s->buf, (size_t) (end - start), start) == -1)
    return -1;
  footer = find_footer (s->buf, (size_t) (end - start));
  if (footer == 0)
    return 0; /* the file has changed */
  footer += start;
  check_end (s, footer);
  sparse_check_add_meta (&s->c, footer - SECTOR_SIZE, store->size - footer +
                         SECTOR_SIZE);
  sparse_check_add_meta (&s->c, s->c.sp->gd[0] - SECTOR_SIZE,
                         SECTOR_SIZE + sparse_gd_bytes (s->c.sp));
  return 0;
}

static void
differs (struct stream_check *s, const char *field, uint64_t header,
         uint64_t footer)
{
  if (header != footer) {
    check_defect (s->c.check, VMDK_WARNING, "footer-differs", s->c.file,
                  "%s is 0x%" PRIx64 " in the header, but 0x%" PRIx64
                  " in the footer, which is used", field, header, footer);
    check_at_code (s->c.check, "footer-differs", &s->c.sp->e);
  }
}

static int
compare_footer (struct stream_check *s)
{
  const struct kdmv_header *const f = &s->k->h;
  struct kdmv_header h;

  if (kdmv_read_header (&s->c.sp->e.ctx->log, s->c.sp->e.store, &h) == -1)
    return -1;
  differs (s, "version", h.version, f->version);
  differs (s, "flags", h.flags, f->flags);
  if (h.capacity != 0) /* it may not have been known yet */
    differs (s, "capacity", h.capacity / SECTOR_SIZE,
             f->capacity / SECTOR_SIZE);
  differs (s, "grainSize", h.grain_size / SECTOR_SIZE,
           f->grain_size / SECTOR_SIZE);
  differs (s, "numGTEsPerGT", h.gtes_per_gt, f->gtes_per_gt);
  differs (s, "overHead", h.overhead / SECTOR_SIZE,
           f->overhead / SECTOR_SIZE);
  return 0;
}

/* Where a header that names its directory doesn't need a footer, there may
 * be one all the same, and nothing but zeroes should follow.
 */
static int
check_front_end (struct stream_check *s)
{
  struct store *const store = s->c.sp->e.store;
  const uint64_t end = sparse_check_used_end (&s->c);
  uint64_t p = end > s->c.sp->data_start ? end : s->c.sp->data_start;
  uint64_t behind;

  if (in_file (s, p, 2 * SECTOR_SIZE)) {
    if (store_pread (store, s->buf, 2 * SECTOR_SIZE, p) == -1)
      return -1;
    if (is_footer (s->buf + SECTOR_SIZE))
      p += 2 * SECTOR_SIZE;
  }
  behind = p;
  while (p < store->size && s->c.shared_tables <= MAX_SHARED_TABLES) {
    uint64_t start, stop, n;

    store_find_data (store, p, store->size, &start, &stop);
    if (start == UINT64_MAX)
      break;
    n = stop - start < BUFFER_SIZE ? stop - start : BUFFER_SIZE;
    if (store_pread (store, s->buf, (size_t) n, start) == -1)
      return -1;
    if (!is_zero (s->buf, (size_t) n)) {
      check_defect (s->c.check, VMDK_WARNING, "trailing-data", s->c.file,
                    "there is data between the end of the stream at offset %"
                    PRIu64 " and the end of the file at %" PRIu64,
                    end, store->size);
      check_at (s->c.check, &(struct check_place) {
          .code = "trailing-data", .e = &s->c.sp->e, .position = behind });
      break;
    }
    p = start + n;
  }
  return 0;
}

static int
check_all (struct stream_check *s)
{
  if (s->k->recovered) {
    check_defect (s->c.check, VMDK_ERROR, "footer-missing", s->c.file,
                  "there is no footer; what can be found by the grains' "
                  "markers is checked");
    check_at_code (s->c.check, "footer-missing", &s->c.sp->e);
  }
  if (s->k->has_footer) {
    if (check_footer (s) == -1 || compare_footer (s) == -1 ||
        check_table_markers (s) == -1)
      return -1;
    s->c.table_header = SECTOR_SIZE;
  }
  if (sparse_check_tables (&s->c) == -1 ||
      sparse_check_space (&s->c, 0) == -1)
    return -1;
  if (s->k->has_footer || s->k->recovered)
    return 0;
  return check_front_end (s);
}

int
stream_check (struct kdmv *k, struct check *check)
{
  const uint64_t grain_size = k->sp.e.grain_size;
  struct stream_check s = { .k = k };
  int r;

  r = sparse_check_init (&s.c, check, &k->sp, &ops);
  s.header_size = (k->h.flags & KDMV_FLAG_MARKERS) ? KDMV_MARKER_GRAIN_HEADER
    : KDMV_PLAIN_GRAIN_HEADER;
  s.buf_size = 2 * grain_size > BUFFER_SIZE ? 2 * grain_size : BUFFER_SIZE;
  s.buf = malloc (s.buf_size);
  s.grain = malloc (grain_size);
  if (r == 0 && (s.buf == NULL || s.grain == NULL)) {
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", s.c.file);
    r = -1;
  }
  if (r == 0)
    r = check_all (&s);
  free (s.buf);
  free (s.grain);
  sparse_check_release (&s.c);
  return r;
}
