/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img info of an OVA with several disks: which they are.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "info-ova.h"
#include "json.h"

static void
count_disk (void *opaque, const struct vmdk_member *m)
{
  size_t *const n = opaque;

  (void) m;
  (*n)++;
}

static void
print_disk (void *opaque, const struct vmdk_member *m)
{
  char size[SIZE_TEXT];

  (void) opaque;
  fputs ("  ", stdout);
  print_text (m->name);
  if (m->absent)
    fputs (": missing in the archive", stdout);
  else
    printf (": %s in the archive", size_text (size, m->file_size));
  if (m->compressed)
    fputs (" (compressed by gzip)", stdout);
  if (m->capacity != 0)
    printf (", disk of %s", size_text (size, m->capacity));
  if (m->disk_id) {
    fputs (", ID ", stdout);
    print_text (m->disk_id);
  }
  putchar ('\n');
}

static void
write_disk (void *opaque, const struct vmdk_member *m)
{
  struct json *const j = opaque;

  json_object (j, NULL, false);
  json_string (j, "name", m->name);
  if (m->disk_id)
    json_string (j, "disk-id", m->disk_id);
  if (m->capacity != 0)
    json_uint (j, "capacity", m->capacity);
  if (!m->absent)
    json_uint (j, "file-size", m->file_size);
  json_bool (j, "missing", m->absent);
  json_bool (j, "compressed", m->compressed);
  json_end (j);
}

static int
list_for_people (const struct settings *s, size_t n)
{
  bool is_ova;

  fputs ("file: ", stdout);
  print_text (s->open.file);
  printf ("\nformat: OVA\ndisks: %zu; --member=NAME tells about one\n", n);
  return vmdk_list_ova (&s->open, &is_ova, print_disk, NULL);
}

static int
list_for_programs (const struct settings *s)
{
  struct json j = JSON_TO (stdout);
  bool is_ova;
  int r;

  json_object (&j, NULL, false);
  json_string (&j, "filename", s->open.file);
  json_string (&j, "format", "ova");
  json_array (&j, "disks", false);
  r = vmdk_list_ova (&s->open, &is_ova, write_disk, &j);
  json_end (&j);
  json_end (&j);
  return r;
}

int
info_ova (const struct settings *s)
{
  bool is_ova;
  size_t n = 0;
  int r;

  if (s->open.member)
    return -1;
  if (vmdk_list_ova (&s->open, &is_ova, count_disk, &n) == -1)
    return STATUS_FAILED;
  if (!is_ova || n < 2)
    return -1;
  r = s->json ? list_for_programs (s) : list_for_people (s, n);
  return r == -1 ? STATUS_FAILED : STATUS_OK;
}
