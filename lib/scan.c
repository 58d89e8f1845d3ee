/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Reading all grain tables of an extent.  They mostly follow each other,
 * so that they are read in large pieces, one for each copy.
 */

#include <config.h>

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

#include "scan.h"
#include "tables.h"

#define PIECE (64 << 10)

/* A piece of the file that was read, or is known to be a hole. */
struct piece {
  uint64_t start, end;
  uint64_t blank_end; /* [start, blank_end) is a hole */
  uint8_t *buf;
};

struct scan {
  struct sparse *sp;
  size_t piece_size; /* 0: directories only */
  struct piece pieces[2];
  scan_fn fn;
  void *opaque;
};

/* *data are size bytes at offset, or NULL if they are in a hole. */
static int
look (struct scan *s, struct piece *p, uint64_t offset, size_t size,
      const void **data)
{
  uint64_t next;

  *data = NULL;
  if (offset >= p->start && offset + size <= p->blank_end)
    return 0;
  if (offset < p->start || offset + size > p->end) {
    next = store_next_data (s->sp->tables, offset);
    p->start = p->blank_end = p->end = offset;
    if (next >= offset + size) {
      p->blank_end = next;
      return 0;
    }
    if (store_pread (s->sp->tables, p->buf, s->piece_size, offset) == -1)
      return -1;
    p->end = offset + s->piece_size;
  }
  *data = p->buf + (offset - p->start);
  return 0;
}

static int
scan_table (struct scan *s, struct scanned_table *t)
{
  const size_t size = (size_t) sparse_gt_bytes (s->sp);
  int copy;

  if (t->kind[0] == ENTRY_ABSENT && t->kind[1] == ENTRY_ABSENT)
    return 0;
  for (copy = 0; copy < 2; copy++) {
    t->data[copy] = NULL;
    if (s->piece_size > 0 && t->kind[copy] == ENTRY_PLACE &&
        look (s, &s->pieces[copy], t->place[copy], size,
              &t->data[copy]) == -1)
      return -1;
  }
  return s->fn (s->sp, s->opaque, t);
}

/* Directories. */

struct gd_part {
  alignas (8) uint8_t page[2][TABLE_PAGE_SIZE];
  uint64_t first, n;
};

/* The first entry from number on that isn't in a hole of both copies. */
static uint64_t
skip_hole (struct sparse *sp, uint64_t number)
{
  uint64_t first = sp->nr_gts;
  int copy;

  for (copy = 0; copy < 2 && sp->gd[copy]; copy++) {
    const uint64_t start = sp->gd[copy] + number * sp->format->entry_size;
    const uint64_t next = store_next_data (sp->tables, start);
    const uint64_t n = (next - start) / sp->format->entry_size;

    if (n < first - number)
      first = number + n;
  }
  return first;
}

static int
read_part (struct sparse *sp, struct gd_part *g)
{
  const unsigned size = sp->format->entry_size;
  int copy;

  g->n = TABLE_PAGE_SIZE / size;
  if (g->n > sp->nr_gts - g->first)
    g->n = sp->nr_gts - g->first;
  for (copy = 0; copy < 2 && sp->gd[copy]; copy++)
    if (store_pread (sp->tables, g->page[copy], (size_t) (g->n * size),
                     sp->gd[copy] + g->first * size) == -1)
      return -1;
  return 0;
}

static int
scan_part (struct scan *s, const struct gd_part *g)
{
  struct sparse *const sp = s->sp;
  uint64_t i;

  for (i = 0; i < g->n; i++) {
    struct scanned_table t = { .number = g->first + i };

    t.kind[0] = tables_gde (sp, g->page[0], i, &t.place[0]);
    t.kind[1] = ENTRY_ABSENT;
    if (sp->gd[1])
      t.kind[1] = tables_gde (sp, g->page[1], i, &t.place[1]);
    if (scan_table (s, &t) == -1)
      return -1;
  }
  return 0;
}

static int
run_scan (struct scan *s)
{
  struct sparse *const sp = s->sp;
  struct gd_part g = { .first = 0 };

  while ((g.first = skip_hole (sp, g.first)) < sp->nr_gts) {
    if (read_part (sp, &g) == -1 || scan_part (s, &g) == -1)
      return -1;
    g.first += g.n;
  }
  return 0;
}

int
scan_tables (struct sparse *sp, scan_fn fn, void *opaque)
{
  const size_t gt_bytes = (size_t) sparse_gt_bytes (sp);
  struct scan s = {
    .sp = sp, .fn = fn, .opaque = opaque,
    .piece_size = gt_bytes < PIECE ? PIECE : gt_bytes,
  };
  int r = -1;

  s.pieces[0].buf = malloc (s.piece_size);
  s.pieces[1].buf = malloc (s.piece_size);
  if (s.pieces[0].buf && s.pieces[1].buf)
    r = run_scan (&s);
  else
    vmdk_error (&sp->e.ctx->log, "%s: reading all grain tables: %m",
                sp->e.store->name);
  free (s.pieces[0].buf);
  free (s.pieces[1].buf);
  return r;
}

int
scan_directories (struct sparse *sp, scan_fn fn, void *opaque)
{
  struct scan s = { .sp = sp, .fn = fn, .opaque = opaque };

  return run_scan (&s);
}
