/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img create: makes a disk that is empty, or a child of another, or
 * a descriptor for bytes that are there already.
 */

#include <config.h>

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "new-disk.h"

enum {
  OPT_FROM_FLAT = OPT_NEW_DISK_END,
};

static const struct option options[] = {
  NEW_DISK_OPTIONS,
  { "from-flat", required_argument, NULL, OPT_FROM_FLAT },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"  -t, --type=TYPE         monolithicSparse (the default),\n"
NEW_DISK_TYPE_HELP
NEW_DISK_HELP
"  --from-flat=FLAT        make only a descriptor, for the guest's bytes that\n"
"                          are in the file FLAT\n"
"  --parent=FILE           (below) make a child of FILE, with its size\n";

static struct vmdk_new new_disk;
static bool initialised;
static const char *from_flat;

static void
set (const struct settings *s, int option, const char *value)
{
  if (!initialised)
    vmdk_new_init (&new_disk);
  initialised = true;
  if (!set_new_disk_option (s, &new_disk, option, value))
    from_flat = value;
}

/* "40G", and not "40G.vmdk". */
static bool
is_size (const char *word)
{
  size_t n;

  if (strncasecmp (word, "0x", 2) == 0)
    return word[2] != '\0' &&
      word[2 + strspn (word + 2, "0123456789abcdefABCDEF")] == '\0';
  n = strspn (word, "0123456789");
  if (n == 0)
    return false;
  return word[n] == '\0' ||
    (word[n + 1] == '\0' &&
     strchr ("bskmgtpe", tolower ((unsigned char) word[n])));
}

/* SIZE FILE, or FILE SIZE; the former if both could be sizes. */
static void
take_words (const struct settings *s)
{
  const bool reversed =
    s->nr_words == 2 && !is_size (s->words[0]) && is_size (s->words[1]);

  if (s->nr_words == 1) {
    new_disk.file = s->words[0];
    if (s->open.parent == NULL && from_flat == NULL)
      usage_error (s->command, "the size of the disk is missing");
    return;
  }
  new_disk.file = s->words[reversed ? 0 : 1];
  new_disk.size = parse_size_word (s, "size", s->words[reversed ? 1 : 0]);
  if (new_disk.size == 0)
    usage_error (s->command, "the size of a disk can't be 0");
}

static int
create (const struct settings *s)
{
  struct vmdk_options parent = s->open;

  if (from_flat)
    return vmdk_create_from_flat (&new_disk, from_flat);
  parent.file = s->open.parent;
  parent.parent = NULL;
  return vmdk_create (&new_disk, s->open.parent ? &parent : NULL);
}

static int
run (const struct settings *s)
{
  int r;

  if (!initialised)
    vmdk_new_init (&new_disk);
  new_disk.log = s->open.log;
  if (from_flat && s->open.parent)
    usage_error (s->command, "--from-flat and --parent exclude each other");
  if (from_flat && (new_disk.grain_size != 0 ||
                    new_disk.preallocate != VMDK_PREALLOCATE_OFF))
    usage_error (s->command, "--from-flat: the file remains as it is, so "
                 "--grain-size and --preallocate make no sense");
  take_words (s);
  new_disk.progress = progress_begin (s);
  r = create (s);
  progress_end ();
  return r == 0 ? tell_new_disk (s, new_disk.file, new_disk.type)
    : status_of (r);
}

const struct command create_command = {
  .name = "create",
  .summary = "Makes a disk that is empty, or a child of another",
  .usage = "SIZE FILE",
  .min_words = 1,
  .max_words = 2,
  .help = help,
  .options = options,
  .letters = NEW_DISK_LETTERS,
  .set = set,
  .run = run,
};
