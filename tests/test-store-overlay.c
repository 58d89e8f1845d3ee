/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The overlay store against a plain array of bytes: random writes, changes
 * of the length, reads and questions for holes; the file below never
 * changes.  And pages far apart, for which there is no memory to waste.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store-overlay.h"
#include "temporary.h"

#define MAX_SIZE (3 * 64 * 1024 + 77)
#define ROUNDS 4000

static uint8_t base[MAX_SIZE], model[MAX_SIZE], buf[MAX_SIZE + 8192];
static uint64_t base_size, size;

static uint64_t
below (uint64_t n)
{
  return (uint64_t) random () % n;
}

static struct overlay *
new_overlay (void)
{
  const int fd = temporary_open ();
  struct store *s;
  uint64_t i;

  assert (fd >= 0);
  memset (base, 0, sizeof base);
  base_size = size = below (MAX_SIZE);
  for (i = 0; i < base_size; i++)
    if (i / 8192 % 3 != 1) /* some holes */
      base[i] = (uint8_t) (1 + below (255));
  for (i = 0; i < base_size; i += 4096) {
    const size_t n = base_size - i < 4096 ? base_size - i : 4096;

    if (base[i] != 0)
      assert (temporary_write (fd, base + i, n, i) == 0);
  }
  assert (ftruncate (fd, (off_t) base_size) == 0);
  memcpy (model, base, sizeof model);
  s = store_file_new (&vmdk_no_log, fd, "base");
  assert (s);
  return overlay_new (&vmdk_no_log, s);
}

static void
write_some (struct store *s)
{
  const uint64_t offset = below (MAX_SIZE - 1);
  const uint64_t most = MAX_SIZE - offset < 20000 ? MAX_SIZE - offset : 20000;
  const size_t n = (size_t) below (most) + 1;

  memset (buf, (int) below (256), n);
  memcpy (model + offset, buf, n);
  assert (store_pwrite (s, buf, n, offset) == 0);
  if (offset + n > size)
    size = offset + n;
}

static void
set_length (struct store *s)
{
  size = below (MAX_SIZE);
  memset (model + size, 0, sizeof model - size);
  assert (store_resize (s, size) == 0);
}

static void
read_some (struct store *s)
{
  const uint64_t offset = below (MAX_SIZE);
  const size_t n = (size_t) below (MAX_SIZE - offset + 1);

  assert (store_pread (s, buf, n, offset) == 0);
  assert (memcmp (buf, model + offset, n) == 0);
}

/* What isn't data must be zero, and the answer must be of use. */
static void
ask_for_holes (struct store *s)
{
  uint64_t p = 0, start, stop, i;

  while (p < size) {
    store_find_data (s, p, size, &start, &stop);
    assert (start >= p && stop >= start && stop <= size);
    for (i = p; i < start; i++)
      assert (model[i] == 0);
    assert (stop > p);
    p = stop;
  }
}

/* Every byte that isn't as in the file below is in a page that is named. */
static void
see_pages (struct overlay *o)
{
  uint64_t start, end, p = 0, i;

  while (overlay_next (o, p, 16384, &start, &end)) {
    assert (start >= p && end > start && end - start <= 16384);
    for (i = p; i < start && i < size && i < o->from_base; i++)
      assert (model[i] == base[i]);
    p = end;
  }
  assert (o->size == size);
}

/* Repair writes where a damaged header says that something is.  Without a
 * file system for that, not quite as far.
 */
static unsigned
farthest (void)
{
  int fd;
  bool far;

  setenv ("TMPDIR", "/dev/shm", 1);
  fd = temporary_open ();
  far = fd >= 0 && temporary_write (fd, "", 1, UINT64_C (1) << 61) == 0;
  if (fd == -1)
    unsetenv ("TMPDIR");
  else
    close (fd);
  return far ? 61 : 43;
}

#define FAR 500

static void
write_far_apart (void)
{
  static uint64_t at[FAR];
  char *const folder = getenv ("TMPDIR") ? strdup (getenv ("TMPDIR")) : NULL;
  const uint64_t pieces = UINT64_C (1) << (farthest () - 21);
  struct overlay *const o = new_overlay ();
  struct store *const s = overlay_store (o);
  uint64_t start, end, p, value;
  unsigned i, found = 0;

  assert (o && s);
  for (i = 0; i < FAR; i++) { /* each in another page, not the file's own */
    const uint64_t piece = below (pieces) << 31 | below (1u << 31);

    at[i] = (piece % pieces * 512 + i + 512) * 4096;
    assert (store_pwrite (s, &at[i], sizeof at[i], at[i]) == 0);
  }
  for (i = 0; i < FAR; i++) {
    assert (store_pread (s, &value, sizeof value, at[i]) == 0);
    assert (value == at[i]);
    assert (store_next_data (s, at[i]) == at[i]);
  }
  for (p = 0; overlay_next (o, p, 4096, &start, &end); p = end) {
    assert (start >= p && end == start + 4096);
    assert (store_pread (s, &value, sizeof value, start) == 0);
    assert (value == start);
    found++;
  }
  assert (found == FAR);
  store_unref (s);
  overlay_free (o);
  if (folder)
    setenv ("TMPDIR", folder, 1);
  else
    unsetenv ("TMPDIR");
  free (folder);
}

int
main (void)
{
  unsigned i, j;

  srandom (4711);
  write_far_apart ();
  for (i = 0; i < 20; i++) {
    struct overlay *const o = new_overlay ();
    struct store *s = overlay_store (o);

    for (j = 0; j < ROUNDS / 20; j++) {
      if (j % 50 == 49) { /* another one sees the same */
        store_unref (s);
        s = overlay_store (o);
      }
      assert (s && s->size == size);
      switch (below (8)) {
      case 0: set_length (s); break;
      case 1: ask_for_holes (s); break;
      case 2: see_pages (o); break;
      case 3: case 4: write_some (s); break;
      default: read_some (s); break;
      }
    }
    assert (store_pread (o->base, buf, (size_t) base_size, 0) == 0);
    assert (memcmp (buf, base, (size_t) base_size) == 0);
    store_unref (s);
    overlay_free (o);
  }
  return EXIT_SUCCESS;
}
