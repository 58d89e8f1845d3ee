/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Opens what a crash has left: first as a reader, who must find a sound
 * image with what the model allows in it; then as a writer, who must be
 * able to go on, and leave a clean one with nothing else changed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

#define SMALL_GUEST (4 << 20) /* bytes; larger ones aren't always read whole */

/* Messages. */

static char messages[1000];
static pthread_mutex_t messages_lock = PTHREAD_MUTEX_INITIALIZER;

static void
collect (void *opaque, const char *fmt, va_list args)
{
  const int err = errno;
  size_t used;

  (void) opaque;
  pthread_mutex_lock (&messages_lock);
  used = strlen (messages);
  if (used + 3 < sizeof messages) {
    if (used > 0)
      used += (size_t) snprintf (messages + used, sizeof messages - used,
                                 "; ");
    errno = err;
    vsnprintf (messages + used, sizeof messages - used, fmt, args);
  }
  pthread_mutex_unlock (&messages_lock);
  errno = err;
}

static void
ignore (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  (void) fmt;
  (void) args;
}

struct vmdk_log
collecting_log (void)
{
  return (struct vmdk_log) { .error = collect, .warning = ignore };
}

const char *
collected (void)
{
  return messages;
}

void
collect_nothing (void)
{
  messages[0] = '\0';
}

/* Reading. */

static int
read_part (struct vmdk_disk *disk, struct blob *guest, uint64_t offset,
           uint64_t length)
{
  static uint8_t buf[256 << 10];
  uint64_t i;

  while (length > 0) {
    const size_t n = length < sizeof buf ? (size_t) length : sizeof buf;
    const size_t full = (n + BLOCK - 1) / BLOCK * BLOCK;

    if (vmdk_pread (disk, buf, n, offset) == -1)
      return -1;
    memset (buf + n, 0, full - n);
    for (i = 0; i < full; i += BLOCK)
      if (buf[i] != 0 || memcmp (buf + i, buf + i + 1, BLOCK - 1) != 0)
        blob_write (guest, buf + i, BLOCK, offset + i);
    offset += n;
    length -= n;
  }
  return 0;
}

struct reader {
  struct vmdk_disk *disk;
  struct blob *guest;
  uint64_t done; /* up to here */
};

/* Whole blocks around what may have data. */
static int
read_range (void *opaque, const struct vmdk_range *range)
{
  struct reader *const r = opaque;
  uint64_t start = range->offset / BLOCK * BLOCK;
  uint64_t end = (range->offset + range->length + BLOCK - 1) / BLOCK * BLOCK;

  if (range->status == VMDK_ZERO || range->status == VMDK_ABSENT)
    return 0;
  if (start < r->done)
    start = r->done;
  if (end > r->guest->size)
    end = r->guest->size;
  if (end <= start)
    return 0;
  r->done = end;
  return read_part (r->disk, r->guest, start, end - start);
}

int
read_guest (struct vmdk_disk *disk, struct blob *guest, bool all)
{
  struct reader r = { .disk = disk, .guest = guest };
  const uint64_t size = vmdk_size (disk);

  *guest = (struct blob) { .size = size };
  if (all || size <= SMALL_GUEST)
    return read_part (disk, guest, 0, size);
  return vmdk_map (disk, 0, size, false, read_range, &r);
}

/* Checking. */

struct checking {
  const struct scenario *s;
  bool unclean; /* ... is allowed */
  struct verdict *v;
};

static bool
is_allowed (const struct checking *c, const struct vmdk_defect *d)
{
  size_t i;

  for (i = 0; i < 4; i++)
    if (strcmp (d->code, c->s->known[i]) == 0)
      return true;
  if (c->s->foreign && d->severity == VMDK_WARNING)
    return true;
  return c->unclean && (strcmp (d->code, "unclean") == 0 ||
                        strcmp (d->code, "mirror-differs") == 0 ||
                        strcmp (d->code, "long-content-id") == 0);
}

static void
judge (void *opaque, const struct vmdk_defect *d)
{
  struct checking *const c = opaque;

  const bool mirrors = strcmp (d->code, "mirror-differs") == 0;

  if (d->severity == VMDK_LEAK || d->severity == VMDK_NOTE ||
      is_allowed (c, d))
    return;
  verdict_set (c->v, mirrors ? MIRRORS : BAD_CHECK, "%s: %s: %s", d->file,
               d->code, d->text);
}

