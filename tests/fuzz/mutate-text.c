/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes of descriptors, by lines, words and numbers.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MAX_TEXT 8192
#define MAX_LINES 256

static const char *const lines[] = {
  "# Disk DescriptorFile", "version=1", "version=2", "version=3",
  "CID=fffffffe", "CID=12345678", "CID=0", "parentCID=ffffffff",
  "parentCID=12345678", "isNativeSnapshot=\"no\"",
  "isNativeSnapshot=\"yes\"", "encoding=\"UTF-8\"",
  "encoding=\"windows-1252\"", "encoding=\"GBK\"",
  "createType=\"monolithicSparse\"", "createType=\"monolithicFlat\"",
  "createType=\"twoGbMaxExtentSparse\"", "createType=\"streamOptimized\"",
  "createType=\"vmfsSparse\"", "createType=\"seSparse\"",
  "createType=\"vmfs\"", "createType=\"custom\"",
  "createType=\"fullDevice\"", "parentFileNameHint=\"p.vmdk\"",
  "parentFileNameHint=\"d.vmdk\"", "parentFileNameHint=\"./p.vmdk\"",
  "parentFileNameHint=\"C:\\\\x\\\\p.vmdk\"", "# Extent description",
  "# Change Tracking File", "changeTrackPath=\"d-ctk.vmdk\"",
  "RW 128 FLAT \"d-flat.vmdk\" 0", "RW 128 FLAT \"p-flat.vmdk\" 16",
  "RW 2048 SPARSE \"d-s001.vmdk\"", "RW 64 ZERO", "RDONLY 64 ZERO",
  "NOACCESS 64 ZERO", "RW 128 VMFS \"d-flat.vmdk\"",
  "RW 2048 VMFSSPARSE \"d-delta.vmdk\"", "RW 2048 SESPARSE \"d-sesparse.vmdk\"",
  "NOACCESS 64 FLAT \"d-flat.vmdk\" 0", "RDONLY 64 FLAT \"d-f001.vmdk\" 0",
  "ddb.adapterType = \"ide\"", "ddb.geometry.cylinders = \"16383\"",
  "ddb.geometry.heads = \"16\"", "ddb.geometry.sectors = \"63\"",
  "ddb.longContentID = \"0123456789abcdef0123456712345678\"",
  "ddb.uuid = \"60 00 C2 90 00 00 00 00-00 00 00 00 00 00 00 00\"",
  "ddb.virtualHWVersion = \"4\"", "ddb.thinProvisioned = \"1\"",
  "ddb.grain = \"128\"", "ddb.x = \"a\"", "ddb.deletable = \"true\"",
};
#define NR_LINES (sizeof lines / sizeof lines[0])

static const char *const words[] = {
  "RW", "RDONLY", "NOACCESS", "FLAT", "SPARSE", "ZERO", "VMFS", "VMFSSPARSE",
  "SESPARSE", "VMFSRDM", "VMFSRAW", "VSANSPARSE", "d.vmdk", "d-flat.vmdk",
  "p.vmdk", "../d.vmdk", "/dev/null", "x/../d-flat.vmdk", "d-s001.vmdk",
  "ffffffff", "fffffffe", "\"", "\"\"", "=", " = ", "\t", "\r\n", "\n\n", "#",
  "\xc3\xa9", "\xff", "|22", "\\", "0", "1", "4294967296", "36028797018963968",
  "9223372036854775807", "18446744073709551615", "18446744073709551616", "-1",
};
#define NR_WORDS (sizeof words / sizeof words[0])

struct text {
  char *bytes;
  size_t length, max;
};

/* Puts other bytes in the place of some. */
static void
splice (struct text *t, size_t at, size_t count, const char *new, size_t n)
{
  if (t->length - count + n > t->max)
    return;
  memmove (t->bytes + at + n, t->bytes + at + count,
           t->length - at - count);
  memcpy (t->bytes + at, new, n);
  t->length += n - count;
}

/* A line, with its end. */
static size_t
choose_line (const struct text *t, struct rng *r, size_t *length)
{
  size_t starts[MAX_LINES], n = 0, i, start;
  const char *end;

  for (i = 0; i < t->length && n < MAX_LINES; i++)
    if (i == 0 || t->bytes[i - 1] == '\n')
      starts[n++] = i;
  start = n ? starts[rng_below (r, n)] : 0;
  end = memchr (t->bytes + start, '\n', t->length - start);
  *length = end ? (size_t) (end + 1 - t->bytes) - start : t->length - start;
  return start;
}

