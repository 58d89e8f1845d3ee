/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * An extent: a part of one link's guest range, kept in one file in one
 * format.  All that the rooms above know of a format is this table of
 * functions.  The one that matters is map; reading, block status and
 * check all follow from it, so that they can't disagree.
 */

#ifndef VMDK_EXTENT_H
#define VMDK_EXTENT_H

#include <stdalign.h>
#include <stdint.h>

#include "context.h"
#include "descriptor.h"
#include "store.h"

struct check;
struct extent;
struct extent_write_ops;

enum run_kind {
  RUN_DATA,   /* at file_offset of store, as it is */
  RUN_PACKED, /* in the compressed grain at file_offset of store */
  RUN_ZERO,   /* reads as zero */
  RUN_ABSENT, /* this layer doesn't say: ask the parent */
};

/* Where a range of the guest's disk is. */
struct run {
  enum run_kind kind;
  uint64_t length;       /* > 0 */
  struct extent *extent; /* RUN_PACKED: whose grain it is */
  struct store *store;   /* RUN_DATA, RUN_PACKED */
  uint64_t file_offset;
  /* For RUN_PACKED only. */
  uint64_t grain;        /* its number */
  uint32_t in_grain;     /* where the run begins in the inflated grain */
  uint32_t packed_hint;  /* likely length of the compressed grain */
};

/* What a walk over a long range remembers of the tables it has come by. */
struct window {
  const struct store *store; /* of whose tables; NULL: nothing yet */
  uint64_t start;  /* buf has the bytes from this offset on */
  uint64_t data;   /* a byte that isn't in a hole */
  const struct extent *sound_of; /* whose page at offset sound was seen to */
  uint64_t sound;                /* have no bad entry */
  alignas (8) uint8_t buf[8192];
};

struct extent_ops {
  /* Says what lies at offset (in the extent), and for how long, but at
   * most length bytes; 0 < length <= size - offset.  A run may end where
   * it needn't.  window is NULL, or one that is kept between the calls
   * of a walk over a long range.  -1: the tables can't be read or are
   * wrong; it has been reported and errno is EIO or what the system said.
   */
  int (*map) (struct extent *e, uint64_t offset, uint64_t length,
              struct window *window, struct run *run);

  /* Inflates the grain of a RUN_PACKED to buf, e->grain_size bytes.
   * NULL if map never says RUN_PACKED.
   */
  int (*unpack) (struct extent *e, const struct run *run, void *buf);

  /* Verifies all that docs/formats.md asks of the format. */
  int (*check) (struct extent *e, struct check *check);

  /* NULL if extents of this format can't be written. */
  const struct extent_write_ops *write;

  /* Adds what only the format knows. */
  void (*info) (const struct extent *e, struct vmdk_extent_info *info);

  void (*close) (struct extent *e);
};

/* What the guest sees where an extent says nothing: the parent, whose
 * bytes never change.  Offsets are the extent's.
 */
struct below {
  int (*pread) (const struct below *b, void *buf, size_t count,
                uint64_t offset);
  /* Looks at tables only.  1: the first *n bytes of the range are zero, 0:
   * the first *n may be anything, -1: reported.
   */
  int (*find_zero) (const struct below *b, uint64_t offset, uint64_t length,
                    uint64_t *n);
};

/* What to put in a place where map says RUN_ABSENT or RUN_ZERO. */
struct fill {
  const struct below *below; /* NULL: zeroes */
  enum run_kind kind;        /* what map said */
  uint64_t offset, length;
  const void *buf;           /* NULL: zeroes */
  bool trim;                 /* zeroes, but parts of grains needn't be */
};

/* Writing.  What map says is RUN_DATA is written to its store without a
 * word to the extent, but for will_change.  fill and fills_fast may be NULL
 * if map never says anything else.  The functions report their errors.
 */
struct extent_write_ops {
  /* Sees that the extent may be written.  Changes nothing. */
  int (*start) (struct extent *e);

  /* Its last writer didn't close it.  May be NULL. */
  bool (*was_interrupted) (const struct extent *e);

  /* Comes before every change.  Makes durable that it isn't clean, and
   * puts in order what an interrupted writer left.
   */
  int (*will_change) (struct extent *e);

  /* Puts the first *done bytes in place.  It may be that none are because
   * another thread was quicker: ask map again.
   */
  int (*fill) (struct extent *e, const struct fill *f, uint64_t *done);

  /* Whether zeroes come into that place without being written. */
  int (*fills_fast) (struct extent *e, const struct fill *f, bool *fast);

  /* Whether there is anything that only memory has.  May be NULL. */
  bool (*is_behind) (const struct extent *e);

  /* Makes durable all that was complete when it was called. */
  int (*flush) (struct extent *e);

  /* The same, and says in the file that it was cleanly closed. */
  int (*finish) (struct extent *e);
};

struct extent {
  const struct extent_ops *ops;
  const char *format;       /* as in vmdk_extent_info */
  struct context *ctx;
  struct store *store;      /* a reference; NULL if there is no file */
  const struct extent_line *line; /* the link's; NULL for a lone extent */
  uint64_t start;           /* in the link, bytes; set by the link */
  uint64_t size;            /* guest bytes */
  uint32_t grain_size;      /* bytes; 0 if it has no grains */
};

/* Opening.  All take over a reference to store, also when they fail.
 * line says what the descriptor knows; the sparse ones accept NULL and
 * then take the size from the header.
 */
extern struct extent *flat_open (struct context *ctx, struct store *store,
                                 const struct extent_line *line);
extern struct extent *raw_open (struct context *ctx, struct store *store,
                                const struct extent_line *line);
extern struct extent *zero_open (struct context *ctx,
                                 const struct extent_line *line);
extern struct extent *no_access_open (struct context *ctx, const char *file,
                                      const struct extent_line *line);
extern struct extent *kdmv_open (struct context *ctx, struct store *store,
                                 const struct extent_line *line);
extern struct extent *cowd_open (struct context *ctx, struct store *store,
                                 const struct extent_line *line);
extern struct extent *sesparse_open (struct context *ctx, struct store *store,
                                     const struct extent_line *line);

/* extent_ops.check of flat extents (check.c) */
extern int flat_check (struct extent *e, struct check *check);

/* Each sparse format recognises its extents by the first bytes. */
enum extent_magic {
  MAGIC_NONE,
  MAGIC_KDMV,
  MAGIC_KDMV_UNFINISHED, /* its writer never came to the end */
  MAGIC_COWD,
  MAGIC_SESPARSE,
  MAGIC_CHANGE_TRACK,    /* not a disk at all */
};
extern enum extent_magic extent_magic (const void *first_8_bytes);

extern void extent_close (struct extent *e); /* NULL is allowed */

/* Sets the size of a sparse extent from its line and the capacity that
 * its header gives, both in bytes, if they agree well enough.
 */
extern int extent_set_size (struct extent *e, uint64_t capacity);

#endif /* VMDK_EXTENT_H */
