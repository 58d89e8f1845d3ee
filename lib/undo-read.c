/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Reading undo files, and taking repairs back.
 *
 * An undo file may come from anywhere, so it isn't trusted more than a
 * descriptor: it reaches files in and below its own folder and the trusted
 * ones, and only such as are what the repair left.  All of it is read and
 * compared before the first byte changes.  Taking back may be interrupted,
 * too: then it is done once more.
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
#include <zlib.h>

#include "in-use.h"
#include "le.h"
#include "resolve.h"
#include "undo.h"

#define MAX_CHUNK (16 + UNDO_MAX_BYTES + UNDO_MAX_BYTES / 128)
#define MAX_FILES (VMDK_MAX_EXTENTS + 1)

struct target {
  struct store *store;
  uint64_t before, after; /* sizes */
  uint64_t compared; /* up to there, of what is behind the smaller one */
};

struct reader {
  struct context *ctx;
  struct folder *folder;
  struct store *store;   /* the undo file */
  bool quiet;            /* what the files have is not an error */
  uint64_t offset;
  uint32_t crc;
  uint8_t chunk[MAX_CHUNK + 1]; /* a name gets a NUL behind it */
  uint32_t length;

  struct target *files;
  size_t nr_files;

  /* Sectors that are as before, or as after, of those that differ. */
  uint64_t as_before, as_after;
  bool changed;          /* something is neither */
  uint8_t buf[UNDO_MAX_BYTES];
};

static int __attribute__ ((__format__ (__printf__, 2, 3)))
bad_file (const struct reader *r, const char *fmt, ...)
{
  char text[200];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  vmdk_error (&r->ctx->log, "%s: not a sound undo file: %s", r->store->name,
              text);
  errno = EINVAL;
  return -1;
}

static int
get (struct reader *r, void *buf, uint32_t count)
{
  if (count > r->store->size || r->offset > r->store->size - count)
    return bad_file (r, "it ends at byte %" PRIu64 ", in the middle of "
                     "something; it was truncated", r->store->size);
  if (store_pread (r->store, buf, count, r->offset) == -1)
    return -1;
  r->offset += count;
  return 0;
}

static int
read_start (struct reader *r)
{
  uint8_t start[16];

  r->offset = 0;
  if (get (r, start, sizeof start) == -1)
    return -1;
  if (memcmp (start, UNDO_MAGIC, 8) != 0)
    return bad_file (r, "it doesn't begin with \"%s\"", UNDO_MAGIC);
  if (le32_at (start + 8) != UNDO_VERSION)
    return bad_file (r, "its version is %" PRIu32 ", expected %d",
                     le32_at (start + 8), UNDO_VERSION);
  r->crc = (uint32_t) crc32 (crc32 (0, NULL, 0), start, sizeof start);
  return 0;
}

/* The type of the next chunk, which is in r->chunk; -1: reported. */
static int
read_chunk (struct reader *r)
{
  const uint64_t at = r->offset;
  uint8_t head[8];
  uint32_t type, least;

  if (get (r, head, sizeof head) == -1)
    return -1;
  type = le32_at (head);
  r->length = le32_at (head + 4);
  least = type == UNDO_END ? 4 : 16;
  if (type < UNDO_FILE || type > UNDO_END || r->length < least ||
      r->length > sizeof r->chunk - 1)
    return bad_file (r, "at offset %" PRIu64 " a chunk has type %" PRIu32
                     " and length %" PRIu32, at, type, r->length);
  if (get (r, r->chunk, r->length) == -1)
    return -1;
  if (type == UNDO_END)
    return UNDO_END;
  r->crc = (uint32_t) crc32 (r->crc, head, sizeof head);
  r->crc = (uint32_t) crc32 (r->crc, r->chunk, r->length);
  return (int) type;
}

static int
check_end (const struct reader *r)
{
  if (le32_at (r->chunk) != r->crc)
    return bad_file (r, "its checksum is 0x%08" PRIx32 ", expected 0x%08"
                     PRIx32, le32_at (r->chunk), r->crc);
  if (r->offset != r->store->size)
    return bad_file (r, "something follows its end at offset %" PRIu64,
                     r->offset);
  return 0;
}

/* Comparing. */

static int
report_changed (struct reader *r, const struct store *s, const char *what,
                uint64_t offset)
{
  r->changed = true;
  if (r->quiet)
    return 0;
  vmdk_error (&r->ctx->log, "%s: was changed after the repair that %s takes "
              "back (%s %" PRIu64 "), so it isn't touched", s->name,
              r->store->name, what, offset);
  errno = EINVAL;
  return -1;
}

