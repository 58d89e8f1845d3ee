/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opening a file that must lie below a folder.  This is the one place
 * where a name from an image meets the file system, so the kernel decides
 * while it looks the name up: a check before or after could be raced.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HAVE_LINUX_OPENAT2_H
#include <linux/openat2.h>
#endif

#include "beneath.h"

/* The kernel gives up with EAGAIN when something is renamed meanwhile. */
#define MAX_TRIES 64

/* There is no function for it in the C library, and so no one who adds
 * O_LARGEFILE where it is needed.
 */
static int
try_openat2 (int dirfd, const char *path, int flags)
{
#if defined HAVE_LINUX_OPENAT2_H && defined SYS_openat2
  const struct open_how how = {
    /* NOLINTNEXTLINE(bugprone-branch-clone): O_LARGEFILE may be 0 */
    .flags = (unsigned) (flags | (flags & O_PATH ? 0 : O_LARGEFILE)),
    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
  };
  int tries = MAX_TRIES;
  long fd;

  do
    fd = syscall (SYS_openat2, dirfd, path, &how, sizeof how);
  while (fd == -1 && (errno == EAGAIN || errno == EINTR) && --tries > 0);
  return (int) fd;
#else
  (void) dirfd;
  (void) path;
  (void) flags;
  errno = ENOSYS;
  return -1;
#endif
}

/* Steps into the folder that is the first component of *path, up to slash. */
static int
step_down (int dirfd, char **path, char *slash)
{
  const char *const name = *path;

  *slash = '\0';
  *path = slash + 1 + strspn (slash + 1, "/");
  if (strcmp (name, ".") == 0)
    return fcntl (dirfd, F_DUPFD_CLOEXEC, 0);
  if (strcmp (name, "..") == 0) {
    errno = EXDEV;
    return -1;
  }
  return openat (dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int
open_beneath_walk (int dirfd, const char *path, int flags)
{
  char *const copy = strdup (path);
  char *rest = copy, *slash;
  int dir = fcntl (dirfd, F_DUPFD_CLOEXEC, 0);
  int fd = -1, err;

  if (copy && path[0] == '/')
    errno = EXDEV;
  else if (copy && dir >= 0) {
    while (dir >= 0 && (slash = strchr (rest, '/'))) {
      const int next = step_down (dir, &rest, slash);

      err = errno;
      close (dir);
      errno = err;
      dir = next;
    }
    if (dir >= 0 && strcmp (rest, "..") == 0)
      errno = EXDEV;
    else if (dir >= 0)
      fd = openat (dir, rest, flags | O_NOFOLLOW);
  }
  err = errno;
  if (dir >= 0)
    close (dir);
  free (copy);
  errno = err;
  return fd;
}

int
open_beneath (int dirfd, const char *path, int flags)
{
  const int fd = try_openat2 (dirfd, path, flags | O_CLOEXEC);

  /* EPERM: a sandbox that doesn't know the system call. */
  if (fd == -1 && (errno == ENOSYS || errno == EPERM))
    return open_beneath_walk (dirfd, path, flags | O_CLOEXEC);
  return fd;
}