static bool
is_unclean (struct vmdk_disk *disk)
{
  struct vmdk_link_info link;
  struct vmdk_extent_info e;
  bool sparse = false;
  size_t i;

  vmdk_get_link (disk, 0, &link);
  for (i = 0; i < link.nr_extents; i++) {
    vmdk_get_extent (disk, 0, i, &e);
    if (e.unclean)
      return true;
    sparse = sparse || e.grain_size != 0;
  }
  return !sparse; /* flat extents have no such mark */
}

static void
check (const struct scenario *s, struct vmdk_disk *disk,
       bool may_be_unclean, struct verdict *v)
{
  struct checking c = {
    .s = s, .unclean = may_be_unclean && is_unclean (disk), .v = v,
  };
  struct vmdk_check_result result;

  if (vmdk_check (disk, judge, &c, &result) == -1)
    verdict_set (v, NOT_OPENED, "the check failed: %s", collected ());
}

static bool
get_cid (struct vmdk_disk *disk, uint32_t *cid)
{
  struct vmdk_link_info link;

  vmdk_get_link (disk, 0, &link);
  *cid = link.cid;
  return link.has_descriptor;
}

/* The scenario. */

struct scenario *
scenario_new (const char *name, const char *path,
              const struct vmdk_options *options)
{
  struct scenario *const s = grab (sizeof *s);

  s->name = name;
  s->path = path;
  s->options = *options;
  s->options.file = path;
  s->options.log = collecting_log ();
  return s;
}

static void
note_warning (void *opaque, const struct vmdk_defect *d)
{
  struct scenario *const s = opaque;

  size_t i;

  if (d->severity != VMDK_WARNING)
    return;
  for (i = 0; i < 4 && s->known[i][0] != '\0'; i++)
    if (strcmp (d->code, s->known[i]) == 0)
      return;
  if (i == 4)
    die ("%s: it has too many kinds of warnings", s->path);
  snprintf (s->known[i], sizeof s->known[i], "%s", d->code);
}

static void
find_warnings (struct scenario *s, struct vmdk_disk *disk)
{
  struct vmdk_check_result result;

  if (vmdk_check (disk, note_warning, s, &result) == -1 || result.errors > 0)
    die ("%s: it isn't sound: %s", s->path, collected ());
}

/* With the_world as it is. */
void
scenario_read_initial (struct scenario *s)
{
  struct vmdk_disk *disk;

  collect_nothing ();
  disk = vmdk_open (&s->options);
  if (disk == NULL || read_guest (disk, &s->guest, true) == -1)
    die ("%s: %s", s->path, collected ());
  s->has_cid = get_cid (disk, &s->cid);
  find_warnings (s, disk);
  if (vmdk_close (disk) == -1)
    die ("%s: %s", s->path, collected ());
  s->initial = world_clone (the_world);
}

void
scenario_free (struct scenario *s)
{
  if (s == NULL)
    return;
  free_regions (s);
  world_free (s->initial);
  log_free (s->log);
  blob_clear (&s->guest);
  free (s);
}

/* Requests. */

/* What a trim has done can be seen, unless others write meanwhile. */
static int
look_at_trimmed (struct vmdk_disk *disk, struct event *e)
{
  static const uint8_t zeroes[SECTOR];
  uint8_t buf[SECTOR];
  uint64_t i;

  e->seen = grab (e->length / SECTOR + 1);
  for (i = 0; i < e->length / SECTOR; i++) {
    if (vmdk_pread (disk, buf, SECTOR, e->offset + i * SECTOR) == -1)
      return -1;
    e->seen[i] = memcmp (buf, zeroes, SECTOR) == 0;
  }
  return 0;
}

int
make_request (struct vmdk_disk *disk, struct log *l, const struct event *e)
{
  const unsigned flags = e->fua ? VMDK_FUA : 0;
  struct event *const note = l ? log_begin (l, e) : NULL;
  int r;

  current_op = note;
  switch (e->kind) {
  case EV_GUEST_WRITE:
    r = vmdk_pwrite (disk, e->data, e->length, e->offset, flags);
    break;
  case EV_GUEST_ZERO:
    r = vmdk_zero (disk, e->length, e->offset, flags | VMDK_MAY_TRIM);
    break;
  case EV_GUEST_TRIM:
    r = vmdk_trim (disk, e->length, e->offset, flags);
    if (note && e->seen && r == 0)
      r = look_at_trimmed (disk, note);
    break;
  default:
    r = vmdk_flush (disk);
  }
  current_op = NULL;
  if (note && r == 0)
    log_end (l, note);
  return r;
}

