/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The checker: what can be seen in descriptors and in how links and
 * extents fit together.  What is inside of an extent, its format checks.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check.h"
#include "disk.h"
#include "le.h"

/* Reporting. */

static struct tally *
find_tally (struct check *check, enum vmdk_severity severity,
            const char *code, const char *file)
{
  struct tally *t;
  size_t i;

  for (i = 0; i < check->nr_tallies; i++) {
    t = &check->tallies[i];
    if (strcmp (t->code, code) == 0 && strcmp (t->file, file) == 0)
      return t;
  }
  if (i == sizeof check->tallies / sizeof check->tallies[0])
    check_end_file (check);
  t = &check->tallies[check->nr_tallies++];
  *t = (struct tally) { .code = code, .file = file, .severity = severity };
  return t;
}

static void
count_severity (struct vmdk_check_result *result, enum vmdk_severity severity)
{
  switch (severity) {
  case VMDK_ERROR: result->errors++; break;
  case VMDK_WARNING: result->warnings++; break;
  case VMDK_NOTE: result->notes++; break;
  case VMDK_LEAK: break; /* counted in bytes */
  }
}

static void __attribute__ ((__format__ (__printf__, 5, 0)))
report (struct check *check, enum vmdk_severity severity, const char *code,
        const char *file, const char *fmt, va_list args)
{
  struct tally *const t = find_tally (check, severity, code, file);
  char text[512];

  count_severity (check->result, severity);
  if (++t->count > CHECK_MAX_ALIKE)
    return;
  vsnprintf (text, sizeof text, fmt, args);
  check->fn (check->opaque, &(struct vmdk_defect) {
      .code = code, .severity = severity, .file = file, .text = text });
}

void
check_defect (struct check *check, enum vmdk_severity severity,
              const char *code, const char *file, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  report (check, severity, code, file, fmt, args);
  va_end (args);
}

void
check_at (struct check *check, const struct check_place *place)
{
  if (check->at)
    check->at (check->opaque, place);
}

void
check_at_code (struct check *check, const char *code, struct extent *e)
{
  check_at (check, &(struct check_place) { .code = code, .e = e });
}

void
check_leak (struct check *check, const char *code, const char *file,
            uint64_t bytes, const char *fmt, ...)
{
  va_list args;

  check->result->leaked += bytes;
  va_start (args, fmt);
  report (check, VMDK_LEAK, code, file, fmt, args);
  va_end (args);
}

void
check_end_file (struct check *check)
{
  size_t i;

  for (i = 0; i < check->nr_tallies; i++) {
    const struct tally *const t = &check->tallies[i];
    char text[80];

    if (t->count <= CHECK_MAX_ALIKE)
      continue;
    snprintf (text, sizeof text, "%" PRIu64 " more like these",
              t->count - CHECK_MAX_ALIKE);
    check->fn (check->opaque, &(struct vmdk_defect) {
        .code = t->code, .severity = t->severity, .file = t->file,
        .text = text });
  }
  check->nr_tallies = 0;
}

/* Descriptors. */

static void
check_cids (struct check *check, const struct link *l)
{
  const struct descriptor *const d = l->desc;

  if (!d->has_cid || !d->has_parent_cid) {
    check_defect (check, VMDK_ERROR, "cid-missing", l->store->name,
                  "the descriptor has no %s", d->has_cid ? "parentCID" :
                  d->has_parent_cid ? "CID" : "CID and no parentCID");
    check_at_code (check, "cid-missing", NULL);
  }
  if (d->has_parent_cid &&
      (d->parent_cid == CID_NONE) != (d->parent_hint == NULL)) {
    check_defect (check, VMDK_ERROR, "parent-contradiction", l->store->name,
                  "parentCID is %08" PRIx32 ", but there is %s "
                  "parentFileNameHint", d->parent_cid,
                  d->parent_hint ? "a" : "no");
    check_at_code (check, "parent-contradiction", NULL);
  }
}

static void
check_long_content_id (struct check *check, const struct link *l)
{
  const char *const id = descriptor_ddb (l->desc, "longContentID");
  char cid[9], shown[EXCERPT_SIZE];

  if (id == NULL)
    return;
  snprintf (cid, sizeof cid, "%08" PRIx32, l->desc->cid);
  if (strlen (id) < 8 || strcasecmp (id + strlen (id) - 8, cid) != 0) {
    check_defect (check, VMDK_WARNING, "long-content-id", l->store->name,
                  "ddb.longContentID is %s, expected its last digits to be "
                  "the CID, %s", vmdk_excerpt (shown, sizeof shown, id), cid);
    check_at_code (check, "long-content-id", NULL);
  }
}

static uint64_t
ddb_number (const struct descriptor *d, const char *key)
{
  const char *const value = descriptor_ddb (d, key);

  return value ? strtoull (value, NULL, 10) : 0;
}

static void
check_geometry (struct check *check, const struct link *l)
{
  const uint64_t c = ddb_number (l->desc, "geometry.cylinders");
  const uint64_t h = ddb_number (l->desc, "geometry.heads");
  const uint64_t s = ddb_number (l->desc, "geometry.sectors");
  uint64_t n;

  if (__builtin_mul_overflow (c, h, &n) || __builtin_mul_overflow (n, s, &n) ||
      n > l->size / SECTOR_SIZE) {
    check_defect (check, VMDK_NOTE, "geometry", l->store->name,
                  "the geometry %" PRIu64 "/%" PRIu64 "/%" PRIu64 " covers "
                  "more than the disk's %" PRIu64 " sectors", c, h, s,
                  l->size / SECTOR_SIZE);
    check_at_code (check, "geometry", NULL);
  }
}

