/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into nbdkit it makes a file system of one that can neither
 * punch holes nor zero ranges, such as those of old network servers and
 * memory cards.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>

#undef fallocate
#undef fallocate64

int
fallocate (int fd, int mode, off_t offset, off_t length)
{
  (void) fd;
  (void) mode;
  (void) offset;
  (void) length;
  errno = EOPNOTSUPP;
  return -1;
}

/* Which of them is called depends on how the caller was compiled. */
extern int fallocate64 (int fd, int mode, off_t offset, off_t length)
  __attribute__ ((alias ("fallocate")));
