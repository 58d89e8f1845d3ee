/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into a program it makes one of its calls fail: a system call on
 * files, or an allocation of memory.  Which one is said by where it comes
 * from, a hash of the return addresses in the program itself, so that each
 * place is tried once, however often the program gets there.
 *
 *   FAIL_KIND=io|memory   what is looked at
 *   FAIL_LOG=FILE         append a line for each call: NAME HASH ADDRESS...,
 *                         the latter for addr2line
 *   FAIL_HASH=HASH        the first call from there fails, with an errno
 *                         that is usual there or FAIL_ERRNO=N; FAIL_TIMES=N:
 *                         as do the N - 1 calls that follow
 */

#include <config.h>

#undef _FORTIFY_SOURCE /* it would replace some of the calls */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef fallocate
#undef fallocate64
#undef ftruncate
#undef ftruncate64
#undef lseek
#undef lseek64
#undef openat
#undef openat64
#undef pread
#undef pread64
#undef pwrite
#undef pwrite64
#undef mkostemp
#undef mkostemp64

#define MOST_FRAMES 40
#define MOST_COUNTED 7 /* of these in the program */

/* The real ones, without the help of dlsym, which allocates. */
extern void *__libc_malloc (size_t size);
extern void *__libc_calloc (size_t n, size_t size);
extern void *__libc_realloc (void *p, size_t size);
extern void *__libc_memalign (size_t alignment, size_t size);

static struct {
  bool ready, memory;
  uintptr_t start, end; /* of the program's code */
  int log;
  uint64_t hash;
  unsigned times;
  int err;
} setting = { .log = -1 };

static _Thread_local bool inside;

static long (*really) (long number, ...); /* syscall */

static int
find_program (struct dl_phdr_info *info, size_t size, void *opaque)
{
  int i;

  (void) size;
  (void) opaque;
  setting.start = info->dlpi_addr;
  for (i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_LOAD)
      setting.end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr +
        info->dlpi_phdr[i].p_memsz;
  return 1; /* the first one is the program */
}

static void __attribute__((constructor))
set_up (void)
{
  const char *const kind = getenv ("FAIL_KIND"), *const log =
    getenv ("FAIL_LOG"), *const hash = getenv ("FAIL_HASH"), *const times =
    getenv ("FAIL_TIMES"), *const err = getenv ("FAIL_ERRNO");
  void *frames[2];

  if (kind == NULL)
    return;
  inside = true;
  really = (long (*) (long, ...)) dlsym (RTLD_NEXT, "syscall");
  setting.memory = strcmp (kind, "memory") == 0;
  dl_iterate_phdr (find_program, NULL);
  if (log)
    setting.log = (int) really (SYS_openat, AT_FDCWD, log,
                                O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
                                0666);
  if (hash)
    setting.hash = strtoull (hash, NULL, 16);
  setting.times = times ? (unsigned) atoi (times) : 1;
  setting.err = err ? atoi (err) : 0;
  backtrace (frames, 2); /* loads what it needs */
  setting.ready = true;
  inside = false;
}

/* Where a call comes from: addresses in the program, the last one first. */
struct origin {
  const char *name;
  unsigned n; /* 0: the call isn't the program's own */
  uintptr_t at[MOST_COUNTED];
};

static void
find_origin (struct origin *o)
{
  void *frames[MOST_FRAMES];
  const int n = backtrace (frames, MOST_FRAMES);
  int i;

  for (i = 0; i < n && o->n < MOST_COUNTED; i++) {
    const uintptr_t at = (uintptr_t) frames[i];

    if (at >= setting.start && at < setting.end)
      o->at[o->n++] = at - setting.start;
  }
}

static uint64_t
hash_of (const struct origin *o)
{
  uint64_t hash = 14695981039346656037u;
  const char *p;
  unsigned i;

  for (i = 0; i < o->n; i++)
    hash = (hash ^ o->at[i]) * 1099511628211u;
  for (p = o->name; *p; p++)
    hash = (hash ^ (unsigned char) *p) * 1099511628211u;
  return hash;
}

static void
note (const struct origin *o)
{
  char line[500];
  int n = snprintf (line, sizeof line, "%s %016" PRIx64, o->name,
                    hash_of (o));
  unsigned i;

  for (i = 0; i < o->n; i++)
    n += snprintf (line + n, sizeof line - (size_t) n, " %" PRIxPTR,
                   o->at[i]);
  line[n++] = '\n';
  really (SYS_write, setting.log, line, (size_t) n);
}

/* At its end a program may also write what the compiler counted. */
static void
end (void)
{
  setting.ready = false;
}

static bool
fails (bool memory, const char *name, int err)
{
  static atomic_uint calls;
  static atomic_flag known = ATOMIC_FLAG_INIT;
  struct origin o = { .name = name };
  const int saved = errno;

  if (!setting.ready || inside || memory != setting.memory)
    return false;
  inside = true;
  if (!atomic_flag_test_and_set (&known))
    atexit (end);
  find_origin (&o);
  if (o.n > 0 && setting.log != -1)
    note (&o);
  inside = false;
  errno = saved;
  if (o.n == 0 || setting.hash == 0 || calls >= setting.times ||
      (calls == 0 && hash_of (&o) != setting.hash))
    return false;
  calls++;
  errno = setting.err ? setting.err : err;
  return true;
}

/* Memory. */

void *
malloc (size_t size)
{
  return fails (true, "malloc", ENOMEM) ? NULL : __libc_malloc (size);
}

