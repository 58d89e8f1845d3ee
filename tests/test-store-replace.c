/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Replacing a file as a whole: the name always has the old or the new
 * content, whatever fails and whenever the process ends; the new file
 * differs in nothing but its content, and is locked and synced before it
 * takes the name; and where that can't be, nothing is changed.
 *
 * The system calls that matter go through here, which counts them, makes
 * one of them fail, or ends the process.
 */

#include <config.h>

#undef _FORTIFY_SOURCE /* it would replace some of the calls */
#undef NDEBUG
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "context.h"
#include "le.h"
#include "store-file.h"

#define NAME "disk.vmdk"
#define OLD "the old content"
#define NEW "the new content, which is longer"
#define ROUNDS 300
#define NOBODY 65534
#define KILLED 42 /* exit status */

static char base[4096];
static struct folder folder; /* base */
static unsigned nr_errors, nr_debugs;

static void
on_error (void *opaque, const char *fmt, va_list args)
{
  char text[5000];

  (void) opaque;
  vsnprintf (text, sizeof text, fmt, args);
  assert (strstr (text, NAME ": "));
  nr_errors++;
}

static void
on_debug (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  (void) fmt;
  (void) args;
  nr_debugs++;
}

static const struct vmdk_log test_log = {
  .error = on_error, .debug = on_debug, .topics = ~0u,
};

/* The system calls. */

static struct {
  bool on;
  char trace[100];     /* a letter for each call */
  size_t nr;
  size_t fail_at, err; /* the call with this number, from 1; or 0 */
  size_t die_before, die_after;
} hook;

/* Called at rename time with the name of the new file. */
static void (*on_rename) (int dir, const char *name);

static bool
fails (char letter)
{
  if (!hook.on)
    return false;
  assert (hook.nr < sizeof hook.trace - 1);
  hook.trace[hook.nr++] = letter;
  if (hook.nr == hook.die_before)
    _exit (KILLED);
  if (hook.nr != hook.fail_at)
    return false;
  errno = (int) hook.err;
  return true;
}

static long
done (long result)
{
  if (hook.on && hook.nr == hook.die_after)
    _exit (KILLED);
  return result;
}

int
openat (int dir, const char *name, int flags, ...)
{
  mode_t mode = 0;

  if (flags & O_CREAT) {
    va_list args;

    va_start (args, flags);
    mode = (mode_t) va_arg (args, int);
    va_end (args);
  }
  if (fails (flags & O_CREAT ? 'c' : 'o'))
    return -1;
  return (int) done (syscall (SYS_openat, dir, name, flags, mode));
}

/* Writes less than it should. */
ssize_t
pwrite (int fd, const void *buf, size_t count, off_t offset)
{
  if (fails ('w') || lseek (fd, offset, SEEK_SET) == -1)
    return -1;
  return done (write (fd, buf, count < 20 ? count : 20));
}

int
fchown (int fd, uid_t uid, gid_t gid)
{
  return fails ('u') ? -1 : (int) done (syscall (SYS_fchown, fd, uid, gid));
}

int
fchmod (int fd, mode_t mode)
{
  return fails ('m') ? -1 : (int) done (syscall (SYS_fchmod, fd, mode));
}

int
fsetxattr (int fd, const char *name, const void *value, size_t size,
           int flags)
{
  return fails ('x') ? -1 :
    (int) done (syscall (SYS_fsetxattr, fd, name, value, size, flags));
}

int
fsync (int fd)
{
  struct stat st;

  assert (fstat (fd, &st) == 0);
  return fails (S_ISDIR (st.st_mode) ? 'd' : 'f') ? -1 :
    (int) done (syscall (SYS_fsync, fd));
}

int
renameat (int old_dir, const char *old_name, int new_dir,
          const char *new_name)
{
  if (on_rename)
    on_rename (old_dir, old_name);
  return fails ('r') ? -1 :
    (int) done (syscall (SYS_renameat2, old_dir, old_name, new_dir, new_name,
                         0));
}

static void
hook_on (void)
{
  memset (&hook, 0, sizeof hook);
  hook.on = true;
}

/* Files. */

static void
make_file (const char *name, const char *content)
{
  int fd;

  unlinkat (folder.fd, name, 0);
  fd = openat (folder.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
               0644);
  assert (fd >= 0);
  assert (write (fd, content, strlen (content)) == (ssize_t) strlen (content));
  close (fd);
}

