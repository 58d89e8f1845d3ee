/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The world of an input: takes the place of the library's store_file_new.
 * Names and folders are real, in a private folder, so that finding files is
 * what it is; each content is in memory, and nothing is ever synced.
 *
 * Threads aren't started, as they would cost more than all the rest: the
 * linker sends pthread_create here (--wrap).
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "store-file.h"

struct world world;

struct world_store {
  struct store_file f; /* must come first: new files want its number */
  size_t file;
};

static char folder[256];
static int first_fd; /* the lowest that was free at the beginning */
static struct {
  bool exists;
  uint64_t dev, ino;
} names[NR_NAMES];

/* Names. */

const char *
world_path (const char *name)
{
  static char path[512];

  snprintf (path, sizeof path, "%s/%s", folder, name);
  return path;
}

bool
world_has (const char *name)
{
  return access (world_path (name), F_OK) == 0;
}

void
world_remove (const char *name)
{
  unlink (world_path (name));
}

static void
remove_folder (void)
{
  size_t i;

  for (i = 0; i < NR_NAMES; i++)
    unlink (world_path (input_names[i]));
  unlink (world_path ("undo"));
  rmdir (folder);
}

static int
free_number (void)
{
  const int fd = dup (STDERR_FILENO);

  close (fd);
  return fd;
}

static void
make_folder (void)
{
  const char *const dir = getenv ("TMPDIR");

  if (folder[0])
    return;
  snprintf (folder, sizeof folder, "%s/vmdk-fuzz-XXXXXX", dir ? dir : "/tmp");
  if (mkdtemp (folder) == NULL)
    complain ("%s: %s", folder, strerror (errno));
  setenv ("TMPDIR", folder, 1);
  atexit (remove_folder);
}

static void
make_name (size_t i)
{
  const char *const path = world_path (input_names[i]);
  const int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct stat st;

  if (fd == -1 || fstat (fd, &st) == -1)
    complain ("%s: %s", path, strerror (errno));
  names[i].exists = true;
  names[i].dev = (uint64_t) st.st_dev;
  names[i].ino = (uint64_t) st.st_ino;
  close (fd);
}

/* Only the names that the input has. */
static void
set_names (const struct input *in)
{
  unsigned wanted = 0;
  size_t i;

  for (i = 0; i < in->nr_files; i++)
    wanted |= 1U << in->files[i].name;
  for (i = 0; i < NR_NAMES; i++) {
    const bool want = wanted >> i & 1;

    if (want && !names[i].exists)
      make_name (i);
    else if (!want && names[i].exists) {
      unlink (world_path (input_names[i]));
      names[i].exists = false;
    }
  }
}

void
world_begin (const struct input *in)
{
  size_t i;

  make_folder ();
  set_names (in);
  world.nr = in->nr_files;
  world.no_punch = world.no_replace = world.failed = false;
  world.writes_left = UINT_MAX;
  for (i = 0; i < in->nr_files; i++) {
    const struct input_file *const f = &in->files[i];

    world.files[i] = (struct world_file) {
      .dev = names[f->name].dev, .ino = names[f->name].ino, .origin = f,
    };
    pages_clone (&world.files[i].now, &f->pages);
  }
  first_fd = free_number ();
  clear_messages ();
}

void
world_clean (void)
{
  DIR *const list = opendir (folder);
  const struct dirent *d;
  size_t i;

  while (list && (d = readdir (list)))
    unlink (world_path (d->d_name));
  if (list)
    closedir (list);
  for (i = 0; i < NR_NAMES; i++)
    names[i].exists = false;
}

void
world_end (void)
{
  size_t i;

  for (i = 0; i < world.nr; i++)
    pages_clear (&world.files[i].now);
  world.nr = 0;
  if (free_number () != first_fd)
    complain ("a file was left open");
}

/* Stores. */

static struct world_file *
file_of (const struct store *s)
{
  return &world.files[((const struct world_store *) s)->file];
}

/* A temporary file, say, that already has something. */
static void
load (struct pages *p, int fd, uint64_t size)
{
  uint8_t buf[PAGE];
  uint64_t offset;

  p->size = size;
  for (offset = 0; offset < size; offset += PAGE) {
    const ssize_t n = pread (fd, buf, sizeof buf, (off_t) offset);

    if (n <= 0 || !pages_write (p, buf, (size_t) n, offset))
      return;
  }
}

static size_t
find_file (int fd, const char *name)
{
  struct stat st;
  size_t i;

  if (fstat (fd, &st) == -1)
    complain ("%s: %s", name, strerror (errno));
  for (i = 0; i < world.nr; i++)
    if (world.files[i].dev == (uint64_t) st.st_dev &&
        world.files[i].ino == (uint64_t) st.st_ino)
      return i;
  for (i = 0; i < world.nr && world.files[i].ino != 0; i++)
    ; /* a forgotten one */
  if (i == MAX_WORLD_FILES) { /* resize can make any number */
    world.failed = true;
    errno = ENFILE;
    return i;
  }
  if (i == world.nr)
    world.nr++;
  world.files[i] = (struct world_file) {
    .dev = (uint64_t) st.st_dev, .ino = (uint64_t) st.st_ino,
  };
  load (&world.files[i].now, fd, (uint64_t) st.st_size);
  return i;
}

