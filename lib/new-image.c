/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making a disk.  Its files have no names until all of them are complete
 * and durable; then the descriptor gets its name last.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "image-plan.h"
#include "in-use.h"
#include "le.h"
#include "leftover.h"
#include "link.h"

/* Files and builds. */

static bool
has_own_descriptor (const struct image_plan *plan)
{
  return plan->kind->suffix != NULL;
}

/* --force is no word about others. */
static int
check_children (const struct vmdk_log *log, struct new_file *f)
{
  struct folder folder = { .fd = f->folder };
  struct link l = { .store = f->former, .folder = &folder };
  char name[EXCERPT_SIZE];
  bool found;

  l.desc = f->former ? link_peek_descriptor (f->former) : NULL;
  found = in_use_find_child (&l, NULL, name);
  descriptor_free (l.desc);
  if (!found)
    return 0;
  vmdk_error (log, "%s: isn't replaced: it is the parent of \"%s\" beside "
              "it, which would be destroyed; delete that one first", f->path,
              name);
  errno = EPERM;
  return -1;
}

static bool
is_named (const struct descriptor *former, const char *name)
{
  size_t i;

  for (i = 0; former && i < former->nr_extents; i++)
    if (former->extents[i].name &&
        strcmp (former->extents[i].name, name) == 0)
      return true;
  return false;
}

/* Extents of the disk that is replaced are; those of others aren't. */
static int
check_extents (const struct new_image *image)
{
  const struct new_file *const last = image->files[image->nr_files - 1];
  char name[EXCERPT_SIZE];
  size_t i;

  for (i = 0; i + 1 < image->nr_files; i++) {
    const struct new_file *const f = image->files[i];

    if (f->former == NULL || is_named (image->former, f->base) ||
        !in_use_as_extent (f->folder, f->former, last->base, name))
      continue;
    vmdk_error (image->log, "%s: isn't replaced: it is a part of the disk "
                "\"%s\" beside it; choose another name", f->path, name);
    errno = EPERM;
    return -1;
  }
  return 0;
}

/* The first one looks for the folder; the others go there, too, wherever
 * the path leads by then.
 */
static int
make_file (struct new_image *image, size_t i, const char *path)
{
  const struct image_options *const o = image->plan->o;
  const struct new_file *const last = image->files[image->nr_files - 1];
  struct new_file **const f = &image->files[i];

  if (last)
    *f = new_file_begin_with (last, path);
  else if (o->beside)
    *f = new_file_begin_beside (image->log, path, o->beside, o->n->force);
  else
    *f = new_file_begin (image->log, path, o->n->force);
  if (*f == NULL)
    return -1;
  if (o->source)
    new_file_limit_mode (*f, o->source->stores, o->source->nr_stores);
  return 0;
}

/* The descriptor's is the last one, but its name is looked at first: it is
 * the one that the user knows.
 */
static int
make_files (struct new_image *image)
{
  const struct image_plan *const plan = image->plan;
  const struct vmdk_new *const n = plan->o->n;
  const size_t nr = plan->nr_extents + has_own_descriptor (plan);
  size_t i;

  if (plan->o->store)
    return 0;
  image->files = calloc (nr, sizeof image->files[0]);
  if (image->files == NULL) {
    vmdk_error (image->log, "%s: %m", n->file);
    return -1;
  }
  image->nr_files = nr;
  if (has_own_descriptor (plan) && make_file (image, nr - 1, n->file) == -1)
    return -1;
  for (i = 0; i < plan->nr_extents; i++)
    if (make_file (image, i, plan->extents[i].path) == -1)
      return -1;
  image->former = leftover_peek (image->files[nr - 1]);
  return check_extents (image) == -1 ? -1 :
    check_children (image->log, image->files[nr - 1]);
}

