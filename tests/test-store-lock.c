/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The locks on a file: which bytes a reader and a writer lock, who excludes
 * whom, what is left of an attempt that failed, and how long locks last.
 * Two stores of one file are to each other like two programs.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store-file.h"

static char path[] = "store-lock.XXXXXX";
static char message[1000];
static unsigned nr_messages;

static void
keep_message (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  vsnprintf (message, sizeof message, fmt, args);
  nr_messages++;
}

static const struct vmdk_log sink = { .error = keep_message };

static int
open_file (void)
{
  const int fd = open (path, O_RDWR | O_CLOEXEC);

  assert (fd >= 0);
  return fd;
}

static struct store *
new_store (void)
{
  struct store *const s = store_file_new (&sink, open_file (), "the-file");

  assert (s);
  return s;
}

static struct store *
new_reader (void)
{
  struct store *const s = new_store ();

  assert (store_lock (s, false) == 0);
  return s;
}

/* It becomes one as it does in earnest: it reads first. */
static struct store *
new_writer (void)
{
  struct store *const s = new_reader ();

  assert (store_lock (s, true) == 0);
  return s;
}

static void
assert_refused (struct store *s, bool write, const char *why)
{
  nr_messages = 0;
  errno = 0;
  assert (store_lock (s, write) == -1);
  assert (errno == EAGAIN);
  assert (nr_messages == 1);
  assert (strncmp (message, "the-file: is in use by another program", 38)
          == 0);
  if (strstr (message, why) == NULL) {
    fprintf (stderr, "expected \"%s\" in: %s\n", why, message);
    abort ();
  }
}

/* Exactly these bytes are locked, shared. */
static void
assert_locked (const char *expected)
{
  const int fd = open_file ();
  char found[1000] = "";
  off_t i;

  for (i = 0; i < 1000; i++) {
    struct flock lock = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1,
    };
    const size_t n = strlen (found);

    assert (fcntl (fd, F_OFD_GETLK, &lock) == 0);
    if (lock.l_type == F_UNLCK)
      continue;
    assert (lock.l_type == F_RDLCK);
    snprintf (found + n, sizeof found - n, " %d", (int) i);
  }
  close (fd);
  if (strcmp (found, expected) != 0) {
    fprintf (stderr, "locked:%s, expected:%s\n", found, expected);
    abort ();
  }
}

#define READER " 100 201 203"
#define WRITER " 100 101 103 201 203"

static void
test_bytes (void)
{
  struct store *const s = new_store ();

  assert_locked ("");
  assert (store_lock (s, false) == 0);
  assert_locked (READER);
  assert (store_lock (s, false) == 0);
  assert (store_lock (s, true) == 0);
  assert_locked (WRITER);
  assert (store_lock (s, true) == 0);
  assert (store_lock (s, false) == 0);
  assert_locked (WRITER);
  store_unref (s);
  assert_locked ("");
}

/* As an open file, which needn't have been a reader's. */
static void
test_fd (void)
{
  const int a = open_file (), b = open_file ();

  assert (store_lock_fd (&sink, "the-file", a, false, true) == 0);
  assert_locked (WRITER);
  nr_messages = 0;
  assert (store_lock_fd (&sink, "the-file", b, false, true) == -1);
  assert (errno == EAGAIN && nr_messages == 1);
  assert_locked (WRITER);
  close (a);
  assert_locked ("");
  assert (store_lock_fd (&sink, "the-file", b, false, false) == 0);
  assert_locked (READER);
  assert (store_lock_fd (&sink, "the-file", b, true, true) == 0);
  assert_locked (WRITER);
  close (b);
}

static void
test_readers (void)
{
  struct store *const a = new_reader (), *const b = new_reader ();

  assert_refused (a, true, "has it open for reading");
  assert_locked (READER);
  assert_refused (b, true, "has it open for reading");
  store_unref (a);

  /* The one that was refused is still a reader, and may try again. */
  assert_locked (READER);
  assert (store_lock (b, true) == 0);
  assert_locked (WRITER);
  store_unref (b);
}

/* It didn't become a writer for another reason. */
static void
test_unlock (void)
{
  struct store *const a = new_writer (), *b;

  store_unlock (a);
  assert_locked (READER);
  store_unlock (a);
  assert_locked (READER);
  b = new_reader ();
  assert_refused (a, true, "has it open for reading");
  store_unref (b);
  assert (store_lock (a, true) == 0);
  assert_locked (WRITER);
  store_unref (a);
}

static void
test_writer (void)
{
  struct store *const a = new_writer (), *const b = new_store ();

  assert_refused (b, false, "has it open for writing");
  assert_refused (b, true, "has it open for writing");
  assert_locked (WRITER);
  store_unref (a);

  /* Nothing is left of what was refused. */
  assert_locked ("");
  assert (store_lock (b, false) == 0);
  store_unref (b);
}

/* Each byte has its own meaning: what a reader and a writer make of a lock
 * that somebody has on it.
 */
