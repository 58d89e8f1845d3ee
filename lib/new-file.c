/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making files that nobody sees before they are complete.
 *
 * Where the file system can do it, a file is made without any name
 * (O_TMPFILE), and vanishes with the process whatever ends that.  Elsewhere
 * it has a hidden name, which is removed when we fail, but remains when we
 * are killed.  Then, in this order:
 *
 *   sync      the bytes of all files
 *   stage     those that replace a former file get a hidden name, too, as
 *             only a name can replace a name: what can fail for want of
 *             space or rights should fail now
 *   unlink    the former descriptor, if the disk has several files; sync
 *   name      one file after the other, the descriptor last
 *   sync      the folder
 *
 * A crash at any point leaves the former disk, or no descriptor, or the
 * new disk, as names of a folder become durable in their order or, by its
 * sync, before the next step.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "in-use.h"
#include "new-file.h"
#include "own-file.h"
#include "store-file.h"

#define NR_RANDOM 6       /* characters that make a hidden name unique */
#define MAX_HIDDEN_BASE 200
#define MAX_TRIES 100
#define ACL "system.posix_acl_access"

static const struct vmdk_log *
log_of (const struct new_file *f)
{
  return f->store->log;
}

static int
number_of (const struct new_file *f)
{
  return store_file_number (f->store);
}

/* "/proc/self/fd/5" */
struct fd_path {
  char text[32];
};

static struct fd_path
fd_path (int fd)
{
  struct fd_path p;

  snprintf (p.text, sizeof p.text, "/proc/self/fd/%d", fd);
  return p;
}

/* A disk may have thousands of files. */
static const char *
advice (void)
{
  return errno != EMFILE ? "" :
    "; allow more with ulimit -n (systemd: LimitNOFILE)";
}

/* Where it will be. */

static int
find_place (const struct vmdk_log *log, struct new_file *f)
{
  f->base = strdup (own_file_base (f->path));
  if (f->base && f->folder == -1)
    f->folder = own_file_open_folder (f->path);
  if (f->base == NULL || f->folder == -1) {
    vmdk_error (log, "%s: can't be made: opening its folder: %m%s", f->path,
                advice ());
    return -1;
  }
  if (*f->base == '\0') {
    vmdk_error (log, "%s: can't be made: this is the name of a folder, not "
                "of a file", f->path);
    errno = EISDIR;
    return -1;
  }
  return 0;
}

/* What is there already. */

static int
report_use (const struct vmdk_log *log, const struct new_file *f)
{
  vmdk_error (log, "%s: isn't replaced, since it is in use: by another "
              "program, or as a part of what is read", f->path);
  errno = EAGAIN;
  return -1;
}

/* Whoever has the former file open would go on with one that has no name
 * any more, and what he writes would be lost.  This also finds a disk that
 * is to be made from itself.
 */
