/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing descriptors: lines that are missing or contradict others.
 * All other lines stay as they are, byte for byte.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "descriptor-edit.h"
#include "descriptor-write.h"
#include "le.h"
#include "repair.h"

/* A text that is being edited. */
struct text {
  struct repair *r;
  const struct link *l;
  char *data;
  size_t length;
  bool changed;
};

/* The line of a key, from start to end, or false. */
static bool
find_key (const struct text *t, const char *key, size_t *start, size_t *end)
{
  struct descriptor_lines lines = descriptor_lines (t->data, t->length);
  struct descriptor_line line;

  while (descriptor_next_line (&lines, &line)) {
    const char *p = line.start;
    const size_t n = strlen (key);

    while (p < line.end && (*p == ' ' || *p == '\t'))
      p++;
    if ((size_t) (line.end - p) <= n || strncasecmp (p, key, n) != 0)
      continue;
    p += n;
    while (p < line.end && (*p == ' ' || *p == '\t'))
      p++;
    if (p == line.end || *p != '=')
      continue;
    *start = (size_t) (line.start - t->data);
    *end = (size_t) (line.end - t->data);
    return true;
  }
  return false;
}

/* Puts other bytes in place of [start, end). */
static int
splice (struct text *t, size_t start, size_t end, const char *bytes)
{
  const size_t n = strlen (bytes);
  char *const data = malloc (t->length - (end - start) + n + 1);

  if (data == NULL) {
    vmdk_error (&t->r->log, "%s: %m", t->l->store->name);
    return -1;
  }
  memcpy (data, t->data, start);
  memcpy (data + start, bytes, n);
  memcpy (data + start + n, t->data + end, t->length - end);
  t->length = t->length - (end - start) + n;
  data[t->length] = '\0';
  free (t->data);
  t->data = data;
  t->changed = true;
  return 0;
}

/* Gives a key a line, in the place that it has, or behind the version's, or
 * at the end.
 */
static int __attribute__ ((__format__ (__printf__, 3, 4)))
set_key (struct text *t, const char *key, const char *fmt, ...)
{
  size_t start, end;
  char *line;
  va_list args;
  int r;

  va_start (args, fmt);
  r = vasprintf (&line, fmt, args);
  va_end (args);
  if (r == -1) {
    vmdk_error (&t->r->log, "%s: %m", t->l->store->name);
    return -1;
  }
  if (!find_key (t, key, &start, &end)) {
    if (!find_key (t, "version", &start, &end))
      end = t->length;
    start = end;
  }
  r = splice (t, start, end, line);
  free (line);
  return r;
}

static int
drop_key (struct text *t, const char *key)
{
  size_t start, end;

  return find_key (t, key, &start, &end) ? splice (t, start, end, "") : 0;
}

/* Reading and writing it. */

static int
load (struct text *t)
{
  const struct link *const l = t->l;
  const size_t most = VMDK_MAX_DESCRIPTOR + 1;
  size_t count = l->embedded ? l->desc_length
    : l->store->size < most ? (size_t) l->store->size : most;

  t->data = malloc (count + 1);
  if (t->data == NULL) {
    vmdk_error (&t->r->log, "%s: %m", l->store->name);
    return -1;
  }
  if (store_pread (l->store, t->data, count, l->desc_offset) == -1)
    return -1;
  t->data[count] = '\0';
  t->length = strlen (t->data);
  return 0;
}

/* 1: it doesn't fit in its place. */
static int
save (const struct text *t, size_t old_length)
{
  struct store *const s = t->l->store;
  static const char zeroes[4096];
  size_t i;

  if (t->length > VMDK_MAX_DESCRIPTOR ||
      (t->l->embedded && t->length > t->l->desc_length)) {
    vmdk_warning (&t->r->log, "%s: there is no room for a longer descriptor",
                  s->name);
    return 1;
  }
  if (store_pwrite (s, t->data, t->length, t->l->desc_offset) == -1)
    return -1;
  if (!t->l->embedded)
    return store_resize (s, t->length);
  for (i = t->length; i < old_length; i += sizeof zeroes)
    if (store_pwrite (s, zeroes, old_length - i < sizeof zeroes ?
                      old_length - i : sizeof zeroes,
                      t->l->desc_offset + i) == -1)
      return -1;
  return 0;
}

/* The repairs.  1: done, 0: that can't be, -1: reported. */

