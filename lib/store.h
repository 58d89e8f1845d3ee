/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store: bytes that can be read, and mostly written, at any offset.
 * Everything above sees files only through this, so that a test can put
 * another store below, which records, fails, or loses what wasn't synced.
 *
 * A store is counted: the one that opened it and every extent that uses
 * it hold a reference.  Counting, of extents as well, is not thread-safe,
 * since it happens only while a disk is opened or closed; all else is.
 */

#ifndef VMDK_STORE_H
#define VMDK_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

struct store;
struct folder;

struct store_ops {
  /* Reads count bytes at offset, all of them or -1.  What lies past the
   * size reads as zero; a file that has become shorter since it was
   * opened is an error (EIO).
   */
  int (*pread) (struct store *s, void *buf, size_t count, uint64_t offset);

  /* The first byte at or behind offset that isn't in a hole, or that is,
   * in *found; UINT64_MAX if there is none before the end.  offset < size.
   * -1: the store can't tell, which isn't reported.  Both or none may be
   * NULL.
   */
  int (*next_data) (struct store *s, uint64_t offset, uint64_t *found);
  int (*next_hole) (struct store *s, uint64_t offset, uint64_t *found);

  /* Asks the system to read ahead.  May be NULL. */
  void (*prefetch) (struct store *s, uint64_t count, uint64_t offset);

  /* Announces to other programs that the file is in use, or fails with
   * EAGAIN because one of them does that excludes this use.  A writer has
   * been a reader before.  Lasts until close.  NULL: nobody else can see
   * it.
   */
  int (*lock) (struct store *s, bool write);

  /* Goes back from a writer's to a reader's.  NULL if lock is. */
  void (*unlock) (struct store *s);

  /* Makes it possible to call what follows, which is otherwise NULL or
   * fails; sets fresh_is_zero, can_punch and can_zero.  NULL: it can't
   * be written.  -1: errno is EACCES, EPERM or EROFS when it isn't
   * allowed, which is not reported; all else is.
   */
  int (*make_writable) (struct store *s);

  /* Writes count bytes at offset, all of them or -1; then any part of
   * them may have been written.  The file grows if need be.
   */
  int (*pwrite) (struct store *s, const void *buf, size_t count,
                 uint64_t offset);

  /* Makes a range read as zero, which doesn't change the length: punch
   * gives its space back, zero keeps it.  -1 isn't reported with EOPNOTSUPP
   * (that can't be done here) and EFBIG (no file can be so long).
   */
  int (*punch) (struct store *s, uint64_t count, uint64_t offset);
  int (*zero) (struct store *s, uint64_t count, uint64_t offset);

  /* Takes space for a range, also behind the end, which becomes longer.
   * What is there remains, the rest reads as zero.  -1 isn't reported with
   * EOPNOTSUPP.  NULL: it can't be done.
   */
  int (*allocate) (struct store *s, uint64_t count, uint64_t offset);

  /* Changes the length.  What is added reads as zero.  -1 isn't reported. */
  int (*resize) (struct store *s, uint64_t size);

  /* Returns when all that was written before is durable, and the length. */
  int (*sync) (struct store *s);

  /* Asks the system to begin with that, so that a sync takes less time.
   * May be NULL.
   */
  void (*start_sync) (struct store *s);

  /* Puts a new content in place of the whole file, which was found as
   * name in folder: after a crash it is the old or the new one, and when
   * it returns 0 it is durably the new one.  -1 with EOPNOTSUPP, which
   * isn't reported: the file can only be changed in place.
   */
  int (*replace) (struct store *s, const struct folder *folder,
                  const void *data, size_t count);

  /* The bytes of the file system that it takes.  NULL: not known. */
  uint64_t (*allocated) (struct store *s);

  void (*close) (struct store *s);
};

