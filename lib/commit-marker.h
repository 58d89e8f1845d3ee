/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The file beside a child that says that it is being committed: for the
 * moment in which its parent has another content ID than it names.
 */

#ifndef VMDK_COMMIT_MARKER_H
#define VMDK_COMMIT_MARKER_H

#include <stdbool.h>
#include <stdint.h>

struct link;

struct commit_marker {
  char *path;
  bool exists;      /* also when there is nothing sensible in it */
  bool valid;
  uint32_t was, now; /* the parent's content ID, if valid */
};

/* Looks for that of a child.  -1: reported. */
extern int commit_marker_read (const struct link *child,
                               struct commit_marker *m);

/* Makes it, with m->was and m->now, durably. */
extern int commit_marker_write (const struct link *child,
                                struct commit_marker *m);
extern int commit_marker_remove (const struct link *child,
                                 struct commit_marker *m);
extern void commit_marker_free (struct commit_marker *m);

#endif /* VMDK_COMMIT_MARKER_H */
