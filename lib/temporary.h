/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Temporary files without a name, for what may be too much for memory.
 */

#ifndef VMDK_TEMPORARY_H
#define VMDK_TEMPORARY_H

#include <stddef.h>
#include <stdint.h>

/* Where they are: TMPDIR, or /var/tmp. */
extern const char *temporary_folder (void);

/* An empty file, for reading and writing.  -1: not reported. */
extern int temporary_open (void);

/* All of it, or -1, which isn't reported.  What wasn't written reads as
 * zero.
 */
extern int temporary_write (int fd, const void *buf, size_t count,
                            uint64_t offset);
extern int temporary_read (int fd, void *buf, size_t count, uint64_t offset);

#endif /* VMDK_TEMPORARY_H */
