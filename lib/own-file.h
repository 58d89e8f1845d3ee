/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The names of files that are parts of a disk: removing them, and finding
 * the folder where others are made beside them.  A name is only touched as
 * long as it is that of the file that is open, and in the folder where that
 * was seen: paths can lead elsewhere from one moment to the next, where
 * others may write one of their folders.
 */

#ifndef VMDK_OWN_FILE_H
#define VMDK_OWN_FILE_H

#include "store.h"

/* What follows the last slash. */
extern const char *own_file_base (const char *path);

/* The folder of path, to be changed.  -1: not reported. */
extern int own_file_open_folder (const char *path);

/* Whether base in folder is the store's file itself or, with link, leads
 * to it.  False: errno is EINVAL if it is something else.
 */
extern bool own_file_is_at (const struct store *s, int folder,
                            const char *base, bool link);

/* The folder in which the store's name is that of its file.  The caller
 * closes it.  -1: reported.
 */
extern int own_file_folder (const struct store *s, bool link);

/* Removes the file, durably. */
extern int own_file_remove (const struct store *s);

/* The same for a file of ours called path, which is in the folder where the
 * store's name leads to its file; its absence is no error.
 */
extern int own_file_remove_beside (const struct store *s, const char *path);

#endif /* VMDK_OWN_FILE_H */
