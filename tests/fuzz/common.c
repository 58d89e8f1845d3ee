/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the targets have in common: messages, opening and checking.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* So small that they are full all the time. */
#define SMALL_TABLE_CACHE (32 << 10)
#define SMALL_GRAIN_CACHE (256 << 10)

/* What a check may look at: it looks at all grains, and at a file through
 * windows, which this build makes small.
 */
#define MAX_CHECKED_GRAINS (1 << 16)
#define MAX_CHECKED_FILE (UINT64_C (8) << 30)

unsigned nr_errors;
static char text[4096];
const char *last_error = text;

void
clear_messages (void)
{
  nr_errors = 0;
  text[0] = '\0';
}

/* With FUZZ_VERBOSE, what happens is told. */
bool
is_verbose (void)
{
  static int verbose = -1;

  if (verbose == -1)
    verbose = getenv ("FUZZ_VERBOSE") != NULL;
  return verbose;
}

/* Messages go to terminals. */
static void
look_at (const char *fmt, va_list args)
{
  const char *p;

  vsnprintf (text, sizeof text, fmt, args);
  if (is_verbose ())
    fprintf (stderr, "%s\n", text);
  if (text[0] == '\0')
    complain ("an empty message");
  for (p = text; *p; p++)
    if ((unsigned char) *p < ' ' || *p == 127)
      complain ("a control character in a message: %s", text);
}

static void
count_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  look_at (fmt, args);
  nr_errors++;
}

static void
ignore (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  look_at (fmt, args);
}

struct vmdk_log
watching_log (unsigned topics)
{
  return (struct vmdk_log) {
    .error = count_error, .warning = ignore, .debug = ignore,
    .topics = topics,
  };
}

void
read_options (const struct input *in, struct vmdk_options *o)
{
  const unsigned a = in->options[0], b = in->options[1];
  static char path[512], parent[512];

  vmdk_options_init (o);
  o->log = watching_log (b & 1 ? UINT_MAX : 0);
  snprintf (path, sizeof path, "%s", world_path ("d.vmdk"));
  snprintf (parent, sizeof parent, "%s", world_path ("p.vmdk"));
  o->file = path;
  o->parent = b & 2 ? parent : NULL;
  o->cid_check = (enum vmdk_cid_check) ((a & 3) % 3);
  o->single_link = a >> 2 & 1;
  o->recover = a >> 3 & 1;
  o->drop_cbt = a >> 4 & 1;
  o->allow_parent_write = a >> 5 & 1;
  o->zeroed_grains = (enum vmdk_zeroed_grains) ((a >> 6 & 3) % 3);
  o->raw = b >> 2 & 1;
  o->member = b >> 3 & 1 ? "d-disk1.vmdk" : NULL;
  o->table_cache = b >> 4 & 1 ? 2048 : SMALL_TABLE_CACHE;
  o->grain_cache = b >> 5 & 1 ? 0 : SMALL_GRAIN_CACHE;
  o->no_lock = true;
}

struct vmdk_disk *
open_disk (const struct vmdk_options *options)
{
  struct vmdk_disk *disk;

  clear_messages ();
  disk = vmdk_open (options);
  if (disk && nr_errors > 0)
    complain ("opened, but with an error: %s", last_error);
  if (disk == NULL && nr_errors == 0)
    complain ("not opened, without an error: %s", strerror (errno));
  return disk;
}

bool
are_files_small (void)
{
  size_t i;

  for (i = 0; i < world.nr; i++)
    if (world.files[i].now.size > MAX_CHECKED_FILE)
      return false;
  return true;
}

bool
is_small (const struct vmdk_disk *disk)
{
  const size_t n = vmdk_nr_links (disk);
  struct vmdk_extent_info info;
  struct vmdk_link_info l;
  uint64_t grains = 0;
  size_t i, j;

  for (i = 0; i < n; i++) {
    vmdk_get_link (disk, i, &l);
    for (j = 0; j < l.nr_extents; j++) {
      vmdk_get_extent (disk, i, j, &info);
      if (info.grain_size)
        grains += info.size / info.grain_size + 1;
      if (grains > MAX_CHECKED_GRAINS)
        return false;
    }
  }
  return are_files_small ();
}

/* Each defect has its name; which of them is told by a bit. */
static void
found (void *opaque, const struct vmdk_defect *d)
{
  struct findings *const f = opaque;
  unsigned h = 0;
  const char *p;

  if (d->code == NULL || d->text == NULL || d->text[0] == '\0')
    complain ("a defect without a text");
  for (p = d->text; *p; p++)
    if ((unsigned char) *p < ' ' || *p == 127)
      complain ("a control character in a defect: %s", d->text);
  for (p = d->code; *p; p++)
    h = h * 31 + (unsigned char) *p;
  if (d->severity == VMDK_ERROR)
    f->codes |= UINT64_C (1) << h % 64;
}

void
inspect (struct vmdk_disk *disk, struct findings *f)
{
  *f = (struct findings) { .codes = 0 };
  clear_messages ();
  f->complete = vmdk_check (disk, found, f, &f->result) == 0;
  if (!f->complete && nr_errors == 0)
    complain ("a check fails without an error");
}
