/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A picture of where each part of a disk lies, as SVG.
 */

#ifndef VMDK_SVG_H
#define VMDK_SVG_H

#include <stdio.h>

#include "picture.h"

/* Errors stay in the stream. */
extern void svg_write (FILE *out, const struct vmdk_disk *disk,
                       const char *file, const struct picture *p);

#endif /* VMDK_SVG_H */
