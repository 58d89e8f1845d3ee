/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A small file that a command writes besides its output: it gets its name
 * when it is complete.
 */

#ifndef VMDK_OUTPUT_H
#define VMDK_OUTPUT_H

#include <stdio.h>

#include "vmdk-img.h"

struct output {
  FILE *file;       /* to be written */
  const char *path; /* "-": standard output */
  bool force;       /* replace a file that exists */
  char *temporary;  /* its name until then; NULL: it has none */
};

/* -1: reported.  So is a file of the disk itself, which is never replaced,
 * and with force anything that isn't a regular file.
 */
extern int output_begin (struct output *o, const char *path, bool force,
                         const struct vmdk_disk *disk);

/* Makes it durable and gives it its name, or drops it.  -1: reported. */
extern int output_end (struct output *o);
extern void output_drop (struct output *o);

#endif /* VMDK_OUTPUT_H */
