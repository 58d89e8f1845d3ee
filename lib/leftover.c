/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Looking for what remains of a disk that was replaced.  It isn't removed:
 * another descriptor may name the same files.
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "leftover.h"
#include "link.h"

struct descriptor *
leftover_peek (const struct new_file *f)
{
  return f->former ? link_peek_descriptor (f->former) : NULL;
}

static bool
is_leftover (const char *name, struct new_file *const *files, size_t n)
{
  struct stat st;
  size_t i;

  if (name == NULL || strchr (name, '/'))
    return false;
  for (i = 0; i < n; i++)
    if (strcmp (files[i]->base, name) == 0)
      return false;
  return fstatat (files[0]->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void
leftover_warn (const struct descriptor *former,
               struct new_file *const *files, size_t n)
{
  const char *first = NULL;
  char excerpt[EXCERPT_SIZE];
  size_t i, found = 0;

  for (i = 0; former && i < former->nr_extents; i++)
    if (is_leftover (former->extents[i].name, files, n)) {
      if (found++ == 0)
        first = former->extents[i].name;
    }
  if (found == 0)
    return;
  vmdk_excerpt (excerpt, sizeof excerpt, first);
  if (found == 1)
    vmdk_warning (files[0]->store->log, "%s: the disk that was replaced also "
                  "had %s, which is of no use now", files[n - 1]->path,
                  excerpt);
  else
    vmdk_warning (files[0]->store->log, "%s: the disk that was replaced also "
                  "had %s and %zu more files, which are of no use now",
                  files[n - 1]->path, excerpt, found - 1);
}
