/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img pull: makes a child independent of its parents, or a new disk
 * of the same type that is.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "json.h"
#include "vmdk-img.h"

enum {
  OPT_FORCE = OWN_OPTIONS,
};

static const struct option options[] = {
  { "force", no_argument, NULL, OPT_FORCE },
  { NULL, 0, NULL, 0 },
};

static bool force;

static void
set (const struct settings *s, int option, const char *value)
{
  (void) s;
  (void) value;
  force = force || option == OPT_FORCE;
}

static void
print_result (const struct settings *s, const char *file)
{
  struct json j = JSON_TO (stdout);

  if (s->json) {
    json_object (&j, NULL, false);
    json_string (&j, "filename", file);
    json_end (&j);
  }
  else if (!s->quiet) {
    print_text (file);
    puts (" has no parent, and all data.");
  }
}

/* To a new file it is converting, with the type left as it is. */
static int
convert (const struct settings *s, struct vmdk_disk *disk,
         struct vmdk_progress progress)
{
  struct vmdk_link_info link;
  struct vmdk_new n;

  vmdk_new_init (&n);
  n.log = s->open.log;
  n.file = s->words[1];
  n.force = force;
  n.progress = progress;
  vmdk_get_link (disk, 0, &link);
  if (link.create_type && !vmdk_find_type (link.create_type, &n.type)) {
    error_message ("%s: disks of type %s can't be made; choose another type "
                   "with vmdk-img convert", s->open.file, link.create_type);
    errno = EINVAL;
    return -1;
  }
  return vmdk_convert (disk, &n);
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *disk;
  struct vmdk_progress progress;
  int status;

  if (force && s->nr_words == 1)
    usage_error (s->command, "--force is for NEWFILE, which is missing");
  disk = open_disk (s);
  if (disk == NULL)
    return STATUS_FAILED;
  progress = progress_begin (s);
  status = status_of (s->nr_words > 1 ? convert (s, disk, progress)
                      : vmdk_pull (disk, &progress));
  progress_end ();
  if (vmdk_close (disk) == -1 && status == STATUS_OK)
    status = STATUS_FAILED;
  if (status == STATUS_OK)
    print_result (s, s->words[s->nr_words - 1]);
  return status;
}

const struct command pull_command = {
  .name = "pull",
  .summary = "Makes a child independent of its parents",
  .usage = "CHILD [NEWFILE]",
  .min_words = 1,
  .max_words = 2,
  .file_word = 1,
  .help =
"  --force                 replace NEWFILE if it exists\n",
  .options = options,
  .writes = true,
  .set = set,
  .run = run,
};
