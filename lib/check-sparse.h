/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking two-level extents: the walks through directories and tables
 * that all formats share, and where a format adds its own.
 *
 * Tables are read in large pieces, past the cache, and what lies in holes
 * of the file isn't read at all.  That grains and tables share no space is
 * shown with a bitmap of the file, a window of it at a time.  So that later
 * windows needn't read all tables again, the first walk notes for groups
 * of tables between which offsets their grains are.
 */

#ifndef VMDK_CHECK_SPARSE_H
#define VMDK_CHECK_SPARSE_H

#include "check.h"
#include "sparse.h"

/* How much is looked at at a time.  A build for fuzzing makes all of it
 * small, which costs less and has several windows also of small files.
 */
#ifdef VMDK_SMALL_WINDOWS
#define CHECK_PIECE (256 << 10)
#define CHECK_SPANS 4
#define CHECK_WINDOW_BITS 10
#define CHECK_SPACE_BITS 20
#else
#define CHECK_PIECE (1 << 20)  /* bytes of tables; at least the largest one */
#define CHECK_SPANS 65536      /* groups of tables */
#define CHECK_WINDOW_BITS 22   /* grains of a seSparse extent */
#define CHECK_SPACE_BITS 28    /* units of a file */
#endif

/* Where things of one kind are in the file. */
struct spread {
  uint64_t first, end; /* of all; first > end: there are none */
  uint64_t base;       /* where the first that was added begins */
  uint64_t bits;       /* that are set in some distance to base */
};
extern void spread_init (struct spread *s);
extern void spread_add (struct spread *s, uint64_t start, uint64_t length);

static inline bool
spread_empty (const struct spread *s)
{
  return s->first > s->end;
}

/* Grains of a group of tables begin in [first, end). */
struct span {
  uint64_t first, end;
};

struct range {
  uint64_t start, end;
};

struct sparse_check;
struct space;

/* A grain table that isn't all hole. */
struct table_view {
  uint64_t number;
  const uint8_t *entries; /* sp->gtes_per_gt */
  const uint8_t *mirror;  /* the redundant copy's, or NULL */
};

typedef int (*table_fn) (struct sparse_check *c, const struct table_view *t);

struct sparse_check_ops {
  /* An entry that is ENTRY_ZERO, with its value; or NULL. */
  void (*zeroed) (struct sparse_check *c, uint64_t grain, uint64_t value);

  /* n grains that follow each other, here and in the file; or NULL. */
  void (*placed) (struct sparse_check *c, uint64_t grain, uint64_t position,
                  uint64_t n);

  /* Says how many bytes of the file a grain occupies; 0 if that can't be
   * known, which has then been reported.  again: it begins where another
   * one is, whose data have been looked at.  NULL: all the same.
   */
  int (*measure) (struct sparse_check *c, uint64_t grain, uint64_t position,
                  bool again, uint64_t *length);

  /* Of a part of the file that nothing occupies: how much of it is really
   * unused?  NULL: all.
   */
  int (*gap) (struct sparse_check *c, uint64_t start, uint64_t length,
              uint64_t *unused);
};

struct sparse_check {
  struct check *check;
  struct sparse *sp;
  const struct sparse_check_ops *ops;
  const char *file;
  bool needs_all_tables; /* a GDE of 0 is odd */
  bool foreign_tables;   /* in another file than the grains */

  /* Metadata other than tables, for which the format looks after. */
  struct range meta[8];
  unsigned nr_meta;

  /* What is smaller than this isn't a leak, but padding; bytes. */
  uint64_t least_gap;

  /* A marker in front of each table, bytes. */
  uint64_t table_header;

  /* What the first walk found. */
  struct spread tables;
  struct spread grains;
  uint64_t last_grain_end;
  uint64_t shared_tables;
  uint64_t unaligned;      /* the format's */
  uint64_t first_unaligned;

  struct span *spans;
  uint64_t tables_per_span;

  /* A run of entries 0 in the directory. */
  uint64_t absent_first, nr_absent;

  /* Pieces of both copies of directory and tables. */
  uint8_t *gd_piece[2];
  uint8_t *gt_piece[2];
  uint64_t hole[2], hole_end[2];

  struct space *space; /* check-space.c's, while it is at work */
};

/* With more of them, nothing can be said of what the tables hold, and
 * reading them all could take for ever.
 */
#define MAX_SHARED_TABLES 1000

/* Directory and tables, every entry for itself, and tables that share
 * space.  check-space.c has the grains that do.
 */
extern int sparse_check_init (struct sparse_check *c, struct check *check,
                              struct sparse *sp,
                              const struct sparse_check_ops *ops);
extern void sparse_check_release (struct sparse_check *c);
extern int sparse_check_tables (struct sparse_check *c);

extern void sparse_check_add_meta (struct sparse_check *c, uint64_t start,
                                   uint64_t length);

/* Says where a defect is; copy 0, number is what kind says. */
extern void sparse_check_at (struct sparse_check *c, const char *code,
                             enum check_kind kind, uint64_t number,
                             uint64_t position);

/* Notes that an entry which the engine doesn't place has a place still. */
extern void sparse_check_own (struct sparse_check *c, uint64_t grain,
                              uint64_t position);

/* That no two grains, and no grain and metadata, share space; and the
 * space between them that nothing occupies, as a leak.  limit is where
 * that ends, 0: behind all that is used.
 */
extern int sparse_check_space (struct sparse_check *c, uint64_t limit);

/* Where the last of what is known to be used ends. */
extern uint64_t sparse_check_used_end (const struct sparse_check *c);

/* What is behind that, as a leak. */
extern void sparse_check_tail (struct sparse_check *c);

/* Calls fn for each table of which grains may begin in [start, end); and
 * lowers *next, if it isn't NULL, to where those of others begin behind.
 */
extern int sparse_check_walk (struct sparse_check *c, uint64_t start,
                              uint64_t end, uint64_t *next, table_fn fn);

/* Calls fn for the place of each table, of both copies. */
typedef int (*place_fn) (struct sparse_check *c, void *opaque, unsigned copy,
                         uint64_t number, uint64_t position);
extern int sparse_check_places (struct sparse_check *c, place_fn fn,
                                void *opaque);

/* That no two tables share space. */
extern int sparse_check_shared_tables (struct sparse_check *c);

/* How many grains from entry i on, before n, follow each other in the file;
 * the first one is at position.
 */
extern uint64_t sparse_check_run (const struct sparse *sp,
                                  const uint8_t *entries, uint64_t i,
                                  uint64_t n, uint64_t position);

extern uint64_t sparse_check_value (const struct sparse *sp,
                                    const uint8_t *entry);

/* Entries of a table that are within the capacity. */
extern uint64_t sparse_check_nr_entries (const struct sparse *sp,
                                         uint64_t number);

#endif /* VMDK_CHECK_SPARSE_H */
