/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The time in which a disk is written, from the first writable use to the
 * clean close.
 *
 *   vmdk_start_writing   others are kept out, and it is seen whether the
 *                        disk may be written; nothing is changed
 *   the first change     the content ID, so that children of the disk as
 *                        it was know; a thread that writes back begins
 *   session_finish       everything is published, the thread ends, and
 *                        the extents are marked as clean
 *
 * lock is the outermost of all locks of the writing side; the next ones
 * are those of sparse-write.h.
 */

#ifndef VMDK_SESSION_H
#define VMDK_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "link.h"

struct session {
  pthread_mutex_t lock;  /* protects what follows; held while the session
                            starts, and during the first change */
  bool started;
  atomic_bool changed;   /* the first change was announced */

  /* The thread, if changed. */
  pthread_t thread;
  bool has_thread;
  pthread_mutex_t thread_lock; /* protects stop */
  pthread_cond_t stopping;
  bool stop;
  struct link *link;     /* the top one */
};

extern void session_init (struct session *s);
extern void session_destroy (struct session *s);

/* To be called before each change of an extent of the top link.  -1:
 * reported; nothing may be changed.
 */
extern int session_will_change (struct session *s, struct link *top,
                                struct extent *e);

/* Makes everything durable. */
extern int session_flush (struct link *top);

extern int session_finish (struct session *s, struct link *top);

/* Whether an extent can be written at all, as far as descriptor and format
 * say.
 */
extern bool session_may_write (const struct extent *e);

#endif /* VMDK_SESSION_H */