static int
add_build (struct new_image *image, size_t i)
{
  const struct image_plan *const plan = image->plan;
  const struct image_options *const o = plan->o;
  struct build *const b = plan->kind->new_build (image->log);

  if (b == NULL)
    return -1;
  image->builds[i] = b;
  image->nr_builds++;
  b->log = image->log;
  b->store = o->store ? o->store : image->files[i]->store;
  b->name = b->store->name;
  b->size = plan->extents[i].size;
  b->grain_size = plan->grain_size;
  b->has_parent = o->parent != NULL;
  b->has_descriptor = plan->kind->embedded;
  b->level = o->n->level;
  if (i > 0)
    image->starts[i] = image->starts[i - 1] + plan->extents[i - 1].size;
  return b->ops->begin (b);
}

static int
make_builds (struct new_image *image)
{
  const struct image_plan *const plan = image->plan;
  size_t i;

  image->builds = calloc (plan->nr_extents, sizeof image->builds[0]);
  image->starts = calloc (plan->nr_extents, sizeof image->starts[0]);
  if (image->builds == NULL || image->starts == NULL) {
    vmdk_error (image->log, "%s: %m", plan->o->n->file);
    return -1;
  }
  for (i = 0; i < plan->nr_extents; i++)
    if (add_build (image, i) == -1)
      return -1;
  return 0;
}

/* Preallocation. */

static int
refuse_to_preallocate (const struct new_image *image)
{
  vmdk_error (image->log, "%s: a %s disk can't be preallocated",
              image->plan->o->n->file, image->plan->kind->name);
  errno = EINVAL;
  return -1;
}

/* Flat extents have no metadata. */
static int
preallocate (struct new_image *image)
{
  const enum vmdk_preallocation how = image->plan->o->n->preallocate;
  const bool flat = image->plan->kind->grain_size == 0;
  size_t i;

  if (how == VMDK_PREALLOCATE_OFF)
    return 0;
  for (i = 0; i < image->nr_builds; i++) {
    struct build *const b = image->builds[i];

    /* NOLINTBEGIN(clang-analyzer-core.NullDereference): all are there, but
     * it doesn't know what "begin" leaves alone.
     */
    if (!flat && b->ops->preallocate == NULL)
      return refuse_to_preallocate (image);
    if (!flat && b->ops->preallocate (b) == -1)
      return -1;
    if (how == VMDK_PREALLOCATE_FULL &&
        store_allocate (b->store, flat ? b->size : b->store->size) == -1)
      return -1;
    /* NOLINTEND(clang-analyzer-core.NullDereference) */
  }
  return 0;
}

struct new_image *
image_begin (const struct image_options *o)
{
  struct new_image *const image = calloc (1, sizeof *image);
  int err;

  if (image == NULL) {
    vmdk_error (&o->n->log, "%s: %m", o->n->file);
    return NULL;
  }
  image->log = &o->n->log;
  image->size = o->size;
  image->plan = image_plan (o);
  if (image->plan && make_files (image) == 0 && make_builds (image) == 0 &&
      preallocate (image) == 0)
    return image;
  err = errno;
  image_free (image);
  errno = err;
  return NULL;
}

void
image_free (struct new_image *image)
{
  size_t i;

  if (image == NULL)
    return;
  for (i = 0; i < image->nr_builds; i++)
    image->builds[i]->ops->free (image->builds[i]);
  for (i = 0; i < image->nr_files; i++)
    new_file_free (image->files[i]);
  free (image->builds);
  free (image->starts);
  free (image->files);
  descriptor_free (image->former);
  image_plan_free (image->plan);
  free (image);
}

/* The descriptor. */

/* A stream's is made from its content, so that the same content always
 * gives the same file.
 */
static int
choose_cid (struct new_image *image)
{
  const struct image_options *const o = image->plan->o;

  if (o->cid)
    image->cid = *o->cid;
  else if (o->n->type != VMDK_TYPE_STREAM)
    return cid_random (image->log, &image->cid);
  else {
    image->cid = image->builds[0]->content_id;
    if (image->cid == 0 || image->cid == CID_UNSET || image->cid == CID_NONE)
      image->cid = 1;
  }
  return 0;
}

