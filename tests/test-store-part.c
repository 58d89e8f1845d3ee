/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Parts of a store: what is read across the ends of pieces, where their
 * holes are, and that writing to the tail of a store stays in it.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store-part.h"

#define SIZE (1 << 20)
#define HOLE_START (256 << 10)
#define HOLE_END (512 << 10)

static unsigned char content[SIZE], found[SIZE];

/* A file with that content, which has a hole. */
static struct store *
new_base (void)
{
  static char path[] = "store-part.XXXXXX";
  char name[sizeof path];
  struct store *s;
  size_t i;
  int fd;

  memcpy (name, path, sizeof path);
  fd = mkstemp (name);
  assert (fd >= 0 && unlink (name) == 0);
  for (i = 0; i < SIZE; i++)
    content[i] = i >= HOLE_START && i < HOLE_END ? 0 : (i * 7 + i / 256) | 1;
  assert (ftruncate (fd, SIZE) == 0);
  assert (pwrite (fd, content, HOLE_START, 0) == HOLE_START);
  assert (pwrite (fd, content + HOLE_END, SIZE - HOLE_END, HOLE_END) ==
          SIZE - HOLE_END);
  s = store_file_new (&vmdk_no_log, fd, "base");
  assert (s);
  return s;
}

/* Each range of a few pieces, some of which have no bytes. */
static void
test_reading (void)
{
  static const struct store_piece pieces[] = {
    { 5000, 1 }, { 100, 50 }, { 0, 0 }, { 100, 50 }, { SIZE - 30, 30 },
    { SIZE, 0 }, { 0, 99 }, { 7, 0 },
  };
  const size_t n = sizeof pieces / sizeof pieces[0];
  unsigned char expected[300] = { 0 };
  struct store *const s =
    store_part_new (&vmdk_no_log, new_base (), "part", pieces, n);
  size_t i, size = 0, count;

  for (i = 0; i < n; i++) {
    memcpy (expected + size, content + pieces[i].offset, pieces[i].length);
    size += pieces[i].length;
  }
  assert (s && s->size == size && s->read_only);
  assert (store_make_writable (s) == -1 && errno == EROFS);
  for (i = 0; i < size + 5; i++)
    for (count = 1; i + count <= size + 10; count++) {
      memset (found, 0xee, count + 1);
      assert (store_pread (s, found, count, i) == 0);
      assert (memcmp (found, expected + i, count) == 0);
      assert (found[count] == 0xee);
    }
  store_unref (s);
}

/* What is said to be no data must be zero, and the hole is found. */
static void
test_holes (void)
{
  static const struct store_piece pieces[] = {
    { HOLE_START + 4096, 8192 }, { 0, HOLE_START + 8192 },
    { HOLE_START, HOLE_END - HOLE_START }, { HOLE_END - 4096, 12288 },
  };
  struct store *const s = store_part_new (&vmdk_no_log, new_base (), "part",
                                          pieces, 4);
  const uint64_t size = s->size;
  uint64_t offset = 0, start, stop, zeroes = 0, i;

  while (offset < size) {
    store_find_data (s, offset, size, &start, &stop);
    assert (start >= offset && stop >= start && stop <= size);
    assert (start < stop || start == size);
    assert (store_pread (s, found, size, 0) == 0);
    for (i = offset; i < start; i++)
      assert (found[i] == 0);
    zeroes += start - offset;
    offset = stop;
  }
  /* A file system without holes has none. */
  assert (zeroes == 0 ||
          zeroes == 8192 + 8192 + HOLE_END - HOLE_START + 4096);
  store_unref (s);
}

static void
expect_base (struct store *base, uint64_t offset, const void *data, size_t n)
{
  assert (base->size == offset + n);
  assert (store_pread (base, found, (size_t) offset, 0) == 0);
  assert (memcmp (found, content, (size_t) offset) == 0);
  assert (store_pread (base, found, n, offset) == 0);
  assert (memcmp (found, data, n) == 0);
}

/* What is before it remains; it grows and shrinks. */
static void
test_tail (void)
{
  static const char zeroes[100];
  struct store *const base = new_base ();
  struct store *s;

  assert (store_make_writable (base) == 0);
  s = store_tail_new (&vmdk_no_log, store_ref (base), "tail", SIZE - 10);
  assert (s && s->size == 10 && s->writable && s->fresh_is_zero);
  assert (store_pwrite (s, "0123456789abcdef", 16, 0) == 0);
  assert (s->size == 16);
  expect_base (base, SIZE - 10, "0123456789abcdef", 16);
  assert (store_resize (s, 4) == 0 && s->size == 4);
  expect_base (base, SIZE - 10, "0123", 4);
  assert (store_resize (s, 8) == 0 && s->size == 8);
  expect_base (base, SIZE - 10, "0123\0\0\0\0", 8);
  assert (store_resize (s, 100) == 0);
  assert (store_pwrite (s, "xyz", 3, 97) == 0);
  assert (store_zero (s, 100, 0, true) == 0);
  expect_base (base, SIZE - 10, zeroes, 100);
  assert (store_pwrite (s, "xyz", 3, 0) == 0);
  assert (store_zero (s, 100, 0, false) == 0);
  expect_base (base, SIZE - 10, zeroes, 100);
  assert (store_resize (s, 0) == 0);
  expect_base (base, SIZE - 10, zeroes, 0);
  assert (store_pwrite (s, "x", 1, INT64_MAX) == -1 && errno == EFBIG);
  assert (store_resize (s, INT64_MAX) == -1 && errno == EFBIG);
  assert (store_sync (s) == 0 && !base->unsynced);
  store_unref (s);

  /* It may begin behind the end. */
  s = store_tail_new (&vmdk_no_log, store_ref (base), "tail", SIZE + 10);
  assert (s && s->size == 0);
  assert (store_pwrite (s, "ab", 2, 1) == 0 && s->size == 3);
  assert (base->size == SIZE + 13);
  assert (store_pread (base, found, 23, SIZE - 10) == 0);
  assert (memcmp (found, zeroes, 21) == 0 && memcmp (found + 21, "ab", 2) == 0);
  store_unref (s);
  store_unref (base);
}

int
main (void)
{
  test_reading ();
  test_holes ();
  test_tail ();
  return 0;
}
