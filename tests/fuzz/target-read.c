/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opens a disk, asks all that can be asked, maps it, and reads some of it.
 * What the map says to be zero must be read as zero; what fails must say
 * why, with an errno that tells damage.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MAX_READ (256 << 10)
#define MAX_RANGES 400
#define MAX_READS 16

static uint8_t buf[MAX_READ];

/* Questions. */

static void
ask_link (const struct vmdk_disk *disk, size_t link)
{
  struct vmdk_link_info l;
  struct vmdk_extent_info e;
  const char *key, *value;
  uint64_t start = 0;
  size_t i;

  vmdk_get_link (disk, link, &l);
  for (i = 0; i < l.nr_extents; i++) {
    vmdk_get_extent (disk, link, i, &e);
    if (e.start != start)
      complain ("extent %zu doesn't follow the one before", i);
    start += e.size;
  }
  if (start != l.size)
    complain ("a link isn't as large as its extents");
  for (i = 0; i < l.nr_ddb; i++)
    vmdk_get_ddb (disk, link, i, &key, &value);
}

static void
ask_all (const struct vmdk_disk *disk)
{
  const uint64_t size = vmdk_size (disk);
  const size_t n = vmdk_nr_links (disk);
  char *const text = vmdk_describe (disk);
  const char *why = NULL;
  size_t i;

  free (text);
  if (size % SECTOR != 0 || size > VMDK_MAX_SIZE)
    complain ("the disk's size is %llu", (unsigned long long) size);
  vmdk_grain_size (disk);
  if (!vmdk_can_write (disk, &why) && why == NULL)
    complain ("can't be written, without a reason");
  for (i = 0; i < n; i++)
    ask_link (disk, i);
}

/* Reading. */

static bool
all_zero (const uint8_t *p, size_t n)
{
  return n == 0 || (p[0] == 0 && memcmp (p, p + 1, n - 1) == 0);
}

static int
read_range (struct vmdk_disk *disk, uint64_t offset, size_t count)
{
  clear_messages ();
  memset (buf, 0xa5, count);
  if (vmdk_pread (disk, buf, count, offset) == 0)
    return 0;
  if (errno != EIO && errno != ENOMEM)
    complain ("reading fails with %s: %s", strerror (errno), last_error);
  if (nr_errors == 0)
    complain ("reading fails without an error");
  return -1;
}

/* The map. */

struct mapping {
  struct vmdk_disk *disk;
  uint64_t next;
  unsigned ranges, reads;
  bool read;
};

static void
read_some (struct mapping *m, const struct vmdk_range *r)
{
  const size_t n = r->length < MAX_READ ? (size_t) r->length : MAX_READ;

  if (!m->read || m->reads >= MAX_READS)
    return;
  m->reads++;
  if (read_range (m->disk, r->offset, n) == 0 &&
      (r->status == VMDK_ZERO || r->status == VMDK_ABSENT) &&
      !all_zero (buf, n))
    complain ("what is mapped as zero isn't, at %llu",
              (unsigned long long) r->offset);
  if (r->length > n)
    read_range (m->disk, r->offset + r->length - SECTOR, SECTOR);
}

static int
look_at_range (void *opaque, const struct vmdk_range *r)
{
  struct mapping *const m = opaque;

  if (r->offset != m->next || r->length == 0)
    complain ("a map with gaps, at %llu", (unsigned long long) r->offset);
  m->next += r->length;
  read_some (m, r);
  return ++m->ranges >= MAX_RANGES;
}

static void
map_range (struct vmdk_disk *disk, uint64_t offset, uint64_t length,
           bool detail)
{
  struct mapping m = { .disk = disk, .next = offset, .read = true };

  clear_messages ();
  if (vmdk_map (disk, offset, length, detail, look_at_range, &m) == 0) {
    if (m.ranges < MAX_RANGES && m.next != offset + length)
      complain ("a map ends early");
  }
  else if (errno != EIO && errno != ENOMEM)
    complain ("mapping fails with %s", strerror (errno));
}

static int
look_at_part (void *opaque, const char *file, enum vmdk_part part,
              uint64_t offset, uint64_t length)
{
  unsigned *const n = opaque;

  (void) part;
  if (file == NULL || length == 0 || offset > UINT64_MAX - length)
    complain ("a part of a file that is none");
  return ++*n >= MAX_RANGES ? -1 : 0;
}

static void
map_links (struct vmdk_disk *disk)
{
  const size_t n = vmdk_nr_links (disk);
  struct vmdk_link_info info;
  size_t i;

  for (i = 0; i < n && i < 4; i++) {
    struct mapping m = { .disk = disk };
    unsigned parts = 0;

    vmdk_get_link (disk, i, &info);
    vmdk_map_link (disk, i, 0, info.size, i & 1, look_at_range, &m);
    vmdk_map_files (disk, i, look_at_part, &parts);
  }
}

static void
obey (struct vmdk_disk *disk, struct requests *r)
{
  const uint64_t size = vmdk_size (disk);
  unsigned n;

  for (n = 0; n < MAX_READS && r->next < r->end && size > 0; n++) {
    const unsigned kind = (unsigned) take (r, 1);
    const uint64_t offset = take (r, kind & 8 ? 6 : 3) *
      (kind & 16 ? 1 : SECTOR) % size;
    uint64_t count = take (r, 2) * (kind & 32 ? 1 : 64);

    if (count > size - offset)
      count = size - offset;
    if (kind & 4)
      vmdk_prefetch (disk, count, offset);
    if ((kind & 3) == 3 && count > 0)
      map_range (disk, offset, count, kind & 64);
    else if (count <= MAX_READ)
      read_range (disk, offset, (size_t) count);
  }
}

static void
list_member (void *opaque, const struct vmdk_member *m)
{
  (void) opaque;
  if (m->name == NULL)
    complain ("a disk in an archive without a name");
}

void
fuzz_read (const uint8_t *data, size_t size)
{
  struct vmdk_options options;
  struct vmdk_disk *disk;
  struct requests r;
  struct input in;
  bool is_ova;

  input_load (&in, data, size);
  world_begin (&in);
  read_options (&in, &options);
  disk = open_disk (&options);
  if (disk) {
    struct findings f;

    ask_all (disk);
    r = input_requests (&in);
    obey (disk, &r);
    map_range (disk, 0, vmdk_size (disk), in.options[1] & 64);
    map_links (disk);
    if (is_small (disk))
      inspect (disk, &f);
    vmdk_close (disk);
  }
  if (in.options[1] & 128) {
    clear_messages ();
    vmdk_list_ova (&options, &is_ova, list_member, NULL);
  }
  world_end ();
  input_clear (&in);
}
