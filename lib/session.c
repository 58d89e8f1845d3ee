/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The time in which a disk is written: how it begins, the first change,
 * writing back from time to time, and the end.
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "descriptor-edit.h"
#include "disk.h"
#include "in-use.h"
#include "relabel.h"

/* What nobody has flushed for so long is made durable by itself, so that
 * not much more is lost than with any other disk: seconds.
 */
#define WRITE_BACK_INTERVAL 5

void
session_init (struct session *s)
{
  pthread_condattr_t attr;

  pthread_mutex_init (&s->lock, NULL);
  pthread_mutex_init (&s->thread_lock, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&s->stopping, &attr);
  pthread_condattr_destroy (&attr);
}

void
session_destroy (struct session *s)
{
  pthread_cond_destroy (&s->stopping);
  pthread_mutex_destroy (&s->thread_lock);
  pthread_mutex_destroy (&s->lock);
}

/* Whether the disk can be written at all. */

bool
session_may_write (const struct extent *e)
{
  return e->ops->write && (e->line == NULL || e->line->access == ACCESS_RW) &&
    (e->store == NULL || e->store->read_only == NULL);
}

static const char *
why_not (const struct extent *e)
{
  if (e->store && e->store->read_only)
    return e->store->read_only;
  if (e->line && e->line->access == ACCESS_RDONLY)
    return "its descriptor allows only to read it (RDONLY)";
  if (e->line && e->line->access == ACCESS_NOACCESS)
    return "its descriptor forbids all access (NOACCESS)";
  if (strcmp (e->format, "stream") == 0)
    return "streamOptimized disks are made to be read only; convert it first";
  if (strcmp (e->format, "seSparse") == 0)
    return "writing seSparse extents isn't supported yet";
  return "it has no extent that could be written";
}

bool
vmdk_can_write (const struct vmdk_disk *disk, const char **why)
{
  const struct link *const top = disk->top;
  size_t i;

  /* Its parent isn't known, if it is a part of a child. */
  if (top->desc == NULL && top->extents[0]->line == NULL &&
      top->extents[0]->store->read_only == NULL) {
    *why = "there is no descriptor in this extent, which may be a part of a "
      "larger disk; open the descriptor that names it";
    return false;
  }
  if (top->parent == NULL && top->desc &&
      (top->desc->parent_hint || top->desc->parent_cid != CID_NONE)) {
    *why = "it has a parent, which wasn't opened, so that a grain can't be "
      "filled up";
    return false;
  }
  for (i = 0; i < top->nr_extents; i++)
    if (session_may_write (top->extents[i]))
      return true;
  *why = why_not (top->extents[0]);
  return false;
}

/* Starting. */

int
session_check_change_tracking (const struct link *top)
{
  if (top->desc == NULL || top->desc->change_track == NULL ||
      top->ctx->drop_cbt)
    return 0;
  vmdk_error (&top->ctx->log, "%s: can't be written: VMware keeps track of "
              "its changes in %s, and wouldn't see ours: the next "
              "incremental backup would be wrong; drop-cbt=true ends the "
              "tracking, and then the next backup must be a full one",
              top->store->name, top->desc->change_track);
  errno = EPERM;
  return -1;
}

/* A file that is more than one thing can't be written safely: as one of
 * them, it would change under the others.  Only flat extents may share
 * one, where each has its own part of it.
 */

static bool
overlaps_other (const struct link *top, const struct extent *e)
{
  const uint64_t start = e->line ? e->line->offset : 0;
  size_t i, sharing = 1;

  for (i = 0; i < top->nr_extents; i++) {
    const struct extent *const o = top->extents[i];

    if (o == e || o->store != e->store)
      continue;
    sharing++;
    if (e->grain_size != 0 || o->grain_size != 0 ||
        (start < o->line->offset + o->size &&
         o->line->offset < start + e->size))
      return true;
  }
  return sharing != e->store->extents; /* a parent has it, too */
}

static bool
holds_descriptor (const struct link *top, const struct store *s)
{
  const struct link *l;

  for (l = top; l; l = l->parent)
    if (l->store == s && !(l == top && l->embedded))
      return l->desc != NULL;
  return false;
}

