/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * New files: whatever fails, and whenever the process ends, names stand for
 * whole files, a descriptor never for parts of other disks, and what is
 * replaced is there until its successor is complete.
 *
 * The system calls that matter go through here, which counts them, makes
 * one of them fail, or ends the process; or makes the file system one that
 * has neither files without names nor a rename that keeps what is there.
 */

#include <config.h>

#undef _FORTIFY_SOURCE /* it would replace some of the calls */
#undef NDEBUG
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "new-file.h"

#define MAX_FILES 3
#define KILLED 42 /* exit status */

static const char *const names[MAX_FILES] = {
  "d-s001.vmdk", "d-s002.vmdk", "d.vmdk",
};

static char base[4096];
static unsigned nr_errors;

static void
on_error (void *opaque, const char *fmt, va_list args)
{
  char text[5000];

  (void) opaque;
  vsnprintf (text, sizeof text, fmt, args);
  assert (strstr (text, ".vmdk: "));
  nr_errors++;
}

static const struct vmdk_log sink = { .error = on_error };

/* The system calls. */

static enum { COUNT, FAIL, KILL } what;
static unsigned calls, target; /* 0: leave them alone */
static bool poor;              /* the file system is */

static bool
fails (void)
{
  calls++;
  if (calls != target || what == COUNT)
    return false;
  if (what == KILL)
    _exit (KILLED);
  errno = EIO;
  return true;
}

int
openat (int dir, const char *name, int flags, ...)
{
  mode_t mode = 0;
  va_list args;

  va_start (args, flags);
  if (flags & (O_CREAT | O_TMPFILE))
    mode = va_arg (args, mode_t);
  va_end (args);
  if (poor && (flags & O_TMPFILE) == O_TMPFILE) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return (int) syscall (SYS_openat, dir, name, flags, mode);
}

int
fsync (int fd)
{
  return fails () ? -1 : (int) syscall (SYS_fsync, fd);
}

int
fdatasync (int fd)
{
  return fails () ? -1 : (int) syscall (SYS_fdatasync, fd);
}

int
linkat (int dir, const char *name, int new_dir, const char *new, int flags)
{
  if (fails ())
    return -1;
  return (int) syscall (SYS_linkat, dir, name, new_dir, new, flags);
}

int
renameat (int dir, const char *name, int new_dir, const char *new)
{
  if (fails ())
    return -1;
  return (int) syscall (SYS_renameat2, dir, name, new_dir, new, 0);
}

int
renameat2 (int dir, const char *name, int new_dir, const char *new,
           unsigned flags)
{
  if (fails ())
    return -1;
  if (poor) {
    errno = EINVAL;
    return -1;
  }
  return (int) syscall (SYS_renameat2, dir, name, new_dir, new, flags);
}

int
unlinkat (int dir, const char *name, int flags)
{
  if (fails ())
    return -1;
  return (int) syscall (SYS_unlinkat, dir, name, flags);
}

/* The folder. */

static const char *
path_of (const char *name)
{
  static char path[5000];

  snprintf (path, sizeof path, "%s/%s", base, name);
  return path;
}

static void
empty_folder (void)
{
  DIR *const list = opendir (base);
  const struct dirent *d;

  assert (list);
  while ((d = readdir (list)))
    if (strcmp (d->d_name, ".") != 0 && strcmp (d->d_name, "..") != 0)
      assert (unlink (path_of (d->d_name)) == 0);
  closedir (list);
}

static unsigned
count_hidden (void)
{
  DIR *const list = opendir (base);
  const struct dirent *d;
  unsigned n = 0;

  assert (list);
  while ((d = readdir (list)))
    n += d->d_name[0] == '.' && d->d_name[1] == 'd';
  closedir (list);
  return n;
}

static void
write_former (const char *name)
{
  FILE *const f = fopen (path_of (name), "w");

  assert (f && fputs ("old", f) >= 0 && fclose (f) == 0);
}

/* 'o'ld, 'n'ew, '-': none.  Never anything else. */
static char
state_of (const char *name)
{
  char text[10];
  FILE *const f = fopen (path_of (name), "r");
  size_t n;

  if (f == NULL)
    return '-';
  n = fread (text, 1, sizeof text, f);
  fclose (f);
  assert (n == 3 && (memcmp (text, "old", 3) == 0 ||
                     memcmp (text, "new", 3) == 0));
  return text[0];
}

/* What is done. */

