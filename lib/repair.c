/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing: the rounds, what is told about them, and how the result comes
 * into the files.  Until the undo file is durable nothing of the image
 * changes; see undo.c for the order in which it does then.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "in-use.h"
#include "kdmv-format.h"
#include "le.h"
#include "repair.h"
#include "undo.h"

#define MAX_ROUNDS 20
#define MAX_UNDO_FILES 1000

/* The start of a file that is changed last: the headers of all formats. */
#define HEADERS 4096

struct kept_defect {
  struct vmdk_defect d;
};

/* Telling what was done. */

static struct tally *
find_tally (struct repair *r, const char *code, const char *file)
{
  struct tally *more;
  size_t i;

  for (i = 0; i < r->nr_tallies; i++)
    if (strcmp (r->tallies[i].code, code) == 0 &&
        strcmp (r->tallies[i].file, file) == 0)
      return &r->tallies[i];
  more = realloc (r->tallies, (i + 1) * sizeof *more);
  if (more == NULL)
    return NULL;
  r->tallies = more;
  more[i] = (struct tally) { .code = code, .file = strdup (file) };
  if (more[i].file == NULL)
    return NULL;
  r->nr_tallies++;
  return &more[i];
}

/* Adds a copy to a list of them. */
static void
keep (struct kept_defect **list, size_t *n, const struct vmdk_defect *defect)
{
  struct kept_defect *const more = realloc (*list, (*n + 1) * sizeof *more);
  struct vmdk_defect *d;

  if (more == NULL)
    return;
  *list = more;
  d = &more[*n].d;
  *d = *defect;
  d->file = strdup (defect->file);
  d->text = strdup (defect->text);
  if (d->file && d->text)
    (*n)++;
  else {
    free ((char *) d->file);
    free ((char *) d->text);
  }
}

static void
drop (struct kept_defect *list, size_t *n)
{
  while (*n > 0) {
    struct vmdk_defect *const d = &list[--*n].d;

    free ((char *) d->file);
    free ((char *) d->text);
  }
}

static void
tell (struct repair *r, const char *code, const char *file, const char *text)
{
  const struct vmdk_defect d = {
    .code = code, .severity = VMDK_NOTE, .file = file, .text = text };

  r->made++;
  r->result->repairs++;
  if (!r->told_found)
    keep (&r->early, &r->nr_early, &d);
  else if (r->how->done)
    r->how->done (r->how->opaque, &d);
}

void
repair_done (struct repair *r, const char *code, const char *file,
             const char *fmt, ...)
{
  struct tally *const t = find_tally (r, code, file);
  char text[512];
  va_list args;

  if (t && t->count++ >= CHECK_MAX_ALIKE) {
    r->made++;
    r->result->repairs++;
    return;
  }
  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  tell (r, code, file, text);
}

static void
tell_the_rest (struct repair *r)
{
  size_t i;

  for (i = 0; i < r->nr_tallies; i++) {
    struct tally *const t = &r->tallies[i];
    char text[80];

    snprintf (text, sizeof text, "%" PRIu64 " more like these",
              t->count - CHECK_MAX_ALIKE);
    if (t->count > CHECK_MAX_ALIKE && r->how->done)
      r->how->done (r->how->opaque, &(struct vmdk_defect) {
          .code = t->code, .severity = VMDK_NOTE, .file = t->file,
          .text = text });
    free ((char *) t->file);
  }
  free (r->tallies);
  r->tallies = NULL;
  r->nr_tallies = 0;
}

static void
tell_range (struct repair *r)
{
  const struct repair_range *const p = &r->range;
  char text[200];

  if (p->e == NULL)
    return;
  snprintf (text, sizeof text, "guest bytes %" PRIu64 " to %" PRIu64 " (%"
            PRIu64 " bytes) %s", p->e->start + p->start,
            p->e->start + p->end - 1, p->end - p->start, p->what);
  tell (r, p->code, p->e->store->name, text);
  r->range = (struct repair_range) { .e = NULL };
}

