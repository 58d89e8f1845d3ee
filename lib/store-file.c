/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store in a local file or on a block device.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

struct store_file {
  struct store s; /* must come first */
  int fd;
  struct store_id id;
};

static int
report_eof (struct store *s, uint64_t offset)
{
  vmdk_error (s->log,
              "%s: the file has become shorter: nothing at offset %" PRIu64
              ", but it was %" PRIu64 " bytes long when it was opened",
              s->name, offset, s->size);
  errno = EIO;
  return -1;
}

/* [offset, offset+count) lies inside of the size. */
static int
read_inside (struct store *s, char *buf, size_t count, uint64_t offset)
{
  struct store_file *f = (struct store_file *) s;

  while (count > 0) {
    const ssize_t r = pread (f->fd, buf, count, (off_t) offset);

    if (r == -1) {
      if (errno == EINTR)
        continue;
      vmdk_error (s->log, "%s: reading %zu bytes at offset %" PRIu64 ": %m",
                  s->name, count, offset);
      return -1;
    }
    if (r == 0)
      return report_eof (s, offset);
    buf += r;
    count -= (size_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}

static int
file_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  size_t inside = count;

  if (offset >= s->size)
    inside = 0;
  else if (count > s->size - offset)
    inside = (size_t) (s->size - offset);
  memset ((char *) buf + inside, 0, count - inside);
  return read_inside (s, buf, inside, offset);
}

/* A file that became shorter seems to end with a hole, but nothing there
 * may be taken for zeroes.
 */
static bool
has_shrunk (const struct store *s)
{
  struct stat st;

  return fstat (((const struct store_file *) s)->fd, &st) == -1 ||
    (uint64_t) st.st_size < s->size;
}

static int
seek (struct store *s, uint64_t offset, int whence, uint64_t *found)
{
  const off_t r =
    lseek (((struct store_file *) s)->fd, (off_t) offset, whence);

  if (r == -1 && (errno != ENXIO || has_shrunk (s)))
    return -1; /* a device, or a file system without holes */
  *found = r == -1 ? UINT64_MAX : (uint64_t) r;
  return 0;
}

static int
file_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  return seek (s, offset, SEEK_DATA, found);
}

static int
file_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  return seek (s, offset, SEEK_HOLE, found);
}

static void
file_prefetch (struct store *s, uint64_t count, uint64_t offset)
{
  struct store_file *f = (struct store_file *) s;

  posix_fadvise (f->fd, (off_t) offset, (off_t) count, POSIX_FADV_WILLNEED);
}

static void
file_close (struct store *s)
{
  struct store_file *f = (struct store_file *) s;

  if (f->fd >= 0)
    close (f->fd);
  free (s->name);
  free (f);
}

static const struct store_ops file_ops = {
  .pread = file_pread,
  .next_data = file_next_data,
  .next_hole = file_next_hole,
  .prefetch = file_prefetch,
  .close = file_close,
};

static const char *
kind_of_file (mode_t mode)
{
  if (S_ISDIR (mode))
    return "a directory";
  if (S_ISFIFO (mode))
    return "a FIFO";
  if (S_ISCHR (mode))
    return "a character device";
  if (S_ISSOCK (mode))
    return "a socket";
  return "a special file";
}

static int
find_size (struct store_file *f, const struct stat *st)
{
  /* A descriptor that we were given shares its offset with others. */
  const off_t size =
    S_ISREG (st->st_mode) ? st->st_size : lseek (f->fd, 0, SEEK_END);

  if (size == -1) {
    vmdk_error (f->s.log, "%s: finding its size: %m", f->s.name);
    return -1;
  }
  f->s.size = (uint64_t) size;
  f->id = (struct store_id) { .dev = st->st_dev, .ino = st->st_ino };
  if (S_ISBLK (st->st_mode)) /* nodes of one device have several inodes */
    f->id = (struct store_id) { .dev = UINT64_MAX, .ino = st->st_rdev };
  return 0;
}

static int
inspect (struct store_file *f)
{
  struct stat st;

  if (fstat (f->fd, &st) == -1) {
    vmdk_error (f->s.log, "%s: fstat: %m", f->s.name);
    return -1;
  }
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)) {
    vmdk_error (f->s.log, "%s: is %s, not a file or block device",
                f->s.name, kind_of_file (st.st_mode));
    errno = EINVAL;
    return -1;
  }
  return find_size (f, &st);
}

struct store *
store_file_new (const struct vmdk_log *log, int fd, const char *name)
{
  struct store_file *f = calloc (1, sizeof *f);

  if (f == NULL) {
    vmdk_error (log, "%s: %m", name);
    close (fd);
    return NULL;
  }
  f->fd = fd;
  f->s = (struct store) { .ops = &file_ops, .log = log, .refs = 1 };
  f->s.name = strdup (name);
  if (f->s.name == NULL) {
    vmdk_error (log, "%s: %m", name);
    store_unref (&f->s);
    return NULL;
  }
  if (inspect (f) == -1) {
    const int err = errno;

    store_unref (&f->s);
    errno = err;
    return NULL;
  }
  return &f->s;
}

struct store_id
store_file_id (const struct store *s)
{
  return ((const struct store_file *) s)->id;
}
