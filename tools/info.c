/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img info: what a disk is made of.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "info-ova.h"
#include "json.h"
#include "vmdk-img.h"

/* Extents of a link that are listed without --all. */
#define SHOWN_EXTENTS 20

#define NO_PARENT UINT32_C (0xffffffff)

enum {
  OPT_ALL = OWN_OPTIONS,
};

static const struct option options[] = {
  { "all", no_argument, NULL, OPT_ALL },
  { NULL, 0, NULL, 0 },
};

static const char help[] =
"  --all                   list all extents, not only the first 20 of a link\n";

static bool all_extents;

static void
set_option (const struct settings *s, int option, const char *value)
{
  (void) s;
  (void) option;
  (void) value;
  all_extents = true;
}

/* How much room files take up. */

struct usage {
  dev_t dev;
  ino_t ino;
  uint64_t bytes;
};

/* False: there is no such figure, as for a device. */
static bool
find_usage (const char *file, struct usage *usage)
{
  struct stat st;

  if (stat (file, &st) == -1 || !S_ISREG (st.st_mode))
    return false;
  *usage = (struct usage) {
    .dev = st.st_dev, .ino = st.st_ino, .bytes = (uint64_t) st.st_blocks * 512,
  };
  return true;
}

static int
compare_usages (const void *a, const void *b)
{
  const struct usage *const x = a, *const y = b;

  if (x->dev != y->dev)
    return x->dev < y->dev ? -1 : 1;
  return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

/* Of all files of the link.  Several extents may lie in one file.  False:
 * none of them is a file.
 */
static bool
link_usage (const struct vmdk_disk *disk, size_t link,
            const struct vmdk_link_info *info, uint64_t *bytes)
{
  struct usage *const list = calloc (info->nr_extents + 1, sizeof *list);
  size_t i, n = 0;

  *bytes = 0;
  if (list == NULL)
    return false;
  if (find_usage (info->file, &list[n]))
    n++;
  for (i = 0; i < info->nr_extents; i++) {
    struct vmdk_extent_info extent;

    vmdk_get_extent (disk, link, i, &extent);
    if (extent.file && find_usage (extent.file, &list[n]))
      n++;
  }
  qsort (list, n, sizeof *list, compare_usages);
  for (i = 0; i < n; i++)
    if (i == 0 || compare_usages (&list[i - 1], &list[i]) != 0)
      *bytes += list[i].bytes;
  free (list);
  return n > 0;
}

/* For people. */

static void
print_line (const char *name, const char *value)
{
  if (value == NULL)
    return;
  printf ("  %s: ", name);
  print_text (value);
  putchar ('\n');
}

static void
print_format (const struct vmdk_extent_info *e)
{
  char size[SIZE_TEXT];

  printf ("       %s", e->format);
  if (e->version != 0)
    printf (" version %" PRIu32, e->version);
  if (e->grain_size != 0)
    printf (", grains of %s", size_text (size, e->grain_size));
  if (e->compressed)
    fputs (", compressed", stdout);
  if (e->zeroed_grains)
    fputs (", zeroed grains", stdout);
  if (e->redundant)
    fputs (", redundant tables", stdout);
  if (e->flags != 0)
    printf (", flags 0x%" PRIx32, e->flags);
  if (e->unclean)
    fputs (", not closed properly", stdout);
  if (e->recovered)
    fputs (", tables rebuilt by scanning", stdout);
  putchar ('\n');
}

static void
print_extent_file (const struct vmdk_extent_info *e)
{
  const char *slash;
  char size[SIZE_TEXT];
  struct usage usage;

  if (e->file == NULL)
    return;
  fputs ("       ", stdout);
  print_text (e->file);
  printf (": %s", size_text (size, e->file_size));
  if (find_usage (e->file, &usage))
    printf (", %s on disk", size_text (size, usage.bytes));
  if (e->file_offset != 0)
    printf (", data from %" PRIu64, e->file_offset);
  putchar ('\n');

  slash = strrchr (e->file, '/');
  if (e->name && strcmp (e->name, slash ? slash + 1 : e->file) != 0) {
    fputs ("       the descriptor calls it ", stdout);
    print_text (e->name);
    putchar ('\n');
  }
}

static void
print_extent (size_t i, const struct vmdk_extent_info *e)
{
  char size[SIZE_TEXT];

  printf ("    %zu: %s %s, guest bytes %" PRIu64 "-%" PRIu64 " (%s)\n", i,
          e->access, e->type, e->start, e->start + e->size,
          size_text (size, e->size));
  print_format (e);
  print_extent_file (e);
}

static void
print_extents (const struct vmdk_disk *disk, size_t link, size_t n)
{
  const size_t shown = all_extents || n <= SHOWN_EXTENTS ? n : SHOWN_EXTENTS;
  size_t i;

  printf ("  extents: %zu\n", n);
  for (i = 0; i < shown; i++) {
    struct vmdk_extent_info extent;

    vmdk_get_extent (disk, link, i, &extent);
    print_extent (i, &extent);
  }
  if (shown < n)
    printf ("    and %zu more; --all lists them\n", n - shown);
}

static void
print_header (const struct vmdk_link_info *info)
{
  printf ("  descriptor: %s, version %u\n",
          info->embedded ? "embedded" : "separate", info->version);
  print_line ("create type", info->create_type);
  print_line ("encoding", info->encoding);
  printf ("  CID: %08" PRIx32 "\n", info->cid);
  if (info->parent_cid == NO_PARENT)
    puts ("  parent CID: none");
  else
    printf ("  parent CID: %08" PRIx32 "\n", info->parent_cid);
  print_line ("parent hint", info->parent_hint);
  print_line ("change tracking", info->change_track);
}

static void
print_ddb (const struct vmdk_disk *disk, size_t link, size_t n)
{
  size_t i;

  if (n > 0)
    puts ("  disk data base:");
  for (i = 0; i < n; i++) {
    const char *key, *value;

    vmdk_get_ddb (disk, link, i, &key, &value);
    fputs ("  ", stdout);
    print_line (key, value);
  }
}

static void
print_link (const struct vmdk_disk *disk, size_t link)
{
  struct vmdk_link_info info;
  char size[SIZE_TEXT];
  uint64_t usage;

  vmdk_get_link (disk, link, &info);
  printf ("\nlink %zu: ", link);
  print_text (info.file);
  putchar ('\n');
  if (info.has_descriptor)
    print_header (&info);
  else
    puts ("  descriptor: none");
  printf ("  size: %s (%" PRIu64 " bytes)\n", size_text (size, info.size),
          info.size);
  if (link_usage (disk, link, &info, &usage))
    printf ("  on disk: %s\n", size_text (size, usage));
  print_extents (disk, link, info.nr_extents);
  print_ddb (disk, link, info.nr_ddb);
}

static void
print_disk (const struct vmdk_disk *disk, const char *file,
            const char *description)
{
  const size_t nr_links = vmdk_nr_links (disk);
  char size[SIZE_TEXT];
  size_t link;

  fputs ("file: ", stdout);
  print_text (file);
  fputs ("\ndescription: ", stdout);
  print_text (description);
  printf ("\ndisk size: %s (%" PRIu64 " bytes)\n",
          size_text (size, vmdk_size (disk)), vmdk_size (disk));
  printf ("links: %zu\n", nr_links);
  for (link = 0; link < nr_links; link++)
    print_link (disk, link);
}

/* For programs. */

static void
write_optional (struct json *j, const char *key, const char *value)
{
  if (value)
    json_string (j, key, value);
}

static void
write_cid (struct json *j, const char *key, uint32_t cid)
{
  char text[9];

  snprintf (text, sizeof text, "%08" PRIx32, cid);
  json_string (j, key, text);
}

static void
write_extent (struct json *j, const struct vmdk_extent_info *e)
{
  struct usage usage;

  json_object (j, NULL, false);
  json_string (j, "access", e->access);
  json_string (j, "type", e->type);
  json_string (j, "format", e->format);
  json_uint (j, "start", e->start);
  json_uint (j, "size", e->size);
  write_optional (j, "name", e->name);
  if (e->file) {
    json_string (j, "file", e->file);
    json_uint (j, "file-size", e->file_size);
    json_uint (j, "file-offset", e->file_offset);
    if (find_usage (e->file, &usage))
      json_uint (j, "actual-size", usage.bytes);
  }
  if (e->grain_size != 0) {
    json_uint (j, "grain-size", e->grain_size);
    json_uint (j, "version", e->version);
    json_uint (j, "flags", e->flags);
    json_bool (j, "compressed", e->compressed);
    json_bool (j, "zeroed-grains", e->zeroed_grains);
    json_bool (j, "redundant-tables", e->redundant);
    json_bool (j, "unclean", e->unclean);
    json_bool (j, "recovered", e->recovered);
  }
  json_end (j);
}

static void
write_header (struct json *j, const struct vmdk_link_info *info)
{
  json_bool (j, "embedded", info->embedded);
  json_uint (j, "version", info->version);
  write_optional (j, "create-type", info->create_type);
  write_optional (j, "encoding", info->encoding);
  write_cid (j, "cid", info->cid);
  write_cid (j, "parent-cid", info->parent_cid);
  write_optional (j, "parent-hint", info->parent_hint);
  write_optional (j, "change-track-path", info->change_track);
  write_optional (j, "long-content-id", info->long_content_id);
}

struct ddb_entry {
  const char *key, *value;
  size_t i;
};

static int
compare_entries (const void *a, const void *b)
{
  const struct ddb_entry *const x = a, *const y = b;
  const int order = strcmp (x->key, y->key);

  return order != 0 ? order : x->i < y->i ? -1 : x->i > y->i;
}

/* Sorted, because some readers of JSON refuse a key that comes twice, and
 * others take the last one.  We take the first.
 */
static void
write_ddb (struct json *j, const struct vmdk_disk *disk, size_t link,
           size_t n)
{
  struct ddb_entry *const entries = calloc (n + 1, sizeof *entries);
  size_t i;

  json_object (j, "ddb", false);
  for (i = 0; entries && i < n; i++) {
    vmdk_get_ddb (disk, link, i, &entries[i].key, &entries[i].value);
    entries[i].i = i;
  }
  if (entries)
    qsort (entries, n, sizeof *entries, compare_entries);
  for (i = 0; entries && i < n; i++)
    if (i == 0 || strcmp (entries[i - 1].key, entries[i].key) != 0)
      json_string (j, entries[i].key, entries[i].value);
  json_end (j);
  free (entries);
}

static void
write_usage (struct json *j, const struct vmdk_disk *disk, size_t link,
             const struct vmdk_link_info *info)
{
  uint64_t bytes;

  if (link_usage (disk, link, info, &bytes))
    json_uint (j, "actual-size", bytes);
}

static bool
is_raw (const struct vmdk_disk *disk)
{
  struct vmdk_extent_info extent;

  vmdk_get_extent (disk, 0, 0, &extent);
  return strcmp (extent.format, "raw") == 0;
}

static void
write_link (struct json *j, const struct vmdk_disk *disk, size_t link)
{
  struct vmdk_extent_info extent;
  struct vmdk_link_info info;
  size_t i;

  vmdk_get_link (disk, link, &info);
  json_object (j, NULL, false);
  json_string (j, "file", info.file);
  json_bool (j, "has-descriptor", info.has_descriptor);
  if (info.has_descriptor)
    write_header (j, &info);
  json_uint (j, "size", info.size);
  write_usage (j, disk, link, &info);
  json_array (j, "extents", false);
  for (i = 0; i < info.nr_extents; i++) {
    vmdk_get_extent (disk, link, i, &extent);
    write_extent (j, &extent);
  }
  json_end (j);
  write_ddb (j, disk, link, info.nr_ddb);
  json_end (j);
}

static void
write_disk (const struct vmdk_disk *disk, const char *file,
            const char *description)
{
  const size_t nr_links = vmdk_nr_links (disk);
  struct json j = JSON_TO (stdout);
  struct vmdk_link_info top;
  size_t link;

  vmdk_get_link (disk, 0, &top);
  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  json_string (&j, "format", is_raw (disk) ? "raw" : "vmdk");
  json_uint (&j, "virtual-size", vmdk_size (disk));
  write_usage (&j, disk, 0, &top);
  json_string (&j, "description", description);
  write_optional (&j, "create-type", top.create_type);
  json_array (&j, "links", false);
  for (link = 0; link < nr_links; link++)
    write_link (&j, disk, link);
  json_end (&j);
  json_end (&j);
}

static int
run (const struct settings *s)
{
  const int status = info_ova (s);
  struct vmdk_disk *disk;
  char *description;

  if (status != -1)
    return status;
  disk = open_disk (s);
  if (disk == NULL)
    return STATUS_FAILED;
  description = vmdk_describe (disk);
  if (description)
    (s->json ? write_disk : print_disk) (disk, s->open.file, description);
  free (description);
  vmdk_close (disk);
  return description ? STATUS_OK : STATUS_FAILED;
}

const struct command info_command = {
  .name = "info",
  .summary = "Prints what a disk is made of",
  .help = help,
  .options = options,
  .set = set_option,
  .takes_uri = true,
  .run = run,
};
