/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store in a local file or on a block device.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store-file.h"

static int
report_eof (struct store *s, uint64_t offset)
{
  vmdk_error (s->log,
              "%s: the file has become shorter: nothing at offset %" PRIu64
              ", but it was %" PRIu64 " bytes long when it was opened",
              s->name, offset, (uint64_t) s->size);
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
  const uint64_t size = s->size;
  size_t inside = count;

  if (offset >= size)
    inside = 0;
  else if (count > size - offset)
    inside = (size_t) (size - offset);
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

/* Writing. */

static struct store_file *
file_of (struct store *s)
{
  return (struct store_file *) s;
}

/* The system call may be interrupted by signals, which isn't an error. */
#define RETRY(CALL)                           \
  ({                                          \
    __typeof__ (CALL) result_;                \
    do                                        \
      result_ = (CALL);                       \
    while (result_ == -1 && errno == EINTR);  \
    result_;                                  \
  })

/* The same file once more, for writing: by its number, since names may
 * have changed their meaning.
 */
static int
reopen (const struct store_file *f)
{
  const int flags = fcntl (f->fd, F_GETFL);
  char path[32];

  if (flags != -1 &&
      (flags & (O_ACCMODE | O_APPEND | O_DIRECT)) == O_RDWR)
    return fcntl (f->fd, F_DUPFD_CLOEXEC, 0);
  snprintf (path, sizeof path, "/proc/self/fd/%d", f->fd);
  return open (path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int
file_make_writable (struct store *s)
{
  struct store_file *const f = file_of (s);
  const int fd = reopen (f);
  struct stat st;

  if (fd == -1) {
    if (errno != EACCES && errno != EPERM && errno != EROFS)
      vmdk_error (s->log, "%s: opening it for writing: %m%s", s->name,
                  errno != EMFILE ? "" : "; allow more with ulimit -n "
                  "(systemd: LimitNOFILE)");
    return -1;
  }
  if (fstat (fd, &st) == -1) {
    vmdk_error (s->log, "%s: fstat: %m", s->name);
    close (fd);
    return -1;
  }
  /* Reads go on meanwhile, by the number that they have seen. */
  f->fd = fd;
  s->fresh_is_zero = S_ISREG (st.st_mode);
  s->can_punch = S_ISREG (st.st_mode);
  return 0;
}

static int
file_pwrite (struct store *s, const void *buf, size_t count, uint64_t offset)
{
  const char *p = buf;

  while (count > 0) {
    const ssize_t r =
      RETRY (pwrite (file_of (s)->fd, p, count, (off_t) offset));

    if (r <= 0) {
      if (r == 0)
        errno = ENOSPC;
      vmdk_error (s->log, "%s: writing %zu bytes at offset %" PRIu64 ": %m",
                  s->name, count, offset);
      return -1;
    }
    p += r;
    count -= (size_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}

static int
file_fallocate (struct store *s, int mode, uint64_t count, uint64_t offset)
{
  const int r =
    RETRY (fallocate (file_of (s)->fd, mode | FALLOC_FL_KEEP_SIZE,
                      (off_t) offset, (off_t) count));

  if (r == -1 && (errno == ENOSYS || errno == ENODEV))
    errno = EOPNOTSUPP;
  if (r == -1 && errno != EOPNOTSUPP && errno != EFBIG)
    vmdk_error (s->log, "%s: zeroing %" PRIu64 " bytes at offset %" PRIu64
                ": %m", s->name, count, offset);
  return r;
}

static int
file_punch (struct store *s, uint64_t count, uint64_t offset)
{
  return file_fallocate (s, FALLOC_FL_PUNCH_HOLE, count, offset);
}

static int
file_zero (struct store *s, uint64_t count, uint64_t offset)
{
  if (!s->fresh_is_zero) { /* a device may do it slowly, or not at all */
    errno = EOPNOTSUPP;
    return -1;
  }
  return file_fallocate (s, FALLOC_FL_ZERO_RANGE, count, offset);
}

static int
file_allocate (struct store *s, uint64_t count, uint64_t offset)
{
  const int r =
    RETRY (fallocate (file_of (s)->fd, 0, (off_t) offset, (off_t) count));

  if (r == -1 && (errno == ENOSYS || errno == ENODEV))
    errno = EOPNOTSUPP;
  if (r == -1 && errno != EOPNOTSUPP)
    vmdk_error (s->log, "%s: taking space for %" PRIu64 " bytes: %m", s->name,
                count);
  return r;
}

static int
file_resize (struct store *s, uint64_t size)
{
  return RETRY (ftruncate (file_of (s)->fd, (off_t) size));
}

static int
file_sync (struct store *s)
{
  const int r = RETRY (fdatasync (file_of (s)->fd));

  if (r == -1)
    vmdk_error (s->log, "%s: fdatasync: %m; what was written since the last "
                "flush may be lost", s->name);
  return r;
}

static uint64_t
file_allocated (struct store *s)
{
  struct stat st;

  return fstat (file_of (s)->fd, &st) == -1 ? 0
    : (uint64_t) st.st_blocks * 512;
}

static void
file_start_sync (struct store *s)
{
  sync_file_range (file_of (s)->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void
file_close (struct store *s)
{
  struct store_file *f = file_of (s);

  if (f->fd >= 0 && f->fd != f->lock_fd)
    close (f->fd);
  if (f->lock_fd >= 0)
    close (f->lock_fd);
  store_destroy (s);
  free (f);
}

static const struct store_ops file_ops = {
  .pread = file_pread,
  .next_data = file_next_data,
  .next_hole = file_next_hole,
  .prefetch = file_prefetch,
  .lock = store_file_lock,
  .unlock = store_file_unlock,
  .make_writable = file_make_writable,
  .pwrite = file_pwrite,
  .punch = file_punch,
  .zero = file_zero,
  .allocate = file_allocate,
  .resize = file_resize,
  .sync = file_sync,
  .start_sync = file_start_sync,
  .replace = store_file_replace,
  .allocated = file_allocated,
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
  f->fd = f->lock_fd = fd;
  if (store_init (&f->s, &file_ops, log, name) == -1) {
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
