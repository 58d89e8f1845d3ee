/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The names of files that are parts of a disk.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "own-file.h"
#include "store-file.h"

int
own_file_check (const struct store *s)
{
  const struct store_id id = store_identity (s);
  struct stat st;

  if (lstat (s->name, &st) == -1) {
    vmdk_error (s->log, "%s: finding the file again: %m", s->name);
    return -1;
  }
  if (S_ISREG (st.st_mode) && st.st_dev == id.dev && st.st_ino == id.ino)
    return 0;
  vmdk_error (s->log, "%s: this isn't the name of the file itself that was "
              "opened (but a symbolic link, or something else): it can "
              "neither be replaced nor removed; use its own name", s->name);
  errno = EINVAL;
  return -1;
}

static int
number_of (const struct store *s)
{
  return ((const struct store_file *) s)->fd;
}

int
own_file_like (const struct store *s, const struct store *new)
{
  struct stat st;

  if (stat (s->name, &st) == -1 ||
      (fchown (number_of (new), st.st_uid, st.st_gid) == -1 &&
       errno != EPERM) ||
      fchmod (number_of (new), st.st_mode & 07777) == -1) {
    vmdk_error (new->log, "%s: giving it the owner and mode of %s: %m",
                new->name, s->name);
    return -1;
  }
  return 0;
}

/* The folder of a file. */
static int
open_folder (const char *path)
{
  const char *const slash = strrchr (path, '/');
  char *const dir = slash == NULL ? strdup (".")
    : strndup (path, slash == path ? 1 : (size_t) (slash - path));
  int fd = -1;

  if (dir)
    fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (dir);
  return fd;
}

static int
sync_folder (const struct vmdk_log *log, const char *path)
{
  const int fd = open_folder (path);
  int r = fd == -1 ? -1 : fsync (fd);

  /* File systems that can't do it have nothing to sync. */
  if (r == -1 && (errno == EINVAL || errno == EOPNOTSUPP))
    r = 0;
  if (r == -1)
    vmdk_error (log, "%s: fsync of its folder: %m", path);
  if (fd >= 0)
    close (fd);
  return r;
}

int
own_file_remove_path (const struct vmdk_log *log, const char *path)
{
  if (unlinkat (AT_FDCWD, path, 0) == -1) {
    if (errno == ENOENT)
      return 0;
    vmdk_error (log, "%s: removing it: %m", path);
    return -1;
  }
  return sync_folder (log, path);
}

int
own_file_remove (const struct store *s)
{
  return own_file_check (s) == -1 ? -1 :
    own_file_remove_path (s->log, s->name);
}
