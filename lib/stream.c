/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What streams have beyond other hosted sparse extents: a footer behind
 * the grains, compressed grains with a marker in front, and markers from
 * which the tables can be rebuilt when the footer is lost.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kdmv.h"
#include "temporary.h"

/* How far from the end of the file a footer is looked for: what was
 * appended to the stream is skipped, such as padding of archives.
 */
#define FOOTER_SEARCH (1 << 20)

/* Recovered tables may take 16 times the file (that is more than one small
 * grain in each table gives), but their entries count sectors with 32 bits.
 */
#define MIN_NEW_TABLES (UINT64_C (64) << 20)
#define MAX_NEW_TABLES (UINT32_MAX * SECTOR_SIZE)

/* Out of step, so many attempts to find a grain may fail. */
#define MAX_FALSE_GRAINS 4096

static bool
is_footer_marker (const uint8_t *sector)
{
  const struct kdmv_marker_disk *const m = (const void *) sector;

  return le32_get (m->size) == 0 && le32_get (m->type) == KDMV_MARKER_FOOTER;
}

/* The offset in buf of the last footer that its marker stands before, or
 * -1.  count is a multiple of the sector size.
 */
static ssize_t
find_last_footer (const uint8_t *buf, size_t count)
{
  size_t i;

  for (i = count / SECTOR_SIZE; i-- > 1; ) {
    const uint8_t *const sector = buf + i * SECTOR_SIZE;

    if (le32_at (sector) == KDMV_MAGIC &&
        is_footer_marker (sector - SECTOR_SIZE))
      return (ssize_t) (i * SECTOR_SIZE);
  }
  return -1;
}

static int
use_footer (struct kdmv *k, const uint8_t *sector, uint64_t offset)
{
  struct sparse *const sp = &k->sp;
  const bool recover = sp->e.ctx->options->recover;
  const struct vmdk_log *const log = recover ? &vmdk_no_log : &sp->e.ctx->log;
  struct kdmv_header footer;

  if (kdmv_decode_header (log, sp->e.store->name, "footer",
                          (const void *) sector, &footer) == -1)
    return recover ? 0 : -1;
  if (footer.gd_offset == KDMV_GD_AT_END) {
    if (recover)
      return 0;
    vmdk_error (log, "%s: the footer at offset %" PRIu64
                " doesn't say where the grain directory is (gdOffset is "
                "the same as in the header)", sp->e.store->name, offset);
    errno = EINVAL;
    return -1;
  }
  if (offset + 2 * SECTOR_SIZE != sp->e.store->size)
    vmdk_warning (&sp->e.ctx->log, "%s: the footer is at offset %" PRIu64
                  ", expected %" PRIu64 "; what follows the stream is "
                  "ignored", sp->e.store->name, offset,
                  sp->e.store->size - 2 * SECTOR_SIZE);
  if (footer.capacity == 0)
    footer.capacity = k->h.capacity;
  k->h = footer;
  k->has_footer = true;
  k->footer = offset;
  return 1;
}

int
stream_find_footer (struct kdmv *k)
{
  struct store *const store = k->sp.e.store;
  const uint64_t end = store->size / SECTOR_SIZE * SECTOR_SIZE;
  const uint64_t start = end > FOOTER_SEARCH ? end - FOOTER_SEARCH : 0;
  const size_t count = (size_t) (end - start);
  uint8_t *const buf = malloc (count);
  ssize_t at;
  int r = -1;

  if (buf == NULL)
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", store->name);
  else if (store_pread (store, buf, count, start) == 0) {
    at = find_last_footer (buf, count);
    r = at == -1 ? 0 : use_footer (k, buf + at, start + (uint64_t) at);
  }
  free (buf);
  return r;
}

/* Inflating. */

static bool
has_markers (const struct kdmv *k)
{
  return (k->h.flags & KDMV_FLAG_MARKERS) != 0;
}

static size_t
grain_header_size (const struct kdmv *k)
{
  return has_markers (k) ? KDMV_MARKER_GRAIN_HEADER : KDMV_PLAIN_GRAIN_HEADER;
}

