/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Makes an input of the files in a folder that have one of the names of
 * inputs, or takes one apart.
 *
 *   pack FOLDER INPUT [OPTIONS [REQUESTS]]   both in hexadecimal digits
 *   pack -d INPUT FOLDER
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_LIMIT (1 << 20)

static uint8_t bytes[INPUT_LIMIT];

static void
die (const char *what)
{
  fprintf (stderr, "pack: %s: %s\n", what, strerror (errno));
  exit (1);
}

static size_t
read_hex (const char *digits, uint8_t *to, size_t max)
{
  size_t n;

  for (n = 0; n < max && digits[0] && digits[1]; n++, digits += 2) {
    const char pair[3] = { digits[0], digits[1], '\0' };

    to[n] = (uint8_t) strtoul (pair, NULL, 16);
  }
  return n;
}

static void
read_file (struct pages *p, int fd)
{
  static const uint8_t zeroes[PAGE];
  uint8_t buf[PAGE];
  struct stat st;
  off_t offset = 0;
  ssize_t n;

  if (fstat (fd, &st) == -1)
    die ("fstat");
  p->size = (uint64_t) st.st_size;
  while ((offset = lseek (fd, offset, SEEK_DATA)) != -1) {
    offset = offset / PAGE * PAGE;
    memset (buf, 0, sizeof buf);
    n = pread (fd, buf, sizeof buf, offset);
    if (n <= 0)
      break;
    if (memcmp (buf, zeroes, PAGE) != 0)
      pages_write (p, buf, PAGE, (uint64_t) offset);
    offset += PAGE;
  }
}

static void
pack (struct input *in, int folder)
{
  size_t i;

  for (i = 0; i < NR_NAMES && in->nr_files < MAX_FILES; i++) {
    const int fd = openat (folder, input_names[i], O_RDONLY);

    if (fd == -1)
      continue;
    in->files[in->nr_files].name = (unsigned) i;
    read_file (&in->files[in->nr_files++].pages, fd);
    close (fd);
  }
}

static void
unpack_file (const struct input_file *f, int folder)
{
  const struct pages *const p = &f->pages;
  const int fd = openat (folder, input_names[f->name],
                         O_WRONLY | O_CREAT | O_TRUNC, 0666);
  size_t i;

  if (fd == -1)
    die (input_names[f->name]);
  for (i = 0; i < p->nr; i++)
    if (pwrite (fd, p->list[i].bytes, PAGE,
                (off_t) (p->list[i].number * PAGE)) != PAGE)
      die (input_names[f->name]);
  if (ftruncate (fd, (off_t) p->size) == -1)
    die (input_names[f->name]);
  close (fd);
}

static size_t
read_all (const char *name)
{
  FILE *const f = fopen (name, "rb");
  size_t n;

  if (f == NULL)
    die (name);
  n = fread (bytes, 1, sizeof bytes, f);
  fclose (f);
  return n;
}

static void
unpack (const char *name, int folder)
{
  static struct input in;
  size_t i;

  input_load (&in, bytes, read_all (name));
  printf ("options ");
  for (i = 0; i < NR_OPTIONS; i++)
    printf ("%02x", in.options[i]);
  printf ("\nrequests ");
  for (i = 0; i < in.nr_requests; i++)
    printf ("%02x", in.requests[i]);
  printf ("\n");
  for (i = 0; i < in.nr_files; i++)
    unpack_file (&in.files[i], folder);
}

int
main (int argc, char **argv)
{
  static struct input in;
  FILE *out;
  size_t n;

  if (argc == 4 && strcmp (argv[1], "-d") == 0) {
    const int folder = open (argv[3], O_RDONLY | O_DIRECTORY);

    if (folder == -1)
      die (argv[3]);
    unpack (argv[2], folder);
    return 0;
  }
  if (argc < 3 || argc > 5) {
    fputs ("usage: pack FOLDER INPUT [OPTIONS [REQUESTS]]\n"
           "       pack -d INPUT FOLDER\n", stderr);
    return 1;
  }
  pack (&in, open (argv[1], O_RDONLY | O_DIRECTORY));
  if (argc > 3)
    read_hex (argv[3], in.options, NR_OPTIONS);
  if (argc > 4)
    in.nr_requests = read_hex (argv[4], in.requests, MAX_REQUESTS);
  n = input_save (&in, bytes, sizeof bytes);
  out = fopen (argv[2], "wb");
  if (n == 0 || out == NULL || fwrite (bytes, 1, n, out) != n)
    die (argv[2]);
  fclose (out);
  return 0;
}
