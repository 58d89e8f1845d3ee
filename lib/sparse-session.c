/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing two-level extents: what comes before the first change (is it
 * sound enough, was its last writer interrupted, what may entries claim
 * behind the end of the file), and closing it cleanly.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "scan.h"
#include "sparse-write.h"
#include "tables.h"

/* Copies of tables. */

static int
write_if_other (struct sparse *sp, uint64_t place, const void *have,
                const void *want, size_t size)
{
  if (have ? memcmp (have, want, size) == 0
      : tables_skip_zeroes (sp, want, 0, size / sp->format->entry_size) ==
      size / sp->format->entry_size)
    return 0;
  return store_pwrite (sp->tables, want, size, place);
}

/* Makes a table say what readers see: both copies of it, if its writer was
 * interrupted; else only the first one is changed, and only if they see
 * something else.
 */
static int
settle_table (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  const size_t size = (size_t) sparse_gt_bytes (sp);
  uint8_t *const merged = opaque;
  bool taken = false;

  if (t->kind[0] != ENTRY_PLACE || t->kind[1] != ENTRY_PLACE ||
      t->place[0] == t->place[1] || (!t->data[0] && !t->data[1]))
    return 0;
  memset (merged, 0, size);
  if (t->data[0])
    memcpy (merged, t->data[0], size);
  if (t->data[1])
    taken = tables_merge (sp, merged, t->data[1], size);
  if (!taken && !sp->unclean)
    return 0;
  if (write_if_other (sp, t->place[0], t->data[0], merged, size) == -1)
    return -1;
  return sp->unclean ?
    write_if_other (sp, t->place[1], t->data[1], merged, size) : 0;
}

/* Calls fn, with room for a table, for all tables that are there twice. */
static int
merge_copies (struct sparse *sp, scan_fn fn)
{
  void *merged;
  int r;

  if (sp->gd[1] == 0)
    return 0;
  merged = malloc ((size_t) sparse_gt_bytes (sp));
  if (merged == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: reconciling its tables: %m",
                sp->e.store->name);
    return -1;
  }
  r = scan_tables (sp, fn, merged);
  free (merged);
  return r == 0 ? store_sync (sp->e.store) : -1;
}

/* What entries claim. */

static int
add_table_claims (struct sparse *sp, void *opaque,
                  const struct scanned_table *t)
{
  struct claims *const claims = opaque;
  int copy;

  for (copy = 0; copy < 2; copy++) {
    uint64_t i;

    if (t->kind[copy] != ENTRY_ABSENT)
      claims_add (claims, t->place[copy],
                  t->place[copy] + sparse_gt_bytes (sp));
    for (i = 0; t->data[copy] && i < sp->gtes_per_gt; i++) {
      uint64_t position = 0;
      const enum entry_kind kind =
        tables_gte (sp, t->data[copy], i, &position);

      if (kind != ENTRY_PLACE && kind != ENTRY_BAD)
        continue;
      claims_add (claims, position, position + sp->e.grain_size);
      if (copy == 0 || t->data[0] == NULL)
        claims_count (claims, position);
    }
  }
  return 0;
}

/* An entry that can't be right because it is past the end becomes right when
 * the file grows.  Readers take what the other copy says meanwhile, so that
 * is written before.  Nothing is published while tables are read for this.
 */
static int
settle_tables (struct sparse *sp)
{
  struct sparse_writer *const w = sp->writer;
  int r;

  pthread_mutex_lock (&w->round_lock);
  r = merge_copies (sp, settle_table);
  pthread_mutex_unlock (&w->round_lock);
  return r;
}

static int
find_claims (void *owner, struct claims *claims)
{
  struct sparse *const sp = owner;
  int copy;

  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    claims_add (claims, sp->gd[copy], sp->gd[copy] + sparse_gd_bytes (sp));
  if (scan_tables (sp, add_table_claims, claims) == -1)
    return -1;
  if (claims->from == 0 || claims->lost == 0)
    return 0;
  return settle_tables (sp);
}

static int
has_grown (void *owner, uint64_t end)
{
  struct sparse *const sp = owner;

  return sp->write_format->set_end ? sp->write_format->set_end (sp, end) : 0;
}

/* An extent whose last writer was interrupted. */

struct verdict {
  struct sparse *sp;
  unsigned nr_errors;
};

