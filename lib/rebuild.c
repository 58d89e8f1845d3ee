/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing a descriptor for extents that have lost theirs.  Sizes come
 * from the extents, and the content ID from what is left of the former
 * descriptor, if it is still there; the rest is as in a new disk, and said
 * to be so.
 *
 * A descriptor of its own is a new file.  One inside of an extent is put
 * into the space that its header keeps for it, when nothing sound is there:
 * first all sectors but the first, then, when they are durable, that one.
 * So a crash leaves no descriptor, as it was before, or a whole one, and
 * this can be run again.  Nothing else in the extent changes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "create.h"
#include "embedded.h"
#include "extent-names.h"
#include "in-use.h"

struct part {
  struct store *store;
  struct extent *extent; /* NULL: flat */
  char *name;            /* in the descriptor */
  uint64_t size;
};

struct rebuild {
  const struct vmdk_new *n;
  struct context *ctx;
  struct store *own;     /* of n->file as it is; NULL: there is none */
  struct folder *folder; /* of own */
  struct part *parts;
  size_t nr_parts;
  bool embedded;         /* own is the only part */
  const struct image_kind *kind;
  const struct vmdk_disk *parent;
  /* From what is left of the former descriptor. */
  bool had_cid, had_parent;
  uint32_t cid;
};

static int
refuse (const struct rebuild *r, const char *file, const char *what)
{
  vmdk_error (&r->n->log, "%s: %s", file, what);
  errno = EINVAL;
  return -1;
}

/* The extents. */

/* -1: it can't be read. */
static int
magic_of (struct store *s)
{
  uint8_t start[8];

  return store_pread (s, start, sizeof start, 0) == -1 ? -1
    : (int) extent_magic (start);
}

/* Takes p->store's word for what it is. */
static int
open_part (struct rebuild *r, struct part *p)
{
  switch (magic_of (p->store)) {
  case -1:
    return -1;
  case MAGIC_KDMV:
    p->extent = kdmv_open (r->ctx, store_ref (p->store), NULL);
    break;
  case MAGIC_COWD:
    p->extent = cowd_open (r->ctx, store_ref (p->store), NULL);
    break;
  case MAGIC_SESPARSE:
    p->extent = sesparse_open (r->ctx, store_ref (p->store), NULL);
    break;
  default:
    if (check_is_flat (&r->n->log, p->store) == -1)
      return -1;
    p->size = choose_flat_size (r->n, p->store);
    return p->size == 0 ? -1 : 0;
  }
  if (p->extent == NULL)
    return -1;
  p->size = p->extent->size;
  return 0;
}

static int
add_part (struct rebuild *r, const char *path)
{
  struct part *const p = &r->parts[r->nr_parts];

  p->store = resolve_by_hand (r->ctx, path, NULL);
  if (p->store == NULL)
    return -1;
  r->nr_parts++;
  if (store_lock (p->store, false) == -1 || open_part (r, p) == -1)
    return -1;
  p->name = find_extent_name (r->n, path);
  return p->name ? 0 : -1;
}

static int
add_parts (struct rebuild *r, const char *const *extents, size_t nr)
{
  size_t i;

  r->parts = nr <= VMDK_MAX_EXTENTS ? calloc (nr, sizeof r->parts[0]) : NULL;
  if (r->parts == NULL) {
    vmdk_error (&r->n->log, "%s: too many extents: %zu", r->n->file, nr);
    errno = EINVAL;
    return -1;
  }
  for (i = 0; i < nr; i++)
    if (add_part (r, extents[i]) == -1)
      return -1;
  r->embedded = nr == 1 && r->own == r->parts[0].store &&
    r->parts[0].extent && magic_of (r->own) == MAGIC_KDMV;
  return 0;
}

