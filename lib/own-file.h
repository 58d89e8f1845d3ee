/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The names of files that are parts of a disk: removing them, and giving
 * them to other files.  A name is only touched as long as it is that of the
 * file that is open, and not of a link to it.
 */

#ifndef VMDK_OWN_FILE_H
#define VMDK_OWN_FILE_H

#include "store.h"

/* Whether the store's name is really that of its file.  -1: reported. */
extern int own_file_check (const struct store *s);

/* Gives a new file the owner, as far as that is allowed, and the mode of
 * the store's.
 */
extern int own_file_like (const struct store *s, const struct store *new);

/* Removes the file of that name, durably. */
extern int own_file_remove (const struct store *s);

/* The same for any file of ours that is called path; its absence is no
 * error.
 */
extern int own_file_remove_path (const struct vmdk_log *log,
                                 const char *path);

#endif /* VMDK_OWN_FILE_H */