static int
open_target (struct reader *r)
{
  struct extent_line line = { .type = TYPE_FLAT };
  struct target *more, *t;

  if (r->nr_files >= MAX_FILES)
    return bad_file (r, "it names more than %d files", MAX_FILES);
  more = realloc (r->files, (r->nr_files + 1) * sizeof *more);
  if (more == NULL) {
    vmdk_error (&r->ctx->log, "%s: %m", r->store->name);
    return -1;
  }
  r->files = more;
  t = &r->files[r->nr_files];
  *t = (struct target) {
    .before = le64_at (r->chunk), .after = le64_at (r->chunk + 8),
  };
  t->compared = t->before < t->after ? t->before : t->after;
  r->chunk[r->length] = '\0';
  line.name = (char *) r->chunk + 16;
  t->store = resolve_extent (r->ctx, r->store->name, r->folder, NULL, &line);
  if (t->store == NULL)
    return -1;
  r->nr_files++;
  if (r->ctx->lock && store_lock (t->store, false) == -1)
    return -1;
  if (t->before > VMDK_MAX_SIZE || t->after > VMDK_MAX_SIZE)
    return bad_file (r, "a file can't have had %" PRIu64 " bytes", t->before);
  if (t->store->size < (t->before < t->after ? t->before : t->after) ||
      t->store->size > (t->before > t->after ? t->before : t->after))
    return report_changed (r, t->store, "its length is now", t->store->size);
  r->as_before += t->store->size == t->before && t->before != t->after;
  r->as_after += t->store->size == t->after && t->before != t->after;
  return 0;
}

/* A BYTES chunk, decoded. */
struct piece {
  uint64_t offset;
  uint32_t nr_before, nr_after;
  const uint8_t *before, *crcs;
};

static int
decode_piece (const struct reader *r, struct piece *p)
{
  *p = (struct piece) {
    .offset = le64_at (r->chunk),
    .nr_before = le32_at (r->chunk + 8),
    .nr_after = le32_at (r->chunk + 12),
    .before = r->chunk + 16,
  };
  if (r->nr_files == 0 || p->nr_before > UNDO_MAX_BYTES ||
      p->nr_after > UNDO_MAX_BYTES || p->offset > VMDK_MAX_SIZE ||
      r->length != 16 + p->nr_before +
      div_round_up (p->nr_after, SECTOR_SIZE) * 4)
    return bad_file (r, "before offset %" PRIu64 " there is a piece of %"
                     PRIu32 " and %" PRIu32 " bytes, which doesn't fit its "
                     "chunk", r->offset, p->nr_before, p->nr_after);
  p->crcs = p->before + p->nr_before;
  return 0;
}

/* Sector i of a piece, which the file has as found. */
static bool
is_as_before (const struct piece *p, size_t i, const uint8_t *found, size_t n)
{
  const size_t at = i * SECTOR_SIZE;
  const size_t here = at >= p->nr_before ? 0
    : p->nr_before - at < n ? p->nr_before - at : n;
  size_t j;

  for (j = here; j < n; j++) /* it was behind the end of the file */
    if (found[j] != 0)
      return false;
  return memcmp (found, p->before + at, here) == 0;
}

static bool
is_as_after (const struct piece *p, size_t i, const uint8_t *found)
{
  const size_t at = i * SECTOR_SIZE;
  const size_t n = at >= p->nr_after ? 0
    : p->nr_after - at < SECTOR_SIZE ? p->nr_after - at : SECTOR_SIZE;

  if (n == 0) /* cut off: before, it may have been anything */
    return false;
  return le32_at (p->crcs + i * 4) == (uint32_t) crc32 (0, found, (uInt) n);
}

static int
compare_piece (struct reader *r)
{
  struct store *s;
  struct piece p;
  uint64_t n;
  size_t i;

  if (decode_piece (r, &p) == -1)
    return -1;
  s = r->files[r->nr_files - 1].store;
  n = p.nr_before > p.nr_after ? p.nr_before : p.nr_after;
  if (p.offset >= s->size) { /* not made yet, or cut off already */
    r->as_before += p.nr_after > 0;
    r->as_after += p.nr_after == 0;
    return 0;
  }
  if (store_pread (s, r->buf, (size_t) n, p.offset) == -1)
    return -1;
  for (i = 0; i * SECTOR_SIZE < n; i++) {
    const uint64_t at = i * SECTOR_SIZE;
    const size_t here = (size_t) (n - at < SECTOR_SIZE ? n - at : SECTOR_SIZE);

    if (p.offset + at >= s->size)
      break;
    if (is_as_before (&p, i, r->buf + at, here))
      r->as_before++;
    else if (is_as_after (&p, i, r->buf + at))
      r->as_after++;
    else
      return report_changed (r, s, "at offset", p.offset + at);
  }
  return 0;
}