void
repair_grains (struct repair *r, const char *code, const struct extent *e,
               uint64_t grain, uint64_t n, const char *what)
{
  const uint64_t start = grain * e->grain_size;
  uint64_t end = start + n * e->grain_size;
  struct repair_range *const p = &r->range;

  r->made++; /* also if the guest can't see it */
  if (end > e->size)
    end = e->size;
  if (start >= end)
    return;
  if (p->e != e || p->code != code || p->what != what || p->end != start) {
    tell_range (r);
    *p = (struct repair_range) {
      .code = code, .e = e, .start = start, .what = what };
  }
  p->end = end;
}

void
repair_found (struct repair *r, const char *code, const char *file,
              const char *text)
{
  r->result->before.errors++;
  if (r->how->found)
    r->how->found (r->how->opaque, &(struct vmdk_defect) {
        .code = code, .severity = VMDK_ERROR, .file = file, .text = text });
}

/* What the check finds. */

const struct check_place *
repair_next (const struct repair *r, const struct extent *e,
             enum check_kind kind, size_t *i)
{
  while (*i < r->nr_places) {
    const struct check_place *const p = &r->places[(*i)++];

    if (p->e == e && p->kind == kind)
      return p;
  }
  return NULL;
}

bool
repair_has (const struct repair *r, const struct extent *e, const char *code)
{
  size_t i;

  for (i = 0; i < r->nr_places; i++)
    if (r->places[i].e == e && strcmp (r->places[i].code, code) == 0)
      return true;
  return false;
}

/* The array doubles. */
static void
keep_place (void *opaque, const struct check_place *place)
{
  struct repair *const r = opaque;
  const size_t n = r->nr_places;

  if (n >= REPAIR_MAX_PLACES)
    return;
  if ((n & (n - 1)) == 0) {
    struct check_place *const more =
      realloc (r->places, (n ? 2 * n : 1) * sizeof *more);

    if (more == NULL)
      return; /* one that isn't repaired in this round */
    r->places = more;
  }
  r->places[r->nr_places++] = *place;
}

static void
keep_defect (void *opaque, const struct vmdk_defect *defect)
{
  struct repair *const r = opaque;

  keep (&r->defects, &r->nr_defects, defect);
}

static void
tell_defects (const struct repair *r, vmdk_defect_fn fn)
{
  size_t i;

  for (i = 0; fn && i < r->nr_defects; i++)
    fn (r->how->opaque, &r->defects[i].d);
}

static void
tell_found (struct repair *r)
{
  size_t i;

  tell_defects (r, r->how->found);
  for (i = 0; r->how->done && i < r->nr_early; i++)
    r->how->done (r->how->opaque, &r->early[i].d);
  r->told_found = true;
}

static int
check (struct repair *r, struct vmdk_check_result *result)
{
  struct check c = {
    .fn = keep_defect, .at = keep_place, .opaque = r, .result = result,
  };

  r->nr_places = 0;
  drop (r->defects, &r->nr_defects);
  return check_disk (r->disk, &c);
}

/* Opening the disk, through overlays. */

static struct overlay *
find_overlay (const struct repair *r, const struct store *s)
{
  const struct store_id id = store_identity (s);
  size_t i;

  for (i = 0; i < r->nr_files; i++) {
    const struct store_id other = store_identity (r->files[i]->base);

    if (other.dev == id.dev && other.ino == id.ino)
      return r->files[i];
  }
  return NULL;
}

/* The first time that the file is seen.  Its locks last until the end. */
static struct overlay *
add_overlay (struct repair *r, struct store *s)
{
  struct overlay **const more =
    realloc (r->files, (r->nr_files + 1) * sizeof *more);
  struct overlay *o;

  if (more == NULL) {
    vmdk_error (&r->log, "%s: %m", s->name);
    store_unref (s);
    return NULL;
  }
  r->files = more;
  s->log = &r->log; /* it outlives the context that opened it */
  if (!r->options->no_lock &&
      (store_lock (s, false) == -1 ||
       (r->write && store_lock (s, true) == -1))) {
    store_unref (s);
    return NULL;
  }
  o = overlay_new (&r->log, s);
  if (o)
    r->files[r->nr_files++] = o;
  return o;
}

