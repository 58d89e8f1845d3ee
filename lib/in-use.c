/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Looking around for others who depend on a disk.  All that is looked at
 * is the folder of its descriptor: VMware keeps lock folders there, and
 * mostly the children, too.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "in-use.h"

#define LOCK_SUFFIX ".lck"
#define DISK_SUFFIX ".vmdk"

/* dir may be a file that only allows to look up names. */
static DIR *
list_folder (int dir, const char *name)
{
  const int fd =
    openat (dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *list;

  if (fd == -1)
    return NULL;
  list = fdopendir (fd);
  if (list == NULL)
    close (fd);
  return list;
}

/* The name without its suffix: its length, or 0 if it doesn't have it. */
static size_t
stem_length (const char *name, const char *suffix)
{
  const size_t n = strlen (name), m = strlen (suffix);

  return n > m && strcasecmp (name + n - m, suffix) == 0 ? n - m : 0;
}

static const char *
base_name (const char *path)
{
  const char *const slash = strrchr (path, '/');

  return slash ? slash + 1 : path;
}

/* VMware's locks. */

/* There are no slashes in name. */
static bool
is_called (const struct store *s, const char *name, size_t n)
{
  const char *const own = base_name (s->name);

  return strncmp (own, name, n) == 0 && own[n] == '\0';
}

static bool
is_part (const struct link *l, const char *name, size_t n)
{
  size_t i;

  if (is_called (l->store, name, n))
    return true;
  for (i = 0; i < l->nr_extents; i++)
    if (l->extents[i]->store && is_called (l->extents[i]->store, name, n))
      return true;
  return false;
}

/* A folder without a lock in it is only left over.  Locks of other kinds,
 * and folders that we may not look into, are taken seriously.
 */
static bool
is_lock (int dir, const char *name)
{
  DIR *const list = list_folder (dir, name);
  const struct dirent *d;

  if (list == NULL)
    return errno != ENOENT;
  while ((d = readdir (list)))
    if (strcmp (d->d_name, ".") != 0 && strcmp (d->d_name, "..") != 0)
      break;
  closedir (list);
  return d != NULL;
}

static int
report_lock (const struct link *l, const char *lock, bool write)
{
  char name[EXCERPT_SIZE];

  vmdk_excerpt (name, sizeof name, lock);
  if (!write) {
    vmdk_warning (&l->ctx->log, "%s: a virtual machine of VMware seems to "
                  "have it open: beside it is \"%s\"; if one runs, what is "
                  "read may be neither its old nor its new content",
                  l->store->name, name);
    return 0;
  }
  vmdk_error (&l->ctx->log, "%s: can't be written: a virtual machine of "
              "VMware seems to have it open: beside it is \"%s\"; close the "
              "machine, or if none runs, which means that one crashed, "
              "remove that", l->store->name, name);
  errno = EAGAIN;
  return -1;
}

int
in_use_by_vmware (const struct link *l, bool write)
{
  DIR *const list = l->folder ? list_folder (l->folder->fd, ".") : NULL;
  const struct dirent *d;
  int r = 0;

  if (list == NULL)
    return 0;
  while ((d = readdir (list))) {
    const size_t n = stem_length (d->d_name, LOCK_SUFFIX);

    if (n == 0 || !is_part (l, d->d_name, n) ||
        !is_lock (dirfd (list), d->d_name))
      continue;
    r = report_lock (l, d->d_name, write);
    break;
  }
  closedir (list);
  return r;
}

bool
in_use_has_lock (int folder, const char *name)
{
  char lock[NAME_MAX + 1];
  const int n = snprintf (lock, sizeof lock, "%s%s", name, LOCK_SUFFIX);

  return n > 0 && n < (int) sizeof lock && is_lock (folder, lock);
}

/* Children. */

static bool
is_file (const struct store *s, const struct stat *st)
{
  struct store_id id;

  if (s->no_file)
    return false;
  id = store_identity (s);
  return id.dev == st->st_dev && id.ino == st->st_ino;
}

static bool
is_ours (const struct link *l, const struct stat *st)
{
  size_t i;

  if (is_file (l->store, st))
    return true;
  for (i = 0; i < l->nr_extents; i++)
    if (l->extents[i]->store && is_file (l->extents[i]->store, st))
      return true;
  return false;
}

/* Compares what any encoding of names has in common, without case: a hint
 * may have been written on another system.
 */
static bool
is_same_name (const char *a, const char *b)
{
  for (;; a++, b++) {
    while (*a & 0x80)
      a++;
    while (*b & 0x80)
      b++;
    if (strncasecmp (a, b, 1) != 0)
      return false;
    if (*a == '\0')
      return true;
  }
}

/* Does a hint that was found in a file in dir lead to l?  A hint that leads
 * nowhere does if only the folder is wrong: disks are moved.
 */
static bool
leads_to (int dir, const char *hint, const struct link *l)
{
  const char *base = base_name (hint);
  struct stat st;

  if (fstatat (dir, hint, &st, AT_NO_AUTOMOUNT) == 0)
    return is_file (l->store, &st);
  if (strrchr (base, '\\'))
    base = strrchr (base, '\\') + 1;
  return is_same_name (base, base_name (l->store->name));
}

static bool
depends_on (const struct descriptor *d, int dir, const struct link *l)
{
  return d->parent_hint && d->has_parent_cid &&
    d->parent_cid == __atomic_load_n (&l->desc->cid, __ATOMIC_RELAXED) &&
    leads_to (dir, d->parent_hint, l);
}

/* The file called name, if it is a disk that isn't ours, nor of the link
 * except, which may be NULL.
 */
static struct store *
open_other (int dir, const char *name, const struct link *l,
            const struct link *except)
{
  struct stat st;
  int fd;

  if (fstatat (dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
      !S_ISREG (st.st_mode) || is_ours (l, &st) ||
      (except && is_ours (except, &st)))
    return NULL;
  fd = openat (dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
               O_CLOEXEC);
  return fd == -1 ? NULL : store_file_new (&vmdk_no_log, fd, name);
}

static bool
is_child (int dir, const char *name, const struct link *l,
          const struct link *except)
{
  struct descriptor *desc = NULL;
  struct store *s;
  bool r;

  if (stem_length (name, DISK_SUFFIX) == 0)
    return false;
  s = open_other (dir, name, l, except);
  if (s)
    desc = link_peek_descriptor (s);
  r = desc && depends_on (desc, dir, l);
  descriptor_free (desc);
  store_unref (s);
  return r;
}

static bool
find_child (const struct folder *folder, const struct link *l,
            const struct link *except, char *name)
{
  DIR *const list = folder ? list_folder (folder->fd, ".") : NULL;
  const struct dirent *d;
  bool found = false;

  if (list == NULL)
    return false;
  while (!found && (d = readdir (list))) {
    found = is_child (dirfd (list), d->d_name, l, except);
    if (found)
      vmdk_excerpt (name, EXCERPT_SIZE, d->d_name);
  }
  closedir (list);
  return found;
}

static bool
is_same_folder (const struct folder *a, const struct folder *b)
{
  return a && b && a->absolute && b->absolute &&
    strcmp (a->absolute, b->absolute) == 0;
}

/* Extents. */

static bool
names_file (const struct descriptor *d, int dir, const struct store *s)
{
  struct stat st;
  size_t i;

  for (i = 0; i < d->nr_extents; i++)
    if (d->extents[i].name &&
        fstatat (dir, d->extents[i].name, &st, AT_NO_AUTOMOUNT) == 0 &&
        is_file (s, &st))
      return true;
  return false;
}

/* Names inside of an extent mean little. */
static bool
has_extent (int dir, const char *name, const struct store *extent)
{
  const struct link none = { .store = (struct store *) extent };
  struct descriptor *desc = NULL;
  uint8_t start[8];
  struct store *s;
  bool r;

  if (stem_length (name, DISK_SUFFIX) == 0)
    return false;
  s = open_other (dir, name, &none, NULL);
  if (s && store_pread (s, start, sizeof start, 0) == 0 &&
      extent_magic (start) == MAGIC_NONE)
    desc = link_peek_descriptor (s);
  r = desc && names_file (desc, dir, extent);
  descriptor_free (desc);
  store_unref (s);
  return r;
}

bool
in_use_as_extent (int folder, const struct store *s, const char *except,
                  char name[EXCERPT_SIZE])
{
  DIR *const list = list_folder (folder, ".");
  const struct dirent *d;
  bool found = false;

  if (list == NULL)
    return false;
  while (!found && (d = readdir (list))) {
    found = strcmp (d->d_name, except) != 0 &&
      has_extent (folder, d->d_name, s);
    if (found)
      vmdk_excerpt (name, EXCERPT_SIZE, d->d_name);
  }
  closedir (list);
  return found;
}

/* In the folder that the file itself lies in, where its name is a symbolic
 * link to another one.
 */
static bool
find_child_of_file (const struct link *l, const struct link *except,
                    char *name)
{
  char *const path = realpath (l->store->name, NULL);
  char *const slash = path ? strrchr (path, '/') : NULL;
  struct folder folder = { .absolute = path };
  bool found = false;

  if (slash) {
    slash[slash == path] = '\0';
    folder.fd = open (path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder.fd >= 0) {
      if (!is_same_folder (&folder, l->folder))
        found = find_child (&folder, l, except, name);
      close (folder.fd);
    }
  }
  free (path);
  return found;
}

bool
in_use_find_child (const struct link *l, const struct link *except,
                   char name[EXCERPT_SIZE])
{
  if (l->desc == NULL)
    return false;
  return find_child (l->folder, l, except, name) ||
    find_child_of_file (l, except, name) ||
    (except && !is_same_folder (l->folder, except->folder) &&
     find_child (except->folder, l, except, name));
}

int
in_use_as_parent (const struct link *l, const struct link *except)
{
  char name[EXCERPT_SIZE];

  if (!in_use_find_child (l, except, name))
    return 0;
  vmdk_error (&l->ctx->log, "%s: can't be written: it is the parent of "
              "\"%s\" beside it, which would be destroyed; write to that one "
              "instead, delete it or commit it first, or give it up with "
              "allow-parent-write=true", l->store->name, name);
  errno = EPERM;
  return -1;
}
