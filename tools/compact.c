/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img compact: gives back space that a disk has no use for.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "vmdk-img.h"

enum {
  OPT_PUNCH = OWN_OPTIONS,
};

static const struct option options[] = {
  { "punch", no_argument, NULL, OPT_PUNCH },
  { NULL, 0, NULL, 0 },
};

static bool punch_only;

static void
set (const struct settings *s, int option, const char *value)
{
  (void) s;
  (void) value;
  if (option == OPT_PUNCH)
    punch_only = true;
}

static void
print_result (const struct settings *s, uint64_t freed)
{
  char text[SIZE_TEXT];

  if (s->json) {
    struct json j = JSON_TO (stdout);

    json_object (&j, NULL, false);
    json_string (&j, "filename", s->open.file);
    json_uint (&j, "freed-bytes", freed);
    json_end (&j);
  }
  else if (!s->quiet && freed == 0)
    puts ("No space was given back.");
  else if (!s->quiet)
    printf ("Given back: %s (%" PRIu64 " bytes).\n", size_text (text, freed),
            freed);
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *const disk = open_disk (s);
  struct vmdk_progress progress;
  uint64_t freed;
  int status;

  if (disk == NULL)
    return STATUS_FAILED;
  progress = progress_begin (s);
  status = status_of (vmdk_compact (disk, punch_only, &progress, &freed));
  progress_end ();
  if (vmdk_close (disk) == -1 && status == STATUS_OK)
    status = STATUS_FAILED;
  if (status == STATUS_OK)
    print_result (s, freed);
  return status;
}

const struct command compact_command = {
  .name = "compact",
  .summary = "Gives back space that a disk has no use for",
  .help =
"  --punch                 what is stored keeps its place; free space becomes\n"
"                          holes of the file\n",
  .options = options,
  .cid_check = VMDK_CID_FAIL,
  .writes = true,
  .set = set,
  .run = run,
};