static int
add_cids (struct text *t, const char **what)
{
  const struct descriptor *const d = t->l->desc;
  uint32_t cid;

  *what = "got the lines CID and parentCID that were missing";
  if (!d->has_parent_cid && d->parent_hint) {
    *what = NULL;
    vmdk_warning (&t->r->log, "%s: has a parent, but there is no parentCID; "
                  "when you know that %s is the right one, use vmdk-img "
                  "fix-cid", t->l->store->name, d->parent_hint);
  }
  else if (!d->has_parent_cid &&
           set_key (t, "parentCID", "parentCID=ffffffff\n") == -1)
    return -1;
  if (!d->has_cid &&
      (cid_random (&t->r->log, &cid) == -1 ||
       set_key (t, "CID", "CID=%08" PRIx32 "\n", cid) == -1))
    return -1;
  return t->changed;
}

static int
set_long_content_id (struct text *t, const char **what)
{
  const char *const id = descriptor_ddb (t->l->desc, "longContentID");
  const size_t n = id ? strlen (id) : 0;

  *what = "ddb.longContentID ends with the CID now";
  if (n >= 8 && strspn (id, "0123456789abcdefABCDEF") == n)
    return set_key (t, "ddb.longContentID", "ddb.longContentID = \"%.*s%08"
                    PRIx32 "\"\n", (int) n - 8, id, t->l->desc->cid) == -1
      ? -1 : 1;
  *what = "ddb.longContentID, which wasn't one, was removed";
  return drop_key (t, "ddb.longContentID") == -1 ? -1 : 1;
}

static int
set_geometry (struct text *t, const char **what)
{
  const struct descriptor *const d = t->l->desc;
  const char *const adapter = descriptor_ddb (d, "adapterType");
  const bool hosted =
    d->create_type == NULL || strncasecmp (d->create_type, "vmfs", 4) != 0;
  struct geometry g =
    geometry_of (adapter ? adapter : "lsilogic", hosted, t->l->size);

  *what = "the geometry fits the disk's size now";
  if (g.cylinders * g.heads * g.sectors > t->l->size / SECTOR_SIZE)
    g = (struct geometry) { t->l->size / SECTOR_SIZE, 1, 1 };
  if (set_key (t, "ddb.geometry.cylinders", "ddb.geometry.cylinders = \"%"
               PRIu64 "\"\n", g.cylinders) == -1 ||
      set_key (t, "ddb.geometry.heads", "ddb.geometry.heads = \"%u\"\n",
               g.heads) == -1 ||
      set_key (t, "ddb.geometry.sectors", "ddb.geometry.sectors = \"%u\"\n",
               g.sectors) == -1)
    return -1;
  return 1;
}

/* With a path, a tracking file is kept, and version 3 says so. */
static int
set_version (struct text *t, const char **what)
{
  const bool tracked = t->l->desc->change_track != NULL;

  *what = tracked ? "version is 3 now, since there is a changeTrackPath"
    : "version is 1 now, since there is no changeTrackPath";
  return set_key (t, "version", "version=%d\n", tracked ? 3 : 1) == -1 ? -1
    : 1;
}

static bool
any_parent (void *opaque, struct store *store)
{
  (void) opaque;
  (void) store;
  return true;
}

/* The parent that the hint names, if it is there. */
static bool
has_parent_file (const struct text *t)
{
  const struct link *const l = t->l;
  struct context quiet = *l->ctx;
  struct vmdk_options options;
  struct folder *folder = NULL;
  struct store *s;

  if (l->folder == NULL)
    return true; /* it can't be known */
  vmdk_options_init (&options);
  quiet.log = vmdk_no_log;
  quiet.options = &options;
  quiet.wrap = NULL;
  quiet.stores = NULL;
  quiet.nr_stores = 0;
  s = resolve_parent (&quiet, l->store->name, l->folder, l->desc->encoding,
                      l->desc->parent_hint, any_parent, NULL, &folder);
  folder_close (folder);
  while (quiet.nr_stores > 0)
    store_unref (quiet.stores[--quiet.nr_stores]);
  free (quiet.stores);
  store_unref (s);
  return s != NULL;
}

