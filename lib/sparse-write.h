/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing two-level extents whose entries are sector numbers of 32 bits:
 * hosted sparse and COWD.
 *
 * The rules that keep an image sound, whatever crashes when:
 *
 *  1. An entry reaches the file only after its grain is durable: the
 *     guest's bytes, what came from the parent, and the file's length.
 *  2. Space is handed out once.  A grain keeps its place for ever; zeroing
 *     it punches a hole there.
 *  3. What stands for zeroes without being written (a grain that is a
 *     hole, a new table) is only taken from behind every former end.
 *  4. That the extent isn't clean is durable before its first change, and
 *     taken back only after everything else is durable.
 *
 * Locks, outermost first.  Data are read and written under no lock but
 * that of their own grains.
 *
 *   session.lock    starting to write, and the first change of the disk
 *   start_lock      the first change of the extent
 *   grains          allocating in these grains (a range of them)
 *   tables_lock     making a new table; changing what the header says
 *   round_lock      one publication of entries at a time; who holds it
 *                   waits for none of those above, nor allocator.lock,
 *                   with which it is taken once (settle_tables)
 *   allocator.lock  taking a place; not held while the file grows, but
 *                   once, while the tables are searched for claims
 *   sync_lock       of a store: one sync at a time
 *   dirty.lock      setting and freezing entries
 *   the cache's locks
 *
 * A request that only overwrites, and one that only reads, takes none of
 * them but the cache's.
 */

#ifndef VMDK_SPARSE_WRITE_H
#define VMDK_SPARSE_WRITE_H

#include "allocator.h"
#include "dirty.h"
#include "range-lock.h"
#include "sparse.h"

/* What a format adds. */
struct sparse_write_format {
  uint64_t max_file;  /* bytes that entries can speak of */
  bool align_grains;  /* to multiples of their size */

  /* Sees that header and directories allow writing, and sets *free_from:
   * nothing before is free.  -1: reported.
   */
  int (*start) (struct sparse *sp, uint64_t *free_from);

  /* Writes whether the extent is in use to the header. */
  int (*mark) (struct sparse *sp, bool unclean);

  /* The file has grown to end, or what is used of it ends there.  May be
   * NULL.
   */
  int (*set_end) (struct sparse *sp, uint64_t end);

  /* Whether entries may say "zero".  Called with tables_lock held.  1, 0,
   * or -1: reported.  May be NULL.
   */
  int (*allow_zeroed) (struct sparse *sp);
};

struct sparse_writer {
  pthread_mutex_t start_lock;
  atomic_bool changed; /* the first change was announced */
  bool marked;         /* ... or begun to be, */
  bool cut;            /* and the unused end was cut off; start_lock */
  struct range_lock grains;
  pthread_mutex_t tables_lock;
  pthread_mutex_t round_lock;
  struct allocator allocator;
  struct dirty dirty;
  size_t most_dirty;   /* pages of the disk, before they are published */
};

extern const struct extent_write_ops sparse_write_ops;

/* Sets the entry of a table in one copy of the directory. */
extern int sparse_set_gde (struct sparse *sp, unsigned copy, uint64_t number,
                           uint64_t place);

/* extent_write_ops.flush */
extern int sparse_flush (struct extent *e);

/* The others, of before the first change and of the end
 * (sparse-session.c).
 */
extern int sparse_start_writing (struct extent *e);
extern bool sparse_was_interrupted (const struct extent *e);
extern int sparse_will_change (struct extent *e);
extern int sparse_finish (struct extent *e);

/* Makes the file end there, durably, if that is shorter: nothing that any
 * entry speaks of may be behind.  -1: reported.
 */
extern int sparse_cut (struct sparse *sp, uint64_t end);

/* Frees what sparse_write_ops.start made, if it did. */
extern void sparse_writer_free (struct sparse *sp);

extern const struct sparse_write_format kdmv_write_format;
extern const struct sparse_write_format cowd_write_format;

#endif /* VMDK_SPARSE_WRITE_H */
