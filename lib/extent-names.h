/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Which files beside a descriptor are its extents, by their names alone.
 */

#ifndef VMDK_EXTENT_NAMES_H
#define VMDK_EXTENT_NAMES_H

#include "log.h"

/* The files that belong to a descriptor called file, in their order.  The
 * caller frees them with extent_names_free.  NULL: reported, there are none,
 * one is missing, or there are those of several disks.
 */
extern char **extent_names_find (const struct vmdk_log *log,
                                 const char *file, size_t *nr);
extern void extent_names_free (char **names, size_t nr);

#endif /* VMDK_EXTENT_NAMES_H */
