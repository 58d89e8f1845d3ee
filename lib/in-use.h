/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Who else may depend on a disk, as far as the folders that it lies in
 * show: programs of VMware that have it open, and children that were made
 * over it.
 */

#ifndef VMDK_IN_USE_H
#define VMDK_IN_USE_H

#include "link.h"

/* Looks in the folder of l for VMware's locks on the descriptor and the
 * extents ("disk.vmdk.lck", a folder, mostly).  For a reader they are
 * reported as a warning and 0 is returned; for a writer -1, reported, errno
 * is EAGAIN.
 */
extern int in_use_by_vmware (const struct link *l, bool write);

/* Whether there is such a lock of the file of that name in a folder. */
extern bool in_use_has_lock (int folder, const char *name);

/* Whether a descriptor in the folder of l was made over l, as it is now;
 * name is its name then, fit for a message.  The one of the link except,
 * which may be NULL, doesn't count, but its folder is looked at, too.
 */
extern bool in_use_find_child (const struct link *l,
                               const struct link *except,
                               char name[EXCERPT_SIZE]);

/* Whether a descriptor, a file of its own, in the folder has s as an extent,
 * other than the one called except; name is its name then.
 */
extern bool in_use_as_extent (int folder, const struct store *s,
                              const char *except, char name[EXCERPT_SIZE]);

/* Refuses (-1, reported, errno is EPERM) if there is one: writing l would
 * destroy that disk.
 */
extern int in_use_as_parent (const struct link *l,
                             const struct link *except);

#endif /* VMDK_IN_USE_H */