/* What the repair added, or cut off, and no piece has, was and is zero, up
 * to end: else somebody has written there since, and would lose that.
 * Pieces come in the order of their offsets.
 */
static int
compare_gap (struct reader *r, uint64_t end)
{
  struct target *const t = &r->files[r->nr_files - 1];
  uint64_t start, stop, size = t->store->size;
  size_t i, n;

  if (end < size)
    size = end;
  for (; t->compared < size; t->compared = start + n) {
    store_find_data (t->store, t->compared, size, &start, &stop);
    n = stop - start < sizeof r->buf ? (size_t) (stop - start)
      : sizeof r->buf;
    if (store_pread (t->store, r->buf, n, start) == -1)
      return -1;
    for (i = 0; i < n; i++)
      if (r->buf[i] != 0)
        return report_changed (r, t->store, "at offset", start + i);
  }
  return 0;
}

/* A piece, and what is in front of it. */
static int
compare_to_piece (struct reader *r)
{
  struct target *t;
  struct piece p;
  uint64_t end;

  if (decode_piece (r, &p) == -1 || compare_gap (r, p.offset) == -1 ||
      compare_piece (r) == -1)
    return -1;
  t = &r->files[r->nr_files - 1];
  end = p.offset + (p.nr_before > p.nr_after ? p.nr_before : p.nr_after);
  if (end > t->compared)
    t->compared = end;
  return 0;
}

static int
compare_all (struct reader *r)
{
  int type = 0, result = 0;

  if (read_start (r) == -1)
    return -1;
  while (result == 0 && type != UNDO_END) {
    type = read_chunk (r);
    if (type != UNDO_BYTES && r->nr_files > 0 &&
        compare_gap (r, UINT64_MAX) == -1)
      return -1;
    if (type == UNDO_FILE)
      result = open_target (r);
    else if (type == UNDO_BYTES)
      result = compare_to_piece (r);
    else
      result = type == -1 ? -1 : check_end (r);
  }
  return result;
}

/* The checksum comes last, so all is read once before it is believed. */
static int
verify (struct reader *r)
{
  int type;

  if (read_start (r) == -1)
    return -1;
  while ((type = read_chunk (r)) != UNDO_END)
    if (type == -1)
      return -1;
  return check_end (r) == -1 ? -1 : compare_all (r);
}

/* Taking back. */

/* That it is the disk that the caller means. */
static int
check_disk_file (const struct reader *r, const struct vmdk_options *options)
{
  struct store_id id = { 0, 0 };
  struct stat st;

  if (r->nr_files > 0)
    id = store_identity (r->files[0].store);
  if (options->file && stat (options->file, &st) == 0 && r->nr_files > 0 &&
      id.dev == st.st_dev && id.ino == st.st_ino)
    return 0;
  vmdk_error (&r->ctx->log, "%s: is not of a repair of %s%s%s", r->store->name,
              options->file ? options->file : "this disk",
              r->nr_files ? ", but of one of " : "",
              r->nr_files ? r->files[0].store->name : "");
  errno = EINVAL;
  return -1;
}

/* A running machine of VMware has it open. */
static int
check_in_use (const struct reader *r, struct store *s)
{
  struct link l = { .ctx = r->ctx, .store = s };
  const char *const slash = strrchr (s->name, '/');
  char *const path = slash == NULL ? strdup (".")
    : strndup (s->name, slash == s->name ? 1 : (size_t) (slash - s->name));
  int result = -1;

  if (path == NULL)
    vmdk_error (&r->ctx->log, "%s: %m", s->name);
  else
    l.folder = folder_open (r->ctx, path);
  if (l.folder)
    result = in_use_by_vmware (&l, true);
  folder_close (l.folder);
  free (path);
  return result;
}

static int
make_writable (const struct reader *r)
{
  size_t i;

  for (i = 0; i < r->nr_files; i++)
    if (check_in_use (r, r->files[i].store) == -1)
      return -1;
  for (i = 0; i < r->nr_files; i++) {
    struct store *const s = r->files[i].store;

    if (r->ctx->lock && store_lock (s, true) == -1)
      return -1;
    if (store_make_writable (s) == -1) {
      if (errno == EACCES || errno == EPERM || errno == EROFS)
        vmdk_error (&r->ctx->log, "%s: can't be written: %m", s->name);
      return -1;
    }
  }
  return 0;
}

