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
  /* Set before it starts.  What the guest sees doesn't change, and so the
   * content ID doesn't, nor need children be looked for.
   */
  bool keep_content;
  bool required;         /* nobody goes on read-only: what can't be opened
                            for writing is an error */
  const uint32_t *cid;   /* ... or the new one; NULL: a random one */
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

/* Puts in order what an interrupted writer left, also if nothing else is
 * going to change.  The session has started.
 */
extern int session_settle (struct session *s, struct link *top);

/* Makes everything durable. */
extern int session_flush (struct link *top);

extern int session_finish (struct session *s, struct link *top);

/* Whether an extent can be written at all, as far as descriptor and format
 * say.
 */
extern bool session_may_write (const struct extent *e);

/* Refuses (-1, reported) if VMware keeps track of the link's changes, and
 * this isn't to be ended.
 */
extern int session_check_change_tracking (const struct link *top);

#endif /* VMDK_SESSION_H */