/* One state. */

struct visit {
  const struct scenario *s;
  const struct model *m;
  struct world *w;
  uint64_t tick, n;
  struct totals *totals;
  struct verdict *v;
  struct blob guest; /* as it was read */
  uint32_t cid;
};

/* What was added to it is zero, and it isn't the former content. */
static void
compare_new_size (struct visit *x)
{
  const uint64_t old = x->s->guest.size;
  uint64_t i;

  if (x->s->has_cid && x->cid == x->s->cid)
    verdict_set (x->v, STALE_CID, "the disk has its new size, but the content "
                 "ID is still %08" PRIx32, x->cid);
  for (i = (old + BLOCK - 1) / BLOCK; i * BLOCK < x->guest.size; i++)
    if (blob_block (&x->guest, i))
      verdict_set (x->v, CHANGED, "what was added isn't zero near offset %"
                   PRIu64, i * BLOCK);
}

static void
read_and_compare (struct visit *x, struct vmdk_disk *disk)
{
  const uint64_t size = vmdk_size (disk);
  bool differs;

  if (size != x->s->guest.size && size != x->s->new_size) {
    verdict_set (x->v, CHANGED, "the disk has another size");
    return;
  }
  if (read_guest (disk, &x->guest, x->n % 64 == 9) == -1) {
    verdict_set (x->v, UNREADABLE, "the disk can't be read: %s",
                 collected ());
    return;
  }
  model_compare (x->m, &x->guest, x->tick, &differs, x->v);
  if (x->v->outcome == GOOD && size != x->s->guest.size)
    compare_new_size (x);
  if (x->v->outcome == GOOD && differs && x->s->has_cid && !x->s->foreign &&
      x->cid == x->s->cid)
    verdict_set (x->v, STALE_CID, "the content differs, but the content ID "
                 "is still %08" PRIx32, x->cid);
}

static struct vmdk_disk *
open_disk (struct visit *x)
{
  collect_nothing ();
  x->totals->opens++;
  return vmdk_open (&x->s->options);
}

/* What the second writer does. */
static struct event
second_request (struct visit *x, uint8_t *data)
{
  struct rng r = { .x = x->s->seed + x->tick * 131 + x->n };
  const uint64_t sectors = x->guest.size / SECTOR;
  struct event e = { .kind = EV_GUEST_WRITE, .fua = x->n % 3 == 0 };
  uint64_t i, n = 1 + rng_below (&r, 3);

  if (n > sectors)
    n = 1;
  e.offset = rng_below (&r, sectors - n + 1) * SECTOR;
  e.length = n * SECTOR;
  e.data = data;
  if (x->n % 7 == 5)
    e.kind = EV_GUEST_ZERO; /* of what was just written */
  for (i = 0; i < e.length; i++)
    data[i] = (uint8_t) (rng_next (&r) | 1);
  return e;
}

static int
write_again (struct visit *x, struct vmdk_disk *disk,
             const struct event *what)
{
  struct log *const l = x->w->log;
  struct event before = *what, e = *what;

  before.kind = EV_GUEST_WRITE;
  if (what->kind == EV_GUEST_ZERO)
    e.data = NULL;
  if (vmdk_start_writing (disk) == -1 ||
      (what->kind == EV_GUEST_ZERO &&
       make_request (disk, l, &before) == -1) ||
      make_request (disk, l, &e) == -1)
    return -1;
  if (x->n % 5 == 1)
    return 0; /* closing is enough */
  return make_request (disk, l,
                       &(struct event) { .kind = EV_GUEST_FLUSH });
}

static bool
same_content (const struct blob *a, const struct blob *b, uint64_t *where)
{
  static const uint8_t zeroes[BLOCK];
  uint64_t i;

  for (i = 0; i * BLOCK < a->size; i++) {
    const uint8_t *const p = blob_block (a, i), *const q = blob_block (b, i);

    if (p != q && memcmp (p ? p : zeroes, q ? q : zeroes, BLOCK) != 0) {
      *where = i * BLOCK;
      return false;
    }
  }
  return a->size == b->size;
}

