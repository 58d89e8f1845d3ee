/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writes to a disk as the input says.  If it was sound before:
 *   - what was written is read back, also after it was opened again;
 *   - what is beside it is as it was;
 *   - a check finds no error afterwards;
 *   - files of parents alone haven't changed.
 * A damaged one may lose data, as two grains may be in the same place; but
 * all else holds.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#define MAX_OPERATIONS 16
#define MAX_WRITE (96 << 10)
#define CHUNK 4096
#define MAX_CHUNKS 128

/* What is known of a byte. */
enum knowledge {
  UNKNOWN,
  EXACT,
  EXACT_OR_ZERO, /* it was trimmed */
};

/* The guest's bytes that are looked at. */
struct chunk {
  uint64_t offset;
  size_t length; /* less at the end of the disk */
  uint8_t bytes[CHUNK];
  uint8_t known[CHUNK]; /* enum knowledge */
};

enum kind {
  WRITE,
  ZERO = 3,
  TRIM,
  FLUSH,
  READ,
  REOPEN,
};

struct operation {
  enum kind kind;
  uint64_t offset, count;
  unsigned flags;
  uint8_t fill;
};

struct run {
  struct vmdk_options options;
  struct vmdk_disk *disk;
  uint64_t size;
  bool sound;
  struct operation operations[MAX_OPERATIONS];
  size_t nr_operations;
  struct chunk chunks[MAX_CHUNKS];
  size_t nr_chunks;
};
static struct run run;
static uint8_t buf[MAX_WRITE];

/* What is to be done. */

static void
read_operation (struct operation *o, struct requests *r)
{
  const unsigned how = (unsigned) take (r, 1);
  const unsigned kind = how & 7;
  const uint64_t unit = how & 16 ? 1 : SECTOR;

  o->kind = kind < ZERO ? WRITE : (enum kind) kind;
  o->flags = (how & 8 ? VMDK_FUA : 0) |
    (kind == ZERO && how & 64 ? VMDK_MAY_TRIM : 0) |
    (kind == ZERO && how & 128 ? VMDK_FAST_ZERO : 0);
  o->offset = take (r, 3) * unit % run.size;
  o->count = take (r, 2) * (how & 32 ? SECTOR : 1) / unit * unit;
  o->fill = (uint8_t) take (r, 1);
  if (o->kind == WRITE && o->count > MAX_WRITE)
    o->count = MAX_WRITE;
  if (o->count > run.size - o->offset)
    o->count = run.size - o->offset;
}

static void
read_operations (const struct input *in)
{
  struct requests r = input_requests (in);

  run.nr_operations = 0;
  while (r.next < r.end && run.nr_operations < MAX_OPERATIONS)
    read_operation (&run.operations[run.nr_operations++], &r);
}

/* What the guest has. */

static void
learn (uint64_t offset)
{
  const uint64_t start = offset / CHUNK * CHUNK;
  struct chunk *const c = &run.chunks[run.nr_chunks];
  size_t i;

  if (start >= run.size || run.nr_chunks == MAX_CHUNKS)
    return;
  for (i = 0; i < run.nr_chunks; i++)
    if (run.chunks[i].offset == start)
      return;
  run.nr_chunks++;
  c->offset = start;
  c->length = run.size - start < CHUNK ? (size_t) (run.size - start) : CHUNK;
  memset (c->known,
          vmdk_pread (run.disk, c->bytes, c->length, start) == 0 ? EXACT
          : UNKNOWN, sizeof c->known);
}

/* Where operations begin and end, and what is beside that. */
static void
learn_all (void)
{
  size_t i;

  run.nr_chunks = 0;
  for (i = 0; i < run.nr_operations; i++) {
    const struct operation *const o = &run.operations[i];
    uint64_t n;

    learn (o->offset ? o->offset - 1 : 0);
    learn (o->offset + o->count);
    for (n = 0; n < o->count && n < 4 * CHUNK; n += CHUNK)
      learn (o->offset + n);
    learn (o->offset + o->count / 2);
  }
}

