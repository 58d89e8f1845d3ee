/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Grain directories and tables.
 *
 * Pages of tables are known to the cache by the number of their first
 * grain, so that a hit needs no look at the directory.  What isn't there
 * costs a look at the GDE; where no table exists nothing is cached.
 *
 * An entry that can't be right is looked up in the redundant copy while
 * its page is loaded.  If that is no better it stays, and fails those
 * requests that need it.
 *
 * A walk over a long range, for block status, would fill the cache with
 * pages that say nothing: the tables of a large disk are mostly blank.
 * They are holes of the file, which the file system can say, but for
 * those that share a block of the file with others.  Such a walk looks at
 * them through a window of its own.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <string.h>

#include "tables.h"

/* What a page holds is part of its number in the cache. */
#define GT_PAGES UINT64_C (0)
#define GD_PAGES(copy) ((uint64_t) ((copy) + 1) << 62)

/* Where a grain table is. */
struct table {
  uint64_t number;
  uint64_t place; /* byte offset */
};

uint64_t
tables_per_page (const struct sparse *sp)
{
  const uint64_t n = TABLE_PAGE_SIZE / sp->format->entry_size;

  return sp->gtes_per_gt < n ? sp->gtes_per_gt : n;
}

size_t
tables_page_size (const struct sparse *sp)
{
  return tables_per_page (sp) * sp->format->entry_size;
}

void
tables_put (struct sparse *sp, struct table_page *page)
{
  if (page->pinned)
    cache_put (sp->e.ctx->tables, page->data);
}

static void
warn_mirror (struct sparse *sp, const char *what, uint64_t number)
{
  if (!atomic_exchange (&sp->warned_mirror, true))
    vmdk_warning (&sp->e.ctx->log,
                  "%s: grain %s %" PRIu64 " is damaged; the redundant copy "
                  "is used (not said again for others); run vmdk-img repair",
                  sp->e.store->name, what, number);
}

/* Directories. */

struct gd_page {
  struct sparse *sp;
  unsigned copy;
  uint64_t first; /* GDE */
};

static enum entry_kind
gde_kind (const struct sparse *sp, const void *page, uint64_t i)
{
  uint64_t position;

  return tables_gde (sp, page, i, &position);
}

/* Who keeps tables twice has all of them from the beginning, so an entry
 * without one is as suspect as one that can't be right, if the redundant
 * directory has one.  Its table says the same as the lost one did; but
 * it is another one, which a writer must not take for the first.
 */
static int
fill_mended_gd_page (const struct gd_page *p, void *data, size_t count)
{
  struct sparse *const sp = p->sp;
  const unsigned entry_size = sp->format->entry_size;
  const uint64_t n = count / entry_size;
  alignas (8) uint8_t mirror[TABLE_PAGE_SIZE];
  const int r = store_pread (sp->tables, data, count,
                             sp->gd[0] + p->first * entry_size);
  uint64_t i = 0;

  while (r == 0 && i < n && gde_kind (sp, data, i) == ENTRY_PLACE)
    i++;
  if ((r == 0 && i == n) || (r == -1 && sp->writer))
    return r;
  if (store_pread (sp->tables, mirror, count,
                   sp->gd[1] + p->first * entry_size) == -1)
    return sp->unclean ? -1 : r;
  if (r == -1)
    sp->gd_replaced = true;
  for (i = 0; i < n; i++)
    if (r == -1 || (gde_kind (sp, data, i) != ENTRY_PLACE &&
                    gde_kind (sp, mirror, i) == ENTRY_PLACE)) {
      memcpy ((void *) tables_entry (sp, data, i),
              tables_entry (sp, mirror, i), entry_size);
      if (!sp->unclean)
        warn_mirror (sp, "directory entry", p->first + i);
    }
  return 0;
}

static int
fill_gd_page (void *opaque, void *data, size_t size)
{
  const struct gd_page *const p = opaque;
  const uint64_t start = p->first * p->sp->format->entry_size;
  const uint64_t left = sparse_gd_bytes (p->sp) - start;
  const size_t count = left < size ? (size_t) left : size;

  vmdk_debug (&p->sp->e.ctx->log, VMDK_TOPIC_TABLES,
              "%s: loading the grain directory%s from entry %" PRIu64,
              p->sp->tables->name, p->copy ? "'s redundant copy" : "",
              p->first);
  memset ((char *) data + count, 0, size - count);
  if (p->copy == 0 && p->sp->gd[1])
    return fill_mended_gd_page (p, data, count);
  return store_pread (p->sp->tables, data, count,
                      p->sp->gd[p->copy] + start);
}

