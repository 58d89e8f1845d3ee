/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairs a disk.  Afterwards a check must not find more errors than
 * before, and as many as the repair says; and taking the repair back must
 * restore each byte.  A repair that fails, or was only tried, must not have
 * changed any.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* So that a check that is made several times doesn't take too long. */
static bool
is_worth_it (const struct vmdk_options *options, struct findings *before)
{
  struct vmdk_disk *const disk = open_disk (options);
  bool small = true;

  *before = (struct findings) { .complete = false };
  if (disk) {
    small = is_small (disk);
    if (small)
      inspect (disk, before);
  }
  vmdk_close (disk);
  return small;
}

static const char *
changed_file (void)
{
  size_t i;

  for (i = 0; i < world.nr; i++) {
    const struct world_file *const f = &world.files[i];

    if (f->origin && !pages_equal (&f->now, &f->origin->pages))
      return input_names[f->origin->name];
  }
  return NULL;
}

static void
must_be_unchanged (const char *when)
{
  const char *const name = changed_file ();

  if (name)
    complain ("%s: %s has changed: %s", when, name, last_error);
}

static void
count_defect (void *opaque, const struct vmdk_defect *d)
{
  (void) opaque;
  if (d->code == NULL || d->text == NULL || d->text[0] == '\0')
    complain ("a defect without a text");
}

static void
check_after (const struct vmdk_options *options,
             const struct findings *before,
             const struct vmdk_repair_result *result)
{
  struct vmdk_disk *const disk = open_disk (options);
  struct findings f;

  if (disk == NULL)
    complain ("can't be opened after its repair: %s", last_error);
  inspect (disk, &f);
  vmdk_close (disk);
  if (!f.complete)
    complain ("can't be checked after its repair: %s", last_error);
  if (f.result.errors != result->after.errors)
    complain ("%llu errors after the repair, but it spoke of %llu",
              (unsigned long long) f.result.errors,
              (unsigned long long) result->after.errors);
  if (before->complete && f.result.errors > before->result.errors)
    complain ("more errors after the repair");
}

/* Also when it didn't get to its end the first time. */
static void
take_back (const struct input *in, const struct vmdk_options *options,
           const char *undo)
{
  int r = -1;

  clear_messages ();
  if (in->options[5]) {
    world.writes_left = in->options[5];
    r = vmdk_repair_undo (options, undo);
  }
  world.writes_left = UINT32_MAX;
  if (r == -1)
    r = vmdk_repair_undo (options, undo);
  if (r == -1)
    complain ("can't be taken back: %s", last_error);
  must_be_unchanged ("taken back");
  if (world_has ("undo"))
    complain ("the undo file remains");
}

static void
repair (const struct input *in, const struct vmdk_options *options,
        const struct findings *before)
{
  char *const undo = strdup (world_path ("undo"));
  const struct vmdk_repair how = {
    .undo = undo, .dry_run = in->options[4] & 1,
    .lose_journal = in->options[4] & 2,
    .found = count_defect, .done = count_defect, .left = count_defect,
  };
  struct vmdk_repair_result result;
  int r;

  clear_messages ();
  r = vmdk_repair (options, &how, &result);
  if (r == -1 && nr_errors == 0)
    complain ("a repair fails without an error: %s", strerror (errno));
  if (r == 0 && result.after.errors > result.before.errors)
    complain ("the repair says itself that it makes errors");
  if (result.undo == NULL)
    must_be_unchanged (r == -1 ? "the repair failed" : "no undo file");
  else if (!world.failed) {
    if (r == -1 || how.dry_run)
      complain ("an undo file, but no repair: %s", last_error);
    check_after (options, before, &result);
    take_back (in, options, undo);
  }
  else if (r == -1) /* it was interrupted */
    take_back (in, options, undo);
  world_remove ("undo");
  free (result.undo);
  free (undo);
}

/* An undo file that comes from somewhere. */
static void
take_something_back (const struct vmdk_options *options)
{
  clear_messages ();
  if (vmdk_repair_undo (options, NULL) == 0)
    return;
  if (nr_errors == 0)
    complain ("taking back fails without an error");
  if (!world.failed)
    must_be_unchanged ("not taken back");
}

void
fuzz_repair (const uint8_t *data, size_t size)
{
  struct vmdk_options options;
  struct findings before;
  struct input in;

  input_load (&in, data, size);
  world_begin (&in);
  read_options (&in, &options);
  options.raw = false;
  options.recover = false;
  options.single_link = true;
  options.cid_check = VMDK_CID_OFF;
  if (world_has ("d.vmdk.undo")) {
    world.writes_left = in.options[2] ? in.options[2] : UINT32_MAX;
    take_something_back (&options);
  }
  else if (are_files_small () && is_worth_it (&options, &before)) {
    if (in.options[2])
      world.writes_left = in.options[2];
    repair (&in, &options, &before);
  }
  world_end ();
  input_clear (&in);
}