static int
find_parts (struct rebuild *r)
{
  const int magic = r->own ? magic_of (r->own) : MAGIC_NONE;
  char **names;
  size_t nr;
  int result;

  if (magic == MAGIC_KDMV)
    return add_parts (r, &r->n->file, 1);
  if (magic != MAGIC_NONE)
    return refuse (r, r->n->file, "is an extent, which can't have a "
                   "descriptor inside: name the file that is to be the "
                   "descriptor");
  names = extent_names_find (&r->n->log, r->n->file, &nr);
  if (names == NULL)
    return -1;
  result = add_parts (r, (const char *const *) names, nr);
  extent_names_free (names, nr);
  return result;
}

static int
open_own (struct rebuild *r)
{
  if (access (r->n->file, F_OK) == -1)
    return 0; /* or nothing can be made there, which is found then */
  r->own = resolve_by_hand (r->ctx, r->n->file, &r->folder);
  return r->own ? 0 : -1;
}

/* The type.  monolithicSparse is the default, and means that none was given.
 */

static const char *
format_of (const struct part *p)
{
  return p->extent ? p->extent->format : "flat";
}

static bool
ends_with (const char *text, const char *end)
{
  const size_t n = strlen (text), m = strlen (end);

  return n > m && strcasecmp (text + n - m, end) == 0;
}

static enum vmdk_type
flat_type (const struct rebuild *r)
{
  const char *const name = r->parts[0].name;

  if (r->nr_parts > 1)
    return VMDK_TYPE_SPLIT_FLAT;
  if (r->n->type == VMDK_TYPE_VMFS || r->n->type == VMDK_TYPE_SPLIT_FLAT ||
      r->n->type == VMDK_TYPE_MONOLITHIC_FLAT)
    return r->n->type;
  if (ends_with (name, "-f001.vmdk"))
    return VMDK_TYPE_SPLIT_FLAT;
  return ends_with (name, "-flat.vmdk") ? VMDK_TYPE_VMFS
    : VMDK_TYPE_MONOLITHIC_FLAT;
}

static int
find_type (const struct rebuild *r, enum vmdk_type *type)
{
  const char *const format = format_of (&r->parts[0]);

  if (strcmp (format, "flat") == 0)
    *type = flat_type (r);
  else if (strcmp (format, "hosted sparse") == 0)
    *type = r->embedded ? VMDK_TYPE_MONOLITHIC_SPARSE
      : VMDK_TYPE_SPLIT_SPARSE;
  else if (strcmp (format, "COWD") == 0)
    *type = VMDK_TYPE_VMFS_SPARSE;
  else if (strcmp (format, "seSparse") == 0)
    *type = VMDK_TYPE_SESPARSE;
  else if (r->embedded)
    *type = VMDK_TYPE_STREAM;
  else
    return refuse (r, r->parts[0].store->name, "is a stream, which has its "
                   "descriptor inside: give its name alone");
  return 0;
}

static int
choose_kind (struct rebuild *r)
{
  enum vmdk_type type;
  size_t i;

  for (i = 1; i < r->nr_parts; i++)
    if (strcmp (format_of (&r->parts[i]), format_of (&r->parts[0])) != 0)
      return refuse (r, r->parts[i].store->name, "has another format than "
                     "the first extent");
  if (find_type (r, &type) == -1)
    return -1;
  r->kind = image_kind_of (type);
  if (r->nr_parts > 1 && !r->kind->split)
    return refuse (r, r->n->file, "can only have one extent of that format");
  if (r->n->type == type || r->n->type == VMDK_TYPE_MONOLITHIC_SPARSE)
    return 0;
  vmdk_error (&r->n->log, "%s: its extents are those of a %s disk, not %s",
              r->n->file, r->kind->name, vmdk_type_name (r->n->type));
  errno = EINVAL;
  return -1;
}

/* The former descriptor. */

static void
salvage_line (struct rebuild *r, const struct descriptor_line *line)
{
  uint32_t cid;

  if (line->value == NULL ||
      !descriptor_read_cid (line->value,
                            (size_t) (line->value_end - line->value), &cid))
    return;
  if (line->kind == LINE_CID && !r->had_cid) {
    r->had_cid = true;
    r->cid = cid;
  }
  if (line->kind == LINE_PARENT_CID && cid != CID_NONE)
    r->had_parent = true;
}

