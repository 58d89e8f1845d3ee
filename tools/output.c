/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A file that a command writes: first without a name, or where the file
 * system can't do that under another one, and synced before it gets its
 * own.  So nobody sees half of it, not even after a crash.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

static int
report (const struct output *o)
{
  error_message ("%s: %m", o->path);
  return -1;
}

static bool
is_file (const char *path, const struct stat *st)
{
  struct stat other;

  return path && stat (path, &other) == 0 && other.st_dev == st->st_dev &&
    other.st_ino == st->st_ino;
}

static bool
is_of_disk (const struct vmdk_disk *disk, const struct stat *st)
{
  const size_t nr_links = vmdk_nr_links (disk);
  size_t link, i;

  for (link = 0; link < nr_links; link++) {
    struct vmdk_link_info l;

    vmdk_get_link (disk, link, &l);
    if (is_file (l.file, st))
      return true;
    for (i = 0; i < l.nr_extents; i++) {
      struct vmdk_extent_info e;

      vmdk_get_extent (disk, link, i, &e);
      if (is_file (e.file, st))
        return true;
    }
  }
  return false;
}

/* May what is there be replaced? */
static int
look_at_old (const struct output *o, const struct vmdk_disk *disk)
{
  struct stat st;

  if (lstat (o->path, &st) == -1)
    return errno == ENOENT ? 0 : report (o);
  if (!o->force)
    error_message ("%s: exists already; --force replaces it", o->path);
  else if (!S_ISREG (st.st_mode))
    error_message ("%s: exists already, and is no regular file", o->path);
  else if (is_of_disk (disk, &st))
    error_message ("%s: is a file of the disk itself", o->path);
  else
    return 0;
  return -1;
}

/* "FOLDER/.NAME.XXXXXX": hidden, beside path. */
static char *
name_beside (const char *path)
{
  const char *const slash = strrchr (path, '/');
  const int folder = slash ? (int) (slash + 1 - path) : 0;
  char *name;

  if (asprintf (&name, "%.*s.%.200s.XXXXXX", folder, path,
                path + folder) == -1)
    return NULL;
  return name;
}

static int
open_nameless (const char *path)
{
  char *const folder = name_beside (path);
  char *const slash = folder ? strrchr (folder, '/') : NULL;
  int fd;

  if (folder == NULL || access ("/proc/self/fd", X_OK) == -1) {
    free (folder);
    return -1;
  }
  if (slash)
    slash[1] = '\0';
  fd = open (slash ? folder : ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  free (folder);
  return fd;
}

static int
open_named (struct output *o)
{
  const mode_t mask = umask (0);
  int fd;

  umask (mask);
  o->temporary = name_beside (o->path);
  if (o->temporary == NULL)
    return -1;
  fd = mkostemp (o->temporary, O_CLOEXEC);
  if (fd >= 0)
    fchmod (fd, 0666 & ~mask);
  else {
    free (o->temporary);
    o->temporary = NULL;
  }
  return fd;
}

int
output_begin (struct output *o, const char *path, bool force,
              const struct vmdk_disk *disk)
{
  int fd;

  *o = (struct output) { .path = path, .force = force };
  if (strcmp (path, "-") == 0) {
    o->file = stdout;
    return 0;
  }
  if (look_at_old (o, disk) == -1)
    return -1;
  fd = open_nameless (path);
  if (fd == -1)
    fd = open_named (o);
  if (fd >= 0)
    o->file = fdopen (fd, "w");
  if (o->file == NULL) {
    report (o);
    output_drop (o);
    return -1;
  }
  return 0;
}

/* Without replacing anything.  Some file systems know no links, others not
 * this kind of renaming.
 */
static int
give_new_name (struct output *o, const char *link)
{
  if (o->temporary == NULL)
    return linkat (AT_FDCWD, link, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW);
  if (renameat2 (AT_FDCWD, o->temporary, AT_FDCWD, o->path,
                 RENAME_NOREPLACE) == -1)
    return errno == EINVAL ? linkat (AT_FDCWD, o->temporary, AT_FDCWD,
                                     o->path, 0) : -1;
  free (o->temporary);
  o->temporary = NULL;
  return 0;
}

/* A nameless file can't replace another, and gets a temporary name too. */
static int
give_temporary_name (struct output *o, const char *link)
{
  unsigned i;

  for (i = 0; i < 100; i++) {
    char *const name = name_beside (o->path);

    if (name == NULL)
      return -1;
    snprintf (name + strlen (name) - 6, 7, "%06x",
              (unsigned) (getpid () + (long) i) & 0xffffff);
    if (linkat (AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
      o->temporary = name;
      return 0;
    }
    free (name);
    if (errno != EEXIST)
      return -1;
  }
  return -1;
}

static int
give_name (struct output *o)
{
  char link[64];

  snprintf (link, sizeof link, "/proc/self/fd/%d", fileno (o->file));
  if (!o->force)
    return give_new_name (o, link);
  if (o->temporary == NULL && give_temporary_name (o, link) == -1)
    return -1;
  if (rename (o->temporary, o->path) == -1)
    return -1;
  free (o->temporary);
  o->temporary = NULL;
  return 0;
}

int
output_end (struct output *o)
{
  int r;

  if (o->file == stdout) /* its errors are found at the end */
    return 0;
  if (fflush (o->file) == 0 && !ferror (o->file) &&
      fsync (fileno (o->file)) == 0)
    r = give_name (o);
  else
    r = -1;
  if (r == -1)
    report (o);
  output_drop (o);
  return r;
}

void
output_drop (struct output *o)
{
  if (o->temporary)
    unlink (o->temporary);
  free (o->temporary);
  if (o->file && o->file != stdout)
    fclose (o->file);
}