void *
calloc (size_t n, size_t size)
{
  return fails (true, "calloc", ENOMEM) ? NULL : __libc_calloc (n, size);
}

void *
realloc (void *p, size_t size)
{
  return fails (true, "realloc", ENOMEM) ? NULL : __libc_realloc (p, size);
}

void *
aligned_alloc (size_t alignment, size_t size)
{
  return fails (true, "aligned_alloc", ENOMEM)
    ? NULL : __libc_memalign (alignment, size);
}

/* Files.  FUNCTION (NAME, ERRNO, TYPE, PARAMETERS, ARGUMENTS) */

#define FUNCTION(NAME, ERR, TYPE, PARAMETERS, ARGUMENTS)                \
  extern TYPE NAME PARAMETERS;                                          \
  TYPE                                                                  \
  NAME PARAMETERS                                                       \
  {                                                                     \
    static TYPE (*_Atomic real) PARAMETERS;                             \
                                                                        \
    if (real == NULL)                                                   \
      real = (TYPE (*) PARAMETERS) dlsym (RTLD_NEXT, #NAME);            \
    return fails (false, #NAME, ERR) ? (TYPE) -1 : real ARGUMENTS;      \
  }

FUNCTION (pread, EIO, ssize_t, (int fd, void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pread64, EIO, ssize_t, (int fd, void *buf, size_t n, off_t at),
          (fd, buf, n, at))
FUNCTION (pwrite, ENOSPC, ssize_t,
          (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at))
FUNCTION (pwrite64, ENOSPC, ssize_t,
          (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at))
FUNCTION (fallocate, ENOSPC, int, (int fd, int mode, off_t at, off_t n),
          (fd, mode, at, n))
FUNCTION (fallocate64, ENOSPC, int, (int fd, int mode, off_t at, off_t n),
          (fd, mode, at, n))
FUNCTION (ftruncate, ENOSPC, int, (int fd, off_t n), (fd, n))
FUNCTION (ftruncate64, ENOSPC, int, (int fd, off_t n), (fd, n))
FUNCTION (fdatasync, EIO, int, (int fd), (fd))
FUNCTION (fsync, EIO, int, (int fd), (fd))
FUNCTION (lseek, EINVAL, off_t, (int fd, off_t at, int whence),
          (fd, at, whence))
FUNCTION (lseek64, EINVAL, off_t, (int fd, off_t at, int whence),
          (fd, at, whence))
FUNCTION (fstat, EIO, int, (int fd, struct stat *st), (fd, st))
FUNCTION (fstat64, EIO, int, (int fd, struct stat64 *st), (fd, st))
FUNCTION (fstatat, EACCES, int, (int dir, const char *name, struct stat *st,
                                 int flags), (dir, name, st, flags))
FUNCTION (fstatat64, EACCES, int,
          (int dir, const char *name, struct stat64 *st, int flags),
          (dir, name, st, flags))
FUNCTION (fchmod, EPERM, int, (int fd, mode_t mode), (fd, mode))
FUNCTION (mkostemp, ENOSPC, int, (char *name, int flags), (name, flags))
FUNCTION (mkostemp64, ENOSPC, int, (char *name, int flags), (name, flags))
FUNCTION (renameat, EIO, int, (int od, const char *o, int nd, const char *n),
          (od, o, nd, n))
FUNCTION (renameat2, EIO, int, (int od, const char *o, int nd, const char *n,
                                unsigned flags), (od, o, nd, n, flags))
FUNCTION (linkat, EIO, int, (int od, const char *o, int nd, const char *n,
                             int flags), (od, o, nd, n, flags))
FUNCTION (unlinkat, EIO, int, (int dir, const char *name, int flags),
          (dir, name, flags))
FUNCTION (getrandom, ENOSYS, ssize_t, (void *buf, size_t n, unsigned flags),
          (buf, n, flags))

/* Those that take a number of arguments which depends. */

static int
open_really (const char *name, int dir, const char *path, int flags,
             mode_t mode)
{
  if (fails (false, name, EMFILE))
    return -1;
  return (int) really (SYS_openat, dir, path, flags, mode);
}

#define MODE(MODE, LAST)                                                \
  mode_t MODE = 0;                                                      \
  va_list args;                                                         \
                                                                        \
  va_start (args, LAST);                                                \
  if (LAST & (O_CREAT | O_TMPFILE))                                     \
    MODE = va_arg (args, mode_t);                                       \
  va_end (args)

int
openat (int dir, const char *path, int flags, ...)
{
  MODE (mode, flags);
  return open_really ("openat", dir, path, flags, mode);
}

int
openat64 (int dir, const char *path, int flags, ...)
{
  MODE (mode, flags);
  return open_really ("openat", dir, path, flags, mode);
}

int
open (const char *path, int flags, ...)
{
  MODE (mode, flags);
  return open_really ("open", AT_FDCWD, path, flags, mode);
}

int
open64 (const char *path, int flags, ...)
{
  MODE (mode, flags);
  return open_really ("open", AT_FDCWD, path, flags, mode);
}

/* For openat2, which has no function. */
long
syscall (long number, ...)
{
  long a, b, c, d, e, f;
  va_list args;

  va_start (args, number);
  a = va_arg (args, long);
  b = va_arg (args, long);
  c = va_arg (args, long);
  d = va_arg (args, long);
  e = va_arg (args, long);
  f = va_arg (args, long);
  va_end (args);
  if (number == SYS_openat2 && fails (false, "openat2", EMFILE))
    return -1;
  return really (number, a, b, c, d, e, f);
}
