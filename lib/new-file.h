/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A file that is being made.  It has no name until it is complete and
 * durable, so that nobody sees half of it, and nothing is left behind by
 * a program that was killed.
 */

#ifndef VMDK_NEW_FILE_H
#define VMDK_NEW_FILE_H

#include <sys/types.h>

#include "store.h"

struct new_file {
  struct store *store;  /* empty at first, and writable; it reads as zero
                           where nothing was written, punching works */
  char *path;           /* that it will have */
  bool force;
  /* new-file.c's own */
  int folder;
  char *base;           /* of path, in the folder */
  char *temporary;      /* its hidden name; NULL: it really has none */
  struct store *former; /* the file that it replaces, locked; NULL: none */
  mode_t mode;          /* that it gets when it is complete */
  bool published;
};

/* NULL: reported.  Without force, fails with EEXIST if there is such a
 * file already.  With it, what is there must be a regular file that nobody
 * uses (EAGAIN); it is locked as by a writer until new_file_free.
 */
extern struct new_file *new_file_begin (const struct vmdk_log *log,
                                        const char *path, bool force);

/* The same in the folder of another, where path's is the same, and with its
 * force.
 */
extern struct new_file *new_file_begin_with (const struct new_file *other,
                                             const char *path);

/* The same in the folder where the name of s leads to its file, and which
 * is path's.
 */
extern struct new_file *new_file_begin_beside (const struct vmdk_log *log,
                                               const char *path,
                                               const struct store *s,
                                               bool force);

/* The same for a successor of old, a file that we have open and have locked
 * as a writer, under its own name.
 */
extern struct new_file *new_file_begin_over (const struct vmdk_log *log,
                                             struct store *old);

/* Takes from everybody else what they may not do with the files that its
 * content is from, unless it replaces a file, whose mode it has.
 */
extern void new_file_limit_mode (struct new_file *f,
                                 struct store *const *from, size_t n);

/* Makes all durable, and then gives them their names: in this order, so
 * that the last one should be the one that names the others.  With force,
 * a single file replaces the former one at once; of several, the last
 * one's former file goes first, so that there is never a mixture.  -1:
 * reported; what had got its name lost it again, unless it alone has
 * replaced a former file.
 */
extern int new_files_publish (struct new_file *const *files, size_t n);

/* Also makes it vanish, if it wasn't published.  NULL is allowed. */
extern void new_file_free (struct new_file *f);

#endif /* VMDK_NEW_FILE_H */
