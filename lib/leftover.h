/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Files of a disk that was replaced by another, which nobody needs now.
 */

#ifndef VMDK_LEFTOVER_H
#define VMDK_LEFTOVER_H

#include "new-file.h"

/* The descriptor that f replaces, a file of its own, or NULL.  The caller
 * frees it.
 */
extern struct descriptor *leftover_peek (const struct new_file *f);

/* Warns about the extents of former, NULL or the one that the last of the
 * new files has replaced, which are still there and not among these.
 */
extern void leftover_warn (const struct descriptor *former,
                           struct new_file *const *files, size_t n);

#endif /* VMDK_LEFTOVER_H */