static int
lock_former (const struct vmdk_log *log, struct new_file *f)
{
  const int fd = openat (f->folder, f->base,
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

  if (fd == -1) {
    vmdk_error (log, "%s: can't be replaced: opening it, to see whether it "
                "is in use: %m", f->path);
    return -1;
  }
  f->former = store_file_new (log, fd, f->path);
  if (f->former == NULL)
    return -1;
  f->former->log = &vmdk_no_log;
  if (store_lock (f->former, true) == 0 || errno == ENOLCK)
    return in_use_has_lock (f->folder, f->base) ? report_use (log, f) : 0;
  if (errno == EAGAIN)
    return report_use (log, f);
  vmdk_error (log, "%s: can't be replaced: locking it: %m", f->path);
  return -1;
}

static const char *
kind_of_file (mode_t mode)
{
  return S_ISDIR (mode) ? "a folder" : S_ISLNK (mode) ? "a symbolic link"
    : S_ISBLK (mode) || S_ISCHR (mode) ? "a device" : "a special file";
}

static int
check_former (const struct vmdk_log *log, struct new_file *f)
{
  struct stat st;

  if (fstatat (f->folder, f->base, &st, AT_SYMLINK_NOFOLLOW) == -1) {
    if (errno == ENOENT)
      return 0;
    vmdk_error (log, "%s: can't be made: %m", f->path);
    return -1;
  }
  if (S_ISREG (st.st_mode) && f->force)
    return lock_former (log, f);
  if (S_ISREG (st.st_mode))
    vmdk_error (log, "%s: exists already; --force replaces it", f->path);
  else
    vmdk_error (log, "%s: exists already; it is %s, which is never replaced",
                f->path, kind_of_file (st.st_mode));
  errno = EEXIST;
  return -1;
}

/* Making it. */

/* -1: it can't be done here. */
static int
make_nameless (const struct new_file *f)
{
  const int fd =
    openat (f->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);

  if (fd == -1)
    return -1;
  if (access (fd_path (fd).text, F_OK) == 0)
    return fd;
  close (fd); /* it could never get a name */
  return -1;
}

/* ".disk.vmdk.x7f3k1": hidden, and not a disk by its end. */
static char *
hidden_name (const struct new_file *f)
{
  static const char characters[] = "abcdefghijklmnopqrstuvwxyz012345";
  unsigned char n[NR_RANDOM];
  char end[NR_RANDOM + 1] = "";
  char *name;
  size_t i;

  if (getrandom (n, sizeof n, 0) != (ssize_t) sizeof n)
    return NULL;
  for (i = 0; i < NR_RANDOM; i++)
    end[i] = characters[n[i] % (sizeof characters - 1)];
  if (asprintf (&name, ".%.*s.%s", MAX_HIDDEN_BASE, f->base, end) == -1)
    return NULL;
  return name;
}

/* Tries hidden names until fn returns another failure than EEXIST.  The
 * name is f->temporary if it worked.
 */
static int
try_names (struct new_file *f, int (*fn) (const struct new_file *f,
                                          const char *name))
{
  unsigned i;
  int r = -1;

  for (i = 0; i < MAX_TRIES; i++) {
    char *const name = hidden_name (f);

    if (name == NULL)
      return -1;
    r = fn (f, name);
    if (r != -1) {
      f->temporary = name;
      return r;
    }
    free (name);
    if (errno != EEXIST)
      break;
  }
  return r;
}

/* Others could open it by this name, and then read what comes. */
static int
make_hidden (const struct new_file *f, const char *name)
{
  return openat (f->folder, name,
                 O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* The mode of a new file; a default of its folder may say more. */
static mode_t
default_mode (const struct new_file *f, int fd)
{
  const mode_t mask = f->temporary ? umask (077) : 0;
  struct stat st;

  if (f->temporary) {
    umask (mask);
    return 0666 & ~mask;
  }
  return fstat (fd, &st) == 0 ? st.st_mode & 0777 : 0600;
}

static int
make (const struct vmdk_log *log, struct new_file *f)
{
  int fd = make_nameless (f);

  if (fd == -1)
    fd = try_names (f, make_hidden);
  if (fd == -1) {
    vmdk_error (log, "%s: can't be made: %m%s", f->path, advice ());
    return -1;
  }
  f->mode = default_mode (f, fd);
  f->store = store_file_new (log, fd, f->path);
  if (f->store == NULL)
    return -1;
  if (store_make_writable (f->store) == -1) {
    if (errno == EACCES || errno == EPERM || errno == EROFS)
      vmdk_error (log, "%s: can't be made: %m", f->path);
    return -1;
  }
  return 0;
}

/* What nobody else may read, nobody else may read of its successor. */
static void
keep_mode (struct new_file *f)
{
  const int fd = number_of (f);
  struct stat st, own;

  if (f->former == NULL ||
      fstat (store_file_number (f->former), &st) == -1 ||
      fstat (fd, &own) == -1)
    return;
  f->mode = st.st_mode & 0777;
  if ((st.st_uid != own.st_uid || st.st_gid != own.st_gid) &&
      fchown (fd, st.st_uid, st.st_gid) == -1 &&
      fchown (fd, (uid_t) -1, st.st_gid) == -1)
    f->mode &= 0707; /* another group */
}

/* What a file's mode allows to others than its owner.  Another group is like
 * everybody, and who is meant by the group's part where there are access
 * control lists isn't known.
 */
static mode_t
allowed_by (int fd, gid_t group)
{
  struct stat st;
  mode_t mode;

  if (fstat (fd, &st) == -1 || !S_ISREG (st.st_mode))
    return 0777; /* of a device it says nothing about what is on it */
  mode = (st.st_mode & 0777) | 0700;
  if (st.st_gid != group || fgetxattr (fd, ACL, NULL, 0) > 0)
    mode = (mode & 0707) | (mode & 07) << 3;
  return mode;
}

void
new_file_limit_mode (struct new_file *f, struct store *const *from, size_t n)
{
  struct stat own;
  size_t i;

  if (f->former || fstat (number_of (f), &own) == -1)
    return;
  for (i = 0; i < n; i++)
    f->mode &= allowed_by (store_file_number (from[i]), own.st_gid);
}

/* old: which it replaces, or NULL.  Takes folder over; -1: that of path. */
static struct new_file *
begin (const struct vmdk_log *log, int folder, const char *path,
       struct store *old, bool force)
{
  struct new_file *const f = calloc (1, sizeof *f);
  int err;

  if (f == NULL || (f->path = strdup (path)) == NULL) {
    vmdk_error (log, "%s: %m", path);
    free (f);
    if (folder >= 0)
      close (folder);
    return NULL;
  }
  f->folder = folder;
  f->force = force;
  if (old)
    f->former = store_ref (old);
  if (find_place (log, f) == 0 && (old || check_former (log, f) == 0) &&
      make (log, f) == 0) {
    keep_mode (f);
    return f;
  }
  err = errno;
  new_file_free (f);
  errno = err;
  return NULL;
}

struct new_file *
new_file_begin (const struct vmdk_log *log, const char *path, bool force)
{
  return begin (log, -1, path, NULL, force);
}

struct new_file *
new_file_begin_with (const struct new_file *other, const char *path)
{
  const int folder = fcntl (other->folder, F_DUPFD_CLOEXEC, 0);

  if (folder >= 0)
    return begin (log_of (other), folder, path, NULL, other->force);
  vmdk_error (log_of (other), "%s: %m%s", path, advice ());
  return NULL;
}

struct new_file *
new_file_begin_beside (const struct vmdk_log *log, const char *path,
                       const struct store *s, bool force)
{
  const int folder = own_file_folder (s, true);

  return folder == -1 ? NULL : begin (log, folder, path, NULL, force);
}

struct new_file *
new_file_begin_over (const struct vmdk_log *log, struct store *old)
{
  const int folder = own_file_folder (old, false);

  return folder == -1 ? NULL : begin (log, folder, old->name, old, true);
}

void
new_file_free (struct new_file *f)
{
  const int err = errno;

  if (f == NULL)
    return;
  if (f->temporary)
    unlinkat (f->folder, f->temporary, 0);
  store_unref (f->store);
  store_unref (f->former);
  if (f->folder >= 0)
    close (f->folder);
  free (f->temporary);
  free (f->base);
  free (f->path);
  free (f);
  errno = err;
}

/* Publishing. */

static int
report (const struct new_file *f, const char *what)
{
  if (errno == EEXIST)
    vmdk_error (log_of (f), "%s: another program has just made a file of "
                "that name; ours isn't kept", f->path);
  else
    vmdk_error (log_of (f), "%s: can't be made: %s: %m", f->path, what);
  return -1;
}

/* Not that which was looked at and locked. */
static int
report_other (const struct new_file *f)
{
  vmdk_error (log_of (f), "%s: isn't replaced, since another program has just "
              "replaced or removed what was there", f->path);
  errno = EAGAIN;
  return -1;
}

/* Access control lists, where there is one: the group's part of the mode
 * means something else then.
 */
static bool
keep_acl (int fd, int former)
{
  char acl[4096];
  const ssize_t n = fgetxattr (former, ACL, acl, sizeof acl);

  if (n == -1)
    return errno == ENODATA || errno == EOPNOTSUPP || errno == ENOSYS;
  return fsetxattr (fd, ACL, acl, (size_t) n, 0) == 0;
}

/* Not before all is in it.  Where that can't be done, it has the mode that
 * allows less.
 */
static void
set_mode (const struct new_file *f)
{
  const int fd = number_of (f);
  struct stat st;

  if (fstat (fd, &st) == 0 && (st.st_mode & 0777) != f->mode)
    fchmod (fd, f->mode);
  if (f->former && !keep_acl (fd, store_file_number (f->former)))
    fchmod (fd, f->mode & 0707);
}

static int
sync_files (struct new_file *const *files, size_t n)
{
  size_t i;

  for (i = 0; i < n; i++)
    set_mode (files[i]);
  for (i = 0; i < n; i++)
    if (store_sync (files[i]->store) == -1)
      return -1;
  return 0;
}

static int
sync_folder (const struct new_file *f)
{
  if (fsync (f->folder) == 0 || errno == EINVAL || errno == EOPNOTSUPP ||
      errno == EBADF) /* it couldn't be opened for this */
    return 0;
  return report (f, "fsync of its folder");
}

static bool
in_one_folder (const struct new_file *a, const struct new_file *b)
{
  struct stat x, y;

  return fstat (a->folder, &x) == 0 && fstat (b->folder, &y) == 0 &&
    x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int
sync_folders (struct new_file *const *files, size_t n)
{
  size_t i;

  for (i = 0; i < n; i++)
    if ((i == 0 || !in_one_folder (files[i - 1], files[i])) &&
        sync_folder (files[i]) == -1)
      return -1;
  return 0;
}

static int
link_as (const struct new_file *f, const char *name)
{
  return linkat (AT_FDCWD, fd_path (number_of (f)).text, f->folder, name,
                 AT_SYMLINK_FOLLOW);
}

static int
stage (struct new_file *const *files, size_t n)
{
  size_t i;

  for (i = 0; i < n; i++)
    if (files[i]->former && files[i]->temporary == NULL &&
        try_names (files[i], link_as) == -1)
      return report (files[i], "giving it a hidden name");
  return 0;
}

/* From here on there is no disk until the new one is complete. */
static int
remove_former (struct new_file *f)
{
  if (unlinkat (f->folder, f->base, 0) == -1 && errno != ENOENT)
    return report (f, "removing the former file");
  store_unref (f->former);
  f->former = NULL;
  return sync_folder (f);
}

/* Not every file system can do this in one step, nor do all have several
 * names for a file.
 */
static int
rename_to_free_name (const struct new_file *f)
{
  struct stat st;

  if (renameat2 (f->folder, f->temporary, f->folder, f->base,
                 RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  if (linkat (f->folder, f->temporary, f->folder, f->base, 0) == 0)
    return 0;
  if (errno == EEXIST)
    return -1;
  if (fstatat (f->folder, f->base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  return renameat (f->folder, f->temporary, f->folder, f->base);
}

/* Mostly it is gone already. */
static void
drop_hidden_name (struct new_file *f)
{
  if (f->temporary && unlinkat (f->folder, f->temporary, 0) == -1 &&
      errno != ENOENT)
    return; /* new_file_free tries again */
  free (f->temporary);
  f->temporary = NULL;
}

static int
give_name (struct new_file *f)
{
  int r;

  if (f->former && !own_file_is_at (f->former, f->folder, f->base, false))
    return report_other (f);
  if (f->former)
    r = renameat (f->folder, f->temporary, f->folder, f->base);
  else if (f->temporary)
    r = rename_to_free_name (f);
  else
    r = link_as (f, f->base);
  if (r == -1)
    return report (f, "giving it its name");
  f->published = true;
  drop_hidden_name (f);
  return 0;
}

static int
give_names (struct new_file *const *files, size_t n)
{
  size_t i;

  if (stage (files, n) == -1)
    return -1;
  if (n > 1 && files[n - 1]->former && remove_former (files[n - 1]) == -1)
    return -1;
  for (i = 0; i < n; i++) {
    /* What the last one names must be there before it is. */
    if (n > 1 && i == n - 1 && sync_folders (files, n) == -1)
      return -1;
    if (give_name (files[i]) == -1)
      return -1;
  }
  return sync_folders (files, n);
}

/* But a file that has replaced another is better than none. */
static void
take_back (struct new_file *const *files, size_t n)
{
  const int err = errno;

  if (n == 1 && files[0]->former)
    return;
  while (n-- > 0)
    if (files[n]->published) {
      unlinkat (files[n]->folder, files[n]->base, 0);
      files[n]->published = false;
    }
  errno = err;
}

int
new_files_publish (struct new_file *const *files, size_t n)
{
  if (sync_files (files, n) == -1)
    return -1;
  if (give_names (files, n) == 0)
    return 0;
  take_back (files, n);
  return -1;
}
