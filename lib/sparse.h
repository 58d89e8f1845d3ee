/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The two-level engine: what hosted sparse, COWD, seSparse and streams
 * have in common.  A guest offset names a grain; a directory entry (GDE)
 * names the grain's table, and an entry of that (GTE) its place.
 *
 *     guest offset ── / grain_size ──▶ grain ── / gtes_per_gt ──▶ table
 *
 *     GD ┌───┬───┬───┐      GT ┌───┬───┬───┐      grain ┌──────────┐
 *        │   │ ●─┼───┼──────▶  │   │   │ ●─┼─────────▶  │          │
 *        └───┴───┴───┘         └───┴───┴───┘            └──────────┘
 *
 * A format supplies the geometry and a codec for the entries.
 */

#ifndef VMDK_SPARSE_H
#define VMDK_SPARSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "extent.h"
#include "le.h"

enum entry_kind {
  ENTRY_ABSENT, /* GDE: no table; GTE: unallocated */
  ENTRY_ZERO,   /* GTE only */
  ENTRY_PLACE,  /* at *position, a byte offset in the file */
  ENTRY_BAD,    /* can't be right */
};

struct sparse;

/* The codec.  *position is set for all but ENTRY_ABSENT where the format
 * can be written, even if it is nonsense.  bad_* say what is wrong with an
 * entry that is ENTRY_BAD, as the rest of a sentence.
 */
struct sparse_format {
  unsigned entry_size; /* bytes, of GDEs and GTEs: 4 or 8 */
  enum entry_kind (*decode_gde) (const struct sparse *sp, uint64_t value,
                                 uint64_t *position);
  enum entry_kind (*decode_gte) (const struct sparse *sp, uint64_t value,
                                 uint64_t *position);
  const char *(*bad_gde) (const struct sparse *sp, uint64_t value);
  const char *(*bad_gte) (const struct sparse *sp, uint64_t value);
};

struct sparse_writer;
struct sparse_write_format;

/* All immutable after opening but the atomic ones. */
struct sparse {
  struct extent e; /* must come first */
  const struct sparse_format *format;
  const struct sparse_write_format *write_format; /* if it can be written */

  /* Where the tables are: the extent's own store, or the place where
   * recovery put new ones.  A reference of its own.
   */
  struct store *tables;

  bool packed;          /* grains are compressed */
  uint64_t capacity;    /* bytes that the tables cover */
  uint64_t gtes_per_gt; /* a power of two */
  uint64_t nr_grains;
  uint64_t nr_gts;
  uint64_t gd[2];       /* byte offsets; [1]: the redundant one, or 0 */

  /* No grain begins before: bytes, the end of the front metadata. */
  uint64_t data_start;

  /* Its writer was interrupted: the copies of a table may differ, and
   * what only one of them knows counts.
   */
  bool unclean;

  /* What is needed for writing (sparse-write.c); NULL until then.  While
   * the file lacks entries that the cache has, none may be looked up in
   * the file.
   */
  _Atomic (struct sparse_writer *) writer;
  atomic_size_t nr_dirty; /* pages */

  /* A bit for each grain that is known to be absent; NULL: none is.  A walk
   * through a chain meets mostly those, and each page of a table that it
   * needn't look at is memory that it needn't wait for.  Only while there
   * is no writer, whose grains come into being.
   */
  _Atomic (atomic_ullong *) absent;

  /* A part of the directory couldn't be read, and that of the redundant
   * one, which names other tables, is in its place: good for reading only.
   */
  atomic_bool gd_replaced;

  atomic_bool warned_mirror; /* the redundant copy was needed */
  atomic_bool warned_short;  /* a grain reaches past the end */
};

/* Derives nr_grains and nr_gts, once e.grain_size, capacity and
 * gtes_per_gt are set.
 */
extern void sparse_set_geometry (struct sparse *sp);

/* No grain begins here or behind. */
static inline uint64_t
sparse_data_end (const struct sparse *sp)
{
  return sp->e.store->size;
}

/* Bytes of one directory, and of one table. */
static inline uint64_t
sparse_gd_bytes (const struct sparse *sp)
{
  return sp->nr_gts * sp->format->entry_size;
}

static inline uint64_t
sparse_gt_bytes (const struct sparse *sp)
{
  return sp->gtes_per_gt * sp->format->entry_size;
}

/* extent_ops.map for every two-level format. */
extern int sparse_map (struct extent *e, uint64_t offset, uint64_t length,
                       struct window *window, struct run *run);

/* Drops what the engine holds; the format frees sp itself. */
extern void sparse_release (struct sparse *sp);

#endif /* VMDK_SPARSE_H */