static void
check_change_tracking (struct check *check, const struct link *l)
{
  const struct descriptor *const d = l->desc;

  if ((d->version == 3) != (d->change_track != NULL)) {
    check_defect (check, VMDK_WARNING, "change-tracking", l->store->name,
                  "the descriptor's version is %u, but there is %s "
                  "changeTrackPath", d->version, d->change_track ? "a" : "no");
    check_at_code (check, "change-tracking", NULL);
  }
}

static void
check_descriptor (struct check *check, const struct link *l)
{
  check_cids (check, l);
  check_long_content_id (check, l);
  check_geometry (check, l);
  check_change_tracking (check, l);
}

/* Chains. */

static void
check_parent (struct check *check, const struct link *l)
{
  const struct link *const parent = l->parent;
  const uint32_t expected = l->desc ? l->desc->parent_cid : CID_NONE;
  const uint32_t found = parent->desc ? parent->desc->cid : CID_NONE;

  if (expected != found)
    check_defect (check, VMDK_ERROR, "cid-mismatch", l->store->name,
                  "was made over a parent with CID %08" PRIx32 ", but its "
                  "parent %s has CID %08" PRIx32, expected,
                  parent->store->name, found);
  if (l->size != parent->size)
    check_defect (check, VMDK_WARNING, "size-mismatch", l->store->name,
                  "has %" PRIu64 " bytes, but its parent %s has %" PRIu64,
                  l->size, parent->store->name, parent->size);
}

static void
check_flat_over_parent (struct check *check, const struct link *l)
{
  size_t i;

  if (l->parent == NULL &&
      (l->desc == NULL || l->desc->parent_cid == CID_NONE))
    return;
  for (i = 0; i < l->nr_extents; i++)
    if (strcmp (l->extents[i]->format, "flat") == 0)
      check_defect (check, VMDK_ERROR, "flat-with-parent", l->store->name,
                    "extent %zu is flat, so that nothing of the parent can "
                    "be seen in it", i);
}

/* Extents that share a file. */

struct use {
  const struct store *store;
  uint64_t start, end;
};

static int
compare_uses (const void *a, const void *b)
{
  const struct use *const x = a, *const y = b;

  if (x->store != y->store)
    return (uintptr_t) x->store < (uintptr_t) y->store ? -1 : 1;
  return x->start < y->start ? -1 : x->start > y->start;
}

static bool
is_flat (const struct extent *e)
{
  return strcmp (e->format, "flat") == 0;
}

/* A sparse extent uses all of its file. */
static size_t
list_uses (const struct link *l, struct use *uses)
{
  size_t n = 0, i;

  for (; l; l = l->parent)
    for (i = 0; i < l->nr_extents; i++) {
      const struct extent *const e = l->extents[i];
      const uint64_t start = is_flat (e) ? e->line->offset : 0;

      if (e->store == NULL || strcmp (e->format, "no access") == 0)
        continue;
      uses[n++] = (struct use) {
        .store = e->store, .start = start,
        .end = is_flat (e) ? start + e->size : UINT64_MAX };
    }
  return n;
}

static int
check_sharing (struct check *check, const struct vmdk_disk *disk)
{
  const struct link *l;
  size_t n = 0, i;
  struct use *uses;
  uint64_t end = 0;

  for (l = disk->top; l; l = l->parent)
    n += l->nr_extents;
  uses = calloc (n, sizeof *uses);
  if (uses == NULL) {
    vmdk_error (&disk->ctx->log, "calloc: %m");
    return -1;
  }
  n = list_uses (disk->top, uses);
  qsort (uses, n, sizeof *uses, compare_uses);
  for (i = 0; i < n; i++) {
    if (i == 0 || uses[i - 1].store != uses[i].store)
      end = 0;
    if (uses[i].start < end)
      check_defect (check, VMDK_ERROR, "extents-overlap",
                    uses[i].store->name,
                    "more than one extent uses the file from offset %" PRIu64
                    " on", uses[i].start);
    if (uses[i].end > end)
      end = uses[i].end;
  }
  free (uses);
  check_end_file (check);
  return 0;
}

/* Extents. */

int
flat_check (struct extent *e, struct check *check)
{
  const uint64_t end = e->line->offset + e->size;

  if (is_flat (e) && e->store->size < end) {
    check_defect (check, VMDK_ERROR, "flat-too-short", e->store->name,
                  "the file has %" PRIu64 " bytes, but the extent needs %"
                  PRIu64, e->store->size, end);
    check_at_code (check, "flat-too-short", e);
  }
  return 0;
}

static int
check_extents (struct check *check, const struct link *l)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++) {
    struct extent *const e = l->extents[i];

    if (e->ops->check && e->ops->check (e, check) == -1)
      return -1;
    check_end_file (check);
  }
  return 0;
}

int
check_disk (struct vmdk_disk *disk, struct check *check)
{
  const struct link *l;

  *check->result = (struct vmdk_check_result) { 0 };
  for (l = disk->top; l; l = l->parent) {
    if (l->desc)
      check_descriptor (check, l);
    if (l->parent)
      check_parent (check, l);
    check_flat_over_parent (check, l);
    if (check_extents (check, l) == -1)
      return -1;
  }
  return check_sharing (check, disk);
}

int
vmdk_check (struct vmdk_disk *disk, vmdk_defect_fn fn, void *opaque,
            struct vmdk_check_result *result)
{
  struct check check = { .fn = fn, .opaque = opaque, .result = result };

  return check_disk (disk, &check);
}