static struct store *
wrap (void *opaque, struct store *s)
{
  struct repair *const r = opaque;
  struct overlay *o = find_overlay (r, s);
  const bool is_new = o == NULL;
  struct store *v;

  if (is_new)
    o = add_overlay (r, s);
  else
    store_unref (s);
  v = o ? overlay_store (o) : NULL;
  if (v && is_new && repair_header (r, v) == -1) {
    store_unref (v);
    return NULL;
  }
  return v;
}

/* A disk in an archive, or anywhere but in files of its own. */
static int
refuse_read_only (const struct repair *r, const struct link *l)
{
  if (l->store->read_only == NULL)
    return 0;
  vmdk_error (&r->log, "%s: can't be repaired: %s", l->store->name,
              l->store->read_only);
  errno = EPERM;
  return -1;
}

static struct vmdk_disk *
open_disk (struct repair *r, const struct vmdk_options *options)
{
  struct vmdk_disk *const disk = calloc (1, sizeof *disk);
  int err;

  if (disk == NULL) {
    vmdk_error (&r->log, "calloc: %m");
    return NULL;
  }
  session_init (&disk->session);
  disk->ctx = context_new (options);
  if (disk->ctx) {
    disk->ctx->wrap = wrap;
    disk->ctx->wrap_opaque = r;
    disk->ctx->lock = false; /* add_overlay does that */
    disk->ctx->rescan = r->rescan;
    disk->top = chain_open (disk->ctx);
  }
  if (disk->top && refuse_read_only (r, disk->top) == 0 &&
      (r->round > 0 || !r->write ||
       in_use_by_vmware (disk->top, true) == 0)) {
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): top has it */
    disk->ctx->options = NULL;
    return disk;
  }
  err = errno;
  vmdk_close (disk);
  errno = err;
  return NULL;
}

/* A stream may have to be read by its markers.  What is wrong is said once,
 * as it is without that.
 */
static int
open_for_round (struct repair *r)
{
  void (*const error) (void *, const char *, va_list) = r->log.error;
  struct vmdk_options o = *r->options;

  o.single_link = true;
  o.cid_check = VMDK_CID_OFF;
  if (r->round > 0)
    o.log.warning = NULL;
  o.log.error = r->log.error = NULL;
  r->disk = open_disk (r, &o);
  if (r->disk == NULL) {
    o.recover = true;
    r->disk = open_disk (r, &o);
  }
  o.log.error = r->log.error = error;
  if (r->disk == NULL) {
    o.recover = false;
    r->disk = open_disk (r, &o);
  }
  if (r->disk == NULL)
    return -1;
  r->rescan = false;
  r->disk->ctx->log.error = error;
  return 0;
}

/* A round. */

int
repair_patch (struct extent *e, uint64_t offset, const void *data,
              size_t count)
{
  return store_pwrite (e->store, data, count, offset);
}

/* Not in extent_ops: who only opens disks has no use for all of that. */
static int
repair_extent (struct repair *r, struct extent *e)
{
  static const struct {
    const char *format;
    int (*repair) (struct extent *e, struct repair *r);
  } formats[] = {
    { "flat", repair_flat },
    { "raw", repair_flat },
    { "hosted sparse", repair_kdmv },
    { "stream", repair_kdmv },
    { "COWD", repair_cowd },
    { "seSparse", repair_sesparse },
  };
  size_t i;

  for (i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (strcmp (formats[i].format, e->format) == 0)
      return formats[i].repair (e, r);
  return 0;
}

static int
repair_extents (struct repair *r, struct link *l)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++) {
    struct extent *const e = l->extents[i];

    if (repair_extent (r, e) == -1)
      return -1;
    tell_range (r);
  }
  return 0;
}

/* The content ID of a disk whose content changed is another one. */
static int
finish (struct repair *r)
{
  if (!r->result->content_changed)
    return 0;
  return repair_new_cid (r, r->disk->top);
}

