/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img repair: repairs what check finds, and takes a repair back.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "vmdk-img.h"

enum {
  OPTION_DRY_RUN = OWN_OPTIONS,
  OPTION_UNDO,
  OPTION_LOSE_JOURNAL,
};

static const struct option options[] = {
  { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
  { "lose-journal", no_argument, NULL, OPTION_LOSE_JOURNAL },
  { "undo", optional_argument, NULL, OPTION_UNDO },
  { NULL, 0, NULL, 0 },
};

static bool dry_run, take_back, lose_journal;
static const char *undo_file;

static void
set (const struct settings *s, int option, const char *value)
{
  (void) s;
  switch (option) {
  case OPTION_DRY_RUN:
    dry_run = true;
    break;
  case OPTION_LOSE_JOURNAL:
    lose_journal = true;
    break;
  case OPTION_UNDO:
    take_back = true;
    undo_file = value;
    break;
  }
}

static const char *const severity_names[] = {
  [VMDK_ERROR] = "error",
  [VMDK_WARNING] = "warning",
  [VMDK_LEAK] = "leak",
  [VMDK_NOTE] = "note",
};

/* What is found comes first, then what is done, then what is left. */
struct report {
  struct json *json;
  unsigned arrays; /* that were begun */
  bool quiet;
  uint64_t left;
};

static void
print_line (const char *begin, const struct vmdk_defect *d, bool severity)
{
  progress_end_line ();
  print_text (d->file);
  printf (": %s", begin);
  if (severity)
    printf ("%s: ", severity_names[d->severity]);
  print_text (d->text);
  printf (" [%s]\n", d->code);
}

enum { FOUND, REPAIRS, LEFT };

/* An array of each, also if it is empty. */
static void
open_array (struct report *report, unsigned array)
{
  static const char *const names[] = { "found", "repairs", "left" };

  while (report->arrays <= array) {
    if (report->arrays > 0)
      json_end (report->json);
    json_array (report->json, names[report->arrays++], false);
  }
}

static void
write_object (struct report *report, unsigned array,
              const struct vmdk_defect *d, bool severity)
{
  struct json *const j = report->json;

  open_array (report, array);
  json_object (j, NULL, true);
  json_string (j, "code", d->code);
  if (severity)
    json_string (j, "severity", severity_names[d->severity]);
  json_string (j, "file", d->file);
  json_string (j, "text", d->text);
  json_end (j);
}

static void
found (void *opaque, const struct vmdk_defect *d)
{
  struct report *const report = opaque;

  if (report->json)
    write_object (report, FOUND, d, true);
  else if (!report->quiet)
    print_line ("", d, true);
}

static void
done (void *opaque, const struct vmdk_defect *d)
{
  struct report *const report = opaque;

  if (report->json)
    write_object (report, REPAIRS, d, false);
  else if (!report->quiet)
    print_line (dry_run ? "would be repaired: " : "repaired: ", d, false);
}

static void
left (void *opaque, const struct vmdk_defect *d)
{
  struct report *const report = opaque;

  report->left++;
  if (report->json)
    write_object (report, LEFT, d, true);
  else if (!report->quiet && d->severity != VMDK_LEAK)
    print_line ("remains: ", d, true);
}

static void
write_result (struct report *report, const struct vmdk_repair_result *r,
              bool complete)
{
  struct json *const j = report->json;

  open_array (report, LEFT);
  json_end (j);
  json_bool (j, "complete", complete);
  json_bool (j, "dry-run", dry_run);
  json_uint (j, "errors-before", r->before.errors);
  json_uint (j, "warnings-before", r->before.warnings);
  json_uint (j, "errors", r->after.errors);
  json_uint (j, "warnings", r->after.warnings);
  json_uint (j, "leaked-bytes", r->after.leaked);
  json_uint (j, "number-of-repairs", r->repairs);
  json_uint (j, "changed-bytes", r->changed_bytes);
  json_bool (j, "content-changed", r->content_changed);
  if (r->undo)
    json_string (j, "undo-file", r->undo);
  json_end (j);
}

static void
print_result (const struct settings *s, const struct vmdk_repair_result *r)
{
  char size[SIZE_TEXT];

  if (r->repairs == 0)
    puts (r->after.errors ? "Nothing of this can be repaired."
          : "There is nothing to repair.");
  else if (dry_run)
    printf ("Nothing was changed; a repair would change %" PRIu64 " bytes.\n",
            r->changed_bytes);
  else
    printf ("Changed %" PRIu64 " bytes.\n", r->changed_bytes);
  if (r->content_changed)
    printf ("What the guest sees %s.\n", dry_run ? "would change" :
            "has changed");
  if (r->undo) {
    fputs ("To take this back: vmdk-img repair --undo=", stdout);
    print_text (r->undo);
    putchar (' ');
    print_text (s->open.file);
    putchar ('\n');
  }
  if (r->after.errors)
    printf ("%" PRIu64 " error%s remain%s.\n", r->after.errors,
            r->after.errors == 1 ? "" : "s", r->after.errors == 1 ? "s" : "");
  if (r->after.leaked > 0)
    printf ("%s of the file are used by nothing; vmdk-img compact gives them "
            "back.\n", size_text (size, r->after.leaked));
}

static int
repair (const struct settings *s)
{
  struct json json = JSON_TO (stdout);
  struct report report = {
    .json = s->json ? &json : NULL, .quiet = s->quiet,
  };
  const struct vmdk_repair how = {
    .dry_run = dry_run, .lose_journal = lose_journal, .found = found,
    .done = done, .left = left, .opaque = &report,
    .progress = progress_begin (s),
  };
  struct vmdk_repair_result result;
  int r, status;

  if (s->json) {
    json_object (&json, NULL, false);
    json_string (&json, "filename", s->open.file);
  }
  r = vmdk_repair (&s->open, &how, &result);
  status = status_of (r);
  progress_end ();
  if (s->json)
    write_result (&report, &result, r == 0);
  else if (r == 0 && !s->quiet)
    print_result (s, &result);
  if (r == 0 && result.after.errors > 0)
    status = STATUS_ERRORS;
  free (result.undo);
  return status;
}

static void
write_taken_back (const char *file)
{
  struct json j = JSON_TO (stdout);

  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  json_bool (&j, "taken-back", true);
  json_end (&j);
}

static int
run (const struct settings *s)
{
  if (take_back && (dry_run || lose_journal))
    usage_error (s->command, "--undo goes with no other option of repair");
  if (!take_back)
    return repair (s);
  if (vmdk_repair_undo (&s->open, undo_file) == -1)
    return status_of (-1);
  if (s->json)
    write_taken_back (s->open.file);
  else if (!s->quiet)
    puts ("The repair was taken back.");
  return STATUS_OK;
}

const struct command repair_command = {
  .name = "repair",
  .summary = "Repairs what check finds, or takes that back",
  .help =
  "  --dry-run               say what would be done, and change nothing\n"
  "  --undo[=UNDO]           take a repair back: the last one, or that of the\n"
  "                          undo file UNDO\n"
  "  --lose-journal          seSparse: forget changes that are only in the\n"
  "                          journal\n",
  .options = options,
  .cid_check = VMDK_CID_OFF,
  .writes = true,
  .set = set,
  .run = run,
};
