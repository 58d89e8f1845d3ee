/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Spoils a sound image in thousands of ways and uses what is left of it
 * through the library.  Built with sanitizers, that is a small fuzzer.
 *
 *   mutate random SEED COUNT DISK [EXTENT]   bytes, fields and lengths
 *   mutate truncate DISK RAW [EXTENT]        each length, by sectors
 *
 * EXTENT is the name of an extent, which is spoiled then instead of DISK
 * itself; both are in the working directory.  What must hold whatever was spoiled:
 *   - opening fails with one message or succeeds with none;
 *   - a request that fails says why, with an errno of its own;
 *   - no message has a control character in it;
 *   - what is said to be zero reads as zero;
 *   - "truncate": what can be read is right, or zero where the file ends.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmdkio.h"

#define SECTOR 512
#define TIME_LIMIT 60              /* seconds for one spoiled image */
#define MAX_MAP (UINT64_C (4) << 30) /* as much as NBD asks for at once */
#define MAX_READ (1 << 20)
#define MAX_CHECK (1 << 20)        /* grains; check looks at all of them */

/* The file that is spoiled: a sound copy in memory, and one beside the
 * file, named file.spoilt.
 */
struct victim {
  uint8_t *good;
  size_t size;
  int fd;
  char *path;
  size_t *sectors; /* those that aren't all zero */
  size_t nr_sectors;
  size_t nr_spoiled; /* bytes: changes to undo */
  size_t spoiled[64];
  bool truncated;
};

static const char *disk_name, *extent_name;
static uint64_t random_state;
static unsigned long iteration;
static unsigned nr_errors;     /* messages since the last clear_errors */
static char last_error[1024];

static void __attribute__ ((__noreturn__, __format__ (__printf__, 1, 2)))
fail (const char *fmt, ...)
{
  va_list args;

  fprintf (stderr, "mutate: %s: iteration %lu: ", disk_name, iteration);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fprintf (stderr, "\nlast error: %s\n", last_error);
  exit (1);
}

static uint64_t
next_random (void)
{
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state * UINT64_C (0x2545f4914f6cdd1d) >> 16;
}

static uint64_t
below (uint64_t n)
{
  return next_random () % n;
}

/* Messages. */

static void
check_message (char *text, size_t size, const char *fmt, va_list args)
{
  const char *p;

  vsnprintf (text, size, fmt, args);
  for (p = text; *p; p++)
    if ((unsigned char) *p < 0x20 || *p == 0x7f)
      fail ("control character 0x%02x in \"%s\"", *p, text);
}

static void
log_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  nr_errors++;
  check_message (last_error, sizeof last_error, fmt, args);
}

static void
log_other (void *opaque, const char *fmt, va_list args)
{
  char text[1024];

  (void) opaque;
  check_message (text, sizeof text, fmt, args);
}

/* The victim. */

static void
load (struct victim *v, const char *name)
{
  const int fd = open (name, O_RDONLY | O_CLOEXEC);
  struct stat st;
  size_t i;

  if (fd == -1 || fstat (fd, &st) == -1)
    fail ("%s: %m", name);
  v->size = (size_t) st.st_size;
  v->good = calloc (1, v->size + SECTOR);
  v->sectors = calloc (v->size / SECTOR + 1, sizeof *v->sectors);
  if (v->good == NULL || v->sectors == NULL ||
      read (fd, v->good, v->size) != st.st_size)
    fail ("%s: %m", name);
  close (fd);
  for (i = 0; i < v->size; i += SECTOR)
    if (v->good[i] != 0 || memcmp (v->good + i, v->good + i + 1,
                                   SECTOR - 1) != 0)
      v->sectors[v->nr_sectors++] = i;
}

static void
unload (struct victim *v)
{
  if (v->fd >= 0)
    close (v->fd);
  free (v->path);
  free (v->good);
  free (v->sectors);
}

static void
set_bytes (struct victim *v, size_t at, const void *bytes, size_t count)
{
  if (pwrite (v->fd, bytes, count, (off_t) at) != (ssize_t) count)
    fail ("pwrite: %m");
}

