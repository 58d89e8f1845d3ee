/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The bytes of an input:
 *
 *   6    options
 *   2    length of the requests
 *   ..   requests
 *   files, to the end:
 *     1    number of the name
 *     6    size in bytes
 *     pieces, up to one of length 0:
 *       2    length
 *       6    offset in the file
 *       ..   its bytes
 *
 * Numbers are little-endian.  So an image of many MiB is an input of a few
 * hundred bytes.
 */

#include <config.h>

#include <string.h>

#include "fuzz.h"

/* Zeroes that are worth a new piece. */
#define GAP 16
#define MAX_PIECE 4096

const char *const input_names[NR_NAMES] = {
  "d.vmdk", "d-flat.vmdk", "d-delta.vmdk", "d-sesparse.vmdk",
  "d-s001.vmdk", "d-s002.vmdk", "d-f001.vmdk", "p.vmdk", "p-flat.vmdk",
  "p-delta.vmdk", "p-sesparse.vmdk", "p-s001.vmdk", "d.vmdk.undo",
};

uint64_t
take (struct requests *r, unsigned bytes)
{
  uint64_t value = 0;
  unsigned i;

  for (i = 0; i < bytes && r->next < r->end; i++)
    value |= (uint64_t) *r->next++ << 8 * i;
  return value;
}

struct requests
input_requests (const struct input *in)
{
  return (struct requests) {
    .next = in->requests, .end = in->requests + in->nr_requests,
  };
}

static size_t
take_bytes (struct requests *r, uint8_t *buf, size_t count)
{
  const size_t left = (size_t) (r->end - r->next);
  const size_t n = count < left ? count : left;

  memcpy (buf, r->next, n);
  r->next += n;
  return n;
}

static void
load_pieces (struct pages *p, struct requests *r)
{
  uint8_t buf[MAX_PIECE];
  size_t n;

  while ((n = (size_t) take (r, 2)) > 0) {
    const uint64_t offset = take (r, 6) % MAX_FILE_SIZE;

    if (n > sizeof buf)
      n = sizeof buf;
    n = take_bytes (r, buf, n);
    if (offset >= p->size)
      continue;
    if (n > p->size - offset)
      n = (size_t) (p->size - offset);
    if (!pages_write (p, buf, n, offset))
      return;
  }
}

static bool
has_name (const struct input *in, unsigned name)
{
  size_t i;

  for (i = 0; i < in->nr_files; i++)
    if (in->files[i].name == name)
      return true;
  return false;
}

void
input_load (struct input *in, const uint8_t *data, size_t size)
{
  struct requests r = { .next = data, .end = data + size };
  size_t n;

  memset (in, 0, sizeof *in);
  take_bytes (&r, in->options, sizeof in->options);
  n = (size_t) take (&r, 2);
  in->nr_requests =
    take_bytes (&r, in->requests, n < MAX_REQUESTS ? n : MAX_REQUESTS);
  while (r.next < r.end && in->nr_files < MAX_FILES) {
    struct input_file *const f = &in->files[in->nr_files];

    *f = (struct input_file) { .name = (unsigned) take (&r, 1) % NR_NAMES };
    f->pages.size = take (&r, 6) % MAX_FILE_SIZE;
    load_pieces (&f->pages, &r);
    if (has_name (in, f->name))
      pages_clear (&f->pages);
    else
      in->nr_files++;
  }
}

void
input_clear (struct input *in)
{
  size_t i;

  for (i = 0; i < in->nr_files; i++)
    pages_clear (&in->files[i].pages);
  in->nr_files = 0;
}

/* Saving. */

struct output {
  uint8_t *next, *end;
  bool full;
};

static void
put (struct output *o, uint64_t value, unsigned bytes)
{
  unsigned i;

  if ((size_t) (o->end - o->next) < bytes)
    o->full = true;
  for (i = 0; i < bytes && !o->full; i++)
    *o->next++ = (uint8_t) (value >> 8 * i);
}

static void
put_bytes (struct output *o, const uint8_t *data, size_t count)
{
  if ((size_t) (o->end - o->next) < count)
    o->full = true;
  if (o->full || count == 0)
    return;
  memcpy (o->next, data, count);
  o->next += count;
}

/* The next bytes of a page that aren't zero, with small gaps. */
static bool
next_piece (const uint8_t *page, size_t *start, size_t *end)
{
  size_t i = *end, zeroes = 0;

  while (i < PAGE && page[i] == 0)
    i++;
  *start = *end = i;
  for (; i < PAGE && zeroes < GAP; i++) {
    zeroes = page[i] == 0 ? zeroes + 1 : 0;
    if (zeroes == 0)
      *end = i + 1;
  }
  return *end > *start;
}

static void
put_pages (struct output *o, const struct pages *p)
{
  size_t i;

  for (i = 0; i < p->nr; i++) {
    size_t start = 0, end = 0;

    while (next_piece (p->list[i].bytes, &start, &end)) {
      put (o, end - start, 2);
      put (o, p->list[i].number * PAGE + start, 6);
      put_bytes (o, p->list[i].bytes + start, end - start);
    }
  }
  put (o, 0, 2);
}

size_t
input_save (const struct input *in, uint8_t *data, size_t max_size)
{
  struct output o = { .next = data, .end = data + max_size };
  size_t i;

  put_bytes (&o, in->options, sizeof in->options);
  put (&o, in->nr_requests, 2);
  put_bytes (&o, in->requests, in->nr_requests);
  for (i = 0; i < in->nr_files; i++) {
    put (&o, in->files[i].name, 1);
    put (&o, in->files[i].pages.size, 6);
    put_pages (&o, &in->files[i].pages);
  }
  return o.full ? 0 : (size_t) (o.next - data);
}
