/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Replacing a small file as a whole: the new content is written beside it
 * and renamed, so that whoever looks, also after a crash, finds the old or
 * the new one.  This makes another file, which must differ in nothing but
 * its content: where its owner, mode, attributes and links can't be kept,
 * or the folder can't be written, the answer is EOPNOTSUPP, and the
 * caller changes the file in place, if that is safe.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "context.h"
#include "store-file.h"

#define NR_RANDOM 6  /* characters that make the temporary name unique */
#define MAX_TRIES 100
#define MAX_BASE (NAME_MAX - NR_RANDOM - 2)

struct replacement {
  struct store_file *f;
  const struct vmdk_log *log;
  const char *base;         /* the file's name in the folder */
  int folder;               /* that can be synced; -1: not open */
  int fd;                   /* the new file; -1: not there, or taken over */
  struct stat old;
  char name[NAME_MAX + 1];  /* of the new file; "": none in the folder */
};

/* This way is impossible, but in place it may be done. */
static int
give_up (const struct replacement *r, const char *what)
{
  snprintf (r->f->s.not_replaced, sizeof r->f->s.not_replaced, "%s", what);
  vmdk_debug (r->log, VMDK_TOPIC_DESCRIPTOR,
              "%s: can't be replaced as a whole: %s", r->f->s.name, what);
  errno = EOPNOTSUPP;
  return -1;
}

/* A change in place needs neither rights to the folder nor space. */
static int
fail (const struct replacement *r, const char *what)
{
  switch (errno) {
  case EACCES: case EPERM: case EROFS: /* also by a sticky folder */
  case ENOSPC: case EDQUOT:
  case EBUSY: case EXDEV: /* something is mounted on the file alone */
  case EOPNOTSUPP: case ENOSYS:
    snprintf (r->f->s.not_replaced, sizeof r->f->s.not_replaced, "%s: %m",
              what);
    vmdk_debug (r->log, VMDK_TOPIC_DESCRIPTOR,
                "%s: can't be replaced as a whole: %s: %m", r->f->s.name,
                what);
    errno = EOPNOTSUPP;
    return -1;
  }
  vmdk_error (r->log, "%s: replacing it with a new file beside it: %s: %m",
              r->f->s.name, what);
  return -1;
}

/* What is there. */

/* The name must still mean the file that is open. */
static int
find_file (struct replacement *r)
{
  struct stat st;

  if (fstat (r->f->fd, &r->old) == -1)
    return fail (r, "fstat");
  if (fstatat (r->folder, r->base, &st, AT_SYMLINK_NOFOLLOW) == -1)
    return give_up (r, "its name isn't in the folder");
  if (!S_ISREG (st.st_mode) || st.st_dev != r->old.st_dev ||
      st.st_ino != r->old.st_ino)
    return give_up (r, "its name is that of another file or a link");
  if (st.st_nlink != 1)
    return give_up (r, "it has several names");
  return 0;
}

