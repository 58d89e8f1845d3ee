/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Locks that tell other programs that a file is in use, the same as qemu's.
 * Each byte below stands for something that a program does with a file, or
 * that it doesn't let others do.  Who says so has a shared lock on the byte,
 * so that many can say it, and looks then whether others say what doesn't
 * go with it.  Since everybody says it before he looks, of two that exclude
 * each other never both go on.
 *
 * The locks belong to an open file description, not to the process: closing
 * another one of the same file doesn't take them away.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store-file.h"

#define READER 1u
#define WRITER 2u

static const struct {
  off_t byte;
  unsigned said_by, asked_by; /* READER, WRITER */
  const char *meaning;        /* of one who says it */
} bytes[] = {
  { 100, READER|WRITER, 0, "has it open for reading" },
  { 101, WRITER, READER|WRITER, "has it open for writing" },
  { 103, WRITER, READER|WRITER, "has it open for writing" },
  { 200, 0, READER|WRITER, "has it open and lets nobody else read it" },
  { 201, READER|WRITER, WRITER, "has it open for reading" },
  { 203, READER|WRITER, WRITER, "has it open for reading" },
};
#define NR_BYTES (sizeof bytes / sizeof bytes[0])

/* All the bytes that somebody may have a use for. */
#define FIRST_BYTE 100
#define END_BYTE 300

static int
call (int fd, int command, short type, off_t byte, struct flock *lock)
{
  int r;

  do {
    *lock = (struct flock) {
      .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };
    r = fcntl (fd, command, lock);
  } while (r == -1 && errno == EINTR);
  return r;
}

static void
unlock (int fd, unsigned said)
{
  const int err = errno;
  struct flock lock;
  size_t i;

  for (i = 0; i < NR_BYTES; i++)
    if (said >> i & 1)
      call (fd, F_OFD_SETLK, F_UNLCK, bytes[i].byte, &lock);
  errno = err;
}

/* Neighbouring locks of one owner are one, so it may be longer than a byte;
 * but programs with other customs lock the whole file, mostly.
 */
static bool
is_known_lock (const struct flock *lock)
{
  return lock->l_type == F_RDLCK && lock->l_start >= FIRST_BYTE &&
    lock->l_len > 0 && lock->l_start + lock->l_len <= END_BYTE;
}

static int
report_conflict (const struct vmdk_log *log, const char *name, size_t i,
                 const struct flock *lock)
{
  char process[40] = "";

  if (lock->l_pid > 0) /* locks like ours don't say whose they are */
    snprintf (process, sizeof process, " (process %ld)", (long) lock->l_pid);
  vmdk_error (log, "%s: is in use by another program%s, which %s: close that "
              "first, be it a virtual machine, qemu or another server", name,
              process, is_known_lock (lock) ? bytes[i].meaning
              : "has locked it");
  errno = EAGAIN;
  return -1;
}

static int
report_failure (const struct vmdk_log *log, const char *name)
{
  if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS) {
    vmdk_error (log, "%s: can't be locked, its file system doesn't do that "
                "(%m); if certainly nobody else writes it, use lock=off",
                name);
    errno = ENOLCK;
  }
  else
    vmdk_error (log, "%s: locking it: %m", name);
  return -1;
}

/* Another one's exclusive lock is in the way of ours. */
static int
report_refusal (const struct vmdk_log *log, const char *name, int fd,
                size_t i)
{
  struct flock lock;

  if (errno != EAGAIN && errno != EACCES)
    return report_failure (log, name);
  if (call (fd, F_OFD_GETLK, F_RDLCK, bytes[i].byte, &lock) == -1 ||
      lock.l_type == F_UNLCK) /* it is gone just now */
    lock = (struct flock) { .l_type = F_WRLCK };
  return report_conflict (log, name, i, &lock);
}

/* *said is what has been locked here. */
static int
say (const struct vmdk_log *log, const char *name, int fd, unsigned skip,
     unsigned who, unsigned *said)
{
  struct flock lock;
  size_t i;

  for (i = 0; i < NR_BYTES; i++) {
    if (!(bytes[i].said_by & who) || (bytes[i].said_by & skip))
      continue;
    if (call (fd, F_OFD_SETLK, F_RDLCK, bytes[i].byte, &lock) == -1)
      return errno == EINVAL ? 0 /* nothing here can be locked */
        : report_refusal (log, name, fd, i);
    *said |= 1u << i;
  }
  return 0;
}

static int
ask (const struct vmdk_log *log, const char *name, int fd, unsigned who)
{
  struct flock lock;
  size_t i;

  for (i = 0; i < NR_BYTES; i++) {
    if (!(bytes[i].asked_by & who))
      continue;
    if (call (fd, F_OFD_GETLK, F_WRLCK, bytes[i].byte, &lock) == -1)
      return errno == EINVAL ? 0 : report_failure (log, name);
    if (lock.l_type != F_UNLCK)
      return report_conflict (log, name, i, &lock);
  }
  return 0;
}

int
store_lock_fd (const struct vmdk_log *log, const char *name, int fd,
               bool reader, bool write)
{
  const unsigned who = write ? WRITER : READER;
  unsigned said = 0;

  if (say (log, name, fd, reader ? READER : 0, who, &said) == 0 &&
      ask (log, name, fd, who) == 0)
    return 0;
  unlock (fd, said);
  return -1;
}

/* Until now the file may have been another program's, and may have grown.
 * Whoever wrote behind the end that we know would destroy what is there.
 */
static int
look_again (struct store_file *f)
{
  struct stat st;

  if (fstat (f->fd, &st) == -1) {
    vmdk_error (f->s.log, "%s: fstat: %m", f->s.name);
    return -1;
  }
  if (S_ISREG (st.st_mode))
    f->s.size = (uint64_t) st.st_size;
  return 0;
}

int
store_file_lock (struct store *s, bool write)
{
  struct store_file *const f = (struct store_file *) s;

  if (write ? f->write_locked : f->locked)
    return 0;
  if (store_lock_fd (s->log, s->name, f->lock_fd, f->locked, write) == -1)
    return -1;
  if (!f->locked && look_again (f) == -1)
    return -1;
  f->locked = true;
  f->write_locked = write;
  return 0;
}

void
store_file_unlock (struct store *s)
{
  struct store_file *const f = (struct store_file *) s;
  unsigned said = 0;
  size_t i;

  for (i = 0; i < NR_BYTES; i++)
    if (bytes[i].said_by == WRITER)
      said |= 1u << i;
  if (f->write_locked)
    unlock (f->lock_fd, said);
  f->write_locked = false;
}
