/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the programs share that put a server under load.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

void
die (const char *fmt, ...)
{
  va_list args;

  flockfile (stderr);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
  fflush (stderr);
  _exit (1);
}

/* SplitMix64: good enough, and every seed is a good one. */
uint64_t
rng_next (struct rng *r)
{
  uint64_t z = r->x += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

struct rng
rng_new (uint64_t seed, uint64_t thread)
{
  struct rng r = { .x = seed };

  r.x = rng_next (&r) + thread;
  r.x = rng_next (&r);
  return r;
}

uint64_t
rng_below (struct rng *r, uint64_t n)
{
  const uint64_t v = rng_next (r);

  return n == 0 ? 0 : v % n;
}

bool
one_of (struct rng *r, unsigned n)
{
  return rng_below (r, n) == 0;
}

struct nbd_handle *
load_connect (const char *socket)
{
  struct nbd_handle *const nbd = nbd_create ();

  if (nbd == NULL || nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION)
      == -1 || nbd_connect_unix (nbd, socket) == -1)
    die ("connecting: %s", nbd_get_error ());
  return nbd;
}

static int
open_file (const char *name, int flags, uint64_t *size)
{
  const int fd = open (name, flags | O_CLOEXEC);
  struct stat st;

  if (fd == -1 || fstat (fd, &st) == -1)
    die ("%s: %s", name, strerror (errno));
  *size = (uint64_t) st.st_size;
  return fd;
}

const uint8_t *
load_map (const char *name, uint64_t *size)
{
  const int fd = open_file (name, O_RDONLY, size);
  const void *const p = mmap (NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);

  if (p == MAP_FAILED)
    die ("%s: %s", name, strerror (errno));
  close (fd);
  return p;
}

uint8_t *
load_file (const char *name, uint64_t *size)
{
  const uint8_t *const map = load_map (name, size);
  uint8_t *const data = malloc (*size);

  if (data == NULL)
    die ("%s: %s", name, strerror (errno));
  memcpy (data, map, *size);
  munmap ((void *) map, *size);
  return data;
}

void
load_save (const char *name, const void *data, uint64_t size)
{
  FILE *const f = fopen (name, "w");

  if (f == NULL || fwrite (data, 1, size, f) != size || fclose (f) != 0)
    die ("%s: %s", name, strerror (errno));
}