struct store {
  const struct store_ops *ops;
  const struct vmdk_log *log;
  char *name;     /* for messages; owned */
  bool no_file;   /* there are no bytes behind it */
  _Atomic uint64_t size; /* grows when the file is made to */
  unsigned refs;
  unsigned extents; /* how many lie in it, of all links */
  unsigned parallel; /* reads at a time that make it fast; 0: any number */
  const char *read_only; /* NULL, or why it can never be written, as the rest
                            of a sentence about the disk */
  const struct store *lower; /* which this one stands for; NULL: none */
  char not_replaced[100]; /* why .replace has failed with EOPNOTSUPP */

  /* Of a store that can be written; set by make_writable. */
  bool writable;
  bool fresh_is_zero;    /* what lies past the end will read as zero */
  atomic_bool can_punch; /* it worked, or nothing is known against it, */
  atomic_bool tried_punch; /* of these the former */
  atomic_bool can_zero;  /* it has worked */

  atomic_bool unsynced;  /* something was written since the last sync */
  atomic_bool lost;      /* a sync failed: what was written may be lost */
  pthread_mutex_t sync_lock; /* held during a sync */
};

/* For those who make stores: sets up and tears down all that isn't theirs.
 * -1: out of memory, reported.
 */
extern int store_init (struct store *s, const struct store_ops *ops,
                       const struct vmdk_log *log, const char *name);
extern void store_destroy (struct store *s);

static inline int
store_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  return s->ops->pread (s, buf, count, offset);
}

/* The first range of [offset, end) that isn't a hole: [*start, *stop);
 * both are end if there is none.  Where the store can't tell, everything
 * up to its size is data.
 */
extern void store_find_data (struct store *s, uint64_t offset, uint64_t end,
                             uint64_t *start, uint64_t *stop);
/* The first byte from offset on that isn't in a hole, or UINT64_MAX. */
extern uint64_t store_next_data (struct store *s, uint64_t offset);
extern void store_prefetch (struct store *s, uint64_t count, uint64_t offset);
extern struct store *store_ref (struct store *s);
extern void store_unref (struct store *s); /* NULL is allowed */

/* See the functions of the same names above. */
extern int store_lock (struct store *s, bool write);
extern void store_unlock (struct store *s);
extern int store_make_writable (struct store *s); /* EROFS if it can't be */
extern int store_pwrite (struct store *s, const void *buf, size_t count,
                         uint64_t offset);
extern int store_resize (struct store *s, uint64_t size); /* not reported */

/* Makes a range read as zero, by writing zeroes if need be; nothing is
 * written past the end.  may_punch: its space may be given back.
 */
extern int store_zero (struct store *s, uint64_t count, uint64_t offset,
                       bool may_punch);

/* Takes space for all bytes up to size, which is the store's size then if
 * it was less; what is there remains.
 */
extern int store_allocate (struct store *s, uint64_t size);

/* Gives back the space of a range, which then reads as zero.  0: it did,
 * 1: that can't be done here, -1: reported.
 */
extern int store_punch (struct store *s, uint64_t count, uint64_t offset);

/* The bytes of the file system that it takes; 0 if that isn't known. */
extern uint64_t store_allocated (struct store *s);

/* Whether store_zero is certain to be quick. */
extern bool store_zeroes_fast (struct store *s, bool may_punch);

/* Returns when everything that was written before the call is durable.
 * Costs nothing when that is the case already.  Once a sync has failed,
 * nobody can know what was lost, and all later ones fail, too (EIO).
 */
extern int store_sync (struct store *s);
extern void store_start_sync (struct store *s); /* see above */

/* Makes a store of an open file or block device.  Takes fd over, also
 * when it fails.  Anything that is neither is refused with EINVAL.
 */
extern struct store *store_file_new (const struct vmdk_log *log, int fd,
                                     const char *name);

/* The file's identity, to recognise it under another name. */
struct store_id {
  uint64_t dev, ino;
};
extern struct store_id store_file_id (const struct store *s);

/* The same, of the file that is below all. */
static inline struct store_id
store_identity (const struct store *s)
{
  while (s->lower)
    s = s->lower;
  return store_file_id (s);
}

#endif /* VMDK_STORE_H */