/* Most that a compressed grain with its header may have.  What doesn't
 * compress grows a little; twice the grain is more than enough.
 */
static size_t
max_packed (const struct kdmv *k)
{
  return 2 * (size_t) k->sp.e.grain_size;
}

static int
bad_grain (const struct kdmv *k, const struct run *run, const char *what)
{
  vmdk_error (&k->sp.e.ctx->log,
              "%s: compressed grain %" PRIu64 " at offset %" PRIu64 " %s",
              k->sp.e.store->name, run->grain, run->file_offset, what);
  errno = EIO;
  return -1;
}

/* The bytes of the grain in the file from its header on, or 0 after an
 * error; header is what stands at run->file_offset.
 */
static size_t
packed_size (const struct kdmv *k, const struct run *run,
             const uint8_t *header)
{
  const uint64_t lba = run->grain * k->sp.e.grain_size / SECTOR_SIZE;
  const size_t header_size = grain_header_size (k);
  const uint32_t size = le32_at (header + header_size - 4);
  char text[120];

  if (has_markers (k) && size != 0 && le64_at (header) != lba) {
    snprintf (text, sizeof text, "belongs to guest sector %" PRIu64
              " by its marker, expected %" PRIu64, le64_at (header), lba);
    bad_grain (k, run, text);
    return 0;
  }
  if (size == 0 || size > max_packed (k) - header_size) {
    snprintf (text, sizeof text, "has a compressed size of %" PRIu32
              ", expected 1 to %zu", size, max_packed (k) - header_size);
    bad_grain (k, run, text);
    return 0;
  }
  if (size + header_size > k->sp.e.store->size - run->file_offset) {
    bad_grain (k, run, "reaches past the end of the file; "
               "was it truncated?");
    return 0;
  }
  return size + header_size;
}

/* Reads the grain with its header to buf, mostly in one go. */
static int
read_packed (const struct kdmv *k, const struct run *run, uint8_t *buf,
             size_t *count)
{
  struct store *const store = k->sp.e.store;
  const uint64_t left = store->size - run->file_offset;
  size_t first = run->packed_hint ? run->packed_hint
    : k->sp.e.grain_size / 2 + SECTOR_SIZE;

  if (first > max_packed (k))
    first = max_packed (k);
  if (first > left)
    first = (size_t) left;
  if (first < grain_header_size (k))
    return bad_grain (k, run, "is cut off by the end of the file");
  if (store_pread (store, buf, first, run->file_offset) == -1)
    return -1;
  *count = packed_size (k, run, buf);
  if (*count == 0)
    return -1;
  if (*count > first)
    return store_pread (store, buf + first, *count - first,
                        run->file_offset + first);
  return 0;
}

static int
inflate_grain (const struct kdmv *k, const struct run *run,
               struct inflater *inflater, size_t count, void *buf)
{
  const uint32_t grain_size = k->sp.e.grain_size;
  const uint64_t start = run->grain * grain_size;
  const uint64_t valid =
    k->sp.e.size - start < grain_size ? k->sp.e.size - start : grain_size;
  const size_t header_size = grain_header_size (k);
  size_t n = grain_size;
  const char *const wrong =
    inflater_run (inflater, inflater->input + header_size,
                  count - header_size, buf, &n);
  char text[80];

  if (wrong)
    return bad_grain (k, run, wrong);
  if (n < valid) {
    snprintf (text, sizeof text, "inflates to %zu bytes, expected %" PRIu64,
              n, valid);
    return bad_grain (k, run, text);
  }
  memset ((char *) buf + n, 0, grain_size - n);
  return 0;
}

int
stream_unpack (struct extent *e, const struct run *run, void *buf)
{
  const struct kdmv *const k = (const struct kdmv *) e;
  struct inflater *const inflater =
    inflater_acquire (e->ctx->inflaters, max_packed (k));
  size_t count = 0;
  int r;

  if (inflater == NULL) {
    vmdk_error (&e->ctx->log, "%s: %m", e->store->name);
    return -1;
  }
  r = read_packed (k, run, inflater->input, &count);
  if (r == 0)
    r = inflate_grain (k, run, inflater, count, buf);
  inflater_release (e->ctx->inflaters, inflater);
  return r;
}