static void
add_line (struct text *t, size_t at, struct rng *r)
{
  char buf[128];
  const int n = snprintf (buf, sizeof buf, "%s\n",
                          lines[rng_below (r, NR_LINES)]);

  splice (t, at, 0, buf, (size_t) n);
}

/* A copy of a line elsewhere. */
static void
copy_line (struct text *t, struct rng *r)
{
  size_t n, other;
  const size_t from = choose_line (t, r, &n);
  const size_t to = choose_line (t, r, &other);
  char buf[512];

  if (n > sizeof buf)
    return;
  memcpy (buf, t->bytes + from, n);
  splice (t, to, rng_below (r, 3) ? 0 : other, buf, n);
}

/* The first run of digits in a line, or of anything else. */
static void
change_word (struct text *t, size_t at, size_t length, struct rng *r)
{
  static const char digits[] = "0123456789abcdef";
  const bool number = rng_below (r, 2);
  const char *const line = t->bytes + at;
  size_t i = (size_t) rng_below (r, length), n = 0;
  char buf[32];

  while (number && i < length && !memchr (digits, line[i], 10))
    i++;
  while (i + n < length &&
         (number ? memchr (digits, line[i + n], 16) != NULL
          : !memchr (" =\"\n", line[i + n], 4)))
    n++;
  if (number && n > 0) {
    const uint64_t old = strtoull (line + i, NULL, 10);
    const int m = snprintf (buf, sizeof buf, "%llu", (unsigned long long)
                            (rng_below (r, 2) ? old + rng_below (r, 17) - 8
                             : UINT64_C (1) << rng_below (r, 64)));

    splice (t, at + i, n, buf, (size_t) m);
  }
  else {
    const char *const w = words[rng_below (r, NR_WORDS)];

    splice (t, at + i, n, w, strlen (w));
  }
}

static void
change (struct text *t, struct rng *r)
{
  size_t length;
  const size_t at = choose_line (t, r, &length);
  const char byte = (char) rng_below (r, 256);

  switch (rng_below (r, 8)) {
  case 0:
    splice (t, at, length, "", 0);
    break;
  case 1:
    copy_line (t, r);
    break;
  case 2: case 3:
    add_line (t, at, r);
    break;
  case 4:
    if (length > 0)
      splice (t, at + (size_t) rng_below (r, length), rng_below (r, 2),
              &byte, rng_below (r, 2));
    break;
  default:
    if (length > 0)
      change_word (t, at, length, r);
    break;
  }
}

size_t
mutate_text (char *bytes, size_t length, size_t max, struct rng *r)
{
  struct text t = { .bytes = bytes, .length = length, .max = max };

  do
    change (&t, r);
  while (rng_below (r, 2));
  return t.length;
}

/* Where the text is, and how much room it has; 0: there is none. */
static size_t
find_text (const struct pages *p, uint64_t *offset)
{
  uint8_t h[SECTOR];
  uint64_t size = 0;
  unsigned i;

  pages_read (p, h, sizeof h, 0);
  *offset = 0;
  if (h[0] == '#' || h[0] == 'v')
    return MAX_TEXT;
  if (memcmp (h, "KDMV", 4) != 0)
    return 0;
  for (i = 0; i < 4; i++) {
    *offset |= (uint64_t) h[28 + i] << 8 * i;
    size |= (uint64_t) h[36 + i] << 8 * i;
  }
  *offset *= SECTOR;
  return size * SECTOR > MAX_TEXT ? MAX_TEXT : (size_t) size * SECTOR;
}

bool
mutate_descriptor (struct pages *p, struct rng *r)
{
  char text[MAX_TEXT + 1];
  uint64_t offset;
  const size_t max = find_text (p, &offset);
  size_t old, new;

  if (max == 0 || offset >= p->size)
    return false;
  pages_read (p, text, max, offset);
  text[max] = '\0';
  old = strlen (text);
  new = mutate_text (text, old, max, r);
  if (new < old)
    memset (text + new, 0, old - new);
  if (offset == 0)
    pages_resize (p, new);
  return pages_write (p, text, new < old ? old : new, offset);
}