/* 1: it changed something, 0: there is nothing more to do. */
static int
do_round (struct repair *r)
{
  struct vmdk_check_result *const result = &r->result->after;

  r->made = 0;
  if (open_for_round (r) == -1 || check (r, result) == -1)
    return -1;
  if (r->round == 0) {
    const uint64_t errors = r->result->before.errors;

    r->result->before = *result;
    r->result->before.errors += errors; /* of repair_found */
    tell_found (r);
  }
  if (repair_descriptor (r, r->disk->top) == -1 ||
      repair_extents (r, r->disk->top) == -1)
    return -1;
  return r->made > 0 ? 1 : finish (r);
}

static int
stopped (const struct repair *r)
{
  const struct vmdk_progress *const p = &r->how->progress;

  if (p->fn == NULL || p->fn (p->opaque, r->round, MAX_ROUNDS) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

static int
do_rounds (struct repair *r)
{
  int result = 1;

  for (; result == 1 && r->round < MAX_ROUNDS; r->round++) {
    result = stopped (r) == -1 ? -1 : do_round (r);
    if (r->disk) {
      const int err = errno;

      vmdk_close (r->disk);
      r->disk = NULL;
      errno = err;
    }
  }
  tell_the_rest (r);
  if (result != 1)
    return result;
  vmdk_error (&r->log, "%s: after %d rounds of repairs there are new "
              "defects still; nothing was changed", r->options->file,
              MAX_ROUNDS);
  errno = EINVAL;
  return -1;
}

/* The result. */

static char *
undo_name (const char *file, unsigned n)
{
  char *name;

  if ((n == 1 ? asprintf (&name, "%s.undo", file)
       : asprintf (&name, "%s.undo%u", file, n)) == -1)
    return NULL;
  return name;
}

static int
refuse_undo (const struct repair *r, const char *name)
{
  vmdk_error (&r->log, "%s: is of a repair that was interrupted; take that "
              "back first, with vmdk-img repair --undo=%s", name, name);
  errno = EEXIST;
  return -1;
}

/* The first name that is free.  None may be of an unfinished repair. */
static int
choose_undo (struct repair *r)
{
  unsigned n;

  if (r->how->undo) {
    r->result->undo = strdup (r->how->undo);
    if (r->result->undo == NULL)
      vmdk_error (&r->log, "%s: %m", r->how->undo);
    return r->result->undo ? 0 : -1;
  }
  for (n = 1; n < MAX_UNDO_FILES; n++) {
    struct vmdk_options o = *r->options;
    char *const name = undo_name (r->options->file, n);
    enum undo_state state = UNDO_CHANGED;

    if (name && access (name, F_OK) == -1 && errno == ENOENT) {
      r->result->undo = name;
      return 0;
    }
    o.log = vmdk_no_log;
    if (name && undo_inspect (&o, name, &state) == 0 && state == UNDO_BETWEEN)
      n = MAX_UNDO_FILES + 1;
    if (name && n > MAX_UNDO_FILES)
      refuse_undo (r, name);
    free (name);
    if (n > MAX_UNDO_FILES)
      return -1;
  }
  vmdk_error (&r->log, "%s: there are too many undo files", r->options->file);
  errno = EEXIST;
  return -1;
}

/* Of what the file has.  All that is added or cut off counts, too. */
static int
count_change (void *opaque, const struct change *c)
{
  uint64_t *const n = opaque;

  *n += c->nr_after < c->nr_before ? c->nr_after : c->nr_before;
  return 0;
}

static int
count_changes (struct repair *r)
{
  size_t i;

  for (i = 0; i < r->nr_files; i++) {
    const struct overlay *const o = r->files[i];
    const uint64_t size = o->base->size;

    if (undo_walk (r->files[i], count_change, &r->result->changed_bytes) == -1)
      return -1;
    r->result->changed_bytes += o->size < size ? size - o->size
      : o->size - size;
  }
  return 0;
}

static int
make_writable (struct repair *r)
{
  size_t i;

  for (i = 0; i < r->nr_files; i++) {
    struct store *const s = r->files[i]->base;

    if (!overlay_is_changed (r->files[i]) || store_make_writable (s) == 0)
      continue;
    if (errno == EACCES || errno == EPERM || errno == EROFS)
      vmdk_error (&r->log, "%s: can't be repaired, since it can't be written:"
                  " %m", s->name);
    return -1;
  }
  return 0;
}

/* Pages may have been written with what they had. */
static bool
is_changed (const struct repair *r)
{
  size_t i;

  for (i = 0; i < r->nr_files; i++)
    if (r->files[i]->size != r->files[i]->base->size)
      return true;
  return r->result->changed_bytes > 0;
}

/* What can't be taken back isn't begun.  An undo file that the caller has put
 * elsewhere isn't looked at: it may need trusted folders to be used.
 */
static int
read_undo_again (const struct repair *r, const char *undo)
{
  struct vmdk_options o = *r->options;
  enum undo_state state;

  o.log = r->log;
  if (r->how->undo != NULL ||
      (undo_inspect (&o, undo, &state) == 0 && state != UNDO_CHANGED))
    return 0;
  vmdk_error (&r->log, "%s: found that it couldn't take the repair back (does "
              "another program write the disk?), so nothing was changed; it "
              "can be removed", undo);
  errno = EIO;
  return -1;
}

static int
make_changes (struct repair *r)
{
  char *undo;

  if (make_writable (r) == -1)
    return -1;
  undo = r->result->undo;
  r->result->undo = NULL; /* there is none yet */
  if (undo_write (&r->log, undo, r->how->undo == NULL, r->files,
                  r->nr_files) == -1 || read_undo_again (r, undo) == -1) {
    free (undo);
    return -1;
  }
  r->result->undo = undo;
  r->undo_written = true;
  if (undo_make_changes (r->files, r->nr_files, HEADERS) == 0)
    return 0;
  vmdk_error (&r->log, "%s: the repair was interrupted; vmdk-img repair "
              "--undo=%s takes back what was done of it", r->options->file,
              undo);
  errno = EIO;
  return -1;
}

static int
refuse_worse (const struct repair *r)
{
  vmdk_error (&r->log, "%s: with the repairs there would be %" PRIu64
              " errors, and there are %" PRIu64 " now, so nothing was changed",
              r->options->file, r->result->after.errors,
              r->result->before.errors);
  errno = EINVAL;
  return -1;
}

/* An interrupted repair comes first, before what it left is looked at. */
static int
run (struct repair *r)
{
  if (choose_undo (r) == -1 || do_rounds (r) == -1)
    return -1;
  if (r->result->after.errors > r->result->before.errors)
    return refuse_worse (r);
  if (count_changes (r) == -1)
    return -1;
  tell_defects (r, r->how->left);
  return r->write && is_changed (r) ? make_changes (r) : 0;
}

int
vmdk_repair (const struct vmdk_options *options,
             const struct vmdk_repair *repair,
             struct vmdk_repair_result *result)
{
  struct repair r = {
    .options = options, .how = repair, .result = result,
    .log = options->log, .write = !repair->dry_run,
  };
  int status, err;
  size_t i;

  *result = (struct vmdk_repair_result) { .repairs = 0 };
  status = run (&r);
  err = errno;
  if (!r.undo_written) {
    free (result->undo);
    result->undo = NULL;
  }
  drop (r.defects, &r.nr_defects);
  drop (r.early, &r.nr_early);
  free (r.defects);
  free (r.early);
  free (r.places);
  free (r.faults);
  for (i = 0; i < r.nr_files; i++)
    overlay_free (r.files[i]);
  free (r.files);
  errno = err;
  return status;
}

/* Taking one back. */

/* The newest one. */
static char *
find_undo (const struct vmdk_options *options)
{
  char *found = NULL, *name;
  unsigned n;

  for (n = 1; n < MAX_UNDO_FILES; n++) {
    name = undo_name (options->file, n);
    if (name == NULL || access (name, F_OK) == -1) {
      free (name);
      break;
    }
    free (found);
    found = name;
  }
  if (found == NULL)
    vmdk_error (&options->log, "%s: there is no undo file beside it "
                "(%s.undo): no repair to take back", options->file,
                options->file);
  return found;
}

int
vmdk_repair_undo (const struct vmdk_options *options, const char *undo)
{
  char *const name = undo ? strdup (undo) : find_undo (options);
  int r;

  if (name == NULL)
    return -1;
  r = undo_take_back (options, name);
  free (name);
  return r;
}
