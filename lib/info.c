/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What can be told about an open disk.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "disk.h"

size_t
vmdk_nr_links (const struct vmdk_disk *disk)
{
  const struct link *l;
  size_t n = 0;

  for (l = disk->top; l; l = l->parent)
    n++;
  return n;
}

void
vmdk_get_link (const struct vmdk_disk *disk, size_t link,
               struct vmdk_link_info *info)
{
  const struct link *const l = disk_link (disk, link);
  const struct descriptor *const d = l->desc;

  *info = (struct vmdk_link_info) {
    .file = l->store->name,
    .embedded = l->embedded && d,
    .has_descriptor = d != NULL,
    .parent_cid = CID_NONE,
    .size = l->size,
    .nr_extents = l->nr_extents,
  };
  if (d == NULL)
    return;
  info->version = d->version;
  info->create_type = d->create_type;
  info->encoding = d->encoding;
  info->parent_hint = d->parent_hint;
  info->change_track = d->change_track;
  info->cid = __atomic_load_n (&d->cid, __ATOMIC_RELAXED);
  info->parent_cid = d->parent_cid;
  info->long_content_id = descriptor_ddb (d, "longContentID");
  info->nr_ddb = d->nr_ddb;
}

void
vmdk_get_extent (const struct vmdk_disk *disk, size_t link, size_t i,
                 struct vmdk_extent_info *info)
{
  const struct extent *const e = disk_link (disk, link)->extents[i];
  const bool in_file = e->store && !e->store->no_file;

  *info = (struct vmdk_extent_info) {
    .file = in_file ? e->store->name : NULL,
    .access = extent_access_name (e->line ? e->line->access : ACCESS_RW),
    .type = extent_type_name (e->line ? e->line->type : TYPE_SPARSE),
    .name = e->line ? e->line->name : NULL,
    .format = e->format,
    .start = e->start,
    .size = e->size,
    .file_size = in_file ? e->store->size : 0,
    .grain_size = e->grain_size,
  };
  if (e->ops->info)
    e->ops->info (e, info);
}

void
vmdk_get_ddb (const struct vmdk_disk *disk, size_t link, size_t i,
              const char **key, const char **value)
{
  const struct ddb_entry *const entry = &disk_link (disk, link)->desc->ddb[i];

  *key = entry->key;
  *value = entry->value;
}

/* "40 GiB", "1.5 MiB", "3 sectors" */
static void
print_size (char *buf, size_t size, uint64_t bytes)
{
  static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
  uint64_t unit = 1024;
  size_t i = 0;

  while (i < 4 && bytes / unit >= 1024) {
    unit *= 1024;
    i++;
  }
  if (bytes < 1 << 20 && bytes % 1024 != 0)
    snprintf (buf, size, "%" PRIu64 " bytes", bytes);
  else if (bytes % unit == 0)
    snprintf (buf, size, "%" PRIu64 " %s", bytes / unit, units[i]);
  else
    snprintf (buf, size, "%.1f %s", (double) bytes / (double) unit, units[i]);
}

char *
vmdk_describe (const struct vmdk_disk *disk)
{
  const struct descriptor *const d = disk->top->desc;
  const size_t links = vmdk_nr_links (disk);
  char type[EXCERPT_SIZE], size[32], chain[48] = "", cid[24] = "";
  const char *why;
  char *text, *p;

  vmdk_excerpt (type, sizeof type, d && d->create_type ? d->create_type
                : disk->top->extents[0]->format);
  print_size (size, sizeof size, disk->top->size);
  /* NBD wants UTF-8, and the type is plain text in every sound image. */
  for (p = type; *p; p++)
    if (*p & 0x80)
      *p = '?';
  if (links > 1)
    snprintf (chain, sizeof chain, ", chain of %zu", links);
  else if (d && d->parent_hint)
    snprintf (chain, sizeof chain, ", single link");
  if (d)
    snprintf (cid, sizeof cid, ", CID %08" PRIx32,
              __atomic_load_n (&d->cid, __ATOMIC_RELAXED));
  if (asprintf (&text, "%s, %s%s%s%s", type, size, chain, cid,
                vmdk_can_write (disk, &why) ? "" : ", read-only") == -1) {
    vmdk_error (&disk->ctx->log, "%m");
    return NULL;
  }
  return text;
}