static int
find_place (struct replacement *r, const struct folder *folder)
{
  const char *const slash = strrchr (r->f->s.name, '/');

  r->base = slash ? slash + 1 : r->f->s.name;
  r->folder = openat (folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return r->folder == -1 ? fail (r, "opening the folder") : find_file (r);
}

/* The new file. */

/* ".disk.vmdk.x7f3k1": hidden, and not a disk by its end. */
static int
choose_name (struct replacement *r)
{
  static const char characters[] = "abcdefghijklmnopqrstuvwxyz012345";
  unsigned char n[NR_RANDOM];
  char end[NR_RANDOM + 1] = "";
  size_t i;

  if (getrandom (n, sizeof n, 0) != (ssize_t) sizeof n)
    return fail (r, "random numbers for its name");
  for (i = 0; i < NR_RANDOM; i++)
    end[i] = characters[n[i] % (sizeof characters - 1)];
  snprintf (r->name, sizeof r->name, ".%s.%s",
            strlen (r->base) <= MAX_BASE ? r->base : "descriptor", end);
  return 0;
}

static int
create (struct replacement *r)
{
  unsigned i;

  for (i = 0; i < MAX_TRIES; i++) {
    if (choose_name (r) == -1)
      break;
    r->fd = openat (r->folder, r->name,
                    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (r->fd >= 0)
      return 0;
    if (errno != EEXIST) {
      fail (r, "creating it");
      break;
    }
  }
  if (i == MAX_TRIES)
    fail (r, "finding a name for it");
  r->name[0] = '\0';
  return -1;
}

static int
write_all (const struct replacement *r, const char *p, size_t count)
{
  off_t offset = 0;

  while (count > 0) {
    const ssize_t n = pwrite (r->fd, p, count, offset);

    if (n == -1 && errno == EINTR)
      continue;
    if (n == 0)
      errno = ENOSPC;
    if (n <= 0)
      return fail (r, "writing it");
    p += n;
    offset += n;
    count -= (size_t) n;
  }
  return 0;
}

/* Owner and mode.  A change of the owner takes bits of the mode away. */
static int
copy_owner (const struct replacement *r)
{
  struct stat new;

  if (fstat (r->fd, &new) == -1)
    return fail (r, "fstat");
  if ((new.st_uid != r->old.st_uid || new.st_gid != r->old.st_gid) &&
      fchown (r->fd, r->old.st_uid, r->old.st_gid) == -1)
    return give_up (r, "its owner can't be kept");
  if (fchmod (r->fd, r->old.st_mode & 07777) == -1)
    return give_up (r, "its mode can't be kept");
  return 0;
}

/* Extended attributes, among them access control lists. */

struct attributes {
  char names[XATTR_LIST_MAX];  /* each ends with a NUL byte */
  ssize_t length;              /* of names; -1: unknown */
  char value[XATTR_SIZE_MAX], other[XATTR_SIZE_MAX];
};

static int
list_attributes (struct attributes *a, int fd)
{
  a->length = flistxattr (fd, a->names, sizeof a->names);
  if (a->length == -1 && (errno == EOPNOTSUPP || errno == ENOSYS))
    a->length = 0; /* the file system has none */
  return a->length == -1 ? -1 : 0;
}

/* Calls fn for each name.  It sets errno if it fails. */
static int
each_attribute (const struct replacement *r, struct attributes *a, int fd,
                int (*fn) (const struct replacement *r, struct attributes *a,
                           const char *name))
{
  const char *p;

  if (list_attributes (a, fd) == -1)
    return -1;
  for (p = a->names; p < a->names + a->length; p += strlen (p) + 1)
    if (fn (r, a, p) == -1)
      return -1;
  return 0;
}

/* What a new file inherits from its folder, or gets by a policy. */
static int
remove_added (const struct replacement *r, struct attributes *a,
              const char *name)
{
  (void) a;
  if (fgetxattr (r->f->fd, name, NULL, 0) >= 0)
    return 0;
  return errno == ENODATA ? fremovexattr (r->fd, name) : -1;
}

/* Setting what is there already may be forbidden, and is not needed. */
static int
copy_attribute (const struct replacement *r, struct attributes *a,
                const char *name)
{
  const ssize_t n = fgetxattr (r->f->fd, name, a->value, sizeof a->value);

  if (n == -1)
    return errno == ENODATA ? 0 : -1; /* removed meanwhile */
  if (fgetxattr (r->fd, name, a->other, sizeof a->other) == n &&
      memcmp (a->value, a->other, (size_t) n) == 0)
    return 0;
  return fsetxattr (r->fd, name, a->value, (size_t) n, 0);
}

static int
copy_attributes (const struct replacement *r)
{
  struct attributes *const a = malloc (sizeof *a);
  int result;

  if (a == NULL)
    return fail (r, "its extended attributes");
  result = each_attribute (r, a, r->fd, remove_added);
  if (result == 0)
    result = each_attribute (r, a, r->f->fd, copy_attribute);
  free (a);
  return result == 0 ? 0 :
    give_up (r, "its extended attributes can't be kept");
}

static int
make (struct replacement *r, const void *data, size_t count)
{
  if (create (r) == -1 || write_all (r, data, count) == -1 ||
      copy_owner (r) == -1 || copy_attributes (r) == -1)
    return -1;
  return fsync (r->fd) == -1 ? fail (r, "fsync") : 0;
}

/* Taking the name. */

/* The store goes on with the new file. */
static void
take_over (struct replacement *r, const struct stat *new)
{
  struct store_file *const f = r->f;
  const int fd = f->fd;

  f->fd = r->fd;
  if (f->lock_fd != fd)
    close (f->lock_fd);
  close (fd);
  f->lock_fd = r->fd;
  f->id = (struct store_id) { .dev = new->st_dev, .ino = new->st_ino };
  f->s.size = (uint64_t) new->st_size;
  r->fd = -1;
  r->name[0] = '\0';
}

/* Locks belong to a file, not to its name: whoever opens the name next
 * must find them.
 */
static int
rename_locked (struct replacement *r)
{
  struct stat new;

  if (fstat (r->fd, &new) == -1)
    return fail (r, "fstat");
  if (r->f->write_locked &&
      store_lock_fd (r->log, r->f->s.name, r->fd, false, true) == -1)
    return -1;
  if (find_file (r) == -1) /* once more, as late as can be */
    return -1;
  if (renameat (r->folder, r->name, r->folder, r->base) == -1)
    return fail (r, "renaming it");
  take_over (r, &new);
  return 0;
}

static int
sync_folder (const struct replacement *r)
{
  if (fsync (r->folder) == 0 || errno == EINVAL || errno == EOPNOTSUPP)
    return 0; /* file systems that can't do it have nothing to sync */
  vmdk_error (r->log, "%s: fsync of its folder: %m; after a crash the file "
              "may have its former content", r->f->s.name);
  return -1;
}

static void
clean_up (const struct replacement *r)
{
  const int err = errno;

  if (r->fd >= 0)
    close (r->fd);
  if (r->name[0] != '\0')
    unlinkat (r->folder, r->name, 0);
  if (r->folder >= 0)
    close (r->folder);
  errno = err;
}

int
store_file_replace (struct store *s, const struct folder *folder,
                    const void *data, size_t count)
{
  struct replacement r = {
    .f = (struct store_file *) s, .log = s->log, .folder = -1, .fd = -1,
  };
  int result;

  if (folder == NULL)
    return give_up (&r, "its folder isn't known");
  result = find_place (&r, folder);
  if (result == 0)
    result = make (&r, data, count);
  if (result == 0)
    result = rename_locked (&r);
  if (result == 0)
    result = sync_folder (&r);
  clean_up (&r);
  return result;
}
