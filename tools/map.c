/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img map: where each range of the guest's disk is.  Printed as it
 * is found: the map of a large disk needn't fit into memory.  Or drawn.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "output.h"
#include "svg.h"

enum {
  OPT_FORCE = OWN_OPTIONS,
  OPT_LENGTH,
  OPT_OFFSET,
  OPT_SVG,
};

static const struct option options[] = {
  { "force", no_argument, NULL, OPT_FORCE },
  { "length", required_argument, NULL, OPT_LENGTH },
  { "offset", required_argument, NULL, OPT_OFFSET },
  { "svg", required_argument, NULL, OPT_SVG },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"  --offset=SIZE           begin there (default: 0)\n"
"  --length=SIZE           go that far (default: to the end of the disk)\n"
"  --svg=PICTURE           draw it instead, to this file (-: standard output)\n"
"  --force                 replace PICTURE if it exists\n";

/* What these options said. */
static uint64_t first_byte;
static uint64_t most_bytes = UINT64_MAX;
static const char *svg;
static bool force;

static void
set_option (const struct settings *s, int option, const char *value)
{
  switch (option) {
  case OPT_FORCE: force = true; break;
  case OPT_LENGTH: most_bytes = parse_size (s, "length", value); break;
  case OPT_OFFSET: first_byte = parse_size (s, "offset", value); break;
  case OPT_SVG: svg = value; break;
  }
}

static const char *const status_names[] = {
  [VMDK_DATA] = "data",
  [VMDK_PACKED] = "packed",
  [VMDK_ZERO] = "zero",
  [VMDK_ABSENT] = "absent",
};

/* It is no use to go on when the output can't be written. */
static int
go_on (void)
{
  return ferror (stdout) ? 1 : 0;
}

static bool
is_stored (const struct vmdk_range *range)
{
  return range->status == VMDK_DATA || range->status == VMDK_PACKED;
}

/* Extents that may not be accessed have data, but nobody knows where. */
static bool
has_place (const struct vmdk_range *range)
{
  return is_stored (range) && range->file;
}

static int
print_range (void *opaque, const struct vmdk_range *range)
{
  (void) opaque;
  printf ("%#-15" PRIx64 " %#-15" PRIx64 " %-7s", range->offset, range->length,
          status_names[range->status]);
  if (range->status == VMDK_ABSENT)
    printf (" %-5s", "-");
  else
    printf (" %-5u", range->link);
  if (has_place (range))
    printf (" %#-15" PRIx64 " ", range->file_offset);
  else
    printf (" %-15s ", "-");
  if (range->file)
    print_text (range->file);
  else
    putchar ('-');
  putchar ('\n');
  return go_on ();
}

/* The keys are those of qemu-img map and mean the same, then ours. */
static int
write_range (void *opaque, const struct vmdk_range *range)
{
  struct json *const j = opaque;

  json_object (j, NULL, true);
  json_uint (j, "start", range->offset);
  json_uint (j, "length", range->length);
  json_uint (j, "depth", range->link);
  json_bool (j, "present", range->status != VMDK_ABSENT);
  json_bool (j, "zero", !is_stored (range));
  json_bool (j, "data", is_stored (range));
  json_bool (j, "compressed", range->status == VMDK_PACKED);
  /* At "offset" a program may read the guest's bytes. */
  if (has_place (range))
    json_uint (j, range->status == VMDK_DATA ? "offset" : "compressed-offset",
               range->file_offset);
  json_string (j, "status", status_names[range->status]);
  if (range->file)
    json_string (j, "file", range->file);
  json_end (j);
  return go_on ();
}

static int
map_as_text (struct vmdk_disk *disk, uint64_t offset, uint64_t length)
{
  printf ("%-15s %-15s %-7s %-5s %-15s %s\n", "Offset", "Length", "Status",
          "Link", "Mapped to", "File");
  return vmdk_map (disk, offset, length, true, print_range, NULL);
}

/* After an error it is still JSON, but not the whole disk. */
static int
map_as_json (struct vmdk_disk *disk, uint64_t offset, uint64_t length)
{
  struct json j = JSON_TO (stdout);
  int r;

  json_array (&j, NULL, false);
  r = vmdk_map (disk, offset, length, true, write_range, &j);
  json_end (&j);
  return r;
}

static int
draw_to (const struct settings *s, struct vmdk_disk *disk, struct output *o)
{
  const struct vmdk_progress progress = progress_begin (s);
  struct picture *const p = picture_new (disk, &progress);
  const int err = errno;

  progress_end ();
  errno = err;
  if (p == NULL) {
    output_drop (o);
    return -1;
  }
  svg_write (o->file, disk, s->open.file, p);
  picture_free (p);
  return output_end (o);
}

static int
draw (const struct settings *s, struct vmdk_disk *disk)
{
  struct output o;

  if (output_begin (&o, svg, force, disk) == -1)
    return STATUS_FAILED;
  return status_of (draw_to (s, disk, &o));
}

static void
check_options (const struct settings *s)
{
  if (svg == NULL && force)
    usage_error (s->command, "--force is for --svg=PICTURE");
  if (svg && (first_byte > 0 || most_bytes < UINT64_MAX))
    usage_error (s->command, "--svg draws all of the disk, without --offset "
                 "and --length");
  if (svg && s->json)
    usage_error (s->command, "--svg and --json can't both be done");
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *disk;
  int status = STATUS_FAILED;
  uint64_t size, length;

  check_options (s);
  disk = open_disk (s);
  if (disk == NULL)
    return STATUS_FAILED;
  size = vmdk_size (disk);
  if (svg)
    status = draw (s, disk);
  else if (first_byte > size)
    error_message ("%s: offset %" PRIu64 " is past the end of the disk, which "
                   "has %" PRIu64 " bytes", s->open.file, first_byte, size);
  else {
    length = size - first_byte;
    if (length > most_bytes)
      length = most_bytes;
    if ((s->json ? map_as_json : map_as_text) (disk, first_byte, length) == 0)
      status = STATUS_OK;
  }
  vmdk_close (disk);
  return status;
}

const struct command map_command = {
  .name = "map",
  .summary = "Prints or draws where each range of the guest's disk is",
  .help = help,
  .options = options,
  .set = set_option,
  .takes_uri = true,
  .run = run,
};
