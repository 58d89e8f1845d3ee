/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img convert: writes what the guest sees of a disk to a new one.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "new-disk.h"

enum {
  OPT_CONNECTIONS = OPT_NEW_DISK_END,
  OPT_LEVEL,
  OPT_OVA,
  OPT_THREADS,
};

static const struct option options[] = {
  NEW_DISK_OPTIONS,
  { "connections", required_argument, NULL, OPT_CONNECTIONS },
  { "level", required_argument, NULL, OPT_LEVEL },
  { "ova", no_argument, NULL, OPT_OVA },
  { "threads", required_argument, NULL, OPT_THREADS },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"SRC is a disk, an OVA, a file with the guest's bytes (--format=raw), or the\n"
"URI of an NBD export.\n"
"\n"
"  -t, --type=TYPE         what DST is to be: monolithicSparse,\n"
NEW_DISK_TYPE_HELP
"                          (default: monolithicSparse if DST ends in .vmdk,\n"
"                          raw with .raw and .img)\n"
"  --adapter=TYPE          ide, buslogic, lsilogic or legacyESX (default: as\n"
"                          in SRC)\n"
"  --connections=N         at most so many to an NBD server (default: 4)\n"
"  --force                 replace DST if it exists\n"
"  --grain-size=SIZE       a power of two; the type says which are allowed\n"
"  --hw-version=N          the virtual machine's hardware version (default:\n"
"                          as in SRC)\n"
"  --level=N               how hard to compress a stream: 1 is fast, 12 makes\n"
"                          it small (default: 5, or 6 with zlib)\n"
"  --ova                   make DST an OVA with a streamOptimized disk, as is\n"
"                          done if it ends with .ova\n"
"  --preallocate=off|metadata|full\n"
"                          give each grain its place, or also its space on\n"
"                          the file system (default: off)\n"
"  --threads=N             use so many (default: one for each processor)\n";

static struct vmdk_new new_disk;
static bool initialised, type_given;
static unsigned connections;

static unsigned
parse_number (const struct settings *s, const char *option, const char *value,
              unsigned max)
{
  char *end;
  unsigned long n;

  errno = 0;
  n = strtoul (value, &end, 10);
  if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 ||
      n == 0 || n > max)
    usage_error (s->command, "--%s=%s: not a number from 1 to %u", option,
                 value, max);
  return (unsigned) n;
}

static void
set (const struct settings *s, int option, const char *value)
{
  if (!initialised)
    vmdk_new_init (&new_disk);
  initialised = true;
  if (set_new_disk_option (s, &new_disk, option, value)) {
    type_given = type_given || option == OPT_TYPE;
    return;
  }
  switch (option) {
  case OPT_CONNECTIONS:
    connections = parse_number (s, "connections", value, 16);
    break;
  case OPT_LEVEL:
    new_disk.level = (int) parse_number (s, "level", value, 12);
    break;
  case OPT_OVA: new_disk.ova = true; break;
  case OPT_THREADS:
    new_disk.threads = parse_number (s, "threads", value, 64);
    break;
  }
}

static bool
ends_with (const char *name, const char *end)
{
  const size_t n = strlen (name), m = strlen (end);

  return n > m && strcasecmp (name + n - m, end) == 0;
}

/* What isn't said, the name does. */
static void
choose_type (const struct settings *s)
{
  const char *const name = new_disk.file;

  if (ends_with (name, ".ova"))
    new_disk.ova = true;
  if (new_disk.ova) {
    if (type_given && new_disk.type != VMDK_TYPE_STREAM)
      usage_error (s->command, "--ova: the disk in an OVA is of type "
                   "streamOptimized");
    new_disk.type = VMDK_TYPE_STREAM;
  }
  else if (type_given || ends_with (name, ".vmdk"))
    ;
  else if (ends_with (name, ".raw") || ends_with (name, ".img"))
    new_disk.type = VMDK_TYPE_RAW;
  else
    usage_error (s->command, "%s: the end of the name doesn't say what it is "
                 "to be; --type=TYPE does", name);
  if (new_disk.level != 0 && new_disk.type != VMDK_TYPE_STREAM)
    usage_error (s->command, "--level: only streamOptimized disks are "
                 "compressed, not %s", vmdk_type_name (new_disk.type));
}

static int
convert (const struct settings *s)
{
  struct settings from = *s;
  struct vmdk_disk *disk;
  int r, err;

  from.open.connections = connections;
  disk = open_disk (&from);
  if (disk == NULL)
    return -1;
  r = vmdk_convert (disk, &new_disk);
  err = errno;
  vmdk_close (disk);
  errno = err;
  return r;
}

/* What was said about the source isn't true for the new disk. */
static int
tell (const struct settings *s)
{
  struct settings t = *s;

  vmdk_options_init (&t.open);
  t.open.log = s->open.log;
  return tell_new_disk (&t, new_disk.file, new_disk.type);
}

static int
run (const struct settings *s)
{
  int r;

  if (!initialised)
    vmdk_new_init (&new_disk);
  new_disk.log = s->open.log;
  new_disk.file = s->words[1];
  choose_type (s);
  new_disk.progress = progress_begin (s);
  r = convert (s);
  progress_end ();
  return r == 0 ? tell (s) : status_of (r);
}

const struct command convert_command = {
  .name = "convert",
  .summary = "Writes what the guest sees of a disk to a new disk",
  .usage = "SRC DST",
  .min_words = 2,
  .max_words = 2,
  .file_word = 1,
  .help = help,
  .options = options,
  .letters = NEW_DISK_LETTERS,
  .takes_uri = true,
  .set = set,
  .run = run,
};
