/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Making disks that hold nothing, children of other disks, and
 * descriptors for bytes that are there already.  No file but new ones is
 * changed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create.h"
#include "image-plan.h"
#include "le.h"

/* Places. */

int
place_find (const struct vmdk_log *log, const char *path, struct place *p)
{
  const char *const base = image_base_name (path);
  char *const dir = base == path ? strdup (".")
    : strndup (path, (size_t) (base - path));

  *p = (struct place) { .base = strdup (base) };
  p->folder = dir ? realpath (dir, NULL) : NULL;
  free (dir);
  if (p->folder && p->base)
    return 0;
  vmdk_error (log, "%s: its folder: %m", path);
  place_free (p);
  return -1;
}

void
place_free (struct place *p)
{
  const int err = errno;

  free (p->folder);
  free (p->base);
  errno = err;
}

/* The rest of path from folder on, or NULL.  "" if they are the same. */
static const char *
path_below (const char *path, const char *folder)
{
  const size_t n = strcmp (folder, "/") == 0 ? 0 : strlen (folder);

  if (strncmp (path, folder, n) != 0)
    return NULL;
  if (path[n] == '\0')
    return "";
  return path[n] == '/' ? path + n + 1 : NULL;
}

char *
place_below (const struct place *p, const char *folder)
{
  const char *const rest = path_below (p->folder, folder);
  char *path;

  if (rest == NULL) {
    errno = EXDEV;
    return NULL;
  }
  if (asprintf (&path, "%s%s%s", rest, *rest ? "/" : "", p->base) == -1)
    return NULL;
  return path;
}

/* "../../x.vmdk".  below is the rest of the folder's path. */
static char *
place_above (const struct place *p, const char *below)
{
  const char *c = below;
  char *path = strdup (p->base);

  while (path && *c) {
    char *longer;

    if (asprintf (&longer, "../%s", path) == -1)
      longer = NULL;
    free (path);
    path = longer;
    c += strcspn (c, "/");
    c += *c == '/';
  }
  return path;
}

/* New disks. */

static uint64_t
round_to_sectors (uint64_t size)
{
  const uint64_t rounded = div_round_up (size, SECTOR_SIZE) * SECTOR_SIZE;

  return rounded < size ? size : rounded; /* which then is refused */
}

static int
create (const struct image_options *o)
{
  struct new_image *const image = image_begin (o);
  const struct vmdk_progress *const p = &o->n->progress;
  int r = -1, err;

  if (image == NULL)
    return -1;
  if (p->fn && p->fn (p->opaque, 0, o->size) != 0)
    errno = ECANCELED;
  else
    r = image_finish (image);
  err = errno;
  image_free (image);
  errno = err;
  return r;
}

/* Children. */

/* Where the child will look for its parent: what can be moved together
 * with it should be found then, too.
 */
static char *
parent_hint (const struct place *child, const struct place *parent)
{
  const char *const below = path_below (child->folder, parent->folder);
  char *path;

  if (path_below (parent->folder, child->folder))
    return place_below (parent, child->folder);
  if (below)
    return place_above (parent, below);
  if (asprintf (&path, "%s/%s", parent->folder, parent->base) == -1)
    return NULL;
  return path;
}

/* Others would take what is before it for a protocol. */
static char *
protect_colon (char *hint)
{
  char *path;

  if (hint == NULL || hint[strcspn (hint, ":/")] != ':')
    return hint;
  if (asprintf (&path, "./%s", hint) == -1)
    path = NULL;
  free (hint);
  return path;
}

char *
find_parent_hint (const struct vmdk_new *n, const struct vmdk_disk *parent)
{
  struct place child, above;
  char *hint;

  if (place_find (&n->log, n->file, &child) == -1)
    return NULL;
  if (place_find (&n->log, parent->top->store->name, &above) == -1) {
    place_free (&child);
    return NULL;
  }
  hint = protect_colon (parent_hint (&child, &above));
  if (hint == NULL)
    vmdk_error (&n->log, "%s: %m", n->file);
  place_free (&child);
  place_free (&above);
  return hint;
}