static void
salvage (struct rebuild *r, const char *text, size_t length)
{
  struct descriptor_lines lines =
    descriptor_lines (text, strnlen (text, length));
  struct descriptor_line line;

  while (descriptor_next_line (&lines, &line))
    salvage_line (r, &line);
}

static int
salvage_separate (struct rebuild *r)
{
  const size_t length = r->own && r->own->size <= VMDK_MAX_DESCRIPTOR ?
    (size_t) r->own->size : 0;
  char *const text = calloc (1, length + 1);
  int result = -1;

  if (text == NULL)
    vmdk_error (&r->n->log, "%s: %m", r->n->file);
  else if (length == 0 || store_pread (r->own, text, length, 0) == 0) {
    salvage (r, text, length);
    result = 0;
  }
  free (text);
  return result;
}

/* What has to be assumed. */

static void
warn_child (const struct rebuild *r)
{
  if (r->parent)
    return;
  if (r->had_parent)
    vmdk_warning (&r->n->log, "%s: the former descriptor named a parent, the "
                  "new one doesn't: reads are wrong where it has data; to "
                  "name it, use parent=FILE", r->n->file);
  else if (r->kind->type == TYPE_VMFSSPARSE || r->kind->type == TYPE_SESPARSE)
    vmdk_warning (&r->n->log, "%s: %s extents mostly belong to snapshots, but "
                  "the descriptor names no parent: reads are wrong where it "
                  "has data; to name it, use parent=FILE", r->n->file,
                  r->kind->name);
}

static void
tell_assumptions (const struct rebuild *r)
{
  warn_child (r);
  if (!r->had_cid)
    vmdk_warning (&r->n->log, "%s: the content ID is a new one: children of "
                  "the disk don't find it by that any more; fix-cid relinks "
                  "them", r->n->file);
  if (r->n->adapter == NULL && (r->parent == NULL || r->kind->hosted))
    vmdk_warning (&r->n->log, "%s: the adapter type is assumed to be "
                  "lsilogic; if it was another, use --adapter=TYPE",
                  r->n->file);
}

/* Composing. */

static struct new_extent_line *
make_lines (const struct rebuild *r)
{
  struct new_extent_line *const lines = calloc (r->nr_parts, sizeof lines[0]);
  size_t i;

  if (lines == NULL)
    vmdk_error (&r->n->log, "%s: %m", r->n->file);
  for (i = 0; lines && i < r->nr_parts; i++)
    lines[i] = (struct new_extent_line) {
      .type = r->kind->type, .size = r->parts[i].size,
      .name = r->parts[i].name, .has_offset = r->kind->type == TYPE_FLAT,
    };
  return lines;
}

static char *
compose_over (const struct rebuild *r, const struct image_parent *parent,
              bool brief)
{
  struct new_extent_line *const lines = make_lines (r);
  char *text;

  if (lines == NULL)
    return NULL;
  text = compose_text (&(struct new_text) {
      .n = r->n, .kind = r->kind, .parent = parent,
      .cid = r->had_cid ? &r->cid : NULL,
      .extents = lines, .nr_extents = r->nr_parts, .brief = brief,
    });
  free (lines);
  return text;
}

static int
check_parent (const struct rebuild *r)
{
  const struct link *const top = r->parent->top;
  uint64_t size = 0;
  size_t i;

  if (!r->kind->child)
    return refuse (r, r->n->file, "can't have a parent, since its extents "
                   "aren't those of a child");
  for (i = 0; i < r->nr_parts; i++)
    size += r->parts[i].size;
  if (size == top->size)
    return check_parent_cid (r->n, top);
  vmdk_error (&r->n->log, "%s: can't be a child of %s: it has %" PRIu64
              " bytes, and that has %" PRIu64, r->n->file, top->store->name,
              size, top->size);
  errno = EINVAL;
  return -1;
}

