/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The undo file of a repair: what was in the files, byte for byte, where
 * the repair changed them.  It is complete and durable before the first
 * change, so that whatever happens then, it brings back what was.
 *
 * All numbers are little-endian.  It begins with the 8 bytes of UNDO_MAGIC
 * and two numbers of 32 bits, the version (1) and 0.  Then come chunks: a
 * type and a length, 32 bits each, and so many bytes.
 *
 *   FILE   size before, size after (64 bits each), and a name: of a file
 *          in or below the folder of the undo file, or an absolute one.
 *          The next chunks up to another FILE are about it.  The first one
 *          is the disk that was repaired, also if it wasn't changed itself.
 *   BYTES  offset (64 bits), bytes before, bytes after (32 bits each): how
 *          much the file has there, which is less where it ends.  Then
 *          the bytes before, and a CRC-32 for each sector of those after.
 *   END    the CRC-32 of all that stands before this chunk; it is the last.
 *
 * By the bytes before and the CRCs of those after, each sector is seen to be
 * either as it was or as it was made, also if the repair was interrupted.
 * If one is neither, somebody else has changed the file since, and it isn't
 * touched.  BYTES of a file come in the order of their offsets; what is
 * behind the smaller of its sizes and in none of them was zero before, or
 * is zero after it, and must still be.
 */

#ifndef VMDK_UNDO_H
#define VMDK_UNDO_H

#include "store-overlay.h"

#define UNDO_MAGIC "VMDKundo"
#define UNDO_VERSION 1

enum undo_chunk {
  UNDO_FILE = 1,
  UNDO_BYTES = 2,
  UNDO_END = 3,
};

/* The most that BYTES has of each. */
#define UNDO_MAX_BYTES 65536

/* A piece of a file that is to change. */
struct change {
  uint64_t offset;
  const uint8_t *before, *after;
  uint32_t nr_before, nr_after; /* bytes */
};

/* Calls fn for each piece that the overlay changes: whole sectors, but at
 * the end of a file.  What is cut off isn't among them.
 */
typedef int (*change_fn) (void *opaque, const struct change *c);
extern int undo_walk (struct overlay *o, change_fn fn, void *opaque);

/* Writes the undo file for changes that weren't made yet.  beside: path is
 * in the folder of the first file.
 */
extern int undo_write (const struct vmdk_log *log, const char *path,
                       bool beside, struct overlay *const *files,
                       size_t nr_files);

/* Makes the changes, durably.  first: bytes at the start of a file that are
 * written last, when all else, also of the other files, is durable.
 */
extern int undo_make_changes (struct overlay *const *files, size_t nr_files,
                              uint64_t first);

/* How the files are that an undo file speaks of. */
enum undo_state {
  UNDO_AS_BEFORE,
  UNDO_AS_AFTER,
  UNDO_BETWEEN,   /* the repair was interrupted */
  UNDO_CHANGED,   /* by others, or they aren't there */
};
/* -1: reported: it isn't a complete undo file, or can't be read. */
extern int undo_inspect (const struct vmdk_options *options,
                         const char *path, enum undo_state *state);

/* Takes the repair back, and removes the undo file.  -1: reported. */
extern int undo_take_back (const struct vmdk_options *options,
                           const char *path);

#endif /* VMDK_UNDO_H */
