/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Finding the extents of a disk whose descriptor is lost: VMware's tools
 * name them after the descriptor.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "extent-names.h"
#include "image-plan.h"

static const char *const suffixes[] = {
  "-flat", "-delta", "-sesparse", "-s#", "-f#",
};
#define NR_SUFFIXES (sizeof suffixes / sizeof suffixes[0])

static bool
is_numbered (const char *suffix)
{
  return strchr (suffix, '#') != NULL;
}

/* Of number i from 1 on. */
static char *
name_of (const char *file, const char *suffix, size_t i)
{
  const int stem = (int) image_stem_length (file);
  char number[32], *name;

  if (is_numbered (suffix))
    snprintf (number, sizeof number, "-%c%03zu", suffix[1], i);
  else
    snprintf (number, sizeof number, "%s", suffix);
  if (asprintf (&name, "%.*s%s.vmdk", stem, file, number) == -1)
    return NULL;
  return name;
}

static bool
exists (const char *file, const char *suffix, size_t i)
{
  char *const name = name_of (file, suffix, i);
  const bool found = name && access (name, F_OK) == 0;

  free (name);
  return found;
}

/* How many there are; those that are missing among them count. */
static size_t
count (const char *file, const char *suffix)
{
  const size_t max = is_numbered (suffix) ? VMDK_MAX_EXTENTS : 1;
  size_t i, last = 0;

  for (i = 1; i <= max && i <= last + 100; i++)
    if (exists (file, suffix, i))
      last = i;
  return last;
}

void
extent_names_free (char **names, size_t nr)
{
  size_t i;

  if (names)
    for (i = 0; i < nr; i++)
      free (names[i]);
  free (names);
}

static char **
list (const struct vmdk_log *log, const char *file, const char *suffix,
      size_t nr)
{
  char **const names = calloc (nr, sizeof names[0]);
  size_t i;

  for (i = 0; names && i < nr; i++) {
    names[i] = name_of (file, suffix, i + 1);
    if (names[i] == NULL || access (names[i], F_OK) == -1)
      break;
  }
  if (names && i == nr)
    return names;
  vmdk_error (log, "%s: can't be rebuilt: the extent %s: %m", file,
              names && names[i] ? names[i] : "");
  extent_names_free (names, nr);
  return NULL;
}

static char **
refuse (const struct vmdk_log *log, const char *file, bool several)
{
  const int stem = (int) image_stem_length (file);

  if (several)
    vmdk_error (log, "%s: beside it are extents of more than one disk with "
                "its name: say which are its own", file);
  else
    vmdk_error (log, "%s: there are no extents beside it that have its name "
                "(%.*s-flat.vmdk, -s001, -f001, -delta or -sesparse): say "
                "which are its own", file, stem, file);
  errno = EINVAL;
  return NULL;
}

char **
extent_names_find (const struct vmdk_log *log, const char *file, size_t *nr)
{
  const char *suffix = NULL;
  size_t i;

  *nr = 0;
  for (i = 0; i < NR_SUFFIXES; i++) {
    const size_t n = count (file, suffixes[i]);

    if (n > 0 && suffix)
      return refuse (log, file, true);
    if (n > 0) {
      suffix = suffixes[i];
      *nr = n;
    }
  }
  return suffix ? list (log, file, suffix, *nr) : refuse (log, file, false);
}
