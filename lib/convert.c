/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Converting: the guest's view of a disk becomes a new disk.  The source
 * is only read, and the new one has no name before it is complete.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "copy.h"
#include "disk.h"
#include "first-error.h"
#include "image-plan.h"
#include "ova-write.h"

/* What to be careful about. */

/* The locks of the source see to that, too, unless it has none. */
static int
check_not_source (const struct vmdk_disk *disk, const struct vmdk_log *log,
                  const char *path)
{
  const struct context *const ctx = disk->ctx;
  struct stat st;
  size_t i;

  if (stat (path, &st) == -1)
    return 0;
  for (i = 0; i < ctx->nr_stores; i++) {
    const struct store_id id = store_identity (ctx->stores[i]);

    if (id.dev == st.st_dev && id.ino == st.st_ino) {
      vmdk_error (log, "%s: isn't replaced, since it is a part of what is "
                  "converted", path);
      errno = EINVAL;
      return -1;
    }
  }
  return 0;
}

static int
check_files (const struct vmdk_disk *disk, const struct new_image *image)
{
  size_t i;

  for (i = 0; i < image->nr_files; i++)
    if (check_not_source (disk, image->log, image->files[i]->path) == -1)
      return -1;
  return 0;
}

static int
check_ova (const struct vmdk_new *n)
{
  if (!n->ova || n->type == VMDK_TYPE_STREAM)
    return 0;
  vmdk_error (&n->log, "%s: the disk in an OVA is of type streamOptimized, "
              "not %s", n->file, vmdk_type_name (n->type));
  errno = EINVAL;
  return -1;
}

/* A virtual machine will go on with the devices that it has. */
static void
choose_machine (const struct vmdk_disk *disk, struct vmdk_new *n)
{
  struct vmdk_new like = { .adapter = NULL };

  image_like_link (disk->top, &like);
  if (n->adapter == NULL)
    n->adapter = like.adapter;
  if (n->hw_version == 0)
    n->hw_version = like.hw_version;
}

/* Copying. */

/* Where threads meet the same fault, one of them says so. */
static int
copy (struct vmdk_disk *disk, const struct vmdk_new *n,
      struct new_image *image)
{
  const struct copy c = {
    .top = disk->top, .nr_links = UINT_MAX, .threads = n->threads,
    .progress = &n->progress,
  };
  struct first_error first;
  int r;

  first_error_init (&first, &disk->ctx->log);
  disk->ctx->log = first.log;
  r = copy_to_image (&c, image);
  disk->ctx->log = first.real;
  return r;
}

/* *populated: see build.h. */
static int
make_image (struct vmdk_disk *disk, const struct image_options *o,
            uint64_t *populated)
{
  struct new_image *const image = image_begin (o);
  int r = -1, err;

  if (image == NULL)
    return -1;
  if (check_files (disk, image) == 0 && copy (disk, o->n, image) == 0)
    r = image_finish (image);
  *populated = image->builds[0]->populated;
  err = errno;
  image_free (image);
  errno = err;
  return r;
}

static int
make_ova (struct vmdk_disk *disk, const struct vmdk_new *n)
{
  struct ova *const ova = ova_begin (n, vmdk_size (disk), disk->ctx);
  const struct image_options o = {
    .n = n, .size = vmdk_size (disk),
    .store = ova ? ova_store (ova) : NULL,
    .name = ova ? ova_disk_name (ova) : NULL,
  };
  uint64_t populated;
  int r = -1, err;

  if (ova == NULL)
    return -1;
  if (make_image (disk, &o, &populated) == 0)
    r = ova_finish (ova, populated);
  err = errno;
  ova_writer_free (ova);
  errno = err;
  return r;
}

int
vmdk_convert (struct vmdk_disk *disk, const struct vmdk_new *n)
{
  struct vmdk_new new = *n;
  const struct image_options o = {
    .n = &new, .size = vmdk_size (disk), .source = disk->ctx,
  };
  struct first_error first;
  uint64_t populated;

  first_error_init (&first, &n->log);
  new.log = first.log;
  choose_machine (disk, &new);
  if (check_ova (&new) == -1 ||
      check_not_source (disk, &new.log, new.file) == -1)
    return -1;
  return new.ova ? make_ova (disk, &new) : make_image (disk, &o, &populated);
}
