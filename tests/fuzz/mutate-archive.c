/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes of archives (OVA) and of undo files, whose checksums are made to
 * be right again: else nothing else in them would ever be looked at.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fuzz.h"

#define MAX_MEMBERS 16
#define MAX_TEXT 8192
#define MAX_UNDO (64 << 10)

/* Archives. */

struct header {
  char name[100], mode[8], uid[8], gid[8], size[12], time[12], sum[8], type;
  char link[100], magic[8], user[32], group[32], major[8], minor[8];
  char prefix[155], pad[12];
};

static const char *const names[] = {
  "d.ovf", "x.ovf", "d-disk1.vmdk", "d-disk1.vmdk.gz", "D.VMDK",
  "d-disk1.vmdk.000000000", "d-disk1.vmdk.000000001", "a/d.ovf", "../d.vmdk",
};
static const char types[] = "0017LKxgSVM5";

static void
fix_sum (struct header *h)
{
  const uint8_t *const p = (const uint8_t *) h;
  unsigned sum = 0;
  size_t i;

  memset (h->sum, ' ', sizeof h->sum);
  for (i = 0; i < sizeof *h; i++)
    sum += p[i];
  snprintf (h->sum, sizeof h->sum, "%06o", sum & 0777777);
}

static uint64_t
size_of (const struct header *h)
{
  char digits[sizeof h->size + 1];

  memcpy (digits, h->size, sizeof h->size);
  digits[sizeof h->size] = '\0';
  return strtoull (digits, NULL, 8) % MAX_FILE_SIZE;
}

static size_t
find_members (const struct pages *p, uint64_t *places)
{
  struct header h;
  uint64_t at = 0;
  size_t n;

  for (n = 0; n < MAX_MEMBERS && at + sizeof h <= p->size; n++) {
    pages_read (p, &h, sizeof h, at);
    if (memcmp (h.magic, "ustar", 5) != 0)
      break;
    places[n] = at;
    at += sizeof h + (size_of (&h) + SECTOR - 1) / SECTOR * SECTOR;
  }
  return n;
}

static void
change_header (struct header *h, struct rng *r)
{
  switch (rng_below (r, 6)) {
  case 0: case 1:
    memset (h->name, 0, sizeof h->name);
    strcpy (h->name, names[rng_below (r, sizeof names / sizeof names[0])]);
    break;
  case 2:
    snprintf (h->size, sizeof h->size, "%011llo", (unsigned long long)
              (size_of (h) + rng_below (r, 1025) - 512) & 077777777777);
    break;
  case 3: /* in binary */
    memset (h->size, 0, sizeof h->size);
    h->size[0] = (char) 0x80;
    h->size[11 - rng_below (r, 8)] = (char) rng_below (r, 256);
    break;
  case 4:
    h->type = types[rng_below (r, sizeof types)];
    break;
  default:
    snprintf (h->prefix, sizeof h->prefix, "%s", rng_below (r, 2) ? "a" : "");
    break;
  }
}

/* Words in the text of a member. */
static void
change_text (struct pages *p, const struct header *h, uint64_t at,
             struct rng *r)
{
  static const char *const words[] = {
    "<File ", "<Disk ", "ovf:href=\"", "ovf:id=\"", "ovf:fileRef=\"file1\"",
    "ovf:capacity=\"", "ovf:chunkSize=\"512\"", "ovf:compression=\"gzip\"",
    "ovf:capacityAllocationUnits=\"byte * 2^20\"", "ovf:size=\"", "</", "/>",
    "&amp;", "&#x41;", "<!--", "-->", "<![CDATA[", "]]>", "xmlns:a=\"",
    "byte * 2^63", "\"", "file1", "d-disk1.vmdk", "18446744073709551616",
    "16 size=100\n", "20 path=d-disk1.vmdk\n", "GNU.sparse.major=1\n",
  };
  const char *const w = words[rng_below (r, sizeof words / sizeof words[0])];
  const uint64_t size = size_of (h);
  uint64_t place;

  if (size == 0)
    return;
  place = at + sizeof *h + rng_below (r, size < MAX_TEXT ? size : MAX_TEXT);
  if (place + strlen (w) < p->size)
    pages_write (p, w, strlen (w), place);
}

static void
copy_member (struct pages *p, const uint64_t *places, size_t n,
             struct rng *r)
{
  uint8_t buf[MAX_TEXT];
  const uint64_t from = places[rng_below (r, n)];
  const uint64_t to = places[rng_below (r, n)];
  const size_t size = SECTOR * (1 + (size_t) rng_below (r, 4));

  pages_read (p, buf, size, from);
  if (to + size <= p->size)
    pages_write (p, buf, size, to);
}

bool
mutate_archive (struct pages *p, struct rng *r)
{
  uint64_t places[MAX_MEMBERS];
  const size_t n = find_members (p, places);
  struct header h;
  uint64_t at;

  if (n == 0)
    return false;
  at = places[rng_below (r, n)];
  pages_read (p, &h, sizeof h, at);
  switch (rng_below (r, 4)) {
  case 0: case 1:
    change_header (&h, r);
    fix_sum (&h);
    pages_write (p, &h, sizeof h, at);
    break;
  case 2:
    change_text (p, &h, at, r);
    break;
  default:
    copy_member (p, places, n, r);
    break;
  }
  return true;
}

/* Undo files. */

static uint32_t
number_at (const uint8_t *p)
{
  return p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
    (uint32_t) p[3] << 24;
}

static void
put_number (uint8_t *p, uint32_t n)
{
  p[0] = (uint8_t) n;
  p[1] = (uint8_t) (n >> 8);
  p[2] = (uint8_t) (n >> 16);
  p[3] = (uint8_t) (n >> 24);
}

/* The place of the last chunk, which has the checksum, or 0. */
static size_t
find_end (const uint8_t *bytes, size_t size, struct rng *r, size_t *chunk)
{
  size_t at = 16, n = 0;

  while (at + 12 <= size && number_at (bytes + at) <= 3 &&
         number_at (bytes + at + 4) <= size - at) {
    const size_t length = number_at (bytes + at + 4);

    if (rng_below (r, ++n) == 0)
      *chunk = at;
    if (length == 4 && at + 12 == size)
      return at;
    at += 8 + length;
  }
  return 0;
}

bool
mutate_undo (struct pages *p, struct rng *r)
{
  static uint8_t bytes[MAX_UNDO];
  const size_t size = (size_t) p->size;
  size_t chunk = 16, end;

  if (p->size > MAX_UNDO || size < 28)
    return false;
  pages_read (p, bytes, size, 0);
  if (memcmp (bytes, "VMDKundo", 4) != 0)
    return false;
  end = find_end (bytes, size, r, &chunk);
  if (end == 0 || chunk + 24 > size)
    return false;
  if (rng_below (r, 2))
    bytes[chunk + 8 + rng_below (r, 16)] ^=
      (uint8_t) (1U << rng_below (r, 8));
  else
    put_number (bytes + chunk + 8 + 4 * rng_below (r, 4),
                rng_below (r, 2) ? (uint32_t) rng_below (r, 4096)
                : UINT32_C (1) << rng_below (r, 32));
  put_number (bytes + end + 8, (uint32_t) crc32 (crc32 (0, NULL, 0), bytes,
                                                  (uInt) end));
  return pages_write (p, bytes, size, 0);
}