static struct new_extent_line *
make_lines (const struct image_plan *plan)
{
  struct new_extent_line *const lines =
    calloc (plan->nr_extents, sizeof lines[0]);
  size_t i;

  for (i = 0; lines && i < plan->nr_extents; i++)
    lines[i] = (struct new_extent_line) {
      .access = ACCESS_RW, .type = plan->kind->type,
      .size = plan->extents[i].size,
      .name = plan->o->name ? plan->o->name
        : image_base_name (plan->extents[i].path),
      .has_offset = plan->kind->type == TYPE_FLAT,
    };
  return lines;
}

/* What each kind of disk has.  Children of ESX's formats inherit nearly
 * everything.
 */
static char *
compose (const struct new_image *image, const struct disk_identity *id,
         const struct new_extent_line *lines)
{
  const struct image_plan *const plan = image->plan;
  const struct image_parent *const parent = plan->o->parent;
  const struct geometry geometry =
    parent && parent->has_geometry ? parent->geometry
    : geometry_of (plan->adapter, plan->kind->hosted, image->size);
  const char *const adapter = parent && parent->adapter &&
    plan->o->n->adapter == NULL ? parent->adapter : plan->adapter;
  const unsigned hw_version = parent && parent->hw_version != 0 &&
    plan->o->n->hw_version == 0 ? parent->hw_version : plan->hw_version;
  const bool stream = plan->o->n->type == VMDK_TYPE_STREAM;
  const bool brief = parent && !plan->kind->hosted;
  const struct new_descriptor d = {
    .cid = image->cid,
    .parent_cid = parent ? parent->cid : CID_NONE,
    .parent_hint = parent ? parent->hint : NULL,
    .create_type = plan->kind->name,
    .extents = lines,
    .nr_extents = plan->nr_extents,
    .adapter = brief ? NULL : adapter,
    .geometry = brief ? NULL : &geometry,
    .hw_version = brief ? 0 : hw_version,
    .long_content_id = plan->o->long_content_id ? plan->o->long_content_id
      : stream ? NULL : id->long_content_id,
    .with_long_content_id = true,
    .thin = plan->o->n->type == VMDK_TYPE_VMFS &&
      plan->o->n->preallocate != VMDK_PREALLOCATE_FULL,
    .uuid = parent || stream ? NULL : id->uuid,
    .grain = plan->o->n->type == VMDK_TYPE_SESPARSE ?
      (unsigned) (plan->grain_size / SECTOR_SIZE) : 0,
  };

  return descriptor_compose (image->log, &d);
}

static char *
make_descriptor (const struct new_image *image)
{
  struct new_extent_line *const lines = make_lines (image->plan);
  struct disk_identity id;
  char *text = NULL;

  if (lines == NULL)
    vmdk_error (image->log, "%s: %m", image->plan->o->n->file);
  else if (disk_identity_random (image->log, &id) == 0)
    text = compose (image, &id, lines);
  free (lines);
  return text;
}

static int
write_descriptor (struct new_image *image)
{
  char *const text = make_descriptor (image);
  struct build *const b = image->builds[0];
  int r;

  if (text == NULL)
    return -1;
  if (image->plan->kind->embedded)
    r = b->ops->embed (b, text, strlen (text));
  else
    r = store_pwrite (image->files[image->nr_files - 1]->store, text,
                      strlen (text), 0);
  free (text);
  return r;
}

int
image_finish (struct new_image *image)
{
  size_t i;

  for (i = 0; i < image->nr_builds; i++)
    if (image->builds[i]->ops->finish (image->builds[i]) == -1)
      return -1;
  if (image->plan->o->n->type != VMDK_TYPE_RAW &&
      (choose_cid (image) == -1 || write_descriptor (image) == -1))
    return -1;
  if (new_files_publish (image->files, image->nr_files) == -1)
    return -1;
  leftover_warn (image->former, image->files, image->nr_files);
  return 0;
}