static int
check_sharing (const struct link *top)
{
  size_t i;

  if (!top->embedded && top->desc && top->store->extents > 0) {
    vmdk_error (&top->ctx->log, "%s: can't be written: an extent of the disk "
                "lies in the file of its descriptor", top->store->name);
    errno = EPERM;
    return -1;
  }
  for (i = 0; i < top->nr_extents; i++) {
    const struct extent *const e = top->extents[i];

    if (!session_may_write (e) || (!holds_descriptor (top, e->store) &&
        (e->store->extents == 1 || !overlaps_other (top, e))))
      continue;
    vmdk_error (&top->ctx->log, "%s: can't be written: extent %zu lies in "
                "%s, and so does another part of the disk",
                top->store->name, i + 1, e->store->name);
    errno = EPERM;
    return -1;
  }
  return 0;
}

/* Whoever goes on read-only has only been warned. */
static int
open_store (struct store *s, bool required)
{
  if (store_make_writable (s) == 0)
    return 0;
  if (errno != EACCES && errno != EPERM && errno != EROFS)
    return -1;
  if (required)
    vmdk_error (s->log, "%s: can't be opened for writing: %m", s->name);
  else
    vmdk_warning (s->log, "%s: can't be opened for writing: %m", s->name);
  return -1;
}

static int
lock_store (struct store *s, bool required)
{
  (void) required;
  return store_lock (s, true);
}

static int
unlock_store (struct store *s, bool required)
{
  (void) required;
  store_unlock (s);
  return 0;
}

/* The descriptor, and the extents that may be written. */
static int
for_each_store (struct link *top, bool required,
                int (*fn) (struct store *s, bool required))
{
  size_t i;

  if (fn (top->store, required) == -1)
    return -1;
  for (i = 0; i < top->nr_extents; i++)
    if (session_may_write (top->extents[i]) &&
        fn (top->extents[i]->store, required) == -1)
      return -1;
  return 0;
}

static int
start_extents (struct link *top)
{
  size_t i;

  for (i = 0; i < top->nr_extents; i++)
    if (session_may_write (top->extents[i]) &&
        top->extents[i]->ops->write->start (top->extents[i]) == -1)
      return -1;
  return 0;
}

/* What is only read after all mustn't keep other readers out. */
static int
take_disk (struct link *top, bool required)
{
  int err;

  if (for_each_store (top, required, open_store) == -1)
    return -1;
  if ((!top->ctx->lock || for_each_store (top, required, lock_store) == 0) &&
      start_extents (top) == 0)
    return 0;
  err = errno;
  if (top->ctx->lock)
    for_each_store (top, required, unlock_store);
  errno = err;
  return -1;
}

static int
start (const struct vmdk_disk *disk)
{
  struct link *const top = disk->top;
  const char *why;

  if (!vmdk_can_write (disk, &why)) {
    vmdk_error (&disk->ctx->log, "%s: can't be written: %s",
                top->store->name, why);
    errno = EPERM;
    return -1;
  }
  if (session_check_change_tracking (top) == -1 || check_sharing (top) == -1)
    return -1;
  if (in_use_by_vmware (top, true) == -1 ||
      (!disk->ctx->allow_parent_write && !disk->session.keep_content &&
       in_use_as_parent (top, NULL) == -1))
    return -1;
  return take_disk (top, disk->session.required);
}

int
vmdk_start_writing (struct vmdk_disk *disk)
{
  struct session *const s = &disk->session;
  int r = 0;

  pthread_mutex_lock (&s->lock);
  if (!s->started) {
    r = start (disk);
    s->started = r == 0;
  }
  pthread_mutex_unlock (&s->lock);
  return r;
}

/* Writing back. */

static bool
wait_for_turn (struct session *s)
{
  struct timespec when;
  int r = 0;

  clock_gettime (CLOCK_MONOTONIC, &when);
  when.tv_sec += WRITE_BACK_INTERVAL;
  pthread_mutex_lock (&s->thread_lock);
  while (!s->stop && r == 0)
    r = pthread_cond_timedwait (&s->stopping, &s->thread_lock, &when);
  pthread_mutex_unlock (&s->thread_lock);
  return r != 0;
}

