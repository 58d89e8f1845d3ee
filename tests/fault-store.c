/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The store that fails.  What the files on the disk have is only read,
 * once; names and folders stay real.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "store.h"

struct fault_file *fault_files;
size_t nr_fault_files;
struct fault_plan fault_plan;

struct fault_store {
  struct store s; /* must come first */
  size_t file;
};

const struct fault faults[] = {
  { .name = "EIO", .operation = OP_PREAD, .err = EIO },
  { .name = "EIO", .operation = OP_PWRITE, .err = EIO },
  { .name = "ENOSPC", .operation = OP_PWRITE, .err = ENOSPC },
  { .name = "short", .operation = OP_PWRITE, .err = ENOSPC, .partly = true },
  { .name = "full", .operation = OP_PWRITE, .err = ENOSPC, .partly = true,
    .lasting = true },
  { .name = "EIO", .operation = OP_PUNCH, .err = EIO },
  { .name = "half", .operation = OP_PUNCH, .err = EIO, .partly = true },
  { .name = "unsupported", .operation = OP_PUNCH, .err = EOPNOTSUPP,
    .lasting = true },
  { .name = "EIO", .operation = OP_ZERO, .err = EIO },
  { .name = "half", .operation = OP_ZERO, .err = ENOSPC, .partly = true },
  { .name = "unsupported", .operation = OP_ZERO, .err = EOPNOTSUPP,
    .lasting = true },
  { .name = "ENOSPC", .operation = OP_RESIZE, .err = ENOSPC },
  { .name = "EFBIG", .operation = OP_RESIZE, .err = EFBIG, .lasting = true },
  { .name = "EIO", .operation = OP_SYNC, .err = EIO },
  { .name = "lost", .operation = OP_SYNC, .err = EIO, .lose = true },
  { .name = "EIO", .operation = OP_REPLACE, .err = EIO },
  { .name = "unsupported", .operation = OP_REPLACE, .err = EOPNOTSUPP },
};
const size_t nr_faults = sizeof faults / sizeof faults[0];

const char *
operation_name (enum operation o)
{
  static const char *const names[NR_OPERATIONS] = {
    "pread", "pwrite", "punch", "zero", "resize", "sync", "replace",
  };

  return names[o];
}

/* Files. */

void
fault_reset (void)
{
  size_t i;

  for (i = 0; i < nr_fault_files; i++) {
    struct fault_file *const f = &fault_files[i];

    blob_clear (&f->now);
    blob_clear (&f->synced);
    blob_clone (&f->now, &f->initial);
    blob_clone (&f->synced, &f->initial);
  }
}

static size_t
find_file (int fd, const char *name)
{
  struct fault_file *f;
  struct stat st;
  size_t i;

  if (fstat (fd, &st) == -1)
    die ("%s: %s", name, strerror (errno));
  for (i = 0; i < nr_fault_files; i++)
    if (fault_files[i].dev == st.st_dev && fault_files[i].ino == st.st_ino)
      return i;
  fault_files = grow_array (fault_files, i, sizeof fault_files[0]);
  f = &fault_files[nr_fault_files++];
  *f = (struct fault_file) {
    .name = strdup (name), .dev = st.st_dev, .ino = st.st_ino,
  };
  blob_load (&f->initial, fd, name);
  blob_clone (&f->now, &f->initial);
  blob_clone (&f->synced, &f->initial);
  return i;
}

static struct fault_file *
file_of (const struct store *s)
{
  return &fault_files[((const struct fault_store *) s)->file];
}

/* Faults. */

static void
lose (struct fault_file *f)
{
  blob_clear (&f->now);
  blob_clone (&f->now, &f->synced);
}

/* Marks are in the header. */
static bool
has_changed (const struct fault_file *f)
{
  uint8_t was[4 * SECTOR], is[4 * SECTOR];

  blob_read (&f->initial, was, sizeof was, 0);
  blob_read (&f->synced, is, sizeof is, 0);
  return memcmp (was, is, sizeof is) != 0;
}

/* Counts an operation.  NULL: it succeeds. */
static const struct fault *
look (const struct store *s, enum operation o)
{
  struct fault_plan *const p = &fault_plan;

  if (!p->counting)
    return NULL;
  if (p->operations && p->count < MOST_OPERATIONS)
    p->operations[p->count] = (unsigned char) o;
  p->count++;
  if (p->fault == NULL || p->fault->operation != o || p->count <= p->at ||
      (p->count > p->at + 1 && !p->fault->lasting))
    return NULL;
  p->hit = true;
  p->file = file_of (s);
  p->file_changed = has_changed (file_of (s));
  if (p->fault->lose)
    lose (file_of (s));
  return p->fault;
}

