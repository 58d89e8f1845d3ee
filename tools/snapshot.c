/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img snapshot: makes a child of a disk, as VMware does when it takes
 * a snapshot, and prints its name.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "new-disk.h"

static const struct option options[] = {
  { "adapter", required_argument, NULL, OPT_ADAPTER },
  { "force", no_argument, NULL, OPT_FORCE },
  { "grain-size", required_argument, NULL, OPT_GRAIN_SIZE },
  { "hw-version", required_argument, NULL, OPT_HW_VERSION },
  { "type", required_argument, NULL, OPT_TYPE },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"FILE is the parent, which isn't changed.  CHILD is the disk to be made; if\n"
"it isn't given, its name is the parent's with a number: vm-000001.vmdk.\n"
"The name is printed.\n"
"\n"
"  -t, --type=TYPE         monolithicSparse, twoGbMaxExtentSparse, vmfsSparse\n"
"                          or seSparse (default: as VMware does)\n"
"  --adapter=TYPE          ide, buslogic, lsilogic or legacyESX (default: as\n"
"                          the parent has)\n"
"  --force                 replace CHILD if it exists\n"
"  --grain-size=SIZE       a power of two; what is allowed depends on the type\n"
"  --hw-version=N          the virtual machine's hardware version (default: as\n"
"                          the parent has)\n";

static struct vmdk_new child;
static bool initialised, has_type;

static void
set (const struct settings *s, int option, const char *value)
{
  if (!initialised)
    vmdk_new_init (&child);
  initialised = true;
  set_new_disk_option (s, &child, option, value);
  has_type = has_type || option == OPT_TYPE;
}

static int
tell (const struct settings *s, const char *file)
{
  if (s->json)
    return tell_new_disk (s, file, child.type);
  puts (file);
  return STATUS_OK;
}

static int
run (const struct settings *s)
{
  char *file;
  int r;

  if (!initialised)
    vmdk_new_init (&child);
  child.log = s->open.log;
  if (s->nr_words == 2)
    child.file = s->words[1];
  child.progress = progress_begin (s);
  r = vmdk_snapshot (&child, !has_type, &s->open, &file);
  progress_end ();
  if (r == -1)
    return status_of (r);
  r = tell (s, file);
  free (file);
  return r;
}

const struct command snapshot_command = {
  .name = "snapshot",
  .summary = "Makes a child of a disk, and prints its name",
  .usage = "FILE [CHILD]",
  .min_words = 1,
  .max_words = 2,
  .file_word = 1,
  .help = help,
  .options = options,
  .letters = NEW_DISK_LETTERS,
  .set = set,
  .run = run,
};