/* Recovery: walking through the file from marker to marker. */

struct scan {
  struct kdmv *k;
  uint64_t max_lba;   /* sectors; grains begin below */
  bool in_step;       /* the last marker was where it was expected */
  uint64_t grains;
  uint64_t duplicates;
  unsigned false_grains; /* that looked like one out of step */
  uint64_t end_lba;   /* behind the last grain, sectors */

  /* A window of the file, so that stepping over sectors is cheap. */
  uint8_t window[65536];
  uint64_t window_start, window_end;

  /* The new tables: see new_tables. */
  int fd;
  uint64_t next_table; /* byte offset */
  uint64_t table;      /* number of the one in entries, or UINT64_MAX */
  uint64_t table_at;   /* its offset */
  le32 *entries;
};

static const uint8_t *
window_at (struct scan *s, uint64_t p)
{
  struct store *const store = s->k->sp.e.store;

  if (p < s->window_start || p + SECTOR_SIZE > s->window_end) {
    uint64_t n = store->size - p;

    if (n > sizeof s->window)
      n = sizeof s->window;
    if (store_pread (store, s->window, (size_t) n, p) == -1)
      return NULL;
    s->window_start = p;
    s->window_end = p + n;
  }
  return s->window + (p - s->window_start);
}

/* Out of step, whatever looks like a marker must prove that it is one. */
static bool
grain_inflates (struct scan *s, uint64_t lba, uint64_t p)
{
  struct extent *const e = &s->k->sp.e;
  const struct vmdk_log log = e->ctx->log;
  const struct run run = {
    .kind = RUN_PACKED, .file_offset = p,
    .grain = lba * SECTOR_SIZE / e->grain_size,
  };
  void *const buf = malloc (e->grain_size);
  bool ok;

  if (buf == NULL)
    return false;
  e->ctx->log.error = NULL; /* failing is no error here */
  ok = stream_unpack (e, &run, buf) == 0;
  s->false_grains += !ok;
  e->ctx->log = log;
  free (buf);
  return ok;
}

static bool
looks_like_grain (struct scan *s, const uint8_t *sector, uint64_t p)
{
  const struct sparse *const sp = &s->k->sp;
  const uint64_t lba = le64_at (sector);
  const uint64_t size = le32_at (sector + 8);
  const uint8_t *const z = sector + KDMV_MARKER_GRAIN_HEADER;

  return lba % (sp->e.grain_size / SECTOR_SIZE) == 0 && lba < s->max_lba &&
    size + KDMV_MARKER_GRAIN_HEADER <= max_packed (s->k) &&
    size + KDMV_MARKER_GRAIN_HEADER <= sp->e.store->size - p &&
    p / SECTOR_SIZE <= UINT32_MAX && (z[0] & 15) == 8 &&
    (z[0] * 256U + z[1]) % 31 == 0 &&
    (s->in_step || grain_inflates (s, lba, p));
}

/* Sectors from this one to the next marker. */
static uint64_t
sectors_of_marker (const struct scan *s, const uint8_t *sector)
{
  const struct sparse *const sp = &s->k->sp;

  switch (le32_at (sector + 12)) {
  case KDMV_MARKER_GT:
    return 1 + div_round_up (sparse_gt_bytes (sp), SECTOR_SIZE);
  case KDMV_MARKER_GD:
    /* Its size follows from the capacity, which isn't always known. */
    return 1 + (le64_at (sector) <= 65536 ? le64_at (sector) : 0);
  case KDMV_MARKER_FOOTER:
    return 2;
  default:
    return 1;
  }
}

/* Each attempt may inflate megabytes, so a file can't have any number. */
static int
check_false_grains (const struct scan *s, uint64_t p)
{
  if (s->false_grains <= MAX_FALSE_GRAINS)
    return 0;
  vmdk_error (&s->k->sp.e.ctx->log, "%s: recover: before offset %" PRIu64
              " more than %d sectors look like the start of a grain, but "
              "don't inflate", s->k->sp.e.store->name, p, MAX_FALSE_GRAINS);
  errno = EINVAL;
  return -1;
}

