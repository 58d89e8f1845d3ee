/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing, zeroing and trimming: a request is split at extents and at what
 * their maps say.  What has a place in a file is changed there, without a
 * lock and without another word; all else is the format's task.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "disk.h"

/* The parent of an extent's link, seen from the extent. */
struct parent_below {
  struct below b; /* must come first */
  struct link *parent;
  uint64_t start; /* of the extent */
};

static int
read_parent (const struct below *b, void *buf, size_t count, uint64_t offset)
{
  const struct parent_below *const p = (const struct parent_below *) b;

  return disk_read_link (p->parent, buf, count, p->start + offset);
}

struct zeroes {
  bool known; /* that the first n bytes are zero, or that they may not be */
  uint64_t n;
};

static int
add_run (void *opaque, unsigned depth, uint64_t offset, const struct run *run)
{
  struct zeroes *const z = opaque;
  const bool known = run->kind == RUN_ZERO || run->kind == RUN_ABSENT;

  (void) depth;
  (void) offset;
  if (z->n != 0 && known != z->known)
    return 1;
  z->known = known;
  z->n += run->length;
  return 0;
}

static int
find_zero_in_parent (const struct below *b, uint64_t offset, uint64_t length,
                     uint64_t *n)
{
  const struct parent_below *const p = (const struct parent_below *) b;
  struct zeroes z = { .n = 0 };

  if (disk_walk_link (p->parent, 0, p->start + offset, length, NULL, add_run,
                      &z) == -1)
    return -1;
  *n = z.n;
  return z.known;
}

/* One request. */

enum action {
  WRITE,
  ZERO,
  TRIM,
};

struct request {
  struct vmdk_disk *disk;
  enum action action;
  unsigned flags;
  uint64_t offset, length; /* of the disk */
  const char *buf;         /* WRITE: for the byte at offset */
};

/* The part of a request that is in one extent; offsets are the extent's. */
struct part {
  const struct request *request;
  struct extent *e;
  struct parent_below below;
  uint64_t offset, length;
  const char *buf;
};

static int
change_data (const struct part *p, const struct run *run)
{
  const struct request *const r = p->request;

  switch (r->action) {
  case WRITE:
    return store_pwrite (run->store, p->buf, (size_t) run->length,
                         run->file_offset);
  case ZERO:
    return store_zero (run->store, run->length, run->file_offset,
                       (r->flags & VMDK_MAY_TRIM) != 0);
  case TRIM:
    break;
  }
  return store_punch (run->store, run->length, run->file_offset) == -1 ? -1
    : 0;
}

static struct fill
fill_of (const struct part *p, const struct run *run)
{
  return (struct fill) {
    .below = p->below.parent ? &p->below.b : NULL,
    .kind = run->kind,
    .offset = p->offset,
    .length = run->length,
    .buf = p->buf,
    .trim = p->request->action == TRIM,
  };
}

/* Zeroes where nothing else can be seen: no reason for a new content ID. */
static bool
changes_nothing (const struct part *p, const struct run *run)
{
  return p->request->action != WRITE &&
    (run->kind == RUN_ZERO ||
     (run->kind == RUN_ABSENT && p->below.parent == NULL));
}

static int
change_run (const struct part *p, struct run *run)
{
  struct vmdk_disk *const disk = p->request->disk;
  struct fill f;

  if (changes_nothing (p, run))
    return 0;
  if (session_will_change (&disk->session, disk->top, p->e) == -1)
    return -1;
  if (run->kind == RUN_DATA)
    return change_data (p, run);
  f = fill_of (p, run);
  return p->e->ops->write->fill (p->e, &f, &run->length);
}

static int
change_part (struct part *p)
{
  while (p->length > 0) {
    struct run run;

    if (p->e->ops->map (p->e, p->offset, p->length, NULL, &run) == -1 ||
        change_run (p, &run) == -1)
      return -1;
    p->offset += run.length;
    p->length -= run.length;
    if (p->buf)
      p->buf += run.length;
  }
  if (p->request->flags & VMDK_FUA)
    return p->e->ops->write->flush (p->e);
  return 0;
}

/* Sets fast to false if zeroes would have to be written. */
static int
look_at_part (const struct part *whole, bool *fast)
{
  const bool may_trim = (whole->request->flags & VMDK_MAY_TRIM) != 0;
  struct part p = *whole;

  while (p.length > 0 && *fast) {
    struct run run;

    if (p.e->ops->map (p.e, p.offset, p.length, NULL, &run) == -1)
      return -1;
    if (run.kind == RUN_DATA)
      *fast = store_zeroes_fast (run.store, may_trim);
    else {
      const struct fill f = fill_of (&p, &run);

      if (p.e->ops->write->fills_fast (p.e, &f, fast) == -1)
        return -1;
    }
    p.offset += run.length;
    p.length -= run.length;
  }
  return 0;
}

static int
report_forbidden (const struct request *r, const struct extent *e)
{
  /* What reads as zero anyway needn't be zeroed. */
  if (r->action != WRITE && e->store == NULL)
    return 0;
  vmdk_error (&e->ctx->log, "%s: an extent that is %s, %s, was written at "
              "offset %" PRIu64, r->disk->top->store->name, e->format,
              e->line ? extent_access_name (e->line->access) : "read-only",
              r->offset);
  errno = EPERM;
  return -1;
}

/* Does the request part by part: looks at it if fast is not NULL, or
 * makes the change.
 */
static int
for_each_part (const struct request *r, bool *fast)
{
  struct link *const top = r->disk->top;
  uint64_t done, n;

  for (done = 0; done < r->length; done += n) {
    struct extent *const e = link_find_extent (top, r->offset + done);
    struct part p = {
      .request = r, .e = e,
      .below = { .b = { read_parent, find_zero_in_parent },
                 .parent = top->parent, .start = e->start },
      .offset = r->offset + done - e->start,
      .buf = r->buf ? r->buf + done : NULL,
    };
    const uint64_t left = e->size - p.offset;
    int result;

    n = p.length = left < r->length - done ? left : r->length - done;
    if (!session_may_write (e))
      result = report_forbidden (r, e);
    else
      result = fast ? look_at_part (&p, fast) : change_part (&p);
    if (result == -1)
      return -1;
  }
  return 0;
}

static int
run_request (const struct request *r)
{
  bool fast = true;

  if (disk_check_range (r->disk, r->offset, r->length) == -1)
    return -1;
  if (r->flags & VMDK_FAST_ZERO) {
    if (for_each_part (r, &fast) == -1)
      return -1;
    if (!fast) {
      errno = ENOTSUP;
      return -1;
    }
  }
  return for_each_part (r, NULL);
}

int
vmdk_pwrite (struct vmdk_disk *disk, const void *buf, size_t count,
             uint64_t offset, unsigned flags)
{
  return run_request (&(struct request) {
      .disk = disk, .action = WRITE, .flags = flags & VMDK_FUA,
      .offset = offset, .length = count, .buf = buf });
}

int
vmdk_zero (struct vmdk_disk *disk, uint64_t count, uint64_t offset,
           unsigned flags)
{
  return run_request (&(struct request) {
      .disk = disk, .action = ZERO, .flags = flags,
      .offset = offset, .length = count });
}

int
vmdk_trim (struct vmdk_disk *disk, uint64_t count, uint64_t offset,
           unsigned flags)
{
  return run_request (&(struct request) {
      .disk = disk, .action = TRIM, .flags = flags & VMDK_FUA,
      .offset = offset, .length = count });
}

int
vmdk_flush (struct vmdk_disk *disk)
{
  if (!disk->session.changed)
    return 0;
  return session_flush (disk->top);
}