/* What is repaired by going on to write, or can't get worse by it. */
static bool
is_tolerable (const struct vmdk_defect *d)
{
  static const char *const codes[] = {
    "mirror-differs", "gte-past-end", "free-sector", "cid-missing",
  };
  size_t i;

  if (d->severity != VMDK_ERROR)
    return true;
  for (i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (strcmp (d->code, codes[i]) == 0)
      return true;
  return false;
}

static void
judge (void *opaque, const struct vmdk_defect *d)
{
  struct verdict *const v = opaque;

  if (is_tolerable (d))
    return;
  if (v->nr_errors++ == 0)
    vmdk_error (&v->sp->e.ctx->log,
                "%s: wasn't closed by the program that wrote it last, and is "
                "damaged: %s (%s); writing could make it worse; run vmdk-img "
                "repair", d->file, d->text, d->code);
}

static int
check_unclean (struct sparse *sp)
{
  struct vmdk_check_result result = { 0 };
  struct verdict v = { .sp = sp };
  struct check *const check = calloc (1, sizeof *check);
  int r;

  if (check == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: checking it: %m", sp->e.store->name);
    return -1;
  }
  *check = (struct check) { .fn = judge, .opaque = &v, .result = &result };
  r = sp->e.ops->check (&sp->e, check);
  check_end_file (check);
  free (check);
  if (r == 0 && v.nr_errors > 0) {
    errno = EIO;
    r = -1;
  }
  return r;
}

/* A table that only one directory knows gets its other copy, the entry
 * for which is published like any other.
 */
static int
add_copy (struct sparse *sp, const struct scanned_table *t, unsigned missing,
          const void *data, size_t size)
{
  struct sparse_writer *const w = sp->writer;
  uint64_t place;

  if (allocator_reserve (&w->allocator, size, SECTOR_SIZE, &place) == -1 ||
      store_pwrite (sp->tables, data, size, place) == -1)
    return -1;
  return sparse_set_gde (sp, missing, t->number, place);
}

static int
reconcile_table (struct sparse *sp, void *opaque,
                 const struct scanned_table *t)
{
  const size_t size = (size_t) sparse_gt_bytes (sp);
  const unsigned first = t->kind[0] == ENTRY_PLACE ? 0 : 1;

  if (t->kind[0] == ENTRY_PLACE && t->kind[1] == ENTRY_PLACE)
    return settle_table (sp, opaque, t);
  memset (opaque, 0, size);
  if (t->data[first])
    memcpy (opaque, t->data[first], size);
  return add_copy (sp, t, !first, opaque, size);
}

static int
reconcile (struct sparse *sp)
{
  return merge_copies (sp, reconcile_table) == -1 ? -1
    : sparse_flush (&sp->e);
}

/* What the writer had room made for and never used: nothing speaks of it,
 * and it would be there for ever.  The header must not speak of what is
 * behind the end, so it is durable first.
 */
int
sparse_cut (struct sparse *sp, uint64_t end)
{
  if (!sp->e.store->fresh_is_zero || end >= sp->e.store->size)
    return 0;
  if (sp->write_format->set_end &&
      (sp->write_format->set_end (sp, end) == -1 ||
       store_sync (sp->e.store) == -1))
    return -1;
  if (store_resize (sp->e.store, end) == -1) {
    vmdk_error (&sp->e.ctx->log, "%s: making it shorter, to %" PRIu64
                " bytes: %m", sp->e.store->name, end);
    return -1;
  }
  return store_sync (sp->e.store);
}

static int
cut_unused (struct sparse *sp)
{
  struct sparse_writer *const w = sp->writer;
  struct claims *const claims = calloc (1, sizeof *claims);
  uint64_t end;
  int r;

  if (claims == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: looking for its end: %m",
                sp->e.store->name);
    return -1;
  }
  r = find_claims (sp, claims);
  end = claims->n > 0 ? claims->list[claims->n - 1].end : 0;
  free (claims);
  if (end < sp->data_start)
    end = sp->data_start;
  end = div_round_up (end, SECTOR_SIZE) * SECTOR_SIZE;
  w->allocator.start = sp->data_start;
  return r == 0 ? sparse_cut (sp, end) : -1;
}

/* Starting. */

static void
writer_free (struct sparse *sp, struct sparse_writer *w)
{
  dirty_destroy (sp, &w->dirty);
  allocator_destroy (&w->allocator);
  range_lock_destroy (&w->grains);
  pthread_mutex_destroy (&w->round_lock);
  pthread_mutex_destroy (&w->tables_lock);
  pthread_mutex_destroy (&w->start_lock);
  free (w);
}

void
sparse_writer_free (struct sparse *sp)
{
  struct sparse_writer *const w = sp->writer;

  if (w)
    writer_free (sp, w);
}

