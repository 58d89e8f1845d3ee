/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The store that takes the place of the library's store_file_new: the
 * content of files is in memory, beginning with what the file on the disk
 * has, which is never changed; and everything that is done is written
 * down.  Names, folders and confinement stay real.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"
#include "store.h"

struct world *the_world;

struct memory_store {
  struct store s; /* must come first */
  struct world *w;
  unsigned file;
  struct store_id id;
};

/* The world. */

struct world *
world_new (void)
{
  struct world *const w = grab (sizeof *w);

  pthread_mutex_init (&w->lock, NULL);
  return w;
}

struct world *
world_like (const struct world *w)
{
  struct world *const new = world_new ();

  new->no_punch = w->no_punch;
  new->no_replace = w->no_replace;
  new->device = w->device;
  return new;
}

struct world *
world_clone (const struct world *w)
{
  struct world *const new = world_like (w);
  size_t i;

  for (i = 0; i < w->nr; i++) {
    const struct world_file *const f = &w->files[i];

    new->files = grow_array (new->files, i, sizeof new->files[0]);
    new->files[i] = (struct world_file) {
      .name = strdup (f->name), .dev = f->dev, .ino = f->ino,
    };
    blob_clone (&new->files[i].now, &f->now);
  }
  new->nr = w->nr;
  return new;
}

void
world_free (struct world *w)
{
  size_t i;

  if (w == NULL)
    return;
  for (i = 0; i < w->nr; i++) {
    free (w->files[i].name);
    blob_clear (&w->files[i].now);
  }
  free (w->files);
  pthread_mutex_destroy (&w->lock);
  free (w);
}

static unsigned
find_file_locked (struct world *w, int fd, const char *name)
{
  const char *const slash = strrchr (name, '/');
  struct stat st;
  size_t i;

  if (fstat (fd, &st) == -1)
    die ("%s: %s", name, strerror (errno));
  for (i = 0; i < w->nr; i++)
    if (w->files[i].dev == st.st_dev && w->files[i].ino == st.st_ino)
      return (unsigned) i;
  w->files = grow_array (w->files, w->nr, sizeof w->files[0]);
  w->files[i] = (struct world_file) {
    .name = strdup (slash ? slash + 1 : name),
    .dev = st.st_dev, .ino = st.st_ino,
  };
  blob_load (&w->files[i].now, fd, name);
  w->nr++;
  return (unsigned) i;
}

/* What the library does. */

static struct world_file *
file_of (struct store *s)
{
  struct memory_store *const m = (struct memory_store *) s;

  return &m->w->files[m->file];
}

static struct world *
enter (struct store *s)
{
  struct world *const w = ((struct memory_store *) s)->w;

  pthread_mutex_lock (&w->lock);
  return w;
}

static void
leave (struct world *w)
{
  pthread_mutex_unlock (&w->lock);
}

/* An operation has begun, and has had its effect on what is read.  It
 * takes a while, in which others begin; a sync takes longest.
 */
static void
take_time (const struct world *w, enum event_kind kind)
{
  if (w->slow) {
    const struct timespec t = { .tv_nsec = kind == EV_SYNC ? 300000 : 1000 };

    nanosleep (&t, NULL);
  }
}

static struct event *
begin (struct store *s, const struct event *what)
{
  struct memory_store *const m = (struct memory_store *) s;
  struct event e = *what;

  e.file = m->file;
  if (m->w->log == NULL)
    return NULL;
  return log_begin (m->w->log, &e);
}

static int
finish (struct world *w, struct event *e)
{
  leave (w);
  if (e) {
    take_time (w, e->kind);
    log_end (w->log, e);
  }
  return 0;
}

static int
memory_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  struct world *const w = enter (s);
  const struct blob *const b = &file_of (s)->now;
  const uint64_t size = s->size < offset + count ? s->size : offset + count;
  const bool shrunk = b->size < size;

  if (!shrunk)
    blob_read (b, buf, count, offset);
  leave (w);
  if (!shrunk)
    return 0;
  vmdk_error (s->log, "%s: the file has become shorter", s->name);
  errno = EIO;
  return -1;
}