struct case_ {
  size_t nr;   /* of the last names */
  bool former; /* there are such files */
  bool poor;
};

static const char *
name_in (const struct case_ *c, size_t i)
{
  return names[MAX_FILES - c->nr + i];
}

static int
make_all (const struct case_ *c)
{
  struct new_file *files[MAX_FILES];
  size_t i;
  int r;

  for (i = 0; i < c->nr; i++) {
    files[i] = new_file_begin (&sink, path_of (name_in (c, i)), c->former);
    assert (files[i]);
    assert (store_pwrite (files[i]->store, "new", 3, 0) == 0);
    assert (state_of (name_in (c, i)) == (c->former ? 'o' : '-'));
  }
  calls = 0;
  r = new_files_publish (files, c->nr);
  if (what == FAIL)
    target = 0;
  for (i = 0; i < c->nr; i++)
    new_file_free (files[i]);
  return r;
}

static void
prepare (const struct case_ *c)
{
  size_t i;

  empty_folder ();
  for (i = 0; c->former && i < c->nr; i++)
    write_former (name_in (c, i));
  poor = c->poor;
  nr_errors = 0;
}

/* The descriptor stands for its own parts only. */
static void
check_no_mixture (const struct case_ *c)
{
  const char descriptor = state_of (name_in (c, c->nr - 1));
  size_t i;

  if (c->nr == 1)
    assert (descriptor != '-' || !c->former);
  for (i = 0; descriptor != '-' && i < c->nr; i++)
    assert (state_of (name_in (c, i)) == descriptor);
}

static unsigned
test_success (const struct case_ *c)
{
  size_t i;

  prepare (c);
  what = COUNT;
  assert (make_all (c) == 0);
  assert (nr_errors == 0 && count_hidden () == 0);
  for (i = 0; i < c->nr; i++)
    assert (state_of (name_in (c, i)) == 'n');
  return calls;
}

static void
test_failure (const struct case_ *c, unsigned n)
{
  size_t i;
  int r;

  prepare (c);
  what = FAIL;
  target = n;
  r = make_all (c);
  assert (count_hidden () == 0);
  check_no_mixture (c);
  /* A failure to remove a hidden name is none. */
  assert (nr_errors == (r == 0 ? 0 : 1));
  for (i = 0; r == -1 && !c->former && i < c->nr; i++)
    assert (state_of (name_in (c, i)) == '-');
}

static void
test_kill (const struct case_ *c, unsigned n)
{
  int status;
  pid_t pid;

  prepare (c);
  fflush (NULL);
  pid = fork ();
  if (pid == 0) {
    what = KILL;
    target = n;
    make_all (c);
    _exit (0);
  }
  assert (pid > 0 && waitpid (pid, &status, 0) == pid);
  assert (WIFEXITED (status));
  check_no_mixture (c);
  if (!c->poor && !c->former)
    assert (count_hidden () == 0);
}

static void
test_case (const struct case_ *c)
{
  const unsigned n = test_success (c);
  unsigned i;

  assert (n >= 2);
  for (i = 1; i <= n; i++) {
    test_failure (c, i);
    test_kill (c, i);
  }
  what = COUNT;
}

/* Others. */

static void
expect_refusal (bool force, int error)
{
  nr_errors = 0;
  assert (new_file_begin (&sink, path_of ("d.vmdk"), force) == NULL);
  assert (errno == error && nr_errors == 1);
}

static void
test_refusals (void)
{
  struct new_file *f;
  struct store *s;

  empty_folder ();
  write_former ("d.vmdk");
  expect_refusal (false, EEXIST);

  /* A reader is enough. */
  s = store_file_new (&sink, open (path_of ("d.vmdk"), O_RDONLY), "d.vmdk");
  assert (s && store_lock (s, false) == 0);
  expect_refusal (true, EAGAIN);
  store_unref (s);

  /* Two at once. */
  f = new_file_begin (&sink, path_of ("d.vmdk"), true);
  assert (f);
  expect_refusal (true, EAGAIN);
  new_file_free (f);
  assert (state_of ("d.vmdk") == 'o');

  assert (unlink (path_of ("d.vmdk")) == 0);
  assert (symlink ("x", path_of ("d.vmdk")) == 0);
  expect_refusal (true, EEXIST);
}

