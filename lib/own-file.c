/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The names of files that are parts of a disk.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "own-file.h"

const char *
own_file_base (const char *path)
{
  const char *const slash = strrchr (path, '/');

  return slash ? slash + 1 : path;
}

int
own_file_open_folder (const char *path)
{
  const char *const base = own_file_base (path);
  char *const dir = base == path ? strdup (".")
    : strndup (path, base - path == 1 ? 1 : (size_t) (base - path - 1));
  int fd = -1;

  if (dir) {
    fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1 && errno == EACCES) /* good enough for names */
      fd = open (dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  }
  free (dir);
  return fd;
}

bool
own_file_is_at (const struct store *s, int folder, const char *base,
                bool link)
{
  const struct store_id id = store_identity (s);
  struct stat st;

  if (fstatat (folder, base, &st, link ? 0 : AT_SYMLINK_NOFOLLOW) == -1)
    return false;
  if (link && S_ISBLK (st.st_mode)) /* as in store-file.c */
    return id.dev == UINT64_MAX && id.ino == st.st_rdev;
  errno = EINVAL;
  return S_ISREG (st.st_mode) && st.st_dev == id.dev && st.st_ino == id.ino;
}

static int
report_name (const struct store *s, bool link)
{
  if (errno != EINVAL)
    vmdk_error (s->log, "%s: finding the file again: %m", s->name);
  else if (link)
    vmdk_error (s->log, "%s: this isn't the name of the file any more that "
                "was opened", s->name);
  else
    vmdk_error (s->log, "%s: this isn't the name of the file itself that was "
                "opened (but a symbolic link, or something else): it can "
                "neither be replaced nor removed; use its own name", s->name);
  return -1;
}

int
own_file_folder (const struct store *s, bool link)
{
  const int fd = own_file_open_folder (s->name);

  if (fd >= 0 && own_file_is_at (s, fd, own_file_base (s->name), link))
    return fd;
  report_name (s, link);
  if (fd >= 0)
    close (fd);
  return -1;
}

static int
sync_folder (const struct vmdk_log *log, int folder, const char *path)
{
  /* File systems that can't do it have nothing to sync; or the folder
   * couldn't be opened for this.
   */
  if (fsync (folder) == 0 || errno == EINVAL || errno == EOPNOTSUPP ||
      errno == EBADF)
    return 0;
  vmdk_error (log, "%s: fsync of its folder: %m", path);
  return -1;
}

/* Takes folder over. */
static int
remove_name (const struct vmdk_log *log, int folder, const char *path)
{
  int r = -1;

  if (unlinkat (folder, own_file_base (path), 0) == 0)
    r = sync_folder (log, folder, path);
  else if (errno == ENOENT)
    r = 0;
  else
    vmdk_error (log, "%s: removing it: %m", path);
  close (folder);
  return r;
}

int
own_file_remove (const struct store *s)
{
  const int folder = own_file_folder (s, false);

  return folder == -1 ? -1 : remove_name (s->log, folder, s->name);
}

int
own_file_remove_beside (const struct store *s, const char *path)
{
  const int folder = own_file_folder (s, true);

  return folder == -1 ? -1 : remove_name (s->log, folder, path);
}
