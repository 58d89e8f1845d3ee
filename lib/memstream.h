/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The end of a text that was written to a stream of open_memstream(3).
 */

#ifndef VMDK_MEMSTREAM_H
#define VMDK_MEMSTREAM_H

#include <stdio.h>

/* Closes the stream and returns *text, which the caller frees.  NULL: there
 * was too little memory at any time; errno is set, *text is NULL.
 */
extern char *memstream_close (FILE *stream, char **text)
  __attribute__ ((__nonnull__ (1, 2)));

#endif /* VMDK_MEMSTREAM_H */
