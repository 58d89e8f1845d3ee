/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Temporary files without a name, so that nothing is left of them when
 * the program ends, however that happens.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "temporary.h"

const char *
temporary_folder (void)
{
  const char *const dir = getenv ("TMPDIR");

  return dir && dir[0] ? dir : "/var/tmp";
}

int
temporary_open (void)
{
  const char *const dir = temporary_folder ();
  char *name;
  int fd;

  fd = open (dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0)
    return fd;
  if (asprintf (&name, "%s/vmdk-XXXXXX", dir) == -1)
    return -1;
  fd = mkostemp (name, O_CLOEXEC);
  if (fd >= 0)
    unlink (name);
  free (name);
  return fd;
}

int
temporary_write (int fd, const void *buf, size_t count, uint64_t offset)
{
  while (count > 0) {
    const ssize_t r = pwrite (fd, buf, count, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      return -1;
    buf = (const char *) buf + r;
    count -= (size_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}

int
temporary_read (int fd, void *buf, size_t count, uint64_t offset)
{
  while (count > 0) {
    const ssize_t r = pread (fd, buf, count, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1)
      return -1;
    if (r == 0) {
      memset (buf, 0, count);
      return 0;
    }
    buf = (char *) buf + r;
    count -= (size_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}