/* Options like a link. */

static const char *
find_ddb (const struct link *l, const char *key)
{
  const char *value = NULL;

  for (; l && value == NULL; l = l->parent)
    if (l->desc)
      value = descriptor_ddb (l->desc, key);
  return value;
}

static bool
find_number (const struct link *l, const char *key, uint64_t most,
             uint64_t *n)
{
  const char *const value = find_ddb (l, key);
  char *end;

  if (value == NULL || value[0] < '0' || value[0] > '9')
    return false;
  errno = 0;
  *n = strtoull (value, &end, 10);
  return errno == 0 && *end == '\0' && *n > 0 && *n <= most;
}

void
image_parent_init (struct image_parent *p, const struct link *l,
                   const char *hint)
{
  uint64_t cylinders, heads, sectors, hw_version;

  *p = (struct image_parent) {
    .cid = l->desc->cid, .hint = hint, .adapter = find_ddb (l, "adapterType"),
  };
  if (find_number (l, "virtualHWVersion", UINT_MAX, &hw_version) &&
      image_hw_version_is_valid (hw_version))
    p->hw_version = (unsigned) hw_version;
  p->has_geometry =
    find_number (l, "geometry.cylinders", UINT32_MAX, &cylinders) &&
    find_number (l, "geometry.heads", UINT16_MAX, &heads) &&
    find_number (l, "geometry.sectors", UINT16_MAX, &sectors);
  if (p->has_geometry)
    p->geometry = (struct geometry) {
      .cylinders = cylinders, .heads = (unsigned) heads,
      .sectors = (unsigned) sectors,
    };
}

static bool
all_are (const struct link *l, const char *format)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    if (strcmp (l->extents[i]->format, format) != 0)
      return false;
  return l->nr_extents > 0;
}

/* What the extents are counts, and the createType where several would
 * have the same.
 */
static bool
find_type (const struct link *l, enum vmdk_type *type)
{
  enum vmdk_type named = VMDK_TYPE_RAW;

  if (l->desc && l->desc->create_type)
    vmdk_find_type (l->desc->create_type, &named);
  if (all_are (l, "COWD"))
    *type = VMDK_TYPE_VMFS_SPARSE;
  else if (all_are (l, "seSparse"))
    *type = VMDK_TYPE_SESPARSE;
  else if (all_are (l, "stream"))
    *type = VMDK_TYPE_STREAM;
  else if (all_are (l, "hosted sparse"))
    *type = l->nr_extents > 1 || named == VMDK_TYPE_SPLIT_SPARSE ?
      VMDK_TYPE_SPLIT_SPARSE : VMDK_TYPE_MONOLITHIC_SPARSE;
  else if (all_are (l, "flat"))
    *type = l->desc == NULL ? VMDK_TYPE_RAW
      : l->nr_extents > 1 || named == VMDK_TYPE_SPLIT_FLAT ?
      VMDK_TYPE_SPLIT_FLAT
      : l->desc->extents[0].type == TYPE_VMFS ? VMDK_TYPE_VMFS
      : VMDK_TYPE_MONOLITHIC_FLAT;
  else
    return false;
  return true;
}

bool
image_like_link (const struct link *l, struct vmdk_new *n)
{
  const char *const adapter = find_ddb (l, "adapterType");
  const char *const hw_version = find_ddb (l, "virtualHWVersion");
  const unsigned long hw = hw_version ? strtoul (hw_version, NULL, 10) : 0;

  if (!find_type (l, &n->type))
    return false;
  n->adapter = adapter ? adapter_name (adapter) : NULL;
  n->hw_version = image_hw_version_is_valid (hw) ? (unsigned) hw : 0;
  n->grain_size = image_kind_of (n->type)->grain_size ? l->grain_size : 0;
  return true;
}