static char *
compose (const struct rebuild *r, bool brief)
{
  struct image_parent parent;
  char *hint, *text;

  if (r->parent == NULL)
    return compose_over (r, NULL, brief);
  if (check_parent (r) == -1)
    return NULL;
  hint = find_parent_hint (r->n, r->parent);
  if (hint == NULL)
    return NULL;
  image_parent_init (&parent, r->parent->top, hint);
  text = compose_over (r, &parent, brief);
  free (hint);
  return text;
}

/* All of it. */

static int
salvage_embedded (struct rebuild *r, struct kdmv *k)
{
  char *text;
  size_t length;

  if (embedded_read (k, &text, &length) == -1)
    return -1;
  if (!r->n->force && embedded_is_sound (k, text, length)) {
    free (text);
    vmdk_error (&r->n->log, "%s: has a sound descriptor; --force replaces it",
                r->n->file);
    errno = EEXIST;
    return -1;
  }
  salvage (r, text, length);
  free (text);
  return 0;
}

static int
write_embedded (const struct rebuild *r, struct kdmv *k, const char *text)
{
  const char *const slash = strrchr (r->n->file, '/');

  if (r->folder &&
      in_use_has_lock (r->folder->fd, slash ? slash + 1 : r->n->file)) {
    vmdk_error (&r->n->log, "%s: a virtual machine of VMware seems to have "
                "it open: there is a lock beside it", r->n->file);
    errno = EAGAIN;
    return -1;
  }
  return embedded_write (k, text);
}

/* What wasn't there at the beginning isn't what the user wants replaced. */
static int
write_separate (const struct rebuild *r, const char *text)
{
  struct vmdk_new n = *r->n;

  n.force = n.force && r->own;
  return publish_text (&n, r->own, text);
}

static int
rebuild (struct rebuild *r)
{
  struct kdmv *const k =
    r->embedded ? (struct kdmv *) r->parts[0].extent : NULL;
  char *text;
  int result;

  if (choose_kind (r) == -1 ||
      (k ? salvage_embedded (r, k) : salvage_separate (r)) == -1)
    return -1;
  text = compose (r, false);
  if (text && k && strlen (text) > embedded_room (k)) {
    free (text);
    text = compose (r, true);
  }
  if (text == NULL)
    return -1;
  result = k ? write_embedded (r, k, text) : write_separate (r, text);
  free (text);
  if (result == 0)
    tell_assumptions (r);
  return result;
}

static void
drop (struct rebuild *r)
{
  size_t i;

  for (i = 0; i < r->nr_parts; i++) {
    extent_close (r->parts[i].extent);
    store_unref (r->parts[i].store);
    free (r->parts[i].name);
  }
  free (r->parts);
  store_unref (r->own);
  folder_close (r->folder);
  context_free (r->ctx);
}

static int
rebuild_over (const struct vmdk_new *n, const struct vmdk_disk *parent,
              const char *const *extents, size_t nr)
{
  struct rebuild r = { .n = n, .parent = parent };
  struct vmdk_options options;
  int result = -1, err;

  vmdk_options_init (&options);
  options.log = n->log;
  r.ctx = context_new (&options);
  if (r.ctx && open_own (&r) == 0 &&
      (nr > 0 ? add_parts (&r, extents, nr) : find_parts (&r)) == 0)
    result = rebuild (&r);
  err = errno;
  drop (&r);
  errno = err;
  return result;
}

int
vmdk_rebuild_descriptor (const struct vmdk_new *n,
                         const struct vmdk_options *parent,
                         const char *const *extents, size_t nr)
{
  struct vmdk_disk *const disk = parent ? vmdk_open (parent) : NULL;
  int r, err;

  if (parent && disk == NULL)
    return -1;
  r = rebuild_over (n, disk, extents, nr);
  err = errno;
  vmdk_close (disk);
  errno = err;
  return r;
}