static int
open_name (const char *name)
{
  const int fd = openat (folder.fd, name, O_RDWR | O_CLOEXEC);

  assert (fd >= 0);
  return fd;
}

/* A store that can be written, as if its name had been path. */
static struct store *
open_store (const char *name)
{
  char path[NAME_MAX + 20];
  struct store *s;

  snprintf (path, sizeof path, "some/where/%s", name);
  s = store_file_new (&test_log, open_name (name), path);
  assert (s && store_make_writable (s) == 0);
  return s;
}

static struct stat
stat_name (const char *name)
{
  struct stat st;

  assert (fstatat (folder.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
  return st;
}

static bool
has_one_of (const char *name, const char *a, const char *b)
{
  char buf[200];
  const int fd = open_name (name);
  const ssize_t n = read (fd, buf, sizeof buf - 1);

  close (fd);
  assert (n >= 0);
  buf[n] = '\0';
  return strcmp (buf, a) == 0 || strcmp (buf, b) == 0;
}

static bool
has_content (const char *name, const char *content)
{
  return has_one_of (name, content, content);
}

/* How many files there are whose names start with a dot. */
static unsigned
count_hidden (bool delete)
{
  const int fd = openat (folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *const list = fdopendir (fd);
  struct dirent *d;
  unsigned n = 0;

  assert (list);
  while ((d = readdir (list)))
    if (d->d_name[0] == '.' && strcmp (d->d_name, ".") != 0 &&
        strcmp (d->d_name, "..") != 0) {
      assert (strncmp (d->d_name, "." NAME ".", strlen ("." NAME ".")) == 0);
      assert (strlen (d->d_name) == strlen ("." NAME ".") + 6);
      assert (!delete || unlinkat (folder.fd, d->d_name, 0) == 0);
      n++;
    }
  closedir (list);
  return n;
}

static int
replace (struct store *s, const char *content)
{
  return s->ops->replace (s, &folder, content, strlen (content));
}

static void
expect_store (struct store *s, const char *content)
{
  char buf[200];

  assert (s->size == strlen (content));
  assert (store_pread (s, buf, sizeof buf, 0) == 0);
  assert (memcmp (buf, content, strlen (content)) == 0);
  assert (buf[strlen (content)] == '\0');
}

/* Nothing was reported or changed. */
static void
expect_refused (struct store *s, const char *name)
{
  const struct stat before = stat_name (name);
  struct stat after;

  nr_errors = nr_debugs = 0;
  errno = 0;
  assert (replace (s, NEW) == -1 && errno == EOPNOTSUPP);
  assert (nr_errors == 0 && nr_debugs > 0);
  after = stat_name (name);
  assert (before.st_ino == after.st_ino && before.st_size == after.st_size);
  assert (before.st_mode == after.st_mode);
  expect_store (s, OLD);
  assert (count_hidden (false) == 0);
}

/* Tests. */

static void
test_plain (void)
{
  static const char *const contents[] = { NEW, "", "short", NEW NEW NEW };
  struct stat st;
  struct store *s;
  size_t i;

  make_file (NAME, OLD);
  assert (fchmodat (folder.fd, NAME, 0604, 0) == 0);
  s = open_store (NAME);
  for (i = 0; i < sizeof contents / sizeof contents[0]; i++) {
    assert (replace (s, contents[i]) == 0);
    assert (has_content (NAME, contents[i]));
    expect_store (s, contents[i]);
    st = stat_name (NAME);
    assert (st.st_mode == (S_IFREG | 0604));
    assert (store_file_id (s).ino == st.st_ino);
    assert (store_file_id (s).dev == st.st_dev);
  }
  assert (store_pwrite (s, "THE", 3, 0) == 0 && store_sync (s) == 0);
  assert (has_content (NAME, "THE" " new content, which is longer" NEW NEW));
  assert (count_hidden (false) == 0 && nr_errors == 0);
  store_unref (s);
}

/* Data and all that belongs to the file, then the name, then the folder. */
static void
test_order (void)
{
  struct store *s;

  make_file (NAME, OLD);
  s = open_store (NAME);
  hook_on ();
  assert (replace (s, NEW) == 0);
  hook.on = false;
  assert (strcmp (hook.trace, "ocwwmfrd") == 0);
  store_unref (s);
}

static void
test_long_name (void)
{
  char name[NAME_MAX + 1];
  struct store *s;
  size_t n;

  for (n = NAME_MAX - 20; n <= NAME_MAX; n++) {
    memset (name, 'x', n);
    name[n] = '\0';
    make_file (name, OLD);
    s = open_store (name);
    assert (replace (s, NEW) == 0);
    assert (has_content (name, NEW));
    store_unref (s);
    assert (unlinkat (folder.fd, name, 0) == 0);
  }
}

/* An access control list as the kernel takes it: the owner, this user or
 * nobody in particular, the group, the mask, others.
 */
struct acl {
  le32 version;
  struct {
    uint8_t tag[2], permissions[2];
    le32 id;
  } entries[5];
};

static struct acl
make_acl (uint32_t user)
{
  static const uint8_t tags[] = { 0x01, 0x02, 0x04, 0x10, 0x20 };
  struct acl acl = { .version = to_le32 (2) };
  size_t i;

  for (i = 0; i < sizeof tags; i++) {
    acl.entries[i].tag[0] = tags[i];
    acl.entries[i].permissions[0] = i == 0 ? 6 : i == 4 ? 0 : 4;
    acl.entries[i].id = to_le32 (tags[i] == 0x02 ? user : UINT32_MAX);
  }
  return acl;
}

/* Whether the file's attribute has this value; NULL: isn't there. */
static bool
has_attribute (const char *attribute, const void *value, size_t size)
{
  const int fd = open_name (NAME);
  char buf[5000];
  const ssize_t n = fgetxattr (fd, attribute, buf, sizeof buf);

  close (fd);
  if (value == NULL)
    return n == -1 && errno == ENODATA;
  return n == (ssize_t) size && memcmp (buf, value, size) == 0;
}

static void
set_attribute (const char *name, const char *attribute, const void *value,
               size_t size)
{
  const int fd = openat (folder.fd, name, O_RDONLY | O_CLOEXEC);

  assert (fd >= 0);
  if (fsetxattr (fd, attribute, value, size, 0) == -1) {
    assert (errno == EOPNOTSUPP);
    printf ("%s isn't tested: the file system hasn't got it\n", attribute);
  }
  close (fd);
}

static bool
has_attributes (void)
{
  make_file (NAME, OLD);
  set_attribute (NAME, "user.a", "1", 1);
  return has_attribute ("user.a", "1", 1);
}

static void
test_attributes (void)
{
  char large[2000];
  struct store *s;

  memset (large, 7, sizeof large);
  if (!has_attributes ())
    return;
  set_attribute (NAME, "user.large", large, sizeof large);
  set_attribute (NAME, "user.empty", "", 0);
  s = open_store (NAME);
  assert (replace (s, NEW) == 0);
  assert (has_content (NAME, NEW));
  assert (has_attribute ("user.a", "1", 1));
  assert (has_attribute ("user.large", large, sizeof large));
  assert (has_attribute ("user.empty", "", 0));
  store_unref (s);
}

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

/* The file's list is kept, and one that a new file gets isn't. */
static void
test_acls (void)
{
  const struct acl one = make_acl (1234), other = make_acl (5678);
  struct store *s;

  make_file (NAME, OLD);
  set_attribute (NAME, ACCESS, &one, sizeof one);
  if (!has_attribute (ACCESS, &one, sizeof one))
    return;
  s = open_store (NAME);
  assert (replace (s, NEW) == 0);
  assert (has_attribute (ACCESS, &one, sizeof one));
  store_unref (s);

  make_file (NAME, OLD);
  assert (fchmodat (folder.fd, NAME, 0664, 0) == 0);
  set_attribute (".", DEFAULT, &other, sizeof other);
  s = open_store (NAME);
  assert (replace (s, NEW) == 0);
  assert (has_attribute (ACCESS, NULL, 0));
  assert (stat_name (NAME).st_mode == (S_IFREG | 0664));
  store_unref (s);
  assert (removexattr (base, DEFAULT) == 0);
}

static void
test_owner (void)
{
  struct store *s;
  struct stat st;

  make_file (NAME, OLD);
  assert (fchownat (folder.fd, NAME, 1234, 5678, 0) == 0);
  assert (fchmodat (folder.fd, NAME, 06751, 0) == 0);
  s = open_store (NAME);
  assert (replace (s, NEW) == 0);
  st = stat_name (NAME);
  assert (st.st_uid == 1234 && st.st_gid == 5678);
  assert (st.st_mode == (S_IFREG | 06751));
  store_unref (s);
}

static void
test_other_names (void)
{
  struct store *s;

  make_file ("target", OLD);
  unlinkat (folder.fd, NAME, 0);
  assert (symlinkat ("target", folder.fd, NAME) == 0);
  s = open_store (NAME);
  expect_refused (s, NAME);
  assert (S_ISLNK (stat_name (NAME).st_mode));
  store_unref (s);

  make_file (NAME, OLD);
  assert (linkat (folder.fd, NAME, folder.fd, "second", 0) == 0);
  s = open_store (NAME);
  expect_refused (s, NAME);
  assert (unlinkat (folder.fd, "second", 0) == 0);
  make_file (NAME, "another file of that name");
  expect_refused (s, NAME);
  assert (has_content (NAME, "another file of that name"));
  assert (unlinkat (folder.fd, NAME, 0) == 0);
  expect_refused (s, "target");
  assert (s->ops->replace (s, NULL, NEW, 3) == -1 && errno == EOPNOTSUPP);
  store_unref (s);
}

/* As somebody who isn't root. */
static void
run_unprivileged (void (*fn) (void))
{
  const pid_t pid = fork ();
  int status;

  assert (pid >= 0);
  if (pid == 0) {
    if (geteuid () == 0)
      assert (setgroups (0, NULL) == 0 && setgid (NOBODY) == 0 &&
              setuid (NOBODY) == 0);
    fn ();
    _exit (0);
  }
  assert (waitpid (pid, &status, 0) == pid && status == 0);
}

static void
refused (void)
{
  struct store *const s = open_store (NAME);

  expect_refused (s, NAME);
  store_unref (s);
}

static void
set_folder_mode (mode_t mode)
{
  assert (fchmodat (folder.fd, ".", mode, 0) == 0);
}

static void
test_rights (void)
{
  make_file (NAME, OLD);
  assert (fchmodat (folder.fd, NAME, 0666, 0) == 0);
  set_folder_mode (0555);
  run_unprivileged (refused);
  set_folder_mode (0700);
  if (geteuid () != 0)
    return;
  set_folder_mode (0777);
  run_unprivileged (refused); /* the owner can't be kept */
  assert (fchownat (folder.fd, NAME, NOBODY, 0, 0) == 0);
  run_unprivileged (refused); /* the group can't be kept */
  set_folder_mode (01777);
  assert (fchownat (folder.fd, NAME, 0, NOBODY, 0) == 0);
  run_unprivileged (refused);
  set_folder_mode (0700);
}

/* Locks. */

static bool
is_locked (int dir, const char *name)
{
  const int fd = openat (dir, name, O_RDWR | O_CLOEXEC);
  const int r = store_lock_fd (&vmdk_no_log, name, fd, false, true);

  assert (fd >= 0);
  assert (r == 0 || errno == EAGAIN);
  close (fd);
  return r == -1;
}

static unsigned nr_seen;

static void
expect_locked (int dir, const char *name)
{
  const bool on = hook.on;

  hook.on = false;
  assert (is_locked (dir, name) && has_content (name, NEW));
  hook.on = on;
  nr_seen++;
}

static void
test_locks (void)
{
  struct store *s;

  make_file (NAME, OLD);
  s = open_store (NAME);
  assert (store_lock (s, false) == 0 && store_lock (s, true) == 0);
  on_rename = expect_locked;
  assert (replace (s, NEW) == 0 && nr_seen == 1);
  on_rename = NULL;
  assert (is_locked (folder.fd, NAME));
  assert (replace (s, OLD) == 0);
  assert (is_locked (folder.fd, NAME));
  store_unref (s);
  assert (!is_locked (folder.fd, NAME));

  s = open_store (NAME);
  assert (replace (s, NEW) == 0);
  assert (!is_locked (folder.fd, NAME));
  store_unref (s);
}

/* Failures. */

/* A store whose replacement needs all calls that there are. */
static struct store *
open_for_all_calls (void)
{
  has_attributes ();
  if (geteuid () == 0)
    assert (fchownat (folder.fd, NAME, 1234, 5678, 0) == 0);
  return open_store (NAME);
}

static bool
may_be_done_in_place (char letter, int err)
{
  return strchr ("umx", letter) || err == ENOSPC || err == EPERM;
}

/* False when there is no such call. */
static bool
try_failure (size_t call, int err)
{
  struct store *const s = open_for_all_calls ();
  int r;
  char letter;

  nr_errors = 0;
  hook_on ();
  hook.fail_at = call;
  hook.err = (size_t) err;
  r = replace (s, NEW);
  hook.on = false;
  letter = hook.trace[call - 1];
  if (hook.nr < call)
    assert (r == 0);
  else if (letter == 'd') {
    assert (r == -1 && errno == err && nr_errors == 1);
    assert (has_content (NAME, NEW));
    expect_store (s, NEW);
  }
  else {
    const bool quiet = may_be_done_in_place (letter, err);

    assert (r == -1 && errno == (quiet ? EOPNOTSUPP : err));
    assert (nr_errors == !quiet);
    assert (has_content (NAME, OLD));
    expect_store (s, OLD);
  }
  assert (count_hidden (false) == 0);
  store_unref (s);
  return hook.nr >= call;
}

static void
test_failures (void)
{
  size_t call;

  for (call = 1; try_failure (call, EIO); call++)
    ;
  assert (call > 8);
  for (call = 1; try_failure (call, ENOSPC); call++)
    ;
  for (call = 1; try_failure (call, EPERM); call++)
    ;
}

/* False when the process went on to the end. */
static bool
try_kill (size_t call, bool after)
{
  struct store *const s = open_for_all_calls ();
  pid_t pid;
  int status;

  pid = fork ();
  assert (pid >= 0);
  if (pid == 0) {
    hook_on ();
    *(after ? &hook.die_after : &hook.die_before) = call;
    assert (replace (s, NEW) == 0);
    _exit (0);
  }
  store_unref (s);
  assert (waitpid (pid, &status, 0) == pid && WIFEXITED (status));
  assert (WEXITSTATUS (status) == 0 || WEXITSTATUS (status) == KILLED);
  assert (has_one_of (NAME, NEW, WEXITSTATUS (status) == 0 ? NEW : OLD));
  assert (stat_name (NAME).st_mode == (S_IFREG | 0644));
  return WEXITSTATUS (status) == KILLED;
}

/* What is left behind does no harm to the next one. */
static void
test_kills (void)
{
  unsigned nr_left;
  struct store *s;
  size_t call;

  for (call = 1; try_kill (call, false); call++)
    ;
  assert (call > 8);
  for (call = 1; try_kill (call, true); call++)
    ;
  nr_left = count_hidden (false);
  assert (nr_left > 0);
  s = open_for_all_calls ();
  assert (replace (s, NEW) == 0 && has_content (NAME, NEW));
  assert (count_hidden (true) == nr_left);
  store_unref (s);
}

/* Others that read meanwhile. */

static atomic_bool stop;
static atomic_uint nr_reads;

static void *
read_always (void *opaque)
{
  (void) opaque;
  while (!stop) {
    assert (has_one_of (NAME, OLD, NEW));
    nr_reads++;
  }
  return NULL;
}

static void
test_readers (void)
{
  pthread_t thread;
  struct store *s;
  unsigned i;

  make_file (NAME, OLD);
  s = open_store (NAME);
  assert (pthread_create (&thread, NULL, read_always, NULL) == 0);
  while (nr_reads == 0)
    sched_yield ();
  for (i = 0; i < ROUNDS; i++)
    assert (replace (s, i % 2 ? OLD : NEW) == 0);
  stop = true;
  pthread_join (thread, NULL);
  printf ("%u reads during %d replacements\n", nr_reads, ROUNDS);
  store_unref (s);
}

static void
make_folder (void)
{
  const char *const dir = getenv ("TMPDIR");

  snprintf (base, sizeof base, "%s/test-store-replace.XXXXXX",
            dir ? dir : "/tmp");
  assert (mkdtemp (base));
  folder.path = base;
  folder.fd = open (base, O_PATH | O_DIRECTORY | O_CLOEXEC);
  assert (folder.fd >= 0);
  umask (022);
}

static unsigned
count_open_files (void)
{
  DIR *const list = opendir ("/proc/self/fd");
  unsigned n = 0;

  assert (list);
  while (readdir (list))
    n++;
  closedir (list);
  return n;
}

int
main (void)
{
  unsigned nr_open;

  make_folder ();
  nr_open = count_open_files ();
  test_plain ();
  test_order ();
  test_long_name ();
  test_attributes ();
  test_acls ();
  if (geteuid () == 0)
    test_owner ();
  test_other_names ();
  test_rights ();
  test_locks ();
  test_failures ();
  test_kills ();
  test_readers ();
  assert (count_open_files () == nr_open);
  assert (unlinkat (folder.fd, NAME, 0) == 0);
  assert (unlinkat (folder.fd, "target", 0) == 0);
  assert (rmdir (base) == 0);
  return EXIT_SUCCESS;
}