/* Only one of parentCID and hint names a parent. */
static int
settle_parent (struct text *t, const char **what)
{
  const struct descriptor *const d = t->l->desc;

  if (d->parent_hint == NULL) {
    vmdk_warning (&t->r->log, "%s: parentCID is %08" PRIx32 ", so it has a "
                  "parent, but nothing says which; add a "
                  "parentFileNameHint=\"NAME\" to its descriptor",
                  t->l->store->name, d->parent_cid);
    return 0;
  }
  if (has_parent_file (t)) {
    vmdk_warning (&t->r->log, "%s: its parent is there, but parentCID says "
                  "that it has none; when you know that %s is the right one, "
                  "use vmdk-img fix-cid", t->l->store->name, d->parent_hint);
    return 0;
  }
  *what = "parentFileNameHint was removed: there is no such file, and "
    "parentCID says that there is no parent";
  return drop_key (t, "parentFileNameHint") == -1 ? -1 : 1;
}

static int
repair_text (struct repair *r, struct text *t)
{
  static const struct {
    const char *code;
    int (*fn) (struct text *t, const char **what);
  } repairs[] = {
    { "cid-missing", add_cids },
    { "parent-contradiction", settle_parent },
    { "long-content-id", set_long_content_id },
    { "geometry", set_geometry },
    { "change-tracking", set_version },
  };
  const size_t old_length = t->length;
  const char *what[5] = { NULL };
  size_t i;
  int result;

  for (i = 0; i < 5; i++)
    if (repair_has (r, NULL, repairs[i].code)) {
      result = repairs[i].fn (t, &what[i]);
      if (result == -1)
        return -1;
      if (result == 0)
        what[i] = NULL;
    }
  if (!t->changed)
    return 0;
  result = save (t, old_length);
  for (i = 0; result == 0 && i < 5; i++)
    if (what[i])
      repair_done (r, repairs[i].code, t->l->store->name, "%s", what[i]);
  return result == -1 ? -1 : 0;
}

int
repair_descriptor (struct repair *r, struct link *l)
{
  struct text t = { .r = r, .l = l };
  int result = 0;

  /* What its place is must be known before. */
  if (l->desc == NULL || r->nr_places == 0 ||
      (l->embedded && l->nr_extents > 0 &&
       repair_has (r, l->extents[0], "descriptor-misplaced")))
    return 0;
  result = load (&t);
  if (result == 0)
    result = repair_text (r, &t);
  free (t.data);
  return result;
}

/* The content ID. */

int
repair_new_cid (struct repair *r, struct link *l)
{
  const struct descriptor_edit edit = {
    .in_place = l->embedded, .drop_change_track = r->options->drop_cbt,
  };
  struct text t = { .r = r, .l = l };
  size_t old_length = 0;
  uint32_t cid = CID_UNSET;
  char *new = NULL;
  int result;

  if (l->desc == NULL)
    return 0;
  if (l->desc->change_track && !edit.drop_change_track)
    vmdk_warning (&r->log, "%s: the content changes, and %s, which VMware "
                  "keeps, doesn't say so: the next backup must be a full one; "
                  "with --drop-cbt, change tracking ends", l->store->name,
                  l->desc->change_track);
  result = load (&t);
  if (result == 0) {
    old_length = t.length;
    new = descriptor_change (&r->log, l->store->name, t.data, t.length, &edit,
                             &t.length, &cid);
    result = new ? 0 : -1;
  }
  free (t.data);
  t.data = new;
  if (result == 0)
    result = save (&t, old_length);
  free (t.data);
  if (result == 0 && cid != CID_UNSET)
    repair_done (r, "content-changed", l->store->name, "the content has "
                 "changed, and so the CID is %08" PRIx32 " now, and not %08"
                 PRIx32, cid, l->desc->cid);
  return result == -1 ? -1 : 0;
}

/* Flat extents. */

/* What is missing was lost, and has been read as zero. */
int
repair_flat (struct extent *e, struct repair *r)
{
  const uint64_t old_size = e->store->size;
  uint64_t start, end;

  if (!repair_has (r, e, "flat-too-short"))
    return 0;
  end = e->line->offset + e->size;
  start = e->start +
    (old_size > e->line->offset ? old_size - e->line->offset : 0);
  if (store_resize (e->store, end) == -1) {
    vmdk_error (&r->log, "%s: making it longer: %m", e->store->name);
    return -1;
  }
  r->result->content_changed = true;
  repair_done (r, "flat-too-short", e->store->name, "has %" PRIu64 " bytes "
               "now; guest bytes %" PRIu64 " to %" PRIu64 " were missing, and "
               "are zero", end, start, e->start + e->size - 1);
  return 0;
}