/* The page with GDE number in it, pinned; *i is the entry's place. */
static const void *
get_gd_page (struct sparse *sp, unsigned copy, uint64_t number, uint64_t *i)
{
  const uint64_t per_page = TABLE_PAGE_SIZE / sp->format->entry_size;
  struct gd_page p = { .sp = sp, .copy = copy };

  *i = number % per_page;
  p.first = number - *i;
  return cache_get (sp->e.ctx->tables, sp, GD_PAGES (copy) | p.first,
                    TABLE_PAGE_SIZE, fill_gd_page, &p);
}

struct gde {
  enum entry_kind kind;
  uint64_t position; /* of the table, if kind is ENTRY_PLACE */
  uint64_t value;    /* as on disk */
  int err;           /* not 0: it couldn't be read, and that was said */
};

static struct gde
read_gde (struct sparse *sp, unsigned copy, uint64_t number)
{
  struct gde gde = { .kind = ENTRY_BAD };
  uint64_t i;
  const void *const page = get_gd_page (sp, copy, number, &i);

  if (page == NULL) {
    gde.err = errno;
    if (errno == ENOMEM)
      vmdk_error (&sp->e.ctx->log, "%s: loading the grain directory: %m",
                  sp->e.store->name);
    return gde;
  }
  gde.value = tables_value (sp, page, i);
  gde.kind = sp->format->decode_gde (sp, gde.value, &gde.position);
  cache_put (sp->e.ctx->tables, page);
  return gde;
}

static int
report_gde (const struct sparse *sp, uint64_t number, const struct gde *gde)
{
  if (gde->err != 0) {
    errno = gde->err;
    return -1;
  }
  vmdk_error (&sp->e.ctx->log,
              "%s: entry %" PRIu64 " of the grain directory, 0x%" PRIx64
              ", %s", sp->e.store->name, number, gde->value,
              sp->format->bad_gde (sp, gde->value));
  errno = EIO;
  return -1;
}

/* Finds a table.  1: it exists, 0: it doesn't. */
static int
find_table (struct sparse *sp, uint64_t number, struct table *t)
{
  const struct gde gde = read_gde (sp, 0, number);

  *t = (struct table) { .number = number, .place = gde.position };
  if (gde.kind == ENTRY_BAD)
    return report_gde (sp, number, &gde);
  return gde.kind == ENTRY_PLACE;
}

/* To be asked after each look at a directory for writing. */
static int
refuse_replaced (const struct sparse *sp)
{
  if (!sp->gd_replaced)
    return 0;
  vmdk_error (&sp->e.ctx->log, "%s: can't be written: its grain directory "
              "could not be read, and the redundant one is in use; open the "
              "disk again", sp->e.store->name);
  errno = EIO;
  return -1;
}

int
tables_places (struct sparse *sp, uint64_t number, uint64_t place[2])
{
  struct table t;
  const int r = find_table (sp, number, &t);

  place[0] = place[1] = 0;
  if (r != -1 && refuse_replaced (sp) == -1)
    return -1;
  if (r != 1)
    return r;
  place[0] = t.place;
  if (sp->gd[1]) {
    const struct gde gde = read_gde (sp, 1, number);

    if (gde.err != 0 || gde.kind == ENTRY_BAD)
      return report_gde (sp, number, &gde);
    if (gde.kind == ENTRY_PLACE && gde.position != t.place)
      place[1] = gde.position;
  }
  return 1;
}

const void *
tables_gd_page (struct sparse *sp, unsigned copy, uint64_t number,
                uint64_t *i, uint64_t *place, size_t *size)
{
  const void *const page = get_gd_page (sp, copy, number, i);
  const uint64_t start = (number - *i) * sp->format->entry_size;
  const uint64_t left = sparse_gd_bytes (sp) - start;

  if (page == NULL && errno == ENOMEM)
    vmdk_error (&sp->e.ctx->log, "%s: loading the grain directory: %m",
                sp->e.store->name);
  *place = sp->gd[copy] + start;
  *size = left < TABLE_PAGE_SIZE ? (size_t) left : TABLE_PAGE_SIZE;
  if (page && refuse_replaced (sp) == -1) {
    cache_put (sp->e.ctx->tables, page);
    return NULL;
  }
  return page;
}

/* Tables. */

struct gt_page {
  struct sparse *sp;
  const struct table *table;
  uint64_t offset; /* of the page in the table, bytes */
};

uint64_t
tables_skip_zeroes (const struct sparse *sp, const void *page, uint64_t i,
                    uint64_t n)
{
  const unsigned per_word = 8 / sp->format->entry_size;
  const uint64_t *word;

  /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): 4 or 8 bytes */
  for (; i < n && i % per_word != 0; i++)
    if (tables_value (sp, page, i) != 0)
      return i;
  word = (const uint64_t *) page + i / per_word;
  for (; i + per_word <= n && __atomic_load_n (word, __ATOMIC_RELAXED) == 0;
       word++)
    i += per_word;
  while (i < n && tables_value (sp, page, i) == 0)
    i++;
  return i;
}

