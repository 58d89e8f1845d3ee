/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Building a flat extent, or a raw disk: the guest's bytes where the guest
 * has them.  What is zero is left out, and so becomes holes of the file.
 */

#include <config.h>

#include <stdlib.h>

#include "build-grains.h"

/* What file systems make holes of. */
#define BLOCK 4096

static int
begin (struct build *b)
{
  return build_resize (b, b->size);
}

/* How many bytes from data on are zero, or aren't: whole blocks. */
static size_t
find_end (const uint8_t *data, size_t length, bool zero)
{
  size_t n = 0;

  while (n < length) {
    const size_t block = length - n < BLOCK ? length - n : BLOCK;

    if (is_zero (data + n, block) != zero)
      break;
    n += block;
  }
  return n;
}

static int
write_piece (struct build *b, struct piece *p)
{
  size_t at = 0;

  for (;;) {
    size_t n;

    at += find_end (p->data + at, p->length - at, true);
    if (at == p->length)
      return 0;
    n = find_end (p->data + at, p->length - at, false);
    if (store_pwrite (b->store, p->data + at, n, p->offset + at) == -1)
      return -1;
    at += n;
  }
}

/* All has its place. */
static int
nothing_to_do (struct build *b)
{
  (void) b;
  return 0;
}

static void
free_build (struct build *b)
{
  free (b);
}

static const struct build_ops ops = {
  .format = "flat",
  .begin = begin,
  .write = write_piece,
  .preallocate = nothing_to_do,
  .finish = nothing_to_do,
  .free = free_build,
};

struct build *
build_flat_new (const struct vmdk_log *log)
{
  struct build *const b = calloc (1, sizeof *b);

  if (b == NULL) {
    vmdk_error (log, "calloc: %m");
    return NULL;
  }
  b->ops = &ops;
  b->log = log;
  return b;
}