static int
fail (const struct store *s, const struct fault *f)
{
  errno = f->err;
  if (f->err != EOPNOTSUPP)
    vmdk_error (s->log, "%s: %s: made to fail: %m", s->name,
                operation_name (f->operation));
  errno = f->err;
  return -1;
}

/* How much of count bytes is done. */
static uint64_t
part_of (const struct fault *f, uint64_t count)
{
  if (f == NULL)
    return count;
  return f->partly ? count / 2 / SECTOR * SECTOR : 0;
}

/* What the library does. */

static int
fault_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  const struct blob *const b = &file_of (s)->now;
  const struct fault *const f = look (s, OP_PREAD);
  const uint64_t size = s->size < offset + count ? s->size : offset + count;

  if (f)
    return fail (s, f);
  if (b->size >= size) {
    blob_read (b, buf, count, offset);
    return 0;
  }
  vmdk_error (s->log, "%s: the file has become shorter", s->name);
  errno = EIO;
  return -1;
}

static int
next (const struct store *s, uint64_t offset, bool data, uint64_t *found)
{
  const struct blob *const b = &file_of (s)->now;

  *found = blob_next (b, offset, data);
  if (*found >= b->size)
    *found = data ? UINT64_MAX : b->size;
  return 0;
}

static int
fault_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, true, found);
}

static int
fault_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, false, found);
}

static int
fault_make_writable (struct store *s)
{
  s->fresh_is_zero = s->can_punch = true;
  return 0;
}

static int
fault_pwrite (struct store *s, const void *buf, size_t count,
              uint64_t offset)
{
  struct blob *const b = &file_of (s)->now;
  const struct fault *const f = look (s, OP_PWRITE);
  const uint64_t n = part_of (f, count);

  blob_write (b, buf, (size_t) n, offset);
  if (n > 0 && b->size < offset + n)
    b->size = offset + n;
  return f ? fail (s, f) : 0;
}

static int
make_zero (struct store *s, enum operation o, uint64_t count,
           uint64_t offset)
{
  const struct fault *const f = look (s, o);

  blob_zero (&file_of (s)->now, part_of (f, count), offset);
  return f ? fail (s, f) : 0;
}

static int
fault_punch (struct store *s, uint64_t count, uint64_t offset)
{
  return make_zero (s, OP_PUNCH, count, offset);
}

static int
fault_zero (struct store *s, uint64_t count, uint64_t offset)
{
  return make_zero (s, OP_ZERO, count, offset);
}

static int
fault_resize (struct store *s, uint64_t size)
{
  const struct fault *const f = look (s, OP_RESIZE);

  if (f) { /* which is for the caller to report */
    errno = f->err;
    return -1;
  }
  blob_set_size (&file_of (s)->now, size);
  return 0;
}

static void
make_durable (struct fault_file *f)
{
  blob_clear (&f->synced);
  blob_clone (&f->synced, &f->now);
}

static int
fault_sync (struct store *s)
{
  const struct fault *const f = look (s, OP_SYNC);

  if (f)
    return fail (s, f);
  make_durable (file_of (s));
  return 0;
}

static int
fault_replace (struct store *s, const struct folder *folder,
               const void *data, size_t count)
{
  struct blob *const b = &file_of (s)->now;
  const struct fault *const f = look (s, OP_REPLACE);

  (void) folder;
  if (f)
    return fail (s, f);
  blob_set_size (b, 0);
  blob_write (b, data, count, 0);
  s->size = b->size = count;
  make_durable (file_of (s));
  return 0;
}

static void
fault_close (struct store *s)
{
  store_destroy (s);
  free (s);
}

static const struct store_ops fault_ops = {
  .pread = fault_pread,
  .next_data = fault_next_data,
  .next_hole = fault_next_hole,
  .make_writable = fault_make_writable,
  .pwrite = fault_pwrite,
  .punch = fault_punch,
  .zero = fault_zero,
  .resize = fault_resize,
  .sync = fault_sync,
  .replace = fault_replace,
  .close = fault_close,
};

struct store *
store_file_new (const struct vmdk_log *log, int fd, const char *name)
{
  struct fault_store *const s = grab (sizeof *s);

  if (store_init (&s->s, &fault_ops, log, name) == -1)
    die ("out of memory");
  s->file = find_file (fd, name);
  s->s.size = file_of (&s->s)->now.size;
  close (fd);
  return &s->s;
}

struct store_id
store_file_id (const struct store *s)
{
  const struct fault_file *const f = file_of (s);

  return (struct store_id) { .dev = f->dev, .ino = f->ino };
}
