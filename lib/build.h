/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building an extent from its first byte to its last: what converting and
 * creating share.  The extent's file is nobody else's and has no name yet,
 * so that nothing needs to be durable, or in order, before the end.
 *
 * Guest data come in pieces.  Each goes through three steps:
 *
 *   pack    by any thread, pieces side by side: is it zero, is it to be
 *           compressed; whatever takes time
 *   place   one piece after the other, in the order of the guest: where it
 *           goes.  So the same input always gives the same file.
 *   write   by any thread: the bytes go to their place
 *
 * Pieces that hold nothing aren't given at all.  Formats: build-*.c.
 */

#ifndef VMDK_BUILD_H
#define VMDK_BUILD_H

#include "extent.h"
#include "new-file.h"

/* Guest bytes of a piece, and what their offsets are a multiple of; no
 * grain is larger.
 */
#define PIECE_SIZE ((size_t) 1 << 20)

struct build;

struct piece {
  struct build *build;
  uint64_t offset;      /* in the extent, a multiple of PIECE_SIZE */
  size_t length;        /* PIECE_SIZE, or to the end of the extent */
  uint8_t *data;        /* PIECE_SIZE bytes; zeroes behind length */

  /* For each grain of the piece (build->grain_size): this layer doesn't
   * say what it is, the parent does.  NULL: it says all.
   */
  const bool *absent;

  /* Between the steps, the format's.  packed is kept from piece to piece
   * of a thread, and freed by the pipeline.
   */
  uint8_t *packed;
  size_t packed_size;   /* allocated */
  size_t packed_length; /* in use */
  uint64_t place;       /* in the file */
  uint64_t skip;        /* bit i: grain i holds nothing (if it has <= 64) */
  void *more;           /* freed with free() after write */
};

struct build_ops {
  const char *format;

  /* Writes what comes in front, if need be, once all fields of build that
   * are the caller's are set.
   */
  int (*begin) (struct build *b);

  int (*pack) (struct build *b, struct piece *p);  /* may be NULL */
  int (*place) (struct build *b, struct piece *p); /* may be NULL */
  int (*write) (struct build *b, struct piece *p);

  /* Gives every grain of the extent a place, before there are any pieces.
   * NULL: can't be done for this format.
   */
  int (*preallocate) (struct build *b);

  /* After all pieces: tables and header, so that the extent is complete but
   * for its descriptor.
   */
  int (*finish) (struct build *b);

  /* Puts the descriptor into the extent, after finish.  NULL if it can't
   * have one.
   */
  int (*embed) (struct build *b, const char *text, size_t length);

  void (*free) (struct build *b);
};

struct build {
  const struct build_ops *ops;
  const struct vmdk_log *log;
  struct store *store;  /* borrowed: where the extent goes, at offset 0 */
  const char *name;     /* for messages */
  uint64_t size;        /* guest bytes, a multiple of 512 */
  uint32_t grain_size;  /* bytes; of flat ones 65536 */
  bool has_parent;      /* what is zero must be said to be, if !absent */
  bool has_descriptor;  /* room for one inside is wanted */
  int level;            /* of compression; 0: the default */

  /* Of a finished stream: a number that depends on the content alone. */
  uint32_t content_id;
  uint64_t populated;   /* ... and the guest bytes that it stores */
};

/* Each sets ops and what is its own; the caller sets the rest before
 * begin.  NULL: out of memory, reported.
 */
extern struct build *build_flat_new (const struct vmdk_log *log);
extern struct build *build_kdmv_new (const struct vmdk_log *log);
extern struct build *build_cowd_new (const struct vmdk_log *log);
extern struct build *build_sesparse_new (const struct vmdk_log *log);
extern struct build *build_stream_new (const struct vmdk_log *log);

/* Whether count bytes are zero; quick. */
extern bool is_zero (const void *data, size_t count);

#endif /* VMDK_BUILD_H */