static bool
has_bad_gte (const struct sparse *sp, const void *page, size_t size)
{
  const uint64_t n = size / sp->format->entry_size;
  uint64_t i, position;

  for (i = tables_skip_zeroes (sp, page, 0, n); i < n;
       i = tables_skip_zeroes (sp, page, i + 1, n))
    if (tables_gte (sp, page, i, &position) == ENTRY_BAD)
      return true;
  return false;
}

bool
tables_merge (const struct sparse *sp, void *page, const void *mirror,
              size_t size)
{
  const uint64_t n = size / sp->format->entry_size;
  bool taken = false;
  uint64_t i, position;

  for (i = 0; i < n; i++) {
    const enum entry_kind ours = tables_gte (sp, page, i, &position);
    const enum entry_kind theirs = tables_gte (sp, mirror, i, &position);

    if (theirs == ENTRY_BAD ||
        (ours != ENTRY_BAD &&
         !(sp->unclean && ours == ENTRY_ABSENT && theirs != ENTRY_ABSENT)))
      continue;
    memcpy ((void *) tables_entry (sp, page, i),
            tables_entry (sp, mirror, i), sp->format->entry_size);
    taken = true;
  }
  return taken;
}

/* Reads the same page of the redundant copy.  1: there is one, 0: there
 * isn't, -1: it can't be read.
 */
static int
read_mirror (const struct gt_page *p, void *mirror, size_t size)
{
  struct gde gde;

  if (p->sp->gd[1] == 0)
    return 0;
  gde = read_gde (p->sp, 1, p->table->number);
  if (gde.err != 0) {
    errno = gde.err;
    return -1;
  }
  if (gde.kind != ENTRY_PLACE)
    return 0;
  return store_pread (p->sp->tables, mirror, size,
                      gde.position + p->offset) == -1 ? -1 : 1;
}

static int
fill_gt_page (void *opaque, void *data, size_t size)
{
  const struct gt_page *const p = opaque;
  struct sparse *const sp = p->sp;
  const struct table *const t = p->table;
  alignas (8) uint8_t mirror[TABLE_PAGE_SIZE];
  int r, found;

  vmdk_debug (&sp->e.ctx->log, VMDK_TOPIC_TABLES,
              "%s: loading %zu bytes at %" PRIu64 " of grain table %" PRIu64
              " at offset %" PRIu64, sp->tables->name, size, p->offset,
              t->number, t->place);
  r = store_pread (sp->tables, data, size, t->place + p->offset);
  if (r == 0 && !sp->unclean && !has_bad_gte (sp, data, size))
    return 0;
  found = read_mirror (p, mirror, size);
  if (found == 0)
    return r;
  /* In an unclean extent it takes both copies to know. */
  if (sp->unclean && (r == -1 || found == -1))
    return -1;
  if (found == -1)
    return r;
  if (r == -1)
    memcpy (data, mirror, size);
  else if (!tables_merge (sp, data, mirror, size))
    return 0;
  if (!sp->unclean)
    warn_mirror (sp, "table", t->number);
  return 0;
}

static int
load_page (struct sparse *sp, const struct table *t, uint64_t first,
           struct table_page *page)
{
  struct gt_page p = { .sp = sp, .table = t };

  p.offset = first % sp->gtes_per_gt * sp->format->entry_size;
  page->data = cache_get (sp->e.ctx->tables, sp, GT_PAGES | first,
                          tables_page_size (sp), fill_gt_page, &p);
  page->pinned = page->data != NULL;
  if (page->data == NULL && errno == ENOMEM)
    vmdk_error (&sp->e.ctx->log, "%s: loading a grain table: %m",
                sp->e.store->name);
  return page->data ? 0 : -1;
}

/* Blank tables. */

/* Bytes of the tables' store that are known to be zero. */
struct blank {
  uint64_t start, end;
};

/* Whether a directory entry names no table, or one that is all blank. */
static bool
is_blank (const struct sparse *sp, const void *page, uint64_t i,
          const struct blank *b)
{
  uint64_t position;

  switch (tables_gde (sp, page, i, &position)) {
  case ENTRY_ABSENT:
    return true;
  case ENTRY_PLACE:
    return position >= b->start && position + sparse_gt_bytes (sp) <= b->end;
  default:
    return false;
  }
}

/* The first directory entry from that of table t on, which begins a page,
 * that isn't in a hole of the file: what claims to be huge can be that.
 */
static uint64_t
skip_gd_hole (struct sparse *sp, uint64_t t, uint64_t end)
{
  const unsigned entry_size = sp->format->entry_size;
  uint64_t blank = UINT64_MAX;
  int copy;

  for (copy = 0; copy < 2 && sp->gd[copy]; copy++) {
    const uint64_t start = sp->gd[copy] + t * entry_size;
    const uint64_t n =
      (store_next_data (sp->tables, start) - start) / entry_size;

    if (n < blank)
      blank = n;
  }
  return blank < end - t ? t + blank : end;
}

