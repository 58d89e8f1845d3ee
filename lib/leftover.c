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
#include "store-file.h"

struct descriptor *
leftover_peek (const struct new_file *f)
{
  uint8_t start[8];

  /* Names inside of an extent are often those of former times, and of
   * files that have nothing to do with it now.
   */
  if (f->former == NULL ||
      store_pread (f->former, start, sizeof start, 0) == -1 ||
      extent_magic (start) != MAGIC_NONE)
    return NULL;
  return link_peek_descriptor (f->former);
}

/* Whether it is a disk of its own, too. */
static bool
is_disk (const struct new_file *f, const char *name)
{
  const int fd = openat (f->folder, name,
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct store *const s =
    fd == -1 ? NULL : store_file_new (&vmdk_no_log, fd, name);
  struct descriptor *const d = s ? link_peek_descriptor (s) : NULL;
  const bool found = d != NULL;

  descriptor_free (d);
  store_unref (s);
  return found;
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
  return fstatat (files[0]->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
    S_ISREG (st.st_mode) && !is_disk (files[0], name);
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
                  "had %s, which is of no use now, unless another "
                  "descriptor names it, too", files[n - 1]->path, excerpt);
  else
    vmdk_warning (files[0]->store->log, "%s: the disk that was replaced also "
                  "had %s and %zu more files, which are of no use now, "
                  "unless another descriptor names them, too",
                  files[n - 1]->path, excerpt, found - 1);
}