/* The next sector that isn't in a hole: which has no markers, and may be
 * longer than anybody wants to wait.
 */
static uint64_t
skip_hole (const struct scan *s, uint64_t p)
{
  struct store *const store = s->k->sp.e.store;
  uint64_t data;

  if (p >= s->window_start && p + SECTOR_SIZE <= s->window_end)
    return p;
  data = store_next_data (store, p);
  return data == UINT64_MAX ? store->size : data / SECTOR_SIZE * SECTOR_SIZE;
}

/* Calls found for each grain. */
static int
scan_markers (struct scan *s,
              int (*found) (struct scan *s, uint64_t lba, uint64_t p))
{
  const struct store *const store = s->k->sp.e.store;
  uint64_t p = div_round_up (s->k->sp.data_start, SECTOR_SIZE) * SECTOR_SIZE;

  s->in_step = true;
  for (p = skip_hole (s, p); store->size - p >= SECTOR_SIZE;
       p = skip_hole (s, p)) {
    const uint8_t *const sector = window_at (s, p);
    uint64_t n = 1;

    if (sector == NULL)
      return -1;
    if (le32_at (sector + 8) == 0) {
      n = sectors_of_marker (s, sector);
      if (le32_at (sector + 12) > KDMV_MARKER_PROGRESS)
        s->in_step = false;
    }
    else if (looks_like_grain (s, sector, p)) {
      n = div_round_up (KDMV_MARKER_GRAIN_HEADER + le32_at (sector + 8),
                        SECTOR_SIZE);
      s->in_step = true;
      if (found (s, le64_at (sector), p) == -1)
        return -1;
    }
    else {
      s->in_step = false;
      if (check_false_grains (s, p) == -1)
        return -1;
    }
    p += n * SECTOR_SIZE;
  }
  return 0;
}

static int
found_end (struct scan *s, uint64_t lba, uint64_t p)
{
  const uint64_t end = lba + s->k->sp.e.grain_size / SECTOR_SIZE;

  (void) p;
  if (end > s->end_lba)
    s->end_lba = end;
  return 0;
}

/* The new tables: a file without a name, laid out like an extent with
 * its directory at sector 1 and tables behind, in order of first use.
 */

/* The markers decide how large the new tables are, and they may lie. */
static int
check_tables_size (const struct scan *s)
{
  const struct store *const store = s->k->sp.e.store;
  const uint64_t most = store->size > MAX_NEW_TABLES / 16 ? MAX_NEW_TABLES
    : 16 * store->size + MIN_NEW_TABLES;

  if (s->next_table <= most)
    return 0;
  vmdk_error (&s->k->sp.e.ctx->log, "%s: recover: the tables would need %"
              PRIu64 " bytes, expected at most %" PRIu64 " for a file of %"
              PRIu64 " bytes; are the markers right?", store->name,
              s->next_table, most, store->size);
  errno = EINVAL;
  return -1;
}

static int
report_tables (const struct scan *s)
{
  vmdk_error (&s->k->sp.e.ctx->log,
              "%s: recover: temporary file for the tables in folder %s: %m; "
              "TMPDIR names another", s->k->sp.e.store->name,
              temporary_folder ());
  return -1;
}

static int
save_table (struct scan *s)
{
  if (s->table == UINT64_MAX)
    return 0;
  if (temporary_write (s->fd, s->entries, sparse_gt_bytes (&s->k->sp),
                   s->table_at) == -1)
    return report_tables (s);
  return 0;
}

/* Makes table number the current one. */
static int
load_table (struct scan *s, uint64_t number)
{
  const size_t size = sparse_gt_bytes (&s->k->sp);
  const uint64_t gde_at = SECTOR_SIZE + number * sizeof (le32);
  uint32_t gde;

  if (save_table (s) == -1)
    return -1;
  s->table = number;
  memset (s->entries, 0, size);
  if (pread (s->fd, &gde, sizeof gde, (off_t) gde_at) == -1)
    return report_tables (s);
  if (gde != 0) {
    s->table_at = le32toh (gde) * SECTOR_SIZE;
    return pread (s->fd, s->entries, size, (off_t) s->table_at) == -1 ?
      report_tables (s) : 0;
  }
  s->table_at = s->next_table;
  s->next_table += div_round_up (size, SECTOR_SIZE) * SECTOR_SIZE;
  if (check_tables_size (s) == -1)
    return -1;
  gde = htole32 ((uint32_t) (s->table_at / SECTOR_SIZE));
  return temporary_write (s->fd, &gde, sizeof gde, gde_at) == -1 ?
    report_tables (s) : 0;
}

