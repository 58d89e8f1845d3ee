/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img fix-cid: makes children accept their parents as they are now.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "vmdk-img.h"

enum {
  OPT_DRY_RUN = OWN_OPTIONS,
};

static const struct option options[] = {
  { "dry-run", no_argument, NULL, OPT_DRY_RUN },
  { NULL, 0, NULL, 0 },
};

static bool dry_run;

static void
set (const struct settings *s, int option, const char *value)
{
  (void) s;
  (void) value;
  dry_run = dry_run || option == OPT_DRY_RUN;
}

struct report {
  struct json *json; /* NULL: text */
  bool quiet;
  unsigned n;
};

static void
write_change (struct json *j, const char *child, const char *parent,
              uint32_t was, uint32_t now)
{
  char text[9];

  json_object (j, NULL, true);
  json_string (j, "child", child);
  json_string (j, "parent", parent);
  snprintf (text, sizeof text, "%08" PRIx32, was);
  json_string (j, "former-parent-cid", text);
  snprintf (text, sizeof text, "%08" PRIx32, now);
  json_string (j, "parent-cid", text);
  json_end (j);
}

static void
print_change (void *opaque, const char *child, const char *parent,
              uint32_t was, uint32_t now)
{
  struct report *const r = opaque;

  r->n++;
  if (r->json)
    write_change (r->json, child, parent, was, now);
  else if (!r->quiet) {
    print_text (child);
    printf (": %s a parent with CID %08" PRIx32 ", %s ",
            dry_run ? "accepts" : "accepted", was,
            dry_run ? "would then accept" : "now accepts");
    print_text (parent);
    printf (" with CID %08" PRIx32 "\n", now);
  }
}

static void
print_summary (const struct report *r)
{
  if (r->n == 0)
    puts ("All content IDs are right; nothing was changed.");
  else if (dry_run)
    puts ("Nothing was changed.");
  else
    puts ("Nobody has seen whether the data still fit together: if a parent "
          "was written\nsince its child was made, the child's guest may find "
          "its file systems damaged.");
}

static int
fix_as_json (const struct settings *s, struct vmdk_disk *disk)
{
  struct json j = JSON_TO (stdout);
  struct report report = { .json = &j };
  int r;

  json_object (&j, NULL, false);
  json_string (&j, "filename", s->open.file);
  json_bool (&j, "dry-run", dry_run);
  json_array (&j, "changes", false);
  r = vmdk_fix_cid (disk, dry_run, print_change, &report);
  json_end (&j);
  json_bool (&j, "complete", r == 0);
  json_end (&j);
  return r;
}

static int
fix_as_text (const struct settings *s, struct vmdk_disk *disk)
{
  struct report report = { .quiet = s->quiet };
  const int r = vmdk_fix_cid (disk, dry_run, print_change, &report);

  if (r == 0 && !s->quiet)
    print_summary (&report);
  return r;
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *const disk = open_disk (s);
  int r;

  if (disk == NULL)
    return STATUS_FAILED;
  r = s->json ? fix_as_json (s, disk) : fix_as_text (s, disk);
  if (vmdk_close (disk) == -1)
    r = -1;
  return r == 0 ? STATUS_OK : STATUS_FAILED;
}

const struct command fix_cid_command = {
  .name = "fix-cid",
  .summary = "Makes children accept their parents as they are now",
  .usage = "CHILD",
  .help =
"  --dry-run               only say what would be changed\n",
  .options = options,
  .cid_check = VMDK_CID_OFF,
  .set = set,
  .run = run,
};
