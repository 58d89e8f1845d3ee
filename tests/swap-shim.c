/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into a program it does what an attacker does who may write a
 * folder, at the worst moments: right before the SWAP_AT-th time that the
 * program uses the name of a file, SWAP_A and SWAP_B are exchanged, two
 * names of which one is mostly a symbolic link.  With SWAP_BACK=N they are
 * exchanged again N such times later; with SWAP_NAMES=TEXT only names count
 * that have it.  With SWAP_SAY=FILE that is made when it was done.  So a script can try all moments, which a race would only meet
 * by chance.
 */

#define _GNU_SOURCE

#include <config.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Headers may have made macros of them. */
#undef fstatat
#undef fstatat64
#undef lstat
#undef lstat64
#undef open
#undef open64
#undef openat
#undef openat64
#undef stat
#undef stat64

static unsigned
number_in (const char *name)
{
  const char *const value = getenv (name);

  return value ? (unsigned) atoi (value) : 0;
}

static void *
find (const char *name)
{
  return dlsym (RTLD_NEXT, name);
}

static long (*_Atomic real_syscall) (long, ...);

/* Before each use of a name. */
static void
used (const char *name)
{
  const char *const names = getenv ("SWAP_NAMES");
  const char *const say = getenv ("SWAP_SAY");
  static atomic_uint uses;
  const unsigned at = number_in ("SWAP_AT"), back = number_in ("SWAP_BACK");
  const char *const a = getenv ("SWAP_A"), *const b = getenv ("SWAP_B");
  unsigned n;

  if (at == 0 || a == NULL || b == NULL ||
      (names && strstr (name, names) == NULL))
    return;
  n = ++uses;
  if (n != at && (back == 0 || n != at + back))
    return;
  if (real_syscall == NULL)
    real_syscall = (long (*) (long, ...)) find ("syscall");
  if (real_syscall (SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b,
                    2 /* RENAME_EXCHANGE */) == -1)
    perror ("swap-shim: renameat2");
  if (say)
    real_syscall (SYS_close, real_syscall (SYS_openat, AT_FDCWD, say,
                                           O_WRONLY | O_CREAT, 0666));
}

/* FUNCTION (NAME, TYPE, PARAMETERS, ARGUMENTS), where p is what it looks up */
#define FUNCTION(NAME, TYPE, PARAMETERS, ARGUMENTS)                     \
  extern TYPE NAME PARAMETERS;                                          \
  TYPE                                                                  \
  NAME PARAMETERS                                                       \
  {                                                                     \
    static TYPE (*_Atomic real) PARAMETERS;                             \
                                                                        \
    if (real == NULL)                                                   \
      real = (TYPE (*) PARAMETERS) find (#NAME);                        \
    used (p);                                                           \
    return real ARGUMENTS;                                              \
  }

FUNCTION (access, int, (const char *p, int m), (p, m))
FUNCTION (faccessat, int, (int d, const char *p, int m, int f), (d, p, m, f))
FUNCTION (stat, int, (const char *p, struct stat *s), (p, s))
FUNCTION (lstat, int, (const char *p, struct stat *s), (p, s))
FUNCTION (fstatat, int, (int d, const char *p, struct stat *s, int f),
          (d, p, s, f))
FUNCTION (unlink, int, (const char *p), (p))
FUNCTION (unlinkat, int, (int d, const char *p, int f), (d, p, f))
FUNCTION (rename, int, (const char *o, const char *p), (o, p))
FUNCTION (renameat, int, (int od, const char *o, int nd, const char *p),
          (od, o, nd, p))
FUNCTION (renameat2, int, (int od, const char *o, int nd, const char *p,
                           unsigned f), (od, o, nd, p, f))
FUNCTION (linkat, int, (int od, const char *o, int nd, const char *p, int f),
          (od, o, nd, p, f))
FUNCTION (realpath, char *, (const char *p, char *r), (p, r))
FUNCTION (__realpath_chk, char *, (const char *p, char *r, size_t n),
          (p, r, n))
FUNCTION (__open_2, int, (const char *p, int f), (p, f))
FUNCTION (__openat_2, int, (int d, const char *p, int f), (d, p, f))

/* Those with a mode, or not. */
#define OPEN(NAME, PARAMETERS, ARGUMENTS)                               \
  extern int NAME PARAMETERS;                                           \
  int                                                                   \
  NAME PARAMETERS                                                       \
  {                                                                     \
    static int (*_Atomic real) PARAMETERS;                              \
    mode_t mode = 0;                                                    \
    va_list args;                                                       \
                                                                        \
    if (real == NULL)                                                   \
      real = (int (*) PARAMETERS) find (#NAME);                         \
    if (f & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {                   \
      va_start (args, f);                                               \
      mode = va_arg (args, mode_t);                                     \
      va_end (args);                                                    \
    }                                                                   \
    used (p);                                                           \
    return real ARGUMENTS;                                              \
  }

OPEN (open, (const char *p, int f, ...), (p, f, mode))
OPEN (open64, (const char *p, int f, ...), (p, f, mode))
OPEN (openat, (int d, const char *p, int f, ...), (d, p, f, mode))
OPEN (openat64, (int d, const char *p, int f, ...), (d, p, f, mode))

/* openat2 has no function of its own. */
extern long syscall (long number, ...);
long
syscall (long number, ...)
{
  long a[6];
  va_list args;
  size_t i;

  va_start (args, number);
  for (i = 0; i < 6; i++)
    a[i] = va_arg (args, long);
  va_end (args);
  if (real_syscall == NULL)
    real_syscall = (long (*) (long, ...)) find ("syscall");
#ifdef SYS_openat2
  if (number == SYS_openat2)
    used ((const char *) a[1]);
#endif
  return real_syscall (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