static void
restore_all (struct victim *v)
{
  size_t i, n;

  if (ftruncate (v->fd, 0) == -1 || ftruncate (v->fd, (off_t) v->size) == -1)
    fail ("ftruncate: %m");
  for (i = 0; i < v->nr_sectors; i++) {
    n = v->size - v->sectors[i];
    set_bytes (v, v->sectors[i], v->good + v->sectors[i],
               n < SECTOR ? n : SECTOR);
  }
}

static void
make_copy (struct victim *v, const char *name)
{
  if (asprintf (&v->path, "%s.spoilt", name) == -1)
    fail ("%m");
  v->fd = open (v->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (v->fd == -1)
    fail ("%s: %m", v->path);
  restore_all (v);
}

static void
restore (struct victim *v)
{
  if (v->truncated)
    restore_all (v);
  else
    while (v->nr_spoiled > 0) {
      const size_t at = v->spoiled[--v->nr_spoiled];

      set_bytes (v, at, v->good + at, 1);
    }
  v->nr_spoiled = 0;
  v->truncated = false;
}

static void
spoil_byte (struct victim *v, size_t at, uint8_t value)
{
  if (at >= v->size ||
      v->nr_spoiled == sizeof v->spoiled / sizeof v->spoiled[0])
    return;
  v->spoiled[v->nr_spoiled++] = at;
  set_bytes (v, at, &value, 1);
}

static uint64_t
odd_value (const struct victim *v)
{
  switch (below (8)) {
  case 0: return 0;
  case 1: return UINT64_MAX;
  case 2: return 1;
  case 3: return v->size / SECTOR + below (5) - 2;
  case 4: return UINT64_C (1) << below (64);
  case 5: return (UINT64_C (1) << below (64)) - 1;
  case 6: return below (v->size / SECTOR + 1);
  default: return next_random ();
  }
}

/* A byte, or a field with a value that is at the border of something. */
static void
spoil_once (struct victim *v)
{
  const size_t few = v->nr_sectors < 32 ? v->nr_sectors : 32;
  const size_t nearby[] = { 1, few < 2 ? few : 2, few, v->nr_sectors };
  const size_t sector = v->sectors[below (nearby[below (4)])];
  size_t at = sector + (below (2) ? below (SECTOR) : below (80));
  const unsigned size = 1 << below (4);
  uint64_t value = size == 1 ? next_random () : odd_value (v);
  unsigned i;

  if (size > 1 && below (4))
    at = at / 4 * 4;
  for (i = 0; i < size; i++, value >>= 8)
    spoil_byte (v, at + i, (uint8_t) value);
}

static void
spoil (struct victim *v)
{
  uint64_t n = 1 + below (4);

  while (n-- > 0)
    spoil_once (v);
  if (below (20) == 0) {
    v->truncated = true;
    if (ftruncate (v->fd, (off_t) below (v->size + 1)) == -1)
      fail ("ftruncate: %m");
  }
}

/* Using what is left. */

static struct vmdk_disk *
open_victim (const struct victim *v, bool recover, bool strict)
{
  const struct vmdk_extent_path extent = { extent_name, v->path };
  struct vmdk_options options;
  struct vmdk_disk *disk;

  vmdk_options_init (&options);
  options.log = (struct vmdk_log) {
    .error = log_error, .warning = log_other, .debug = log_other,
    .topics = strict ? ~0u : 0,
  };
  options.file = extent_name ? disk_name : v->path;
  options.recover = recover;
  options.cid_check = strict ? VMDK_CID_FAIL : VMDK_CID_OFF;
  options.table_cache = options.grain_cache = 1 << 20;
  options.extents = extent_name ? &extent : NULL;
  options.nr_extents = extent_name ? 1 : 0;
  nr_errors = 0;
  errno = 0;
  disk = vmdk_open (&options);
  if (disk ? nr_errors != 0 : nr_errors != 1 || errno == 0)
    fail ("open: %s with %u messages, errno %d", disk ? "succeeds" : "fails",
          nr_errors, errno);
  return disk;
}

/* The result of a request: 0 or -1, checked for what errors must have. */
static int
request (int r, const char *what)
{
  if (r == -1 && (nr_errors == 0 || errno == 0 || errno == EINVAL))
    fail ("%s: failed with errno %d and %u messages", what, errno, nr_errors);
  if (r != -1 && nr_errors != 0 && strcmp (what, "map") != 0)
    fail ("%s: succeeded with %u messages", what, nr_errors);
  return r;
}

struct usage {
  struct vmdk_disk *disk;
  uint64_t next;     /* where the next range must begin */
  uint64_t end;
  uint64_t budget;   /* bytes that are still to be read */
  struct vmdk_range zero; /* a range that must read as zero; length 0: none */
  struct vmdk_range other;
};

static int
see_range (void *opaque, const struct vmdk_range *range)
{
  struct usage *const u = opaque;
  const bool zero =
    range->status == VMDK_ZERO || range->status == VMDK_ABSENT;
  struct vmdk_range *const kept = zero ? &u->zero : &u->other;

  if (range->offset != u->next || range->length == 0 ||
      range->length > u->end - range->offset)
    fail ("map: range %" PRIu64 "+%" PRIu64 ", expected one at %" PRIu64
          " before %" PRIu64, range->offset, range->length, u->next, u->end);
  u->next = range->offset + range->length;
  if (kept->length == 0 || below (4) == 0)
    *kept = *range;
  return 0;
}

static int
read_range (const struct usage *u, uint64_t offset, uint64_t length,
            bool zero)
{
  static uint8_t buf[MAX_READ];
  const size_t n = length < MAX_READ ? (size_t) length : MAX_READ;
  size_t i;

  nr_errors = 0;
  errno = 0;
  if (request (vmdk_pread (u->disk, buf, n, offset), "read") == -1)
    return -1;
  for (i = 0; zero && i < n; i++)
    if (buf[i] != 0)
      fail ("byte %" PRIu64 " isn't zero, as map said", offset + i);
  return 0;
}

static void
use_range (struct usage *u, uint64_t offset, uint64_t length)
{
  int r;

  *u = (struct usage) { .disk = u->disk, .next = offset,
                        .end = offset + length };
  nr_errors = 0;
  errno = 0;
  r = request (vmdk_map (u->disk, offset, length, below (2), see_range, u),
               "map");
  if (r == 0 && u->next != u->end)
    fail ("map: ends at %" PRIu64 ", expected %" PRIu64, u->next, u->end);
  if (u->zero.length > 0)
    read_range (u, u->zero.offset, u->zero.length, true);
  if (u->other.length > 0)
    read_range (u, u->other.offset + below (u->other.length),
                1, false);
  if (u->other.length > 0)
    read_range (u, u->other.offset, u->other.length, false);
}

static void
see_defect (void *opaque, const struct vmdk_defect *defect)
{
  const char *p;

  (void) opaque;
  for (p = defect->text; *p; p++)
    if ((unsigned char) *p < 0x20)
      fail ("control character in the defect \"%s\"", defect->text);
}

/* How many grains the disk claims to have. */
static uint64_t
count_grains (const struct vmdk_disk *disk)
{
  struct vmdk_link_info link;
  struct vmdk_extent_info e;
  uint64_t n = 0;
  size_t i, j;

  for (i = 0; i < vmdk_nr_links (disk); i++) {
    vmdk_get_link (disk, i, &link);
    for (j = 0; j < link.nr_extents; j++) {
      vmdk_get_extent (disk, i, j, &e);
      if (e.grain_size)
        n += e.size / e.grain_size;
    }
  }
  return n;
}

static void
use (struct vmdk_disk *disk)
{
  struct usage u = { .disk = disk };
  const uint64_t size = vmdk_size (disk);
  struct vmdk_check_result result;
  unsigned i;

  free (vmdk_describe (disk));
  for (i = 0; i < 3; i++) {
    const uint64_t offset = i == 0 ? 0 : below (size);
    const uint64_t left = size - offset;

    use_range (&u, offset, left < MAX_MAP ? left : MAX_MAP);
  }
  read_range (&u, size - (size < 4096 ? size : 4096),
              size < 4096 ? size : 4096, false);
  nr_errors = 0;
  errno = 0;
  if (count_grains (disk) <= MAX_CHECK && below (2))
    vmdk_check (disk, see_defect, NULL, &result);
}

static void
mutate_randomly (struct victim *v, unsigned long count)
{
  unsigned long opened = 0;

  for (iteration = 1; iteration <= count; iteration++) {
    struct vmdk_disk *disk;

    alarm (TIME_LIMIT);
    spoil (v);
    disk = open_victim (v, below (2), below (2));
    if (disk) {
      opened++;
      use (disk);
      vmdk_close (disk);
    }
    restore (v);
  }
  printf ("%s: %lu spoiled images, %lu of them opened\n", disk_name, count,
          opened);
}

/* Truncation. */

static void
compare (struct vmdk_disk *disk, const struct victim *raw, bool all)
{
  uint8_t buf[4096];
  size_t at, n, i;

  if (vmdk_size (disk) != raw->size)
    fail ("%" PRIu64 " bytes, expected %zu", vmdk_size (disk), raw->size);
  for (at = 0; at < raw->size; at += n) {
    n = raw->size - at < sizeof buf ? raw->size - at : sizeof buf;
    nr_errors = 0;
    errno = 0;
    if (request (vmdk_pread (disk, buf, n, at), "read") == -1) {
      if (all)
        fail ("reading %zu bytes at %zu failed", n, at);
      continue;
    }
    for (i = 0; i < n; i++)
      if (buf[i] != raw->good[at + i] && (all || buf[i] != 0))
        fail ("byte %zu is 0x%02x, expected 0x%02x", at + i, buf[i],
              raw->good[at + i]);
  }
}

static bool
use_truncated (const struct victim *v, const struct victim *raw, bool whole,
               bool recover)
{
  struct vmdk_disk *const disk = open_victim (v, recover, true);

  if (disk == NULL)
    return false;
  if (recover)
    use (disk);
  else
    compare (disk, raw, whole);
  vmdk_close (disk);
  return true;
}

static void
truncate_everywhere (struct victim *v, const char *raw_name)
{
  struct victim raw = { .fd = -1 };
  unsigned long opened = 0;
  size_t n;

  load (&raw, raw_name);
  for (iteration = 0; iteration <= v->nr_sectors * 2; iteration++) {
    /* At the starts of sectors that have something, and within. */
    n = iteration == 0 ? v->size
      : v->sectors[v->nr_sectors - (iteration + 1) / 2] +
      (iteration % 2 ? 100 : 0);
    alarm (TIME_LIMIT);
    if (ftruncate (v->fd, (off_t) n) == -1)
      fail ("ftruncate: %m");
    opened += use_truncated (v, &raw, n == v->size, false);
    opened += use_truncated (v, &raw, n == v->size, true);
  }
  printf ("%s: %lu lengths, %lu times opened\n", disk_name, iteration,
          opened);
  unload (&raw);
  if (opened == 0)
    fail ("not even the sound image could be opened");
}

static void
usage (void)
{
  fprintf (stderr, "usage: mutate random SEED COUNT DISK [EXTENT]\n"
           "       mutate truncate DISK RAW [EXTENT]\n");
  exit (2);
}

int
main (int argc, char *argv[])
{
  struct victim v = { .fd = -1 };
  const bool randomly = argc > 1 && strcmp (argv[1], "random") == 0;

  if (argc < (randomly ? 5 : 4))
    usage ();
  disk_name = argv[randomly ? 4 : 2];
  extent_name = argv[randomly ? 5 : 4];
  load (&v, extent_name ? extent_name : disk_name);
  make_copy (&v, extent_name ? extent_name : disk_name);
  if (randomly) {
    random_state = strtoull (argv[2], NULL, 0) * 2 + 1;
    mutate_randomly (&v, strtoul (argv[3], NULL, 0));
  }
  else
    truncate_everywhere (&v, argv[3]);
  unlink (v.path);
  unload (&v);
  return 0;
}
