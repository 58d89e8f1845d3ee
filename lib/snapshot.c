/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making the child that VMware would make of a disk when it takes a
 * snapshot: its type follows the parent's, and its name is the parent's
 * with the next number.  The parent is only read.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "create.h"
#include "image-plan.h"

/* The type. */

/* A type that can't grow to the size gives way to one that can. */
static enum vmdk_type
choose_type (enum vmdk_type parent, uint64_t size)
{
  enum vmdk_type type = VMDK_TYPE_MONOLITHIC_SPARSE, larger;
  const struct image_kind *kind;

  switch (parent) {
  case VMDK_TYPE_SPLIT_SPARSE:
  case VMDK_TYPE_SPLIT_FLAT:
    return VMDK_TYPE_SPLIT_SPARSE;
  case VMDK_TYPE_VMFS:
  case VMDK_TYPE_VMFS_SPARSE:
    type = VMDK_TYPE_VMFS_SPARSE;
    larger = VMDK_TYPE_SESPARSE;
    break;
  case VMDK_TYPE_SESPARSE:
    return VMDK_TYPE_SESPARSE;
  default:
    larger = VMDK_TYPE_SPLIT_SPARSE;
    break;
  }
  kind = image_kind_of (type);
  return image_kind_fits (kind, kind->grain_size, size) ? type : larger;
}

/* What n doesn't say is as in the parent. */
static void
follow_parent (struct vmdk_new *n, bool auto_type, const struct link *parent)
{
  struct vmdk_new like;

  vmdk_new_init (&like);
  if (!image_like_link (parent, &like))
    vmdk_new_init (&like);
  if (auto_type)
    n->type = choose_type (like.type, parent->size);
  if (n->adapter == NULL)
    n->adapter = like.adapter;
  if (n->hw_version == 0)
    n->hw_version = like.hw_version;
  if (n->grain_size == 0 && n->type == like.type &&
      image_allows_grain_size (n->type, like.grain_size))
    n->grain_size = like.grain_size;
}

/* The name. */

#define NR_DIGITS 6
#define MAX_NUMBER 999999

/* "vm-000001.vmdk" is "vm" with a number. */
static size_t
length_without_number (const char *path)
{
  const size_t stem = image_stem_length (path);
  const size_t base = (size_t) (image_base_name (path) - path);
  size_t i;

  if (stem < base + 1 + NR_DIGITS + 1 || path[stem - NR_DIGITS - 1] != '-')
    return stem;
  for (i = stem - NR_DIGITS; i < stem; i++)
    if (!isdigit ((unsigned char) path[i]))
      return stem;
  return stem - NR_DIGITS - 1;
}

/* Errors that may turn out not to be any. */
struct held {
  const struct vmdk_log *log;
  char *message;
};

static void
hold_error (void *opaque, const char *fmt, va_list args)
{
  struct held *const h = opaque;

  free (h->message);
  if (vasprintf (&h->message, fmt, args) == -1)
    h->message = NULL;
}

static void
pass_warning (void *opaque, const char *fmt, va_list args)
{
  const struct held *const h = opaque;

  if (h->log->warning)
    h->log->warning (h->log->opaque, fmt, args);
}

static void
pass_debug (void *opaque, const char *fmt, va_list args)
{
  const struct held *const h = opaque;

  if (h->log->debug)
    h->log->debug (h->log->opaque, fmt, args);
}

/* -1 with EEXIST: one of its files is there already, not reported. */
static int
try_name (const struct vmdk_new *n, const struct vmdk_disk *parent,
          const char *name)
{
  struct held h = { .log = &n->log };
  struct vmdk_new quiet = *n;
  int r;

  if (access (name, F_OK) == 0) {
    errno = EEXIST;
    return -1;
  }
  quiet.file = name;
  quiet.force = false; /* nobody chose this name */
  quiet.log = (struct vmdk_log) {
    .error = hold_error, .warning = pass_warning, .debug = pass_debug,
    .opaque = &h, .topics = n->log.topics,
  };
  r = create_child (&quiet, parent, true);
  if (r == -1 && errno != EEXIST && h.message)
    vmdk_error (&n->log, "%s", h.message);
  free (h.message);
  return r;
}

/* Also when others make children of the disk at the same time. */
static int
create_numbered (const struct vmdk_new *n, const struct vmdk_disk *parent,
                 char **file)
{
  const char *const path = parent->top->store->name;
  const int length = (int) length_without_number (path);
  unsigned i;

  for (i = 1; i <= MAX_NUMBER; i++) {
    char *name;
    int r;

    if (asprintf (&name, "%.*s-%06u.vmdk", length, path, i) == -1) {
      vmdk_error (&n->log, "%s: %m", path);
      return -1;
    }
    r = try_name (n, parent, name);
    if (r == 0) {
      *file = name;
      return 0;
    }
    free (name);
    if (errno != EEXIST)
      return -1;
  }
  vmdk_error (&n->log, "%s: all names for a child are in use", path);
  errno = EEXIST;
  return -1;
}

static int
create_named (const struct vmdk_new *n, const struct vmdk_disk *parent,
              char **file)
{
  *file = strdup (n->file);
  if (*file == NULL)
    vmdk_error (&n->log, "%s: %m", n->file);
  else if (create_child (n, parent, false) == 0)
    return 0;
  free (*file);
  return -1;
}

int
vmdk_snapshot (const struct vmdk_new *n, bool auto_type,
               const struct vmdk_options *parent, char **file)
{
  struct vmdk_disk *const disk = vmdk_open (parent);
  struct vmdk_new child = *n;
  int r, err;

  *file = NULL;
  if (disk == NULL)
    return -1;
  follow_parent (&child, auto_type, disk->top);
  if (n->file)
    r = create_named (&child, disk, file);
  else
    r = create_numbered (&child, disk, file);
  err = errno;
  if (r == -1)
    *file = NULL;
  vmdk_close (disk);
  errno = err;
  return r;
}
