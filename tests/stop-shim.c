/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into a program it ends it, as kill -9 does, right before the
 * N-th change that it makes to files (writes, lengths, holes, syncs, names),
 * where N is STOP_AT in the environment: so a script can try all points at
 * which a program may be interrupted.  With STOP_HOW=fail that one call
 * fails instead, with EIO.
 */

#define _GNU_SOURCE

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#undef fallocate
#undef fallocate64
#undef ftruncate
#undef ftruncate64
#undef pwrite
#undef pwrite64

/* Whether this call fails. */
static bool
stop (void)
{
  static atomic_uint calls;
  const char *const at = getenv ("STOP_AT"), *const how = getenv ("STOP_HOW");

  if (at == NULL || ++calls != (unsigned) atoi (at))
    return false;
  if (how == NULL || strcmp (how, "fail") != 0)
    raise (SIGKILL);
  errno = EIO;
  return true;
}

/* FUNCTION (NAME, TYPE, PARAMETERS, ARGUMENTS) */
#define FUNCTION(NAME, TYPE, PARAMETERS, ARGUMENTS)                     \
  extern TYPE NAME PARAMETERS;                                          \
  TYPE                                                                  \
  NAME PARAMETERS                                                       \
  {                                                                     \
    static TYPE (*_Atomic real) PARAMETERS;                             \
                                                                        \
    if (real == NULL)                                                   \
      real = (TYPE (*) PARAMETERS) dlsym (RTLD_NEXT, #NAME);            \
    return stop () ? -1 : real ARGUMENTS;                               \
  }

FUNCTION (pwrite, ssize_t, (int fd, const void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pwrite64, ssize_t, (int fd, const void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (fallocate, int, (int fd, int mode, off_t at, off_t n),
          (fd, mode, at, n))
FUNCTION (fallocate64, int, (int fd, int mode, off_t at, off_t n),
          (fd, mode, at, n))
FUNCTION (ftruncate, int, (int fd, off_t n), (fd, n))
FUNCTION (ftruncate64, int, (int fd, off_t n), (fd, n))
FUNCTION (fdatasync, int, (int fd), (fd))
FUNCTION (fsync, int, (int fd), (fd))
FUNCTION (renameat, int, (int od, const char *o, int nd, const char *n),
          (od, o, nd, n))
FUNCTION (renameat2, int, (int od, const char *o, int nd, const char *n,
                           unsigned flags), (od, o, nd, n, flags))
FUNCTION (linkat, int, (int od, const char *o, int nd, const char *n,
                        int flags), (od, o, nd, n, flags))
FUNCTION (unlinkat, int, (int dir, const char *name, int flags),
          (dir, name, flags))