/* Dirty pages are pinned: a part of the cache, so that there is room for
 * others, but enough to be worth a sync.
 */
static size_t
most_dirty (const struct context *ctx)
{
  const uint64_t n = ctx->table_cache / 4 / TABLE_PAGE_SIZE;

  return n < 16 ? 16 : n < 8192 ? (size_t) n : 8192;
}

static struct sparse_writer *
writer_new (struct sparse *sp, uint64_t free_from)
{
  struct sparse_writer *const w = calloc (1, sizeof *w);

  if (w == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
    return NULL;
  }
  pthread_mutex_init (&w->start_lock, NULL);
  pthread_mutex_init (&w->tables_lock, NULL);
  pthread_mutex_init (&w->round_lock, NULL);
  range_lock_init (&w->grains);
  dirty_init (&w->dirty);
  w->most_dirty = most_dirty (sp->e.ctx);
  w->allocator = (struct allocator) {
    .store = sp->e.store, .owner = sp, .find_claims = find_claims,
    .has_grown = has_grown, .start = free_from,
    .max = sp->write_format->max_file,
  };
  allocator_init (&w->allocator);
  return w;
}

static int
count_tables (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  uint64_t *const n = opaque;

  (void) sp;
  n[0] += t->kind[0] == ENTRY_PLACE;
  n[1] += t->kind[1] == ENTRY_PLACE;
  return 0;
}

/* More tables than there is room for share it: writing one would change
 * others, and reading all of them could take for ever.
 */
static int
check_tables (struct sparse *sp)
{
  const uint64_t most = sp->tables->size / sparse_gt_bytes (sp);
  uint64_t n[2] = { 0 };

  if (scan_directories (sp, count_tables, n) == -1)
    return -1;
  if (n[0] <= most && n[1] <= most)
    return 0;
  vmdk_error (&sp->e.ctx->log, "%s: can't be written: its directory names %"
              PRIu64 " grain tables, but the file has room for %" PRIu64
              ", so that some share it; run vmdk-img repair",
              sp->e.store->name, n[0] > n[1] ? n[0] : n[1], most);
  errno = EIO;
  return -1;
}

int
sparse_start_writing (struct extent *e)
{
  struct sparse *const sp = (struct sparse *) e;
  uint64_t free_from;

  if (sp->writer)
    return 0;
  if (check_tables (sp) == -1 ||
      sp->write_format->start (sp, &free_from) == -1 ||
      (sp->unclean && check_unclean (sp) == -1))
    return -1;
  sp->writer = writer_new (sp, free_from);
  return sp->writer ? 0 : -1;
}

/* The first change. */

static int
first_change (struct sparse *sp)
{
  sp->writer->marked = true;
  if (sp->write_format->mark (sp, true) == -1 ||
      store_sync (sp->e.store) == -1)
    return -1;
  if (!sp->unclean)
    return 0;
  /* Once places were handed out, which the file doesn't know of yet, it is
   * too late to cut.
   */
  if (!sp->writer->cut && cut_unused (sp) == -1)
    return -1;
  sp->writer->cut = true;
  return reconcile (sp);
}

bool
sparse_was_interrupted (const struct extent *e)
{
  return ((const struct sparse *) e)->unclean;
}

int
sparse_will_change (struct extent *e)
{
  struct sparse *const sp = (struct sparse *) e;
  struct sparse_writer *const w = sp->writer;
  int r = 0;

  if (atomic_load_explicit (&w->changed, memory_order_acquire))
    return 0;
  pthread_mutex_lock (&w->start_lock);
  if (!w->changed) {
    r = first_change (sp);
    w->changed = r == 0;
  }
  pthread_mutex_unlock (&w->start_lock);
  return r;
}

/* The end. */

/* Cuts off what was never handed out. */
static int
cut_tail (struct sparse *sp)
{
  const uint64_t end = allocator_end (&sp->writer->allocator);

  return end == 0 ? 0 : sparse_cut (sp, end);
}

int
sparse_finish (struct extent *e)
{
  struct sparse *const sp = (struct sparse *) e;
  struct sparse_writer *const w = sp->writer;

  /* What an interrupted writer left, and couldn't be put in order, stays
   * marked; nothing else was changed.
   */
  if (w == NULL || !w->marked || (sp->unclean && !w->changed))
    return 0;
  if (sparse_flush (e) == -1 || cut_tail (sp) == -1 ||
      sp->write_format->mark (sp, false) == -1)
    return -1;
  return store_sync (e->store);
}
