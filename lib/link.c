/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opening one link: finding its descriptor, in a file of its own or
 * inside of a sparse extent, and the extents that it lists.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "kdmv.h"
#include "link.h"

/* Finding the descriptor. */

struct found {
  struct descriptor *desc;
  bool embedded;
  uint64_t offset; /* of its text in the file */
  size_t length;
};

static char *
read_text (const struct vmdk_log *log, struct store *store, uint64_t offset,
           size_t count)
{
  char *const text = malloc (count + 1);

  if (text == NULL) {
    vmdk_error (log, "%s: %m", store->name);
    return NULL;
  }
  if (store_pread (store, text, count, offset) == -1) {
    free (text);
    return NULL;
  }
  text[count] = '\0';
  return text;
}

/* The name of the descriptor that an extent's name suggests, or NULL. */
static char *
guess_descriptor (const char *name)
{
  static const char *const suffixes[] = {
    "-delta.vmdk", "-sesparse.vmdk", "-flat.vmdk", "-rdm.vmdk",
    "-rdmp.vmdk", "-ctk.vmdk", "-pt.vmdk",
  };
  const size_t n = strlen (name);
  char *guess = NULL;
  size_t i, stem = 0;

  for (i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    const size_t m = strlen (suffixes[i]);

    if (n > m && strcasecmp (name + n - m, suffixes[i]) == 0)
      stem = n - m;
  }
  /* -s001.vmdk, -f001.vmdk */
  if (n > 10 && strcasecmp (name + n - 5, ".vmdk") == 0 &&
      strspn (name + n - 8, "0123456789abcdefABCDEF") >= 3 &&
      name[n - 10] == '-' && strchr ("sfSF", name[n - 9]))
    stem = n - 10;
  if (stem != 0 && asprintf (&guess, "%.*s.vmdk", (int) stem, name) == -1)
    return NULL;
  return guess;
}

/* What people also have lying beside their disks. */
static const char *
recognise (const struct store *store, const char *text, size_t count)
{
  static const struct {
    size_t offset;
    const char *magic;
    const char *what;
  } others[] = {
    { 257, "ustar", "this is a tar archive, as OVA files are, inside of which "
      "nothing can be found here; unpack it and open the disk in it" },
    { 0, "\x1f\x8b", "this is compressed (gzip); uncompress it" },
    { 0, "BZh", "this is compressed (bzip2); uncompress it" },
    { 0, "\xfd" "7zXZ", "this is compressed (xz); uncompress it" },
    { 0, "\x28\xb5\x2f\xfd", "this is compressed (zstd); uncompress it" },
    { 0, "QFI\xfb", "this is a qcow2 image, not a VMDK" },
    { 0, "vhdxfile", "this is a VHDX image, not a VMDK" },
  };
  size_t i;

  if (store->size == 0)
    return "the file is empty";
  for (i = 0; i < sizeof others / sizeof others[0]; i++) {
    const size_t n = strlen (others[i].magic);

    if (others[i].offset + n <= count &&
        memcmp (text + others[i].offset, others[i].magic, n) == 0)
      return others[i].what;
  }
  return NULL;
}

static int
report_not_a_link (const struct vmdk_log *log, const struct store *store,
                   const char *what, bool raw)
{
  char *const guess = guess_descriptor (store->name);

  if (guess && access (guess, F_OK) == 0)
    vmdk_error (log, "%s: %s; open the descriptor instead, which is "
                "probably %s", store->name, what, guess);
  else if (guess)
    vmdk_error (log, "%s: %s; open the descriptor instead, which is usually "
                "called %s, but isn't there; if it is lost, vmdk-img "
                "rebuild-descriptor makes a new one", store->name, what,
                guess);
  else
    vmdk_error (log, "%s: %s; open the descriptor that names it instead, or "
                "make one with vmdk-img rebuild-descriptor%s", store->name,
                what, raw ? "; if it has just the guest's bytes, vmdk-img "
                "reads it with --format=raw" : "");
  free (guess);
  errno = EINVAL;
  return -1;
}

/* Reads the descriptor that is inside of a sparse extent, if there is
 * one: writers leave the space empty in extents of a split disk.
 */