/* An error isn't lost: the entries remain, and the next flush fails. */
static void *
write_back (void *opaque)
{
  struct session *const s = opaque;
  size_t i;

  while (wait_for_turn (s))
    for (i = 0; i < s->link->nr_extents; i++) {
      struct extent *const e = s->link->extents[i];

      if (session_may_write (e) && e->ops->write->is_behind &&
          e->ops->write->is_behind (e) && !e->store->lost)
        e->ops->write->flush (e);
    }
  return NULL;
}

/* The program's signals are not for this thread. */
static int
start_thread (struct session *s, struct link *top)
{
  sigset_t all, old;
  int err;

  s->link = top;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  err = pthread_create (&s->thread, NULL, write_back, s);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (err != 0) {
    errno = err;
    vmdk_error (&top->ctx->log, "pthread_create: %m");
    return -1;
  }
  s->has_thread = true;
  return 0;
}

static void
stop_thread (struct session *s)
{
  if (!s->has_thread)
    return;
  pthread_mutex_lock (&s->thread_lock);
  s->stop = true;
  pthread_cond_signal (&s->stopping);
  pthread_mutex_unlock (&s->thread_lock);
  pthread_join (s->thread, NULL);
  s->has_thread = false;
}

/* The first change. */

/* What an interrupted writer left is put in order, also in extents that
 * nobody is going to write now: or they would be checked again each time.
 * And a descriptor inside of an extent can't change before the extent does.
 */
static int
announce_changes (struct link *top)
{
  size_t i;

  for (i = 0; i < top->nr_extents; i++) {
    struct extent *const e = top->extents[i];

    if (session_may_write (e) &&
        ((i == 0 && top->embedded) ||
         (e->ops->write->was_interrupted &&
          e->ops->write->was_interrupted (e))) &&
        e->ops->write->will_change (e) == -1)
      return -1;
  }
  return 0;
}

static int
new_content_id (const struct session *s, struct link *top)
{
  const struct descriptor_changes changes = {
    .cid = s->cid, .drop_change_track = top->ctx->drop_cbt,
  };

  if (s->keep_content || top->desc == NULL)
    return 0;
  return s->cid ? link_change_descriptor (top, &changes) : relabel (top);
}

static int
first_change (struct session *s, struct link *top)
{
  if (announce_changes (top) == -1 || new_content_id (s, top) == -1)
    return -1;
  return s->has_thread ? 0 : start_thread (s, top);
}

static bool
was_interrupted (const struct link *top)
{
  size_t i;

  for (i = 0; i < top->nr_extents; i++) {
    const struct extent *const e = top->extents[i];

    if (session_may_write (e) && e->ops->write->was_interrupted &&
        e->ops->write->was_interrupted (e))
      return true;
  }
  return false;
}

int
session_settle (struct session *s, struct link *top)
{
  int r = 0;

  pthread_mutex_lock (&s->lock);
  if (!s->changed && was_interrupted (top)) {
    r = first_change (s, top);
    s->changed = r == 0;
  }
  pthread_mutex_unlock (&s->lock);
  return r;
}

int
session_will_change (struct session *s, struct link *top, struct extent *e)
{
  int r = 0;

  if (!atomic_load_explicit (&s->changed, memory_order_acquire)) {
    pthread_mutex_lock (&s->lock);
    if (!s->changed) {
      r = first_change (s, top);
      s->changed = r == 0;
    }
    pthread_mutex_unlock (&s->lock);
  }
  return r == 0 ? e->ops->write->will_change (e) : -1;
}

/* Making durable.  The first error counts, but what can be saved is. */

static int
for_all_extents (struct link *top, bool finish)
{
  int r = 0, err = 0;
  size_t i;

  for (i = 0; i < top->nr_extents; i++) {
    struct extent *const e = top->extents[i];

    if (!session_may_write (e))
      continue;
    if ((finish ? e->ops->write->finish (e) : e->ops->write->flush (e)) == 0)
      continue;
    if (r == 0)
      err = errno;
    r = -1;
  }
  if (r == -1)
    errno = err;
  return r;
}

int
session_flush (struct link *top)
{
  return for_all_extents (top, false);
}

int
session_finish (struct session *s, struct link *top)
{
  int r;

  stop_thread (s);
  if (!s->started)
    return 0;
  r = for_all_extents (top, true);
  if (r == -1)
    vmdk_error (&top->ctx->log, "%s: couldn't be closed cleanly: what was "
                "written since the last flush may be lost; it will be "
                "checked before it is written again", top->store->name);
  return r;
}