static int
world_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  const struct pages *const p = &file_of (s)->now;
  const uint64_t size = s->size;
  const uint64_t end = count < size && offset < size - count ? offset + count
    : size;

  if (p->size >= end || offset >= size) {
    pages_read (p, buf, count, offset);
    return 0;
  }
  vmdk_error (s->log, "%s: the file has become shorter", s->name);
  errno = EIO;
  return -1;
}

static int
world_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  *found = pages_next_data (&file_of (s)->now, offset);
  if (*found >= file_of (s)->now.size)
    *found = UINT64_MAX;
  return 0;
}

static int
world_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  *found = pages_next_hole (&file_of (s)->now, offset);
  if (*found > file_of (s)->now.size)
    *found = file_of (s)->now.size;
  return 0;
}

static int
world_make_writable (struct store *s)
{
  s->fresh_is_zero = true;
  s->can_punch = !world.no_punch;
  return 0;
}

/* Whether a write finds the disk full. */
static bool
is_full (void)
{
  if (world.writes_left > 0) {
    world.writes_left--;
    return false;
  }
  world.failed = true;
  errno = ENOSPC;
  return true;
}

static int
world_pwrite (struct store *s, const void *buf, size_t count,
              uint64_t offset)
{
  struct pages *const p = &file_of (s)->now;

  if (offset > MAX_FILE_SIZE - count) {
    errno = EFBIG;
    world.failed = true;
  }
  else if (!is_full ()) {
    if (p->size < offset + count)
      p->size = offset + count;
    if (pages_write (p, buf, count, offset))
      return 0;
    errno = ENOSPC;
    world.failed = true;
  }
  vmdk_error (s->log, "%s: writing: %m", s->name);
  return -1;
}

static int
make_zero (struct store *s, uint64_t count, uint64_t offset)
{
  struct pages *const p = &file_of (s)->now;

  if (world.no_punch) {
    errno = EOPNOTSUPP;
    return -1;
  }
  if (offset < p->size)
    pages_zero (p, count < p->size - offset ? count : p->size - offset,
                offset);
  return 0;
}

static int
world_resize (struct store *s, uint64_t size)
{
  if (size > MAX_FILE_SIZE) {
    errno = EFBIG;
    world.failed = true;
    return -1;
  }
  if (is_full ())
    return -1;
  pages_resize (&file_of (s)->now, size);
  return 0;
}

static int
world_sync (struct store *s)
{
  (void) s;
  return 0;
}

static int
world_replace (struct store *s, const struct folder *f, const void *data,
               size_t count)
{
  struct pages *const p = &file_of (s)->now;

  (void) f;
  if (world.no_replace) {
    errno = EOPNOTSUPP;
    return -1;
  }
  pages_resize (p, 0);
  s->size = p->size = count;
  if (pages_write (p, data, count, 0))
    return 0;
  world.failed = true;
  errno = ENOSPC;
  vmdk_error (s->log, "%s: replacing it: %m", s->name);
  return -1;
}

static uint64_t
world_allocated (struct store *s)
{
  return file_of (s)->now.nr * PAGE;
}

/* Nobody can find it any more, but another file may get its number. */
static void
forget_if_nameless (int fd, struct world_file *f)
{
  struct stat st;

  if (f->origin || (fstat (fd, &st) == 0 && st.st_nlink > 0))
    return;
  f->dev = f->ino = 0;
  pages_clear (&f->now);
}

static void
world_close (struct store *s)
{
  const int fd = ((struct world_store *) s)->f.fd;

  forget_if_nameless (fd, file_of (s));
  close (fd);
  store_destroy (s);
  free (s);
}

static const struct store_ops world_ops = {
  .pread = world_pread,
  .next_data = world_next_data,
  .next_hole = world_next_hole,
  .make_writable = world_make_writable,
  .pwrite = world_pwrite,
  .punch = make_zero,
  .zero = make_zero,
  .resize = world_resize,
  .sync = world_sync,
  .replace = world_replace,
  .allocated = world_allocated,
  .close = world_close,
};

struct store *
store_file_new (const struct vmdk_log *log, int fd, const char *name)
{
  struct world_store *const s = calloc (1, sizeof *s);

  if (s == NULL || store_init (&s->f.s, &world_ops, log, name) == -1)
    complain ("out of memory");
  s->file = find_file (fd, name);
  if (s->file == MAX_WORLD_FILES) {
    vmdk_error (log, "%s: %m", name);
    store_destroy (&s->f.s);
    free (s);
    close (fd);
    return NULL;
  }
  s->f.fd = s->f.lock_fd = fd;
  s->f.id = (struct store_id) {
    .dev = world.files[s->file].dev, .ino = world.files[s->file].ino,
  };
  s->f.s.size = world.files[s->file].now.size;
  return &s->f.s;
}

struct store_id
store_file_id (const struct store *s)
{
  return ((const struct world_store *) s)->f.id;
}

/* Threads. */

extern int __wrap_pthread_create (pthread_t *thread,
                                  const pthread_attr_t *attr,
                                  void *(*fn) (void *), void *opaque);
extern int __wrap_pthread_join (pthread_t thread, void **result);

/* Whoever has work for several does it alone; and what is to be written
 * back after five seconds is never so old.
 */
int
__wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                       void *(*fn) (void *), void *opaque)
{
  (void) attr;
  (void) fn;
  (void) opaque;
  *thread = pthread_self ();
  return 0;
}

int
__wrap_pthread_join (pthread_t thread, void **result)
{
  (void) thread;
  if (result)
    *result = NULL;
  return 0;
}
