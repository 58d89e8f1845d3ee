/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img check: looks for damage.  Defects are printed as they are
 * found, counts at the end.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "vmdk-img.h"

static const struct option options[] = {
  { NULL, 0, NULL, 0 },
};

static const char *const severity_names[] = {
  [VMDK_ERROR] = "error",
  [VMDK_WARNING] = "warning",
  [VMDK_LEAK] = "leak",
  [VMDK_NOTE] = "note",
};

/* Without leaks, which aren't counted but measured. */
struct report {
  struct json *json;
  uint64_t shown;
};

static void
print_defect (void *opaque, const struct vmdk_defect *defect)
{
  struct report *const report = opaque;

  if (defect->severity != VMDK_LEAK)
    report->shown++;
  print_text (defect->file);
  printf (": %s: ", severity_names[defect->severity]);
  print_text (defect->text);
  printf (" [%s]\n", defect->code);
}

static void
write_defect (void *opaque, const struct vmdk_defect *defect)
{
  struct json *const j = ((struct report *) opaque)->json;

  json_object (j, NULL, true);
  json_string (j, "code", defect->code);
  json_string (j, "severity", severity_names[defect->severity]);
  json_string (j, "file", defect->file);
  json_string (j, "text", defect->text);
  json_end (j);
}

static void
drop_defect (void *opaque, const struct vmdk_defect *defect)
{
  (void) opaque;
  (void) defect;
}

static void
print_count (uint64_t n, const char *what, const char *end)
{
  if (n == 0)
    printf ("no %ss%s", what, end);
  else
    printf ("%" PRIu64 " %s%s%s", n, what, n == 1 ? "" : "s", end);
}

static void
print_summary (const struct vmdk_check_result *r, uint64_t shown)
{
  const uint64_t found = r->errors + r->warnings + r->notes;
  char size[SIZE_TEXT];

  if (found > shown)
    printf ("%" PRIu64 " more of the same kinds are not shown.\n",
            found - shown);
  fputs ("Found ", stdout);
  print_count (r->errors, "error", ", ");
  print_count (r->warnings, "warning", ", ");
  print_count (r->notes, "note", ".\n");
  if (r->leaked > 0)
    printf ("Leaked: %s (%" PRIu64 " bytes); the data are not affected.\n",
            size_text (size, r->leaked), r->leaked);
  if (r->grains > 0)
    printf ("Grains allocated: %" PRIu64 "/%" PRIu64 " = %.2f%%.\n",
            r->allocated, r->grains,
            (double) r->allocated * 100 / (double) r->grains);
}

static int
check_as_text (struct vmdk_disk *disk, bool quiet,
               struct vmdk_check_result *result)
{
  struct report report = { .json = NULL };

  if (vmdk_check (disk, quiet ? drop_defect : print_defect, &report,
                  result) == -1)
    return -1;
  if (!quiet)
    print_summary (result, report.shown);
  return 0;
}

static int
check_as_json (struct vmdk_disk *disk, const char *file,
               struct vmdk_check_result *result)
{
  struct json j = JSON_TO (stdout);
  struct report report = { .json = &j };
  int r, err;

  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  json_array (&j, "defects", false);
  r = vmdk_check (disk, write_defect, &report, result);
  err = errno;
  json_end (&j);
  json_bool (&j, "complete", r == 0);
  json_uint (&j, "errors", result->errors);
  json_uint (&j, "warnings", result->warnings);
  json_uint (&j, "notes", result->notes);
  json_uint (&j, "leaked-bytes", result->leaked);
  json_uint (&j, "grains", result->grains);
  json_uint (&j, "allocated-grains", result->allocated);
  json_end (&j);
  errno = err;
  return r;
}

/* What prevents that a disk is opened isn't a defect that vmdk_check finds,
 * but who reads the JSON wants to know it all the same.
 */
static struct vmdk_log sink; /* the tool's */
static char *first_error;

static void
keep_error (void *opaque, const char *fmt, va_list args)
{
  va_list again;

  va_copy (again, args);
  if (first_error == NULL && vasprintf (&first_error, fmt, again) == -1)
    first_error = NULL;
  va_end (again);
  sink.error (opaque, fmt, args);
}

static struct vmdk_disk *
open_and_keep_error (const struct settings *s)
{
  struct settings copy = *s;

  sink = s->open.log;
  copy.open.log.error = keep_error;
  return open_disk (&copy);
}

static void
write_unreadable (const char *file)
{
  struct json j = JSON_TO (stdout);
  const struct vmdk_defect defect = {
    .code = "unreadable", .severity = VMDK_ERROR, .file = file,
    .text = first_error ? first_error : "can't be opened",
  };
  struct report report = { .json = &j };

  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  json_array (&j, "defects", false);
  write_defect (&report, &defect);
  json_end (&j);
  json_bool (&j, "complete", false);
  json_uint (&j, "errors", 1);
  json_end (&j);
}

static int
status_of_failure (void)
{
  return errno == ENOTSUP ? STATUS_NOT_SUPPORTED : STATUS_FAILED;
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *const disk = open_and_keep_error (s);
  struct vmdk_check_result result = { .errors = 0 };
  int r, status = STATUS_OK;

  if (disk == NULL) {
    status = status_of_failure ();
    if (s->json)
      write_unreadable (s->open.file);
    free (first_error);
    return status;
  }
  if (s->json)
    r = check_as_json (disk, s->open.file, &result);
  else
    r = check_as_text (disk, s->quiet, &result);
  if (r == -1)
    status = status_of_failure ();
  else if (result.errors > 0)
    status = STATUS_ERRORS;
  else if (result.leaked > 0)
    status = STATUS_LEAKS;
  vmdk_close (disk);
  free (first_error);
  return status;
}

const struct command check_command = {
  .name = "check",
  .summary = "Looks for damage, and changes nothing",
  .help = "",
  .options = options,
  /* A broken chain is to be found, not to be in the way. */
  .cid_check = VMDK_CID_OFF,
  .takes_uri = true,
  .run = run,
};
