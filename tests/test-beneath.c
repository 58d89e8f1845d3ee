/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opening files beneath a folder, by openat2 and by the walk for kernels
 * without it: nothing outside is ever opened, also when somebody exchanges
 * a folder for a symbolic link that leads out while we look.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"

#define ROUNDS 20000

typedef int (*open_fn) (int dirfd, const char *path, int flags);

static char base[4096];
static int root, outer; /* descriptors of base/root and base */

/* What a path should give: 'i' the file inside, 'e' one of two errors. */
struct expectation {
  const char *path;
  bool by_kernel, by_walk; /* opened? */
  int err_kernel, err_walk;
};

static const struct expectation expectations[] = {
  { "file", true, true, 0, 0 },
  { "./file", true, true, 0, 0 },
  { "dir/file", true, true, 0, 0 },
  { "dir//./file", true, true, 0, 0 },
  { "dir/../file", true, false, 0, EXDEV },
  { "link", true, false, 0, ELOOP },
  { "dir-link/file", true, false, 0, ENOTDIR },
  { "dir/up-link", true, false, 0, ELOOP },
  { "none", false, false, ENOENT, ENOENT },
  { "", false, false, ENOENT, ENOENT },
  { "file/file", false, false, ENOTDIR, ENOTDIR },
  { "loop", false, false, ELOOP, ELOOP },
  { "..", false, false, EXDEV, EXDEV },
  { "../secret", false, false, EXDEV, EXDEV },
  { "dir/../../secret", false, false, EXDEV, EXDEV },
  { "dir/../../root/file", false, false, EXDEV, EXDEV },
  { "link-out", false, false, EXDEV, ELOOP },
  { "absolute-out", false, false, EXDEV, ELOOP },
  { "absolute-in", false, false, EXDEV, ELOOP },
  { "dir-out/secret", false, false, EXDEV, ENOTDIR },
  { "dir/deep-out", false, false, EXDEV, ELOOP },
  { "/etc/passwd", false, false, EXDEV, EXDEV },
  { "/", false, false, EXDEV, EXDEV },
  { "//file", false, false, EXDEV, EXDEV },
};

static void
write_file (const char *name, const char *text)
{
  const int fd = openat (outer, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

  assert (fd >= 0 && write (fd, text, strlen (text)) > 0);
  close (fd);
}

static void
make_link (const char *target, const char *name)
{
  assert (symlinkat (target, outer, name) == 0);
}

static void
make_tree (void)
{
  const char *dir = getenv ("TMPDIR");
  char path[5000];

  snprintf (base, sizeof base, "%s/test-beneath.XXXXXX", dir ? dir : "/tmp");
  assert (mkdtemp (base));
  outer = open (base, O_PATH | O_DIRECTORY | O_CLOEXEC);
  assert (mkdirat (outer, "root", 0700) == 0);
  assert (mkdirat (outer, "root/dir", 0700) == 0);
  assert (mkdirat (outer, "root/swap", 0700) == 0);
  root = openat (outer, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
  assert (outer >= 0 && root >= 0);
  write_file ("secret", "outside");
  write_file ("root/file", "inside");
  write_file ("root/dir/file", "inside");
  write_file ("root/swap/secret", "inside");
  make_link ("dir/file", "root/link");
  make_link ("dir", "root/dir-link");
  make_link ("../file", "root/dir/up-link");
  make_link ("loop", "root/loop");
  make_link ("../secret", "root/link-out");
  make_link ("..", "root/dir-out");
  make_link ("../../secret", "root/dir/deep-out");
  make_link ("..", "root/other");
  snprintf (path, sizeof path, "%s/secret", base);
  make_link (path, "root/absolute-out");
  snprintf (path, sizeof path, "%s/root/file", base);
  make_link (path, "root/absolute-in");
}

static void
remove_tree (void)
{
  char command[5000];

  snprintf (command, sizeof command, "rm -rf '%s'", base);
  assert (system (command) == 0);
  close (root);
  close (outer);
}

/* 'i' or 'o' if it was opened, by what is in it, 0 if it wasn't. */
static char
look (open_fn open_it, const char *path)
{
  const int fd = open_it (root, path, O_RDONLY | O_CLOEXEC);
  char c = 0;

  if (fd == -1)
    return 0;
  assert (fcntl (fd, F_GETFD) & FD_CLOEXEC);
  assert (read (fd, &c, 1) == 1);
  close (fd);
  return c;
}

static bool
has_openat2 (void)
{
  return look (open_beneath, "dir/../file") != 0;
}

static void
test_paths (open_fn open_it, bool kernel)
{
  size_t i;

  for (i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
    const struct expectation *const e = &expectations[i];
    const bool opened = kernel ? e->by_kernel : e->by_walk;
    const int err = kernel ? e->err_kernel : e->err_walk;
    const char c = look (open_it, e->path);

    if (c != (opened ? 'i' : 0) || (!opened && errno != err)) {
      fprintf (stderr, "%s: \"%s\": found '%c' (%s), expected %s\n",
               kernel ? "openat2" : "walk", e->path, c ? c : '-',
               strerror (errno), opened ? "success" : strerror (err));
      abort ();
    }
  }
}

/* The race. */

static atomic_bool done;

/* Exchanges the folder "swap" and the link "other", which leads out. */
static void *
exchange (void *opaque)
{
  (void) opaque;
  while (!done)
    assert (renameat2 (root, "swap", root, "other", RENAME_EXCHANGE) == 0);
  return NULL;
}

static void
test_race (open_fn open_it)
{
  pthread_t thread;
  unsigned inside = 0, refused = 0;
  int i;

  if (renameat2 (root, "swap", root, "other", RENAME_EXCHANGE) == -1)
    return; /* the file system can't */
  done = false;
  assert (pthread_create (&thread, NULL, exchange, NULL) == 0);
  /* On a loaded machine it may take longer until both were seen. */
  for (i = 0; i < ROUNDS || ((inside == 0 || refused == 0) &&
                             i < 100 * ROUNDS); i++) {
    const char c = look (open_it, "swap/secret");

    if (c == 'o') {
      fprintf (stderr, "the file outside was opened\n");
      abort ();
    }
    if (c)
      inside++;
    else
      refused++;
  }
  done = true;
  pthread_join (thread, NULL);
  printf ("race: %u times inside, %u times refused\n", inside, refused);
  assert (inside > 0 && refused > 0);
}

/* Nothing may be left open that a child process would get. */
static void
test_leaks (open_fn open_it)
{
  const int before = dup (root);
  int after;

  look (open_it, "dir//./file");
  look (open_it, "dir/none");
  look (open_it, "dir-out/secret");
  after = dup (root);
  assert (after == before + 1);
  close (before);
  close (after);
}

int
main (void)
{
  make_tree ();
  if (has_openat2 ()) {
    test_paths (open_beneath, true);
    test_race (open_beneath);
  }
  test_leaks (open_beneath);
  test_paths (open_beneath_walk, false);
  test_race (open_beneath_walk);
  test_leaks (open_beneath_walk);
  remove_tree ();
  return 0;
}