static uint8_t
byte_of (const struct operation *o, uint64_t offset)
{
  return o->kind == ZERO ? 0 : (uint8_t) (o->fill + offset * 7 + (offset >> 9));
}

static void
apply_to_byte (struct chunk *c, size_t i, const struct operation *o, int r)
{
  if (r == -1 && errno != ENOTSUP)
    c->known[i] = UNKNOWN;
  else if (r == -1)
    return;
  else if (o->kind != TRIM) {
    c->known[i] = EXACT;
    c->bytes[i] = byte_of (o, c->offset + i);
  }
  else if (c->known[i] == EXACT)
    c->known[i] = EXACT_OR_ZERO;
}

static void
apply (const struct operation *o, int r)
{
  const uint64_t end = o->offset + o->count;
  size_t i, j;

  for (i = 0; i < run.nr_chunks; i++) {
    struct chunk *const c = &run.chunks[i];

    if (c->offset >= end || c->offset + c->length <= o->offset)
      continue;
    for (j = 0; j < c->length; j++)
      if (c->offset + j >= o->offset && c->offset + j < end)
        apply_to_byte (c, j, o, r);
  }
}

static void
verify_chunk (const struct chunk *c, const char *when)
{
  uint8_t is[CHUNK];
  size_t i;

  if (vmdk_pread (run.disk, is, c->length, c->offset) == -1) {
    if (run.sound && !memchr (c->known, UNKNOWN, c->length))
      complain ("%s: can't be read any more at %llu: %s", when,
                (unsigned long long) c->offset, last_error);
    return;
  }
  for (i = 0; i < c->length && run.sound; i++)
    if (c->known[i] != UNKNOWN && is[i] != c->bytes[i] &&
        (c->known[i] == EXACT || is[i] != 0))
      complain ("%s: byte %llu is %u and must be %u", when,
                (unsigned long long) (c->offset + i), is[i], c->bytes[i]);
}

static void
verify (const char *when)
{
  size_t i;

  for (i = 0; i < run.nr_chunks; i++)
    verify_chunk (&run.chunks[i], when);
}

/* Doing it. */

static int
write_some (const struct operation *o)
{
  uint64_t i;

  for (i = 0; i < o->count; i++)
    buf[i] = byte_of (o, o->offset + i);
  return vmdk_pwrite (run.disk, buf, (size_t) o->count, o->offset, o->flags);
}

static void
forget (void)
{
  size_t i;

  for (i = 0; i < run.nr_chunks; i++)
    memset (run.chunks[i].known, UNKNOWN, sizeof run.chunks[i].known);
}

static void
reopen (void)
{
  if (vmdk_close (run.disk) == -1) {
    if (run.sound && !world.failed)
      complain ("closing fails: %s", last_error);
    forget (); /* what wasn't flushed is lost */
  }
  run.disk = open_disk (&run.options);
  if (run.disk == NULL && run.sound)
    complain ("can't be opened any more: %s", last_error);
  if (run.disk && vmdk_size (run.disk) != run.size)
    complain ("has another size");
}

static int
do_operation (const struct operation *o)
{
  switch (o->kind) {
  case WRITE:
    return write_some (o);
  case ZERO:
    return vmdk_zero (run.disk, o->count, o->offset, o->flags);
  case TRIM:
    return vmdk_trim (run.disk, o->count, o->offset, o->flags);
  case FLUSH:
    return vmdk_flush (run.disk);
  case READ:
    verify ("while it is written");
    return 0;
  case REOPEN:
    reopen ();
    return run.disk && vmdk_start_writing (run.disk) == 0 ? 0 : -1;
  }
  return 0;
}

static void
tell (const struct operation *o, int r)
{
  static const char *const names[] = {
    "write", "write", "write", "zero", "trim", "flush", "read", "reopen",
  };

  if (is_verbose ())
    fprintf (stderr, "%s %llu+%llu, flags %u: %s\n", names[o->kind],
             (unsigned long long) o->offset, (unsigned long long) o->count,
             o->flags, r == 0 ? "done" : strerror (errno));
}