static int
read_embedded (const struct vmdk_log *log, struct store *store,
               struct found *f)
{
  struct kdmv_header h;
  size_t count;
  char *text;

  if (kdmv_read_header (log, store, &h) == -1)
    return -1;
  if (h.descriptor_offset == 0 || h.descriptor_size == 0 ||
      h.descriptor_offset >= store->size)
    return 0;
  /* One byte more than may be: the parser must see that it is too long. */
  count = h.descriptor_size > VMDK_MAX_DESCRIPTOR ? VMDK_MAX_DESCRIPTOR + 1
    : (size_t) h.descriptor_size;
  text = read_text (log, store, h.descriptor_offset, count);
  if (text == NULL)
    return -1;
  if (text[0] != '\0') {
    f->desc = descriptor_parse (log, store->name, text, count);
    f->offset = h.descriptor_offset;
    f->length = count;
    if (f->desc == NULL) {
      free (text);
      return -1;
    }
  }
  free (text);
  return 0;
}

static int
read_separate (const struct vmdk_log *log, struct store *store,
               struct found *f)
{
  const size_t count = store->size > VMDK_MAX_DESCRIPTOR ?
    VMDK_MAX_DESCRIPTOR : (size_t) store->size;
  char *const text = read_text (log, store, 0, count);
  int r = -1;

  if (text == NULL)
    return -1;
  if (!descriptor_probe (text, count) && recognise (store, text, count)) {
    vmdk_error (log, "%s: %s", store->name, recognise (store, text, count));
    errno = EINVAL;
  }
  else if (!descriptor_probe (text, count))
    report_not_a_link (log, store, "this is neither a VMDK descriptor nor a "
                       "sparse extent (no known magic number)", true);
  else if (store->size > VMDK_MAX_DESCRIPTOR) {
    vmdk_error (log, "%s: the descriptor has %" PRIu64 " bytes, expected at "
                "most %d", store->name, store->size, VMDK_MAX_DESCRIPTOR);
    errno = EINVAL;
  }
  else {
    f->desc = descriptor_parse (log, store->name, text, count);
    f->length = count;
    r = f->desc ? 0 : -1;
  }
  free (text);
  return r;
}

/* On success f->desc is NULL for a lone extent. */
static int
read_descriptor (const struct vmdk_log *log, struct store *store,
                 struct found *f)
{
  uint8_t start[8];

  *f = (struct found) { 0 };
  if (store_pread (store, start, sizeof start, 0) == -1)
    return -1;
  switch (extent_magic (start)) {
  case MAGIC_KDMV:
    f->embedded = true;
    return read_embedded (log, store, f);
  case MAGIC_KDMV_UNFINISHED:
    vmdk_error (log, "%s: the program that wrote this extent didn't finish "
                "it (its magic number is \"kdmv\")", store->name);
    errno = EINVAL;
    return -1;
  case MAGIC_COWD:
    return report_not_a_link (log, store, "this is a COWD extent, which "
                              "doesn't say what it belongs to", false);
  case MAGIC_SESPARSE:
    return report_not_a_link (log, store, "this is a seSparse extent, which "
                              "doesn't say what it belongs to", false);
  case MAGIC_CHANGE_TRACK:
    return report_not_a_link (log, store, "this is a change tracking file, "
                              "not a disk", false);
  case MAGIC_NONE:
    break;
  }
  return read_separate (log, store, f);
}

struct descriptor *
link_peek_descriptor (struct store *store)
{
  uint8_t start[8];
  struct found f;

  /* Flat extents and other large files needn't be read to be refused. */
  if (store->size > VMDK_MAX_DESCRIPTOR &&
      (store_pread (store, start, sizeof start, 0) == -1 ||
       extent_magic (start) != MAGIC_KDMV))
    return NULL;
  return read_descriptor (&vmdk_no_log, store, &f) == -1 ? NULL : f.desc;
}

bool
link_peek_cid (struct store *store, uint32_t *cid)
{
  struct descriptor *const d = link_peek_descriptor (store);
  bool found;

  if (d == NULL)
    return false;
  *cid = d->cid;
  found = d->has_cid;
  descriptor_free (d);
  return found;
}

/* Opening the extents. */