static int
found_grain (struct scan *s, uint64_t lba, uint64_t p)
{
  const struct sparse *const sp = &s->k->sp;
  const uint64_t grain = lba * SECTOR_SIZE / sp->e.grain_size;
  const uint64_t number = grain / sp->gtes_per_gt;
  const uint32_t gte = htole32 ((uint32_t) (p / SECTOR_SIZE));
  le32 *entry;

  if (number != s->table && load_table (s, number) == -1)
    return -1;
  entry = &s->entries[grain % sp->gtes_per_gt];
  if (le32_get (*entry) != 0)
    s->duplicates++;
  memcpy (entry, &gte, sizeof gte);
  s->grains++;
  return 0;
}

static int
use_new_tables (struct scan *s)
{
  struct sparse *const sp = &s->k->sp;
  struct store *tables;

  /* The file must be as long as the directory says. */
  if (ftruncate (s->fd, (off_t) s->next_table) == -1)
    return report_tables (s);
  tables = store_file_new (&sp->e.ctx->log, s->fd, "(recovered tables)");
  s->fd = -1;
  if (tables == NULL)
    return -1;
  store_unref (sp->tables);
  sp->tables = tables;
  s->k->descriptor_end = SECTOR_SIZE; /* there is none in that file */
  sp->gd[0] = SECTOR_SIZE;
  sp->gd[1] = 0;
  s->k->recovered = true;
  s->k->has_footer = false; /* it isn't used */
  return 0;
}

static int
make_tables (struct scan *s)
{
  const struct sparse *const sp = &s->k->sp;
  const uint64_t gd_sectors = div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE);

  s->table = UINT64_MAX;
  s->next_table = (1 + gd_sectors) * SECTOR_SIZE;
  if (check_tables_size (s) == -1)
    return -1;
  s->entries = calloc (1, sparse_gt_bytes (sp));
  s->fd = s->entries ? temporary_open () : -1;
  if (s->fd == -1)
    return report_tables (s);
  if (ftruncate (s->fd, (off_t) s->next_table) == -1)
    return report_tables (s);
  if (scan_markers (s, found_grain) == -1 || save_table (s) == -1)
    return -1;
  return use_new_tables (s);
}

static int
find_capacity (struct scan *s)
{
  struct sparse *const sp = &s->k->sp;

  s->max_lba = VMDK_MAX_SIZE / SECTOR_SIZE;
  if (sp->capacity == 0) {
    sp->e.size = VMDK_MAX_SIZE; /* for now: a grain may be anywhere */
    if (scan_markers (s, found_end) == -1)
      return -1;
    sp->capacity = s->k->h.capacity = s->end_lba * SECTOR_SIZE;
    sparse_set_geometry (sp);
  }
  s->max_lba = sp->capacity / SECTOR_SIZE;
  sp->e.size = sp->capacity;
  return 0;
}

int
stream_recover (struct kdmv *k)
{
  struct scan *const s = calloc (1, sizeof *s);
  int r = -1;

  if (s == NULL) {
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", k->sp.e.store->name);
    return -1;
  }
  s->k = k;
  s->fd = -1;
  if (find_capacity (s) == 0)
    r = make_tables (s);
  if (r == 0)
    vmdk_warning (&k->sp.e.ctx->log,
                  "%s: recovered: %" PRIu64 " grains were found by their "
                  "markers, %" PRIu64 " of them more than once; everything "
                  "else reads as if it had never been written",
                  k->sp.e.store->name, s->grains, s->duplicates);
  if (s->fd >= 0)
    close (s->fd);
  free (s->entries);
  free (s);
  return r;
}