/* Why a sound disk may refuse. */
static bool
may_fail (const struct operation *o)
{
  return world.failed || errno == EPERM || errno == EACCES || errno == EROFS ||
    (errno == ENOTSUP && o->flags & VMDK_FAST_ZERO) ||
    errno == ENOSPC || errno == EFBIG || o->kind == REOPEN;
}

static bool
do_all (void)
{
  size_t i;

  for (i = 0; i < run.nr_operations; i++) {
    const struct operation *const o = &run.operations[i];
    int r;

    clear_messages ();
    errno = 0;
    r = do_operation (o);
    tell (o, r);
    if (r == -1 && nr_errors == 0 && errno != ENOTSUP)
      complain ("an operation fails without an error");
    if (r == -1 && run.sound && !may_fail (o))
      complain ("operation %d fails with %s: %s", (int) o->kind,
                strerror (errno), last_error);
    if (o->kind <= TRIM)
      apply (o, r);
    if (o->kind == REOPEN && r == -1)
      return run.disk != NULL;
  }
  return true;
}

/* Files. */

static const char *
base_name (const char *path)
{
  const char *const slash = strrchr (path, '/');

  return slash ? slash + 1 : path;
}

/* The files of a link, as bits. */
static unsigned
files_of (size_t link)
{
  struct vmdk_link_info l;
  unsigned bits = 0;
  size_t i, j;

  vmdk_get_link (run.disk, link, &l);
  for (i = 0; i <= l.nr_extents; i++) {
    struct vmdk_extent_info e = { .file = l.file };

    if (i > 0)
      vmdk_get_extent (run.disk, link, i - 1, &e);
    for (j = 0; j < NR_NAMES && e.file; j++)
      if (strcmp (base_name (e.file), input_names[j]) == 0)
        bits |= 1U << j;
  }
  return bits;
}

static unsigned
files_of_parents (void)
{
  const size_t n = vmdk_nr_links (run.disk);
  unsigned bits = 0;
  size_t i;

  for (i = 1; i < n; i++)
    bits |= files_of (i);
  return bits & ~files_of (0);
}

static void
compare_files (unsigned bits)
{
  size_t i;

  for (i = 0; i < world.nr; i++) {
    const struct world_file *const f = &world.files[i];

    if (f->origin && bits >> f->origin->name & 1 &&
        !pages_equal (&f->now, &f->origin->pages))
      complain ("%s: has changed, but isn't the top link's",
                input_names[f->origin->name]);
  }
}

static void
write_disk (const struct input *in)
{
  const unsigned parents = files_of_parents ();
  struct findings f;

  run.size = vmdk_size (run.disk);
  if (run.size == 0 || !is_small (run.disk))
    return;
  inspect (run.disk, &f);
  run.sound = f.complete && f.result.errors == 0;
  read_operations (in);
  learn_all ();
  clear_messages ();
  if (vmdk_start_writing (run.disk) == -1) {
    if (nr_errors == 0)
      complain ("it can't be written, without an error");
    return;
  }
  if (in->options[2])
    world.writes_left = in->options[2];
  if (!do_all ())
    return;
  verify ("before it is closed");
  world.writes_left = world.failed ? UINT32_MAX : world.writes_left;
  reopen ();
  compare_files (parents);
  if (run.disk == NULL || world.failed)
    return;
  verify ("after it was closed");
  inspect (run.disk, &f);
  if (run.sound && f.complete && f.result.errors > 0)
    complain ("a check finds errors afterwards");
}

void
fuzz_write (const uint8_t *data, size_t size)
{
  struct input in;

  input_load (&in, data, size);
  world_begin (&in);
  world.no_punch = in.options[3] & 1;
  world.no_replace = in.options[3] & 2;
  read_options (&in, &run.options);
  run.options.raw = false;
  run.disk = open_disk (&run.options);
  if (run.disk)
    write_disk (&in);
  vmdk_close (run.disk);
  run.disk = NULL;
  world_end ();
  input_clear (&in);
}
