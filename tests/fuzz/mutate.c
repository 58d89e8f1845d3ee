/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes of inputs as a whole.
 */

#include <config.h>

#include <string.h>

#include "fuzz.h"

/* What is given to libFuzzer at a time. */
#define MAX_BYTES 256

static struct pages *
choose_file (struct input *in, struct rng *r)
{
  const size_t i = rng_below (r, 2) ? 0 : (size_t) rng_below (r, in->nr_files);

  return &in->files[i].pages;
}

/* A place in a page that has something. */
static uint64_t
choose_place (const struct pages *p, struct rng *r)
{
  const uint64_t page = p->nr ? p->list[rng_below (r, p->nr)].number
    : rng_below (r, p->size / PAGE + 1);
  const uint64_t in = rng_below (r, 3) ? rng_below (r, PAGE)
    : rng_below (r, PAGE / SECTOR) * SECTOR;

  return page * PAGE + in;
}

/* The first bytes say what a file is, and mostly remain. */
static void
change_bytes (struct pages *p, struct rng *r, bytes_fn bytes)
{
  const uint64_t at = choose_place (p, r);
  const size_t n = 1 + (size_t) rng_below (r, MAX_BYTES);
  uint8_t first[8], buf[MAX_BYTES];

  if (at >= p->size || p->size - at < n)
    return;
  pages_read (p, first, sizeof first, 0);
  pages_read (p, buf, n, at);
  bytes (buf, n, n);
  pages_write (p, buf, n, at);
  if (rng_below (r, 16) > 0 && p->size >= sizeof first)
    pages_write (p, first, sizeof first, 0);
}

static void
change_size (struct pages *p, struct rng *r)
{
  static const uint16_t steps[] = { 1, 511, 512, 1024, 4096, 65535 };
  const uint64_t step = steps[rng_below (r, sizeof steps / sizeof steps[0])];
  uint64_t size = p->size;

  switch (rng_below (r, 6)) {
  case 0:
    size = rng_below (r, size + 1);
    break;
  case 1:
    size = rng_below (r, size / SECTOR + 1) * SECTOR;
    break;
  case 2:
    size += UINT64_C (1) << rng_below (r, 44);
    break;
  case 3:
    size += step;
    break;
  case 4:
    size -= size > step ? step : 0;
    break;
  default:
    size = choose_place (p, r);
    break;
  }
  if (size < MAX_FILE_SIZE)
    pages_resize (p, size);
}

static void
copy_sectors (struct pages *to, const struct pages *from, struct rng *r)
{
  const uint64_t source = choose_place (from, r) / SECTOR * SECTOR;
  const uint64_t target = choose_place (to, r) / SECTOR * SECTOR;
  uint8_t buf[8 * SECTOR];
  const size_t n = SECTOR * (1 + (size_t) rng_below (r, 8));

  pages_read (from, buf, n, source);
  if (target < to->size && n <= to->size - target && target > 0)
    pages_write (to, buf, n, target);
}

/* A file gets another name, is another's copy, or vanishes. */
static void
change_files (struct input *in, struct rng *r)
{
  struct input_file *const f = &in->files[rng_below (r, in->nr_files)];
  const unsigned name = (unsigned) rng_below (r, NR_NAMES);
  size_t i;

  if (rng_below (r, 4) == 0) {
    pages_clear (&f->pages);
    *f = in->files[--in->nr_files];
    return;
  }
  for (i = 0; i < in->nr_files; i++)
    if (in->files[i].name == name) {
      in->files[i].name = f->name;
      f->name = name;
      return;
    }
  if (rng_below (r, 2) || in->nr_files == MAX_FILES)
    f->name = name;
  else {
    in->files[in->nr_files].name = name;
    pages_clone (&in->files[in->nr_files++].pages, &f->pages);
  }
}

static void
change_requests (struct input *in, struct rng *r, bytes_fn bytes)
{
  size_t i;

  if (rng_below (r, 3) == 0)
    in->options[rng_below (r, NR_OPTIONS)] ^=
      (uint8_t) (1U << rng_below (r, 8));
  else if (rng_below (r, 2) || in->nr_requests == 0)
    in->nr_requests = bytes (in->requests, in->nr_requests, MAX_REQUESTS);
  else
    for (i = (size_t) rng_below (r, in->nr_requests);
         i < in->nr_requests && rng_below (r, 4) > 0; i++)
      in->requests[i] = (uint8_t) rng_next (r);
}

void
mutate_input (struct input *in, struct rng *r, bytes_fn bytes)
{
  struct pages *p;
  const uint64_t n = rng_below (r, 32);

  if (in->nr_files == 0 || n < 5) {
    change_requests (in, r, bytes);
    return;
  }
  p = choose_file (in, r);
  if (n < 18 && (mutate_format (p, r) || mutate_archive (p, r) ||
                 mutate_undo (p, r)))
    return;
  if (n < 24 && mutate_descriptor (p, r))
    return;
  if (n == 24)
    change_files (in, r);
  else if (n == 25)
    copy_sectors (p, choose_file (in, r), r);
  else if (n < 28)
    change_size (p, r);
  else
    change_bytes (p, r, bytes);
}

/* Takes a file of the same name, or a few sectors, or the requests. */
void
cross_inputs (struct input *in, const struct input *other, struct rng *r)
{
  const struct input_file *f;
  size_t i;

  if (other->nr_files == 0 || rng_below (r, 3) == 0) {
    memcpy (in->requests, other->requests, other->nr_requests);
    in->nr_requests = other->nr_requests;
    memcpy (in->options, other->options, sizeof in->options);
    return;
  }
  f = &other->files[rng_below (r, other->nr_files)];
  for (i = 0; i < in->nr_files && in->files[i].name != f->name; i++)
    ;
  if (i < in->nr_files && rng_below (r, 2)) {
    copy_sectors (&in->files[i].pages, &f->pages, r);
    return;
  }
  if (i == MAX_FILES)
    return;
  if (i == in->nr_files)
    in->nr_files++;
  else
    pages_clear (&in->files[i].pages);
  in->files[i].name = f->name;
  pages_clone (&in->files[i].pages, &f->pages);
}