/* The first grain behind table t that isn't in a missing or blank one,
 * but none behind that of grain last.
 */
static uint64_t
skip_tables (struct sparse *sp, uint64_t t, uint64_t last,
             const struct blank *b)
{
  const uint64_t end = last / sp->gtes_per_gt + 1;
  bool blank = true;

  for (t++; blank && t < end; ) {
    const void *page;
    uint64_t i;

    /* The file doesn't know of tables that were made just now. */
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): 4 or 8 bytes */
    if (t % (TABLE_PAGE_SIZE / sp->format->entry_size) == 0 &&
        sp->nr_dirty == 0 && (t = skip_gd_hole (sp, t, end)) == end)
      break;
    page = get_gd_page (sp, 0, t, &i);
    if (page == NULL)
      break; /* whoever asks for that table will hear of it */
    while (t < end && i < TABLE_PAGE_SIZE / sp->format->entry_size &&
           (blank = is_blank (sp, page, i, b))) {
      t++;
      i++;
    }
    cache_put (sp->e.ctx->tables, page);
  }
  return t * sp->gtes_per_gt;
}

static bool
in_window (const struct sparse *sp, const struct window *w, uint64_t offset,
           size_t size)
{
  return w->store == sp->tables && offset >= w->start &&
    offset + size <= w->start + sizeof w->buf;
}

/* Looks at size bytes of the tables at offset: the end of the hole of the
 * file that they are in, or offset when they are in the window.
 */
static uint64_t
look (struct sparse *sp, struct window *w, uint64_t offset, size_t size)
{
  if (in_window (sp, w, offset, size))
    return offset;
  /* Behind a hole are data, one needn't ask for that. */
  if (w->store != sp->tables || w->data < offset || w->data >= offset + size)
    w->data = store_next_data (sp->tables, offset);
  w->store = sp->tables;
  if (w->data >= offset + size)
    return w->data;
  w->start = offset;
  if (store_pread (sp->tables, w->buf, sizeof w->buf, offset) == -1)
    w->store = NULL;
  return offset;
}

/* From offset on, which is in the window: how far it is zero. */
static uint64_t
end_of_zeroes (const struct window *w, uint64_t offset)
{
  const uint64_t end = w->start + sizeof w->buf;

  while (offset + 8 <= end && le64_at (w->buf + (offset - w->start)) == 0)
    offset += 8;
  while (offset + 4 <= end && le32_at (w->buf + (offset - w->start)) == 0)
    offset += 4;
  return offset;
}

/* Finds the page of a table, whose first grain is given, by way of the
 * window.  False: it needs a closer look.
 */
static bool
find_in_window (struct sparse *sp, const struct table *t, uint64_t first,
                uint64_t last, struct window *w, struct table_page *page,
                uint64_t *end)
{
  const unsigned entry_size = sp->format->entry_size;
  const uint64_t in_table = first % sp->gtes_per_gt;
  struct blank b = { .start = t->place + in_table * entry_size };
  uint64_t entries;

  b.end = look (sp, w, b.start, tables_page_size (sp));
  if (b.end == b.start) {
    if (w->store == NULL)
      return false;
    b.end = end_of_zeroes (w, b.start);
  }
  entries = (b.end - b.start) / entry_size;
  if (entries >= tables_per_page (sp)) {
    *end = entries < sp->gtes_per_gt - in_table ? first + entries
      : skip_tables (sp, t->number, last, &b);
    return true;
  }
  page->data = w->buf + (b.start - w->start);
  if (w->sound_of == &sp->e && w->sound == b.start)
    return true;
  if (has_bad_gte (sp, page->data, tables_page_size (sp)))
    return false;
  w->sound_of = &sp->e;
  w->sound = b.start;
  return true;
}

int
tables_find (struct sparse *sp, uint64_t grain, uint64_t last,
             struct window *window, struct table_page *page, uint64_t *end)
{
  static const struct blank nothing = { UINT64_MAX, 0 };
  const uint64_t first = grain - grain % tables_per_page (sp);
  struct table t;
  int r;

  page->data = cache_find (sp->e.ctx->tables, sp, GT_PAGES | first);
  page->pinned = page->data != NULL;
  if (page->data)
    return 0;
  r = find_table (sp, grain / sp->gtes_per_gt, &t);
  if (r == -1)
    return -1;
  if (r == 0) {
    *end = skip_tables (sp, t.number, last, &nothing);
    return 0;
  }
  if (window && find_in_window (sp, &t, first, last, window, page, end))
    return 0;
  return load_page (sp, &t, first, page);
}