static struct extent *
refuse_type (const struct link *l, const struct extent_line *line,
             const char *why)
{
  vmdk_error (&l->ctx->log, "%s: line %u: extents of type %s %s",
              l->store->name, line->line, extent_type_name (line->type), why);
  errno = EINVAL;
  return NULL;
}

/* Says to others that the file is being read, before it is. */
static int
announce (struct context *ctx, struct store *store)
{
  return ctx->lock ? store_lock (store, false) : 0;
}

/* Which sparse format it is, the file says; the type is often wrong. */
static struct extent *
open_sparse (const struct link *l, struct store *store,
             const struct extent_line *line)
{
  uint8_t start[8];

  if (store_pread (store, start, sizeof start, 0) == -1) {
    store_unref (store);
    return NULL;
  }
  switch (extent_magic (start)) {
  case MAGIC_KDMV:
    return kdmv_open (l->ctx, store, line);
  case MAGIC_COWD:
    return cowd_open (l->ctx, store, line);
  case MAGIC_SESPARSE:
    return sesparse_open (l->ctx, store, line);
  default:
    break;
  }
  vmdk_error (&l->ctx->log, "%s: line %u: %s is listed as %s, but doesn't "
              "begin with the magic number of a sparse extent (it has "
              "0x%08" PRIx32 ")", l->store->name, line->line, store->name,
              extent_type_name (line->type), le32_at (start));
  store_unref (store);
  errno = EINVAL;
  return NULL;
}

static struct extent *
open_in_file (const struct link *l, const struct extent_line *line)
{
  struct store *const store =
    resolve_extent (l->ctx, l->store->name, l->folder, l->desc->encoding,
                    line);

  if (store == NULL)
    return NULL;
  if (announce (l->ctx, store) == -1) {
    store_unref (store);
    return NULL;
  }
  switch (line->type) {
  case TYPE_SPARSE:
  case TYPE_VMFSSPARSE:
  case TYPE_SESPARSE:
    return open_sparse (l, store, line);
  default:
    return flat_open (l->ctx, store, line);
  }
}

static bool
given_by_hand (const struct link *l, const struct extent_line *line)
{
  const struct vmdk_options *const o = l->ctx->options;
  size_t i;

  for (i = 0; i < o->nr_extents; i++)
    if (strcmp (o->extents[i].name, line->name) == 0)
      return true;
  return false;
}

/* The first extent of an embedded descriptor is the file that it is in,
 * whatever name it had when it was written.
 */
static struct extent *
open_line (const struct link *l, const struct extent_line *line)
{
  const bool own_file = l->embedded && line == &l->desc->extents[0] &&
    line->type == TYPE_SPARSE;

  if (line->type == TYPE_ZERO)
    return zero_open (l->ctx, line);
  if (line->access == ACCESS_NOACCESS)
    return no_access_open (l->ctx, l->store->name, line);
  if (own_file)
    return open_sparse (l, store_ref (l->store), line);
  if (line->type == TYPE_VSANSPARSE ||
      strncasecmp (line->name, "vsan://", 7) == 0)
    return refuse_type (l, line, "lie in a vSAN object store, not in a file; "
                        "export the disk from there");
  if (line->type == TYPE_VMFSRDM && !given_by_hand (l, line))
    return refuse_type (l, line, "are mappings of a device (RDM): the data "
                        "are not in the file; say where they are with "
                        "extent=NAME=PATH");
  return open_in_file (l, line);
}

static int
add_extent (struct link *l, struct extent *e)
{
  if (e == NULL)
    return -1;
  vmdk_debug (&l->ctx->log, VMDK_TOPIC_CHAIN, "%s: extent %zu: %s, guest %"
              PRIu64 "+%" PRIu64 ": %s", l->store->name, l->nr_extents,
              e->format, l->size, e->size,
              e->store ? e->store->name : "no file");
  e->start = l->size;
  l->size += e->size;
  l->extents[l->nr_extents++] = e;
  if (e->store)
    e->store->extents++;
  if (e->grain_size > l->grain_size)
    l->grain_size = e->grain_size;
  return 0;
}

/* An extent of a split disk is a sound disk by itself, but seldom what
 * one wants to see.
 */