/* What the repair added to the sector in which the file ended becomes zero
 * in the same write: if this is interrupted before the file is cut off, the
 * sector must be seen to be as before.
 */
static int
restore_piece (struct reader *r, struct store *s, const struct piece *p)
{
  const size_t sectors = div_round_up (p->nr_before, SECTOR_SIZE);
  size_t n = sectors * SECTOR_SIZE;

  if (n > p->nr_after)
    n = p->nr_after;
  if (n < p->nr_before)
    n = p->nr_before;
  if (n == 0) /* the file is cut off there anyway */
    return 0;
  memset (r->buf, 0, n);
  memcpy (r->buf, p->before, p->nr_before);
  return store_pwrite (s, r->buf, n, p->offset);
}

static int
restore_pieces (struct reader *r)
{
  size_t file = 0;
  struct piece p;
  int type;

  if (read_start (r) == -1)
    return -1;
  while ((type = read_chunk (r)) != UNDO_END) {
    if (type == -1)
      return -1;
    if (type == UNDO_FILE)
      file++;
    else if (decode_piece (r, &p) == -1 || file == 0 || file > r->nr_files ||
             restore_piece (r, r->files[file - 1].store, &p) == -1)
      return -1;
  }
  return 0;
}

static int
restore_sizes (const struct reader *r)
{
  size_t i;

  for (i = 0; i < r->nr_files; i++) {
    const struct target *const t = &r->files[i];

    if (t->store->size != t->before &&
        store_resize (t->store, t->before) == -1) {
      vmdk_error (&r->ctx->log, "%s: setting its length to %" PRIu64
                  " bytes: %m", t->store->name, t->before);
      return -1;
    }
    if (store_sync (t->store) == -1)
      return -1;
  }
  return 0;
}

/* Opening and closing. */

static void
reader_free (struct reader *r)
{
  size_t i;

  if (r == NULL)
    return;
  for (i = 0; i < r->nr_files; i++)
    store_unref (r->files[i].store);
  free (r->files);
  store_unref (r->store);
  folder_close (r->folder);
  context_free (r->ctx);
  free (r);
}

static int
add_roots (struct context *ctx, const struct folder *folder,
           const char *const *dir)
{
  struct folder *root = folder ? folder_again (ctx, folder) : NULL;

  if (root == NULL || context_add_root (ctx, root) == -1)
    return -1;
  for (; dir && *dir; dir++) {
    root = folder_open (ctx, *dir);
    if (root == NULL || context_add_root (ctx, root) == -1)
      return -1;
  }
  return 0;
}

static struct reader *
reader_new (const struct vmdk_options *options, const char *path)
{
  struct reader *const r = calloc (1, sizeof *r);

  if (r == NULL) {
    vmdk_error (&options->log, "%s: %m", path);
    return NULL;
  }
  r->ctx = context_new (options);
  if (r->ctx)
    r->store = resolve_by_hand (r->ctx, path, &r->folder);
  if (r->store && add_roots (r->ctx, r->folder, options->trusted_dirs) == 0)
    return r;
  reader_free (r);
  return NULL;
}

int
undo_inspect (const struct vmdk_options *options, const char *path,
              enum undo_state *state)
{
  struct vmdk_options o = *options;
  struct reader *r;
  int result;

  o.no_lock = true;
  r = reader_new (&o, path);
  if (r == NULL)
    return -1;
  r->quiet = true;
  result = verify (r);
  *state = r->changed ? UNDO_CHANGED : r->as_before == 0 ? UNDO_AS_AFTER
    : r->as_after == 0 ? UNDO_AS_BEFORE : UNDO_BETWEEN;
  reader_free (r);
  return result;
}

/* The files are as they were; without it nobody can take it back twice. */
static void
remove_undo (const struct reader *r, const char *path)
{
  const char *const slash = strrchr (path, '/');

  if (unlinkat (r->folder->fd, slash ? slash + 1 : path, 0) == -1 &&
      errno != ENOENT)
    vmdk_warning (&r->ctx->log, "%s: removing it: %m; it isn't needed any "
                  "more", path);
}

int
undo_take_back (const struct vmdk_options *options, const char *path)
{
  struct reader *const r = reader_new (options, path);
  int result;

  if (r == NULL)
    return -1;
  result = verify (r);
  if (result == 0)
    result = check_disk_file (r, options);
  if (result == 0)
    result = make_writable (r);
  if (result == 0)
    result = restore_pieces (r);
  if (result == 0)
    result = restore_sizes (r);
  if (result == 0)
    remove_undo (r, path);
  reader_free (r);
  return result;
}