int
check_parent_cid (const struct vmdk_new *n, const struct link *parent)
{
  if (parent->desc && parent->desc->has_cid && parent->folder &&
      parent->desc->cid != CID_NONE)
    return 0;
  if (parent->desc && parent->desc->cid == CID_NONE) {
    vmdk_error (&n->log, "%s: can't be a parent: its content ID is ffffffff, "
                "by which a child says that it has no parent; whoever writes "
                "to it gives it another", parent->store->name);
    errno = EINVAL;
    return -1;
  }
  vmdk_error (&n->log, "%s: can't be a parent, since it has no content ID by "
              "which a child would know it", parent->store->name);
  errno = EINVAL;
  return -1;
}

static int
check_parent (const struct vmdk_new *n, const struct link *parent)
{
  const uint64_t size = round_to_sectors (n->size);

  if (check_parent_cid (n, parent) == -1)
    return -1;
  if (n->size == 0 || size == parent->size)
    return 0;
  vmdk_error (&n->log, "%s: a child has the size of its parent, and %s has %"
              PRIu64 " bytes, not %" PRIu64, n->file, parent->store->name,
              parent->size, size);
  errno = EINVAL;
  return -1;
}

static uint64_t *
sizes_of_extents (const struct link *l)
{
  uint64_t *const sizes = calloc (l->nr_extents, sizeof sizes[0]);
  size_t i;

  for (i = 0; sizes && i < l->nr_extents; i++)
    sizes[i] = l->extents[i]->size;
  return sizes;
}

/* A split child is split as a split parent is. */
static int
create_split_child (struct image_options *o, const struct link *parent)
{
  uint64_t *const sizes = sizes_of_extents (parent);
  int r;

  if (sizes == NULL) {
    vmdk_error (&o->n->log, "%s: %m", o->n->file);
    return -1;
  }
  o->extent_sizes = sizes;
  o->nr_extents = parent->nr_extents;
  r = create (o);
  free (sizes);
  return r;
}

/* Many readers stay in the folder of the disk, and below. */
static void
warn_outside (const struct vmdk_new *n, const char *hint)
{
  if (hint[0] == '/' || strncmp (hint, "../", 3) == 0)
    vmdk_warning (&n->log, "%s: its parent lies outside of its folder, as %s; "
                  "to open it, use trusted-dir=DIR", n->file, hint);
}

/* Nobody repairs a parent. */
static void
warn_unclean (const struct vmdk_new *n, const struct link *parent)
{
  size_t i;

  for (i = 0; i < parent->nr_extents; i++) {
    const struct extent *const e = parent->extents[i];

    if (e->ops->write && e->ops->write->was_interrupted &&
        e->ops->write->was_interrupted (e)) {
      vmdk_warning (&n->log, "%s: the program that wrote it didn't close it, "
                    "or is still writing; as the parent of %s it must not "
                    "change any more, so run vmdk-img check on it first",
                    e->store->name, n->file ? n->file : "a child");
      return;
    }
  }
}

int
create_child (const struct vmdk_new *n, const struct vmdk_disk *parent,
              bool beside)
{
  const struct link *const top = parent->top;
  struct image_parent p = { .cid = CID_NONE };
  struct image_options o = { .n = n, .parent = &p, .size = top->size,
                             .source = parent->ctx,
                             .beside = beside ? top->store : NULL };
  char *hint;
  int r;

  if (check_parent (n, top) == -1)
    return -1;
  hint = find_parent_hint (n, parent);
  if (hint == NULL)
    return -1;
  /* Their content is the same at this moment, so the ID may be, too. */
  image_parent_init (&p, top, hint);
  o.cid = &p.cid;
  o.long_content_id = descriptor_ddb (top->desc, "longContentID");
  if (n->type == VMDK_TYPE_SPLIT_SPARSE && top->nr_extents > 1)
    r = create_split_child (&o, top);
  else
    r = create (&o);
  if (r == 0) {
    warn_outside (n, hint);
    warn_unclean (n, top);
  }
  free (hint);
  return r;
}

