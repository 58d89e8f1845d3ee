/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img resize: makes a disk larger.
 */

#include <config.h>

#include <stdio.h>

#include "json.h"
#include "vmdk-img.h"

static const struct option options[] = {
  { NULL, 0, NULL, 0 },
};

/* "40G", or "+10G": so much more than it has. */
static uint64_t
parse_new_size (const struct settings *s, uint64_t size)
{
  const char *const word = s->words[1];
  uint64_t more;

  if (word[0] != '+')
    return parse_size_word (s, "SIZE", word);
  more = parse_size_word (s, "SIZE", word + 1);
  if (__builtin_add_overflow (size, more, &size))
    usage_error (s->command, "SIZE %s: too large", word);
  return size;
}

static void
print_json (const char *file, uint64_t before, uint64_t after)
{
  struct json j = JSON_TO (stdout);

  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  json_uint (&j, "former-size", before);
  json_uint (&j, "virtual-size", after);
  json_end (&j);
}

static void
print_result (const struct settings *s, uint64_t before, uint64_t after)
{
  char from[SIZE_TEXT], to[SIZE_TEXT];

  if (s->json)
    print_json (s->open.file, before, after);
  else if (!s->quiet && before == after)
    printf ("The disk has %s already.\n", size_text (to, after));
  else if (!s->quiet)
    printf ("The disk has %s now, before it had %s.\n", size_text (to, after),
            size_text (from, before));
}

static int
run (const struct settings *s)
{
  struct vmdk_disk *const disk = open_disk (s);
  struct vmdk_progress progress;
  uint64_t before, size;
  int status;

  if (disk == NULL)
    return STATUS_FAILED;
  before = vmdk_size (disk);
  size = parse_new_size (s, before);
  progress = progress_begin (s);
  status = status_of (vmdk_resize (disk, size, &progress));
  progress_end ();
  if (vmdk_close (disk) == -1 && status == STATUS_OK)
    status = STATUS_FAILED;
  if (status == STATUS_OK)
    print_result (s, before, size % 512 ? size + 512 - size % 512 : size);
  return status;
}

const struct command resize_command = {
  .name = "resize",
  .summary = "Makes a disk larger",
  .usage = "FILE [+]SIZE",
  .min_words = 2,
  .max_words = 2,
  .help = "  +SIZE                   by so much, not to so much\n",
  .options = options,
  .writes = true,
  .changes_content = true,
  .run = run,
};
