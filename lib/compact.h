/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving back space: the parts of it.
 */

#ifndef VMDK_COMPACT_H
#define VMDK_COMPACT_H

#include "disk.h"
#include "sparse.h"

struct compaction {
  struct vmdk_disk *disk;
  bool punch_only;
  bool has_parent;     /* an entry that says nothing would show it */
  const struct vmdk_progress *progress;
  uint64_t done;       /* before this extent: of twice the disk's size */
};

/* To be called between steps, done of twice the extent's size.  -1: stop. */
extern int compact_ask (const struct compaction *c, uint64_t done);

/* A hosted sparse or COWD extent that is open for writing. */
extern int compact_sparse (struct compaction *c, struct extent *e);

/* What is where in the file of such an extent (compact-space.c): bits for
 * units of it, of a window at a time.
 */
struct space {
  struct sparse *sp;
  uint64_t origin;     /* bytes: where the first unit begins */
  uint64_t unit;       /* bytes */
  uint64_t per_grain;  /* units; grains begin at units if they can move */
  uint64_t used_end;   /* bytes, of all that is in use; whole sectors */
  uint64_t fixed_end;  /* bytes, of what can't be moved */
  uint64_t end;        /* bytes, of what there are bits for */
  bool movable;        /* all of it is in one window, and grains can move */

  uint64_t window;     /* bytes: where the bits begin, */
  uint64_t nr_bits;    /* and how many there are */
  uint64_t *used;      /* something is in that unit */
  uint64_t *begins;    /* a grain begins in it */

  /* While it is surveyed. */
  uint64_t residue;    /* of the grains' places, by their size */
  bool any, unaligned;
};

/* Looks at all entries, and reads the first window. */
extern int space_open (struct space *s, struct sparse *sp);
extern void space_close (struct space *s);

/* Reads the window from start on, which is origin, or so many times
 * nr_bits * unit behind it.
 */
extern int space_load (struct space *s, uint64_t start);

/* From bit i on: the first of n that aren't set in a row, or nr_bits. */
extern uint64_t space_find_run (const struct space *s, const uint64_t *bits,
                                uint64_t i, uint64_t n);
/* The units with what isn't a grain; the caller frees them.  NULL: reported. */
extern uint64_t *space_fixed (const struct space *s);

/* From bit i on: the first place of a grain that is free, or nr_bits. */
extern uint64_t space_find_slot (const struct space *s, uint64_t i);
/* Before bit i: where the last grain begins, or nr_bits. */
extern uint64_t space_find_grain (const struct space *s, uint64_t i);
/* From bit i on: the first that is used, or isn't; or nr_bits. */
extern uint64_t space_find (const struct space *s, uint64_t i, bool used);

/* An extent with tables, at work (compact-sparse.c). */
struct edit;
struct job {
  struct compaction *c;
  struct sparse *sp;
  uint8_t *buf;        /* of COMPACT_BUFFER */
  struct edit *edits;
  size_t edit_bytes;
  uint64_t moved;      /* bytes since the last sync */
  struct space space;
  uint64_t from, end;  /* bytes: grains in there are moved */
  uint64_t slot;       /* where the next one goes, a bit, */
  uint64_t limit;      /* and the bit that all of it must be before */
};

/* The largest grain, and the largest table, at least. */
#define COMPACT_BUFFER ((size_t) 16 << 20)

/* To be called before anything is changed. */
extern int compact_begin_change (const struct job *j);

/* Moves the grains of [from, end), bytes, to free places from a bit on, and
 * before another; durably.
 */
extern int compact_move (struct job *j, uint64_t from, uint64_t end,
                         uint64_t slot, uint64_t limit);

/* Moves tables, and directories, that are so far behind that the file can't
 * be made shorter, to the front; grains that are there go elsewhere
 * (compact-tables.c).  The space must be looked at again afterwards.
 */
extern int compact_tables (struct job *j);

#endif /* VMDK_COMPACT_H */