/* A file of that name appears while ours is being made. */
static void
test_race (bool is_poor, bool force)
{
  struct new_file *f;

  empty_folder ();
  poor = is_poor;
  nr_errors = 0;
  f = new_file_begin (&sink, path_of ("d.vmdk"), force);
  assert (f && store_pwrite (f->store, "new", 3, 0) == 0);
  write_former ("d.vmdk");
  assert (new_files_publish (&f, 1) == -1);
  assert (errno == EEXIST && nr_errors == 1);
  new_file_free (f);
  assert (state_of ("d.vmdk") == 'o' && count_hidden () == 0);
}

static mode_t
mode_of (const char *name)
{
  struct stat st;

  assert (lstat (path_of (name), &st) == 0);
  return st.st_mode & 07777;
}

/* Nobody else may read what isn't complete. */
static void
check_hidden_modes (void)
{
  DIR *const list = opendir (base);
  const struct dirent *d;

  assert (list);
  while ((d = readdir (list)))
    if (d->d_name[0] == '.' && d->d_name[1] == 'd')
      assert (mode_of (d->d_name) == 0600);
  closedir (list);
}

/* former: that of the file which is replaced, 0: none; source: that of the
 * file which the content is from, 0: none.
 */
static void
test_mode (bool is_poor, mode_t former, mode_t source, mode_t expected)
{
  struct new_file *f;
  struct store *s = NULL;

  empty_folder ();
  poor = is_poor;
  umask (022);
  if (former) {
    write_former ("d.vmdk");
    assert (chmod (path_of ("d.vmdk"), former) == 0);
  }
  if (source) {
    write_former ("s.vmdk");
    assert (chmod (path_of ("s.vmdk"), source) == 0);
    s = store_file_new (&sink, open (path_of ("s.vmdk"), O_RDONLY), "s.vmdk");
    assert (s);
  }
  f = new_file_begin (&sink, path_of ("d.vmdk"), true);
  assert (f);
  check_hidden_modes ();
  if (s)
    new_file_limit_mode (f, &s, 1);
  check_hidden_modes ();
  assert (new_files_publish (&f, 1) == 0);
  new_file_free (f);
  store_unref (s);
  assert (mode_of ("d.vmdk") == expected);
}

static void
test_modes (bool is_poor)
{
  test_mode (is_poor, 0, 0, 0644);
  test_mode (is_poor, 0, 0600, 0600);
  test_mode (is_poor, 0, 0640, 0640);
  test_mode (is_poor, 0, 0604, 0604);
  test_mode (is_poor, 0, 0444, 0644);
  test_mode (is_poor, 0600, 0, 0600);
  test_mode (is_poor, 0600, 0644, 0600);
  test_mode (is_poor, 0664, 0, 0664);
  test_mode (is_poor, 06755, 0, 0755);
}

/* The successor of a file takes its name only as long as it is its name. */
static void
test_other_file (bool is_poor)
{
  struct store *old;
  struct new_file *f;

  empty_folder ();
  poor = is_poor;
  write_former ("d.vmdk");
  old = store_file_new (&sink, open (path_of ("d.vmdk"), O_RDONLY),
                        path_of ("d.vmdk"));
  assert (old);
  f = new_file_begin_over (&sink, old);
  assert (f && store_pwrite (f->store, "new", 3, 0) == 0);
  assert (unlink (path_of ("d.vmdk")) == 0);
  write_former ("d.vmdk");
  nr_errors = 0;
  assert (new_files_publish (&f, 1) == -1 && nr_errors == 1);
  new_file_free (f);
  assert (state_of ("d.vmdk") == 'o' && count_hidden () == 0);

  /* Nor is one begun then. */
  nr_errors = 0;
  assert (new_file_begin_over (&sink, old) == NULL && nr_errors == 1);
  store_unref (old);
}

int
main (void)
{
  static const struct case_ cases[] = {
    { 1, false, false }, { 1, true, false }, { 3, false, false },
    { 3, true, false }, { 1, false, true }, { 1, true, true },
    { 3, false, true }, { 3, true, true },
  };
  const char *const tmp = getenv ("TMPDIR");
  size_t i;

  snprintf (base, sizeof base, "%s/test-new-file.XXXXXX", tmp ? tmp : "/tmp");
  assert (mkdtemp (base));
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
    test_case (&cases[i]);
  test_refusals ();
  for (i = 0; i < 4; i++)
    test_race (i & 1, i & 2);
  for (i = 0; i < 2; i++) {
    test_modes (i == 1);
    test_other_file (i == 1);
  }
  empty_folder ();
  assert (rmdir (base) == 0);
  return EXIT_SUCCESS;
}
