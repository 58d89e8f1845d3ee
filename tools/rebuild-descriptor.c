/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img rebuild-descriptor: writes a descriptor for extents that have
 * lost theirs.
 */

#include <config.h>

#include "new-disk.h"

static const struct option options[] = {
  { "adapter", required_argument, NULL, OPT_ADAPTER },
  { "force", no_argument, NULL, OPT_FORCE },
  { "hw-version", required_argument, NULL, OPT_HW_VERSION },
  { "type", required_argument, NULL, OPT_TYPE },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"FILE is the descriptor to be written, or a sparse file that has lost the one\n"
"inside.  If no EXTENT is given, they are those whose names follow FILE's:\n"
"for disk.vmdk disk-flat.vmdk, or disk-s001.vmdk and so on.\n"
"\n"
"  -t, --type=TYPE         the type of the disk (default: as the extents are)\n"
"  --adapter=TYPE          ide, buslogic, lsilogic (the default) or legacyESX\n"
"  --force                 replace a descriptor that exists\n"
"  --hw-version=N          the virtual machine's hardware version (default: 4)\n"
"  --parent=FILE           (below) the disk that it was a child of; it must not\n"
"                          have changed since\n";

static struct vmdk_new disk;
static bool initialised;

static void
set (const struct settings *s, int option, const char *value)
{
  if (!initialised)
    vmdk_new_init (&disk);
  initialised = true;
  set_new_disk_option (s, &disk, option, value);
}

static int
run (const struct settings *s)
{
  struct vmdk_options parent = s->open;

  if (!initialised)
    vmdk_new_init (&disk);
  disk.log = s->open.log;
  disk.file = s->words[0];
  parent.file = s->open.parent;
  parent.parent = NULL;
  if (vmdk_rebuild_descriptor (&disk, s->open.parent ? &parent : NULL,
                               s->words + 1, s->nr_words - 1) == -1)
    return STATUS_FAILED;
  return tell_new_disk (s, disk.file, disk.type);
}

const struct command rebuild_descriptor_command = {
  .name = "rebuild-descriptor",
  .summary = "Writes a descriptor for extents that have lost theirs",
  .usage = "FILE [EXTENT...]",
  .min_words = 1,
  .max_words = VMDK_MAX_EXTENTS + 1,
  .help = help,
  .options = options,
  .letters = NEW_DISK_LETTERS,
  .set = set,
  .run = run,
};