static int
next (struct store *s, uint64_t offset, bool data, uint64_t *found)
{
  struct world *const w = enter (s);

  *found = blob_next (&file_of (s)->now, offset, data);
  if (*found >= file_of (s)->now.size)
    *found = data ? UINT64_MAX : file_of (s)->now.size;
  leave (w);
  return 0;
}

static int
memory_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, true, found);
}

static int
memory_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, false, found);
}

static int
memory_make_writable (struct store *s)
{
  struct world *const w = enter (s);

  file_of (s)->writable = true;
  s->fresh_is_zero = !w->device;
  s->can_punch = !w->no_punch && !w->device;
  leave (w);
  return 0;
}

static int
memory_pwrite (struct store *s, const void *buf, size_t count,
               uint64_t offset)
{
  struct world *const w = enter (s);
  struct blob *const b = &file_of (s)->now;
  const uint64_t size = b->size > offset + count ? b->size : offset + count;
  struct event *const e = begin (s, &(struct event) {
      .kind = EV_WRITE, .offset = offset, .length = count,
      .data = (uint8_t *) buf, .old_size = b->size, .new_size = size });

  blob_write (b, buf, count, offset);
  b->size = size;
  return finish (w, e);
}

static int
make_zero (struct store *s, enum event_kind kind, uint64_t count,
           uint64_t offset)
{
  struct world *const w = enter (s);
  struct event *e;

  if (w->no_punch || w->device) {
    leave (w);
    errno = EOPNOTSUPP;
    return -1;
  }
  e = begin (s, &(struct event) {
      .kind = kind, .offset = offset, .length = count });
  blob_zero (&file_of (s)->now, count, offset);
  return finish (w, e);
}

static int
memory_punch (struct store *s, uint64_t count, uint64_t offset)
{
  return make_zero (s, EV_PUNCH, count, offset);
}

static int
memory_zero (struct store *s, uint64_t count, uint64_t offset)
{
  return make_zero (s, EV_ZERO, count, offset);
}

static int
memory_resize (struct store *s, uint64_t size)
{
  struct world *const w = enter (s);
  struct blob *const b = &file_of (s)->now;
  struct event *const e = begin (s, &(struct event) {
      .kind = EV_RESIZE, .length = size,
      .old_size = b->size, .new_size = size });

  blob_set_size (b, size);
  return finish (w, e);
}

static int
memory_sync (struct store *s)
{
  struct world *const w = enter (s);

  return finish (w, begin (s, &(struct event) { .kind = EV_SYNC }));
}

static int
memory_replace (struct store *s, const struct folder *folder,
                const void *data, size_t count)
{
  struct world *const w = enter (s);
  struct blob *const b = &file_of (s)->now;
  struct event *e;

  (void) folder;
  if (w->no_replace || w->device) {
    leave (w);
    errno = EOPNOTSUPP;
    return -1;
  }
  e = begin (s, &(struct event) {
      .kind = EV_REPLACE, .length = count, .data = (uint8_t *) data,
      .old_size = b->size, .new_size = count });
  blob_set_size (b, 0);
  blob_write (b, data, count, 0);
  b->size = count;
  s->size = count;
  return finish (w, e);
}

static void
memory_close (struct store *s)
{
  store_destroy (s);
  free (s);
}

static const struct store_ops memory_ops = {
  .pread = memory_pread,
  .next_data = memory_next_data,
  .next_hole = memory_next_hole,
  .make_writable = memory_make_writable,
  .pwrite = memory_pwrite,
  .punch = memory_punch,
  .zero = memory_zero,
  .resize = memory_resize,
  .sync = memory_sync,
  .replace = memory_replace,
  .close = memory_close,
};

struct store *
store_file_new (const struct vmdk_log *log, int fd, const char *name)
{
  struct world *const w = the_world;
  struct memory_store *const m = grab (sizeof *m);

  if (store_init (&m->s, &memory_ops, log, name) == -1)
    die ("out of memory");
  pthread_mutex_lock (&w->lock);
  m->w = w;
  m->file = find_file_locked (w, fd, name);
  m->s.size = w->files[m->file].now.size;
  m->id = (struct store_id) {
    .dev = w->files[m->file].dev, .ino = w->files[m->file].ino,
  };
  pthread_mutex_unlock (&w->lock);
  close (fd);
  return &m->s;
}

struct store_id
store_file_id (const struct store *s)
{
  return ((const struct memory_store *) s)->id;
}
