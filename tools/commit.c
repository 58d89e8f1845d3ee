/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img commit: brings what a child says into its parent.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "vmdk-img.h"

enum {
  OPT_DELETE = OWN_OPTIONS,
};

static const struct option options[] = {
  { "delete", no_argument, NULL, OPT_DELETE },
  { NULL, 0, NULL, 0 },
};

static bool delete_child;

static void
set (const struct settings *s, int option, const char *value)
{
  (void) s;
  (void) value;
  delete_child = delete_child || option == OPT_DELETE;
}

static void
print_result (const struct settings *s, const char *parent)
{
  struct json j = JSON_TO (stdout);

  if (s->json) {
    json_object (&j, NULL, false);
    json_string (&j, "filename", s->open.file);
    json_string (&j, "parent", parent);
    json_bool (&j, "deleted", delete_child);
    json_end (&j);
  }
  else if (!s->quiet) {
    print_text (s->open.file);
    fputs (" was committed to ", stdout);
    print_text (parent);
    puts (delete_child ? ", and deleted." : ".");
  }
}

/* The name is gone when the disk is closed.  NULL: out of memory. */
static char *
name_of_parent (const struct vmdk_disk *disk)
{
  struct vmdk_link_info link = { .file = "" };

  if (vmdk_nr_links (disk) > 1)
    vmdk_get_link (disk, 1, &link);
  return strdup (link.file);
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *const disk = open_disk (s);
  struct vmdk_progress progress;
  char *parent;
  int status;

  if (disk == NULL)
    return STATUS_FAILED;
  parent = name_of_parent (disk);
  progress = progress_begin (s);
  status = status_of (vmdk_commit (disk, delete_child, &progress));
  progress_end ();
  if (vmdk_close (disk) == -1 && status == STATUS_OK)
    status = STATUS_FAILED;
  if (status == STATUS_OK)
    print_result (s, parent ? parent : "its parent");
  free (parent);
  return status;
}

const struct command commit_command = {
  .name = "commit",
  .summary = "Brings what a child says into its parent",
  .usage = "CHILD",
  .help =
"  --delete                delete the files of CHILD when that is done\n",
  .options = options,
  /* What an interrupted commit left is put in order by the next one. */
  .cid_check = VMDK_CID_OFF,
  .writes = true,
  .changes_content = true,
  .set = set,
  .run = run,
};