int
vmdk_create (const struct vmdk_new *n, const struct vmdk_options *parent)
{
  const struct image_options o = {
    .n = n, .size = round_to_sectors (n->size),
  };
  struct vmdk_disk *disk;
  int r, err;

  if (parent == NULL)
    return create (&o);
  disk = vmdk_open (parent);
  if (disk == NULL)
    return -1;
  r = create_child (n, disk, false);
  err = errno;
  vmdk_close (disk);
  errno = err;
  return r;
}

/* Descriptors alone. */

/* Children of ESX's formats inherit nearly everything. */
static int
add_machine (struct new_descriptor *d, const struct new_text *t,
             struct geometry *geometry)
{
  uint64_t size = 0;
  size_t i;

  if (image_choose_machine (t->n, &d->adapter, &d->hw_version) == -1)
    return -1;
  for (i = 0; i < t->nr_extents; i++)
    size += t->extents[i].size;
  *geometry = t->parent && t->parent->has_geometry ? t->parent->geometry
    : geometry_of (d->adapter, t->kind->hosted, size);
  d->geometry = geometry;
  if (t->parent && t->parent->adapter && t->n->adapter == NULL)
    d->adapter = t->parent->adapter;
  if (t->parent && !t->kind->hosted) {
    d->adapter = NULL;
    d->hw_version = 0;
    d->geometry = NULL;
  }
  return 0;
}

char *
compose_text (const struct new_text *t)
{
  const struct vmdk_log *const log = &t->n->log;
  struct new_descriptor d = {
    .parent_cid = t->parent ? t->parent->cid : CID_NONE,
    .parent_hint = t->parent ? t->parent->hint : NULL,
    .create_type = t->kind->name,
    .extents = t->extents,
    .nr_extents = t->nr_extents,
    .with_long_content_id = true,
    .brief = t->brief,
    .grain = t->kind->type == TYPE_SESPARSE ?
      (unsigned) (t->kind->grain_size / SECTOR_SIZE) : 0,
  };
  struct disk_identity id;
  struct geometry geometry;

  if (t->cid)
    d.cid = *t->cid;
  if ((t->cid == NULL && cid_random (log, &d.cid) == -1) ||
      disk_identity_random (log, &id) == -1 ||
      add_machine (&d, t, &geometry) == -1)
    return NULL;
  d.long_content_id = id.long_content_id;
  d.uuid = t->parent || t->brief ? NULL : id.uuid;
  return descriptor_compose (log, &d);
}

int
publish_text (const struct vmdk_new *n, const struct store *beside,
              const char *text)
{
  struct new_file *f = beside
    ? new_file_begin_beside (&n->log, n->file, beside, n->force)
    : new_file_begin (&n->log, n->file, n->force);
  int r = -1;

  if (f && store_pwrite (f->store, text, strlen (text), 0) == 0)
    r = new_files_publish (&f, 1);
  new_file_free (f);
  return r;
}

/* For flat files. */