/* After the second writer. */
static void
look_again (struct visit *x, const struct event *what)
{
  struct vmdk_disk *const disk = open_disk (x);
  struct blob expected, found = { .size = 0 };
  uint64_t where = 0;

  if (disk == NULL) {
    verdict_set (x->v, BAD_RECOVERY, "after it was written again it can't be "
                 "opened: %s", collected ());
    return;
  }
  check (x->s, disk, false, x->v);
  if (x->v->outcome != GOOD)
    x->v->outcome = BAD_RECOVERY;
  blob_clone (&expected, &x->guest);
  if (what->kind == EV_GUEST_WRITE)
    blob_write (&expected, what->data, what->length, what->offset);
  else
    blob_zero (&expected, what->length, what->offset);
  if (x->v->outcome == GOOD &&
      (read_guest (disk, &found, x->n % 64 == 9) == -1 ||
       !same_content (&expected, &found, &where)))
    verdict_set (x->v, BAD_RECOVERY, "after %" PRIu64 " bytes were written "
                 "again at %" PRIu64 ", something else is different from "
                 "before: near offset %" PRIu64 " %s", what->length,
                 what->offset, where, collected ());
  blob_clear (&expected);
  blob_clear (&found);
  vmdk_close (disk);
}

static struct scenario *
start_second (struct visit *x)
{
  struct scenario *const new =
    scenario_new (x->s->name, x->s->path, &x->s->options);

  new->initial = world_clone (x->w);
  new->log = x->w->log = log_new ();
  blob_clone (&new->guest, &x->guest);
  new->cid = x->cid;
  new->has_cid = x->s->has_cid;
  memcpy (new->known, x->s->known, sizeof new->known);
  new->depth = x->s->depth + 1;
  new->seed = x->s->seed + x->tick * 1009 + x->n;
  return new;
}

static void
recover (struct visit *x, struct vmdk_disk *disk, struct scenario **second)
{
  uint8_t data[3 * SECTOR];
  const struct event what = second_request (x, data);

  if (second)
    *second = start_second (x);
  if (write_again (x, disk, &what) == -1) {
    verdict_set (x->v, NO_RECOVERY, "it can't be written again: %s",
                 collected ());
    vmdk_close (disk);
  }
  else if (vmdk_close (disk) == -1)
    verdict_set (x->v, NO_RECOVERY, "after it was written again it can't be "
                 "closed: %s", collected ());
  else
    look_again (x, &what);
  x->w->log = NULL;
  if (second)
    find_regions (*second, x->w);
}

/* Another program takes what lies behind the end of a file for zeroes,
 * where the library refuses to read: that is no difference to be counted.
 */
static void
pad_files (struct visit *x)
{
  size_t i;

  for (i = 0; i < x->s->log->nr; i++) {
    const struct event *const e = x->s->log->events[i];
    struct blob *b;

    if (is_guest (e))
      continue;
    b = &x->w->files[e->file].now;
    if (e->kind != EV_SYNC && e->new_size > b->size)
      blob_set_size (b, e->new_size);
  }
}

/* What another program's crash has left: everything that is wrong. */
static void
look_at_foreign (struct visit *x, struct vmdk_disk *disk)
{
  check (x->s, disk, true, x->v);
  vmdk_close (disk);
  pad_files (x);
  disk = open_disk (x);
  if (disk == NULL)
    verdict_set (x->v, NOT_OPENED, "it can't be opened: %s", collected ());
  else {
    read_and_compare (x, disk);
    vmdk_close (disk);
  }
}

void
verify (const struct scenario *s, const struct model *m, struct world *w,
        uint64_t tick, uint64_t n, struct totals *t, struct verdict *v,
        struct scenario **second)
{
  struct visit x = {
    .s = s, .m = m, .w = w, .tick = tick, .n = n, .totals = t, .v = v,
  };
  struct world *const old = the_world;
  struct vmdk_disk *disk;

  the_world = w;
  disk = open_disk (&x);
  if (disk == NULL)
    verdict_set (v, NOT_OPENED, "it can't be opened: %s", collected ());
  else if (s->foreign)
    look_at_foreign (&x, disk);
  else {
    get_cid (disk, &x.cid);
    read_and_compare (&x, disk);
    if (v->outcome == GOOD)
      check (s, disk, true, v);
    if (v->outcome == GOOD)
      recover (&x, disk, second);
    else
      vmdk_close (disk);
  }
  blob_clear (&x.guest);
  the_world = old;
  world_free (w);
}