static int
open_lone_extent (struct link *l)
{
  char *const guess = guess_descriptor (l->store->name);

  if (guess)
    vmdk_warning (&l->ctx->log, "%s: there is no descriptor in this extent; "
                  "it is served as a disk of its own, but seems to be part "
                  "of %s", l->store->name, guess);
  free (guess);
  return add_extent (l, kdmv_open (l->ctx, store_ref (l->store), NULL));
}

static int
open_extents (struct link *l)
{
  const size_t n = l->desc ? l->desc->nr_extents : 1;
  size_t i;

  l->extents = calloc (n, sizeof l->extents[0]);
  if (l->extents == NULL) {
    vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
    return -1;
  }
  if (l->desc == NULL)
    return open_lone_extent (l);
  for (i = 0; i < n; i++)
    if (add_extent (l, open_line (l, &l->desc->extents[i])) == -1)
      return -1;
  return 0;
}

static int
check_encryption (const struct link *l)
{
  if (l->desc == NULL || !l->desc->encrypted)
    return 0;
  vmdk_error (&l->ctx->log, "%s: the disk is encrypted, which isn't "
              "supported; decrypt it where it was made", l->store->name);
  errno = EINVAL;
  return -1;
}

/* From inside of an archive, or of another machine, no file can be named. */
static int
check_place (const struct link *l)
{
  if (l->store->read_only == NULL || l->desc == NULL || l->embedded)
    return 0;
  vmdk_error (&l->ctx->log, "%s: this is only the descriptor of a disk, which "
              "names other files; bring all of them to one folder and open "
              "it there", l->store->name);
  errno = EINVAL;
  return -1;
}

static int
read_link (struct link *l)
{
  struct found f;

  if (read_descriptor (&l->ctx->log, l->store, &f) == -1)
    return -1;
  l->desc = f.desc;
  l->embedded = f.embedded;
  l->desc_offset = f.offset;
  l->desc_length = f.length;
  return check_encryption (l) == -1 || check_place (l) == -1 ? -1
    : open_extents (l);
}

static int
read_raw_link (struct link *l)
{
  const uint64_t size = l->store->size;

  if (size > VMDK_MAX_SIZE - SECTOR_SIZE) {
    vmdk_error (&l->ctx->log, "%s: %" PRIu64 " bytes are too many",
                l->store->name, size);
    errno = EFBIG;
    return -1;
  }
  l->raw = (struct extent_line) {
    .access = ACCESS_RW,
    .type = TYPE_FLAT,
    .size = (size + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE,
  };
  l->extents = calloc (1, sizeof l->extents[0]);
  if (l->extents)
    return add_extent (l, raw_open (l->ctx, store_ref (l->store), &l->raw));
  vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
  return -1;
}

static struct link *
open_as (struct context *ctx, struct store *store, struct folder *folder,
         int (*read) (struct link *l))
{
  struct link *const l = calloc (1, sizeof *l);
  int err;

  if (l == NULL) {
    vmdk_error (&ctx->log, "%s: %m", store->name);
    store_unref (store);
    folder_close (folder);
    return NULL;
  }
  l->ctx = ctx;
  l->store = store;
  l->folder = folder;
  if (announce (ctx, store) == 0 && read (l) == 0)
    return l;
  err = errno;
  link_close (l);
  errno = err;
  return NULL;
}

struct link *
link_open (struct context *ctx, struct store *store, struct folder *folder)
{
  return open_as (ctx, store, folder, read_link);
}

struct link *
link_open_raw (struct context *ctx, struct store *store,
               struct folder *folder)
{
  return open_as (ctx, store, folder, read_raw_link);
}

void
link_close (struct link *l)
{
  size_t i;

  if (l == NULL)
    return;
  for (i = 0; i < l->nr_extents; i++)
    extent_close (l->extents[i]);
  free (l->extents);
  descriptor_free (l->desc);
  folder_close (l->folder);
  store_unref (l->store);
  free (l);
}

struct extent *
link_find_extent (const struct link *l, uint64_t offset)
{
  size_t low = 0, high = l->nr_extents;

  /* The one wanted is in [low, high). */
  while (high - low > 1) {
    const size_t mid = low + (high - low) / 2;

    if (offset < l->extents[mid]->start)
      high = mid;
    else
      low = mid;
  }
  return l->extents[low];
}
