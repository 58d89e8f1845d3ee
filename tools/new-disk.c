/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Options of the commands that make disks, and what they print as JSON.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "json.h"
#include "new-disk.h"

static void
set_type (const struct settings *s, struct vmdk_new *n, const char *name)
{
  static const char thick[] = "vmfsThick vmfsEagerZeroedThick "
    "vmfsPreallocated";

  if (!vmdk_find_type (name, &n->type))
    usage_error (s->command, "--type=%s: there is no such type: expected "
                 "monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, "
                 "twoGbMaxExtentFlat, vmfs, vmfsSparse, seSparse, "
                 "streamOptimized or raw", name);
  /* Names of one type that say how space is taken, too. */
  if (n->type == VMDK_TYPE_VMFS && strcasestr (thick, name) &&
      strcasecmp (name, "vmfs") != 0)
    n->preallocate = VMDK_PREALLOCATE_FULL;
}

static unsigned
parse_number (const struct settings *s, const char *option, const char *value)
{
  char *end;
  unsigned long n;

  errno = 0;
  n = strtoul (value, &end, 10);
  if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 ||
      n == 0 || n > 1000000)
    usage_error (s->command, "--%s=%s: not a number that can be", option,
                 value);
  return (unsigned) n;
}

static enum vmdk_preallocation
parse_preallocation (const struct settings *s, const char *value)
{
  if (strcmp (value, "off") == 0)
    return VMDK_PREALLOCATE_OFF;
  if (strcmp (value, "metadata") == 0)
    return VMDK_PREALLOCATE_METADATA;
  if (strcmp (value, "full") == 0)
    return VMDK_PREALLOCATE_FULL;
  usage_error (s->command, "--preallocate=%s: not off, metadata or full",
               value);
}

bool
set_new_disk_option (const struct settings *s, struct vmdk_new *n, int option,
                     const char *value)
{
  switch (option) {
  case OPT_ADAPTER: n->adapter = value; return true;
  case OPT_FORCE: n->force = true; return true;
  case OPT_GRAIN_SIZE:
    n->grain_size = parse_size (s, "grain-size", value);
    if (n->grain_size == 0)
      usage_error (s->command, "--grain-size=%s: can't be 0", value);
    return true;
  case OPT_HW_VERSION:
    n->hw_version = parse_number (s, "hw-version", value);
    return true;
  case OPT_PREALLOCATE:
    n->preallocate = parse_preallocation (s, value);
    return true;
  case OPT_TYPE: set_type (s, n, value); return true;
  }
  return false;
}

/* Telling. */

static void
write_files (struct json *j, struct vmdk_disk *disk, const char *file)
{
  struct vmdk_link_info info;
  size_t i;

  json_array (j, "files", false);
  json_string (j, NULL, file);
  vmdk_get_link (disk, 0, &info);
  for (i = 0; i < info.nr_extents; i++) {
    struct vmdk_extent_info e;

    vmdk_get_extent (disk, 0, i, &e);
    if (e.file && strcmp (e.file, info.file) != 0)
      json_string (j, NULL, e.file);
  }
  json_end (j);
}

static void
write_disk (struct json *j, struct vmdk_disk *disk, const char *file)
{
  struct vmdk_link_info info;
  char cid[9], parent_cid[9];

  vmdk_get_link (disk, 0, &info);
  snprintf (cid, sizeof cid, "%08" PRIx32, info.cid);
  snprintf (parent_cid, sizeof parent_cid, "%08" PRIx32, info.parent_cid);
  json_string (j, "type", info.create_type);
  json_uint (j, "size", info.size);
  json_string (j, "cid", cid);
  json_string (j, "parent-cid", parent_cid);
  json_string (j, "parent-hint", info.parent_hint);
  write_files (j, disk, file);
}

/* Of a file that has only the guest's bytes. */
static void
write_raw (struct json *j, const char *file)
{
  struct stat st;

  json_string (j, "type", "raw");
  json_uint (j, "size", stat (file, &st) == 0 ? (uint64_t) st.st_size : 0);
  json_array (j, "files", false);
  json_string (j, NULL, file);
  json_end (j);
}

int
tell_new_disk (const struct settings *s, const char *file,
               enum vmdk_type type)
{
  struct json j = JSON_TO (stdout);
  struct vmdk_options o = s->open;
  struct vmdk_disk *disk = NULL;

  if (!s->json)
    return STATUS_OK;
  o.file = file;
  o.parent = NULL;
  o.single_link = true;
  if (type != VMDK_TYPE_RAW && (disk = vmdk_open (&o)) == NULL)
    return STATUS_FAILED;
  json_object (&j, NULL, false);
  json_string (&j, "filename", file);
  if (disk)
    write_disk (&j, disk, file);
  else
    write_raw (&j, file);
  json_end (&j);
  vmdk_close (disk);
  return STATUS_OK;
}
