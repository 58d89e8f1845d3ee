/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into nbdkit it lets reads, writes and syncs of files fail as long
 * as the test wants that: the file that ERRNO_FILE names says which,
 * "pread 5", "pwrite 28" or "fdatasync 5" for instance.
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef pread
#undef pread64
#undef pwrite
#undef pwrite64

static bool
fails (const char *name)
{
  const int saved = errno;
  const char *const file = getenv ("ERRNO_FILE");
  FILE *const f = file ? fopen (file, "re") : NULL;
  char which[20] = "";
  int number = 0;

  if (f == NULL || fscanf (f, "%19s %d", which, &number) != 2)
    number = 0;
  if (f)
    fclose (f);
  errno = saved;
  if (number == 0 || strncmp (name, which, strlen (which)) != 0)
    return false;
  errno = number;
  return true;
}

#define FUNCTION(NAME, TYPE, PARAMETERS, ARGUMENTS)                     \
  extern TYPE NAME PARAMETERS;                                          \
  TYPE                                                                  \
  NAME PARAMETERS                                                       \
  {                                                                     \
    static TYPE (*_Atomic real) PARAMETERS;                             \
                                                                        \
    if (real == NULL)                                                   \
      real = (TYPE (*) PARAMETERS) dlsym (RTLD_NEXT, #NAME);            \
    return fails (#NAME) ? (TYPE) -1 : real ARGUMENTS;                  \
  }

FUNCTION (pread, ssize_t, (int fd, void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pread64, ssize_t, (int fd, void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pwrite, ssize_t, (int fd, const void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pwrite64, ssize_t, (int fd, const void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (fdatasync, int, (int fd), (fd))
