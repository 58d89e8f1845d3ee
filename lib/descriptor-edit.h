/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changing the text of a descriptor: what a writer has to change, and not
 * a byte more.  Text to text, without any I/O.
 */

#ifndef VMDK_DESCRIPTOR_EDIT_H
#define VMDK_DESCRIPTOR_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

struct geometry;

struct descriptor_edit {
  bool drop_change_track; /* no changeTrackPath, and not version=3 */
  bool in_place;          /* keep every byte where it is: the text is
                             inside of an extent, or a file that can't be
                             replaced, and a crash may leave any of its
                             sectors old and the others new */
};

/* The text with a new random CID, and a ddb.longContentID (if there is
 * one) that ends with it.  With in_place, the CID has as many digits as
 * before, and a long content ID that hasn't 32 remains as it is.  What
 * follows a NUL byte, which ends the text, is kept.
 *
 * The caller frees it; *new_length is length with in_place, and else never
 * above VMDK_MAX_DESCRIPTOR if length isn't.  *cid is the new content ID,
 * or CID_UNSET if there is no CID line, which is reported as a warning.
 * NULL: reported.  errno is EINVAL if the result wouldn't be valid, since
 * the text isn't.
 */
extern char *descriptor_change (const struct vmdk_log *log, const char *name,
                                const char *text, size_t length,
                                const struct descriptor_edit *edit,
                                size_t *new_length, uint32_t *cid)
  __attribute__ ((__nonnull__ (1, 2, 3, 5, 6, 7)));

/* What else may change in a descriptor. */
struct descriptor_changes {
  const uint32_t *cid;        /* with the long content ID; NULL: as it is */
  const uint32_t *parent_cid; /* NULL: as it is */
  const char *parent_hint;    /* NULL: as it is, "": there is none */
  bool drop_change_track;
  /* Sizes in bytes, 0: as it is; of the first nr_sizes extents. */
  const uint64_t *extent_sizes;
  size_t nr_sizes;
  const char *more_extents;   /* lines to add behind the last one, or NULL */
  const struct geometry *geometry; /* where the text gives one, or NULL */
  unsigned version;           /* 0: as it is */
};

/* The text with these changes; lines that aren't concerned stay as they
 * are, byte for byte.  What follows a NUL byte is dropped.  The caller
 * frees it.  NULL: reported.
 */
extern char *descriptor_edit (const struct vmdk_log *log, const char *name,
                              const char *text, size_t length,
                              const struct descriptor_changes *changes,
                              size_t *new_length)
  __attribute__ ((__nonnull__ (1, 2, 3, 5, 6)));

#endif /* VMDK_DESCRIPTOR_EDIT_H */
