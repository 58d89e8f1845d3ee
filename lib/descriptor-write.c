/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Composing descriptors.  The form is that of VMware's own tools, and
 * avoids what makes other readers stumble:
 *
 *   - the first line is what VirtualBox looks for, the second what qemu does
 *   - parentCID follows CID at once: qemu takes whatever comes first for the
 *     CID, and drops what is between them when it changes it
 *   - a comment precedes the extents, and no blank line is among them: qemu
 *     counts an extent once more for each blank line before it
 *   - no spaces around "=" before the extents, and one on each side behind
 *     them; numbers of content IDs have all their digits
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "descriptor-write.h"
#include "le.h"
#include "memstream.h"

#define LONG_ID_DIGITS 32
#define CID_DIGITS 8

/* Of tools in the guest that nobody looks after, or of which nothing is
 * known.
 */
#define TOOLS_VERSION "2147483647"

/* A text that grows. */
struct text {
  FILE *stream;
  char *buf;
  size_t length;
};

static char *
finish_text (const struct vmdk_log *log, struct text *t)
{
  char *const text = t->stream ? memstream_close (t->stream, &t->buf) : NULL;

  if (text == NULL)
    vmdk_error (log, "composing a descriptor: %m");
  return text;
}

/* There is no way to write a quote inside of quotes. */
static int
check_name (const struct vmdk_log *log, const char *name)
{
  char excerpt[EXCERPT_SIZE];

  if (strpbrk (name, "\"\n\r") == NULL)
    return 0;
  vmdk_error (log, "%s: such a name can't be put into a descriptor, since it "
              "has a quote or a line break in it; choose another",
              vmdk_excerpt (excerpt, sizeof excerpt, name));
  errno = EINVAL;
  return -1;
}

/* Geometry. */

#define MAX_HOSTED_IDE_CYLINDERS 16383

/* SCSI disks are as BusLogic's controllers see them. */
struct geometry
geometry_of (const char *adapter, bool hosted, uint64_t size)
{
  const bool ide = strcasecmp (adapter, "ide") == 0;
  struct geometry g = { .heads = 255, .sectors = 63 };

  if (ide)
    g.heads = 16;
  else if (size < UINT64_C (1) << 30)
    g.heads = 64, g.sectors = 32;
  else if (size < UINT64_C (2) << 30)
    g.heads = 128, g.sectors = 32;
  g.cylinders = size / SECTOR_SIZE / ((uint64_t) g.heads * g.sectors);
  if (ide && hosted && g.cylinders > MAX_HOSTED_IDE_CYLINDERS)
    g.cylinders = MAX_HOSTED_IDE_CYLINDERS;
  return g;
}

/* Content IDs. */

int
cid_random (const struct vmdk_log *log, uint32_t *cid)
{
  do
    if (getrandom (cid, sizeof *cid, 0) != (ssize_t) sizeof *cid) {
      vmdk_error (log, "a random number for the content ID: %m");
      return -1;
    }
  while (*cid == 0 || *cid == CID_UNSET || *cid == CID_NONE);
  return 0;
}

#define RANDOM_DIGITS (LONG_ID_DIGITS - CID_DIGITS)

/* The UUID is an NAA identifier of type 6 with VMware's number. */
int
disk_identity_random (const struct vmdk_log *log, struct disk_identity *id)
{
  uint8_t r[RANDOM_DIGITS / 2 + 16], *const u = r + RANDOM_DIGITS / 2;
  size_t i;

  if (getrandom (r, sizeof r, 0) != (ssize_t) sizeof r) {
    vmdk_error (log, "random numbers for the disk's identity: %m");
    return -1;
  }
  for (i = 0; i < RANDOM_DIGITS / 2; i++)
    snprintf (id->long_content_id + 2 * i, 3, "%02x", r[i]);
  snprintf (id->long_content_id + RANDOM_DIGITS,
            sizeof id->long_content_id - RANDOM_DIGITS, "00000000");
  u[0] = 0x60;
  u[1] = 0x00;
  u[2] = 0xc2;
  u[3] = (uint8_t) (0x90 | (u[3] & 0xf));
  for (i = 0; i < 16; i++)
    snprintf (id->uuid + 3 * i, 4, i == 2 ? "%02X%c" : "%02x%c", u[i],
              i == 15 ? '\0' : i == 7 ? '-' : ' ');
  return 0;
}

/* The same digits for the same CID, and no pattern. */
static uint32_t
scramble (uint32_t x)
{
  x = (x ^ x >> 16) * UINT32_C (0x7feb352d);
  x = (x ^ x >> 15) * UINT32_C (0x846ca68b);
  return x ^ x >> 16;
}