static struct store *
open_flat (const struct vmdk_log *log, const char *flat)
{
  const int fd = open (flat, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  struct stat st;
  struct store *s;

  if (fd == -1 || fstat (fd, &st) == -1) {
    vmdk_error (log, "%s: %m", flat);
    if (fd >= 0)
      close (fd);
    return NULL;
  }
  if (!S_ISREG (st.st_mode)) {
    vmdk_error (log, "%s: isn't a file", flat);
    close (fd);
    errno = EINVAL;
    return NULL;
  }
  s = store_file_new (log, fd, flat);
  /* So that it isn't replaced by its own descriptor.  Who has it open for
   * writing needn't mind.
   */
  if (s) {
    s->log = &vmdk_no_log;
    store_lock (s, false);
    s->log = log;
  }
  return s;
}

/* Guests see no headers. */
int
check_is_flat (const struct vmdk_log *log, struct store *s)
{
  char start[4096];
  const char *what = NULL;

  if (store_pread (s, start, sizeof start, 0) == -1)
    return -1;
  if (extent_magic (start) != MAGIC_NONE)
    what = "a part of a VMDK in a format of its own";
  else if (descriptor_probe (start, sizeof start))
    what = "a descriptor already";
  if (what == NULL)
    return 0;
  vmdk_error (log, "%s: doesn't have the guest's bytes as they are: it is %s",
              s->name, what);
  errno = EINVAL;
  return -1;
}

/* 0: there is no size that can be. */
uint64_t
choose_flat_size (const struct vmdk_new *n, const struct store *s)
{
  const uint64_t size = n->size ? round_to_sectors (n->size) : s->size;

  if (size > s->size)
    vmdk_error (&n->log, "%s: has only %" PRIu64 " bytes, not %" PRIu64,
                s->name, (uint64_t) s->size, size);
  else if (size == 0)
    vmdk_error (&n->log, "%s: is empty", s->name);
  else if (size % SECTOR_SIZE != 0)
    vmdk_error (&n->log, "%s: has %" PRIu64 " bytes, which aren't whole "
                "sectors of 512; make it %" PRIu64 " bytes long, or give the "
                "size %" PRIu64 ", which leaves the rest out", s->name, size,
                round_to_sectors (size), size - size % SECTOR_SIZE);
  else
    return size;
  errno = EINVAL;
  return 0;
}

#define FLAT_SUFFIX "-flat.vmdk"

static int
choose_flat_type (const struct vmdk_new *n, const char *flat,
                  enum vmdk_type *type)
{
  const size_t length = strlen (flat), m = strlen (FLAT_SUFFIX);

  *type = n->type;
  switch (n->type) {
  case VMDK_TYPE_VMFS:
  case VMDK_TYPE_MONOLITHIC_FLAT:
    return 0;
  case VMDK_TYPE_MONOLITHIC_SPARSE: /* the default: not given */
    *type = length > m && strcasecmp (flat + length - m, FLAT_SUFFIX) == 0 ?
      VMDK_TYPE_VMFS : VMDK_TYPE_MONOLITHIC_FLAT;
    return 0;
  default:
    vmdk_error (&n->log, "%s: the descriptor of a flat file has type vmfs or "
                "monolithicFlat, not %s", n->file, vmdk_type_name (n->type));
    errno = EINVAL;
    return -1;
  }
}

/* path is without symbolic links. */
static char *
name_below (const struct vmdk_new *n, const char *path, const char *folder)
{
  struct place file;
  char *name;

  if (place_find (&n->log, path, &file) == -1)
    return NULL;
  name = place_below (&file, folder);
  if (name == NULL && errno == EXDEV)
    vmdk_error (&n->log, "%s: lies outside of %s, the folder of the "
                "descriptor, and readers would refuse it: make the "
                "descriptor in the folder of the file", path, folder);
  else if (name == NULL)
    vmdk_error (&n->log, "%s: %m", path);
  place_free (&file);
  return name;
}

char *
find_extent_name (const struct vmdk_new *n, const char *path)
{
  char *const real = realpath (path, NULL);
  struct place descriptor;
  char *name = NULL;

  if (real == NULL)
    vmdk_error (&n->log, "%s: %m", path);
  else if (place_find (&n->log, n->file, &descriptor) == 0) {
    name = name_below (n, real, descriptor.folder);
    place_free (&descriptor);
  }
  free (real);
  return name;
}

static char *
compose_flat (const struct vmdk_new *n, const struct store *s,
              const char *flat)
{
  enum vmdk_type type;
  struct new_extent_line line = { .size = choose_flat_size (n, s) };
  struct new_text t = { .n = n, .extents = &line, .nr_extents = 1 };
  char *name, *text;

  if (line.size == 0 || choose_flat_type (n, flat, &type) == -1)
    return NULL;
  name = find_extent_name (n, flat);
  if (name == NULL)
    return NULL;
  t.kind = image_kind_of (type);
  line.name = name;
  line.type = t.kind->type;
  line.has_offset = line.type == TYPE_FLAT;
  text = compose_text (&t);
  free (name);
  return text;
}

int
vmdk_create_from_flat (const struct vmdk_new *n, const char *flat)
{
  struct store *const s = open_flat (&n->log, flat);
  char *text = NULL;
  int r = -1, err;

  if (s && check_is_flat (&n->log, s) == 0)
    text = compose_flat (n, s, flat);
  if (text)
    r = publish_text (n, NULL, text);
  err = errno;
  free (text);
  store_unref (s);
  errno = err;
  return r;
}
