/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opening files that must lie below a folder.
 */

#ifndef VMDK_BENEATH_H
#define VMDK_BENEATH_H

/* Opens path, which must lie below the folder dirfd also after all
 * symbolic links are followed: openat2(2), or where the kernel hasn't
 * got it the walk, which follows no links at all.
 */
extern int open_beneath (int dirfd, const char *path, int flags);
extern int open_beneath_walk (int dirfd, const char *path, int flags);

#endif /* VMDK_BENEATH_H */