/* 128 bits of which the last 32 are the CID. */
static void
put_long_content_id (FILE *out, const struct new_descriptor *d)
{
  const uint32_t a = scramble (d->cid), b = scramble (a), c = scramble (b);

  fputs ("ddb.longContentID = \"", out);
  if (d->long_content_id && strlen (d->long_content_id) == LONG_ID_DIGITS)
    fprintf (out, "%.*s", LONG_ID_DIGITS - CID_DIGITS, d->long_content_id);
  else
    fprintf (out, "%08" PRIx32 "%08" PRIx32 "%08" PRIx32, a, b, c);
  fprintf (out, "%08" PRIx32 "\"\n", d->cid);
}

/* The parts. */

static void
put_line (FILE *out, const struct new_extent_line *line)
{
  fprintf (out, "%s %" PRIu64 " %s", extent_access_name (line->access),
           line->size / SECTOR_SIZE, extent_type_name (line->type));
  if (line->name)
    fprintf (out, " \"%s\"", line->name);
  fputs (line->has_offset ? " 0\n" : "\n", out);
}

static bool
is_ascii_text (const char *s)
{
  while (s && *s != '\0')
    if (*s++ & 0x80)
      return false;
  return true;
}

/* Whether the names need no encoding. */
static bool
is_ascii (const struct new_descriptor *d)
{
  size_t i;

  for (i = 0; i < d->nr_extents; i++)
    if (!is_ascii_text (d->extents[i].name))
      return false;
  return is_ascii_text (d->parent_hint);
}

static void
put_header (FILE *out, const struct new_descriptor *d)
{
  fprintf (out, "# Disk DescriptorFile\n"
           "version=1\n"
           "%s"
           "CID=%08" PRIx32 "\n"
           "parentCID=%08" PRIx32 "\n"
           "%s"
           "createType=\"%s\"\n",
           d->brief && is_ascii (d) ? "" : "encoding=\"UTF-8\"\n", d->cid,
           d->parent_cid, d->brief ? "" : "isNativeSnapshot=\"no\"\n",
           d->create_type);
  if (d->parent_hint)
    fprintf (out, "parentFileNameHint=\"%s\"\n", d->parent_hint);
}

static void
put_ddb (FILE *out, const struct new_descriptor *d)
{
  fputs ("\n# The Disk Data Base \n#DDB\n\n", out);
  if (d->adapter)
    fprintf (out, "ddb.adapterType = \"%s\"\n", d->adapter);
  if (d->grain != 0)
    fputs ("ddb.encoding = \"UTF-8\"\n", out);
  if (d->geometry)
    fprintf (out, "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
             "ddb.geometry.heads = \"%u\"\n"
             "ddb.geometry.sectors = \"%u\"\n", d->geometry->cylinders,
             d->geometry->heads, d->geometry->sectors);
  if (d->grain != 0)
    fprintf (out, "ddb.grain = \"%u\"\n", d->grain);
  if (d->with_long_content_id)
    put_long_content_id (out, d);
  if (d->thin)
    fputs ("ddb.thinProvisioned = \"1\"\n", out);
  if (d->adapter && !d->brief)
    fputs ("ddb.toolsVersion = \"" TOOLS_VERSION "\"\n", out);
  if (d->uuid)
    fprintf (out, "ddb.uuid = \"%s\"\n", d->uuid);
  if (d->hw_version != 0)
    fprintf (out, "ddb.virtualHWVersion = \"%u\"\n", d->hw_version);
}

static int
check_names (const struct vmdk_log *log, const struct new_descriptor *d)
{
  size_t i;

  if (d->parent_hint && check_name (log, d->parent_hint) == -1)
    return -1;
  for (i = 0; i < d->nr_extents; i++)
    if (d->extents[i].name && check_name (log, d->extents[i].name) == -1)
      return -1;
  return 0;
}

char *
descriptor_compose (const struct vmdk_log *log,
                    const struct new_descriptor *d)
{
  struct text t = { NULL, NULL, 0 };
  size_t i;

  if (check_names (log, d) == -1)
    return NULL;
  t.stream = open_memstream (&t.buf, &t.length);
  if (t.stream) {
    put_header (t.stream, d);
    fputs ("\n# Extent description\n", t.stream);
    for (i = 0; i < d->nr_extents; i++)
      put_line (t.stream, &d->extents[i]);
    put_ddb (t.stream, d);
  }
  return finish_text (log, &t);
}

char *
descriptor_compose_line (const struct vmdk_log *log,
                         const struct new_extent_line *line)
{
  struct text t = { NULL, NULL, 0 };

  if (line->name && check_name (log, line->name) == -1)
    return NULL;
  t.stream = open_memstream (&t.buf, &t.length);
  if (t.stream)
    put_line (t.stream, line);
  return finish_text (log, &t);
}