static void
test_each_byte (void)
{
#define WRITING "has it open for writing"
#define READING "has it open for reading"
#define ALONE "has it open and lets nobody else read it"
  static const struct {
    off_t start, length;
    const char *reader, *writer; /* why it is refused; NULL: it isn't */
  } cases[] = {
    { 99, 2, NULL, NULL },
    { 100, 1, NULL, NULL },
    { 101, 1, WRITING, WRITING },
    { 100, 2, WRITING, WRITING },
    { 102, 1, NULL, NULL },
    { 103, 1, WRITING, WRITING },
    { 104, 96, NULL, NULL },
    { 200, 1, ALONE, ALONE },
    { 200, 2, ALONE, ALONE },
    { 201, 1, NULL, READING },
    { 202, 1, NULL, NULL },
    { 203, 1, NULL, READING },
    { 204, 0, NULL, NULL },
    { 0, 0, "has locked it", "has locked it" },
  };
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const int fd = open_file ();
    struct flock lock = {
      .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = cases[i].start,
      .l_len = cases[i].length,
    };
    struct store *const s = new_store ();

    assert (fcntl (fd, F_OFD_SETLK, &lock) == 0);
    if (cases[i].reader)
      assert_refused (s, false, cases[i].reader);
    else
      assert (store_lock (s, false) == 0);
    if (cases[i].writer)
      assert_refused (s, true, cases[i].writer);
    else
      assert (store_lock (s, true) == 0);
    store_unref (s);
    close (fd);
  }
}

/* Nobody who shares these customs locks a byte for itself alone. */
static void
test_exclusive (void)
{
  const int fd = open_file ();
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1,
  };
  struct store *const s = new_store ();

  assert (fcntl (fd, F_OFD_SETLK, &lock) == 0);
  assert_refused (s, false, "has locked it");
  close (fd);
  assert_locked ("");
  store_unref (s);
}

/* It may have changed until it was locked. */
static void
test_size (void)
{
  struct store *const s = new_store ();

  assert (s->size == 0);
  assert (truncate (path, 12345) == 0);
  assert (store_lock (s, false) == 0);
  assert (s->size == 12345);
  store_unref (s);
  assert (truncate (path, 0) == 0);
}

/* Other programs lock whole files, and tell who they are. */
static void
test_foreign (short type)
{
  struct store *const s = new_store ();
  char process[40];
  int to_parent[2], to_child[2];
  pid_t pid;
  char c;

  assert (pipe (to_parent) == 0 && pipe (to_child) == 0);
  pid = fork ();
  assert (pid != -1);
  if (pid == 0) {
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET };
    const int fd = open_file ();

    if (fcntl (fd, F_SETLK, &lock) == 0 && write (to_parent[1], "", 1) == 1) {
      close (to_child[1]);
      (void) !read (to_child[0], &c, 1);
    }
    _exit (0);
  }
  close (to_parent[1]);
  close (to_child[0]);
  assert (read (to_parent[0], &c, 1) == 1);
  snprintf (process, sizeof process, "(process %d), which has locked it",
            (int) pid);
  assert_refused (s, false, process);
  close (to_child[1]);
  assert (waitpid (pid, NULL, 0) == pid);
  close (to_parent[0]);
  assert (store_lock (s, false) == 0);
  store_unref (s);
}

/* Starts a process that lives until *end is closed. */
static pid_t
start_child (bool exec, int *end)
{
  int in[2], ready[2];
  pid_t pid;
  char c;

  assert (pipe (in) == 0 && pipe (ready) == 0);
  pid = fork ();
  assert (pid != -1);
  if (pid == 0) {
    dup2 (in[0], 0);
    dup2 (ready[1], 1);
    close (in[1]);
    close (ready[0]);
    if (exec)
      execlp ("sh", "sh", "-c", "echo; read line", (char *) NULL);
    else if (write (1, "\n", 1) == 1)
      (void) !read (0, &c, 1);
    _exit (0);
  }
  close (in[0]);
  close (ready[1]);
  assert (read (ready[0], &c, 1) == 1);
  close (ready[0]);
  *end = in[1];
  return pid;
}

/* A program that is started from here doesn't inherit the locks, but the
 * other half of a server that goes to the background does.
 */
static void
test_children (void)
{
  int exec_end, fork_end;
  struct store *const s = new_writer ();
  pid_t with_exec, with_fork;

  assert (store_make_writable (s) == 0);
  with_exec = start_child (true, &exec_end);
  with_fork = start_child (false, &fork_end);
  store_unref (s);
  assert_locked (WRITER);
  close (fork_end);
  assert (waitpid (with_fork, NULL, 0) == with_fork);
  assert_locked ("");
  assert (waitpid (with_exec, NULL, WNOHANG) == 0);
  close (exec_end);
  assert (waitpid (with_exec, NULL, 0) == with_exec);
}

/* Other files of the process may be closed, and other numbers of this. */
static void
test_lasting (void)
{
  struct store *const s = new_writer (), *const other = new_store ();

  assert (store_make_writable (s) == 0);
  store_unref (other);
  close (open_file ());
  assert_locked (WRITER);
  store_unref (s);
  assert_locked ("");
}

int
main (void)
{
  const int fd = mkstemp (path);

  assert (fd >= 0);
  close (fd);
  test_bytes ();
  test_fd ();
  test_readers ();
  test_writer ();
  test_unlock ();
  test_each_byte ();
  test_exclusive ();
  test_size ();
  test_foreign (F_WRLCK);
  test_foreign (F_RDLCK);
  test_children ();
  test_lasting ();
  unlink (path);
  return 0;
}
