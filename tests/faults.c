/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Does the same requests again and again, and each time another operation
 * of the store fails, in all ways in which it can.
 *
 *   faults [-n REQUESTS] [-s SEED] [-z always|never] [-v]
 *          [-o OPERATION.FAULT] DISK
 *
 * The files aren't changed.  -o does one fault alone, "17.lost", and -v
 * says what happens.  After each fault
 *
 *   - the request that it hit fails, with that errno and one message (a
 *     flush may have one of each extent), or it doesn't matter;
 *   - all others succeed, unless the fault lasts, or was one of a sync,
 *     after which no flush of what was changed succeeds;
 *   - the disk is closed cleanly, or that fails;
 *   - what is found then is what was written, and durable;
 *   - the image has no errors and can be written again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

#define MOST_STEPS 60
#define LONGEST 300 /* sectors of a request */

enum kind { WRITE, ZERO, TRIM, FLUSH, READ };

struct step {
  enum kind kind;
  unsigned flags;
  uint64_t first, n; /* sectors */
};

/* What a sector may have: bit i is what step i makes it, 0 what it was. */
struct sector {
  uint64_t now, later; /* while the disk is open, and when it was closed
                          without success */
};

static const char *path;
static uint64_t seed = 1;
static size_t nr_steps = 40;
static bool verbose;
static enum vmdk_zeroed_grains zeroed_grains = VMDK_ZEROED_AUTO;
static const char *only;

static uint64_t nr_sectors;
static uint8_t *initial;
static struct sector *sectors;
static struct step steps[MOST_STEPS + 2];
static unsigned nr_bad;

/* What happened in this run. */
static struct {
  unsigned errors;      /* messages since the last step */
  char last[500];
  bool sync_failed;     /* of a file with data */
  bool changed;         /* some request has succeeded */
  bool lost;
  unsigned failed;      /* steps */
} run;

/* Messages. */

static void
bad (const char *fmt, ...)
{
  const struct fault *const f = fault_plan.fault;
  va_list args;

  nr_bad++;
  if (f)
    fprintf (stderr, "%s: -s %" PRIu64 " -o %u.%s (%s of %s): ", path, seed,
             fault_plan.at, f->name, operation_name (f->operation),
             fault_plan.file ? fault_plan.file->name : "?");
  else
    fprintf (stderr, "%s: -s %" PRIu64 ", without a fault: ", path, seed);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fputc ('\n', stderr);
}

static void
note_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  run.errors++;
  vsnprintf (run.last, sizeof run.last, fmt, args);
  if (verbose)
    printf ("  error: %s\n", run.last);
}

static void
note_warning (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  if (verbose) {
    printf ("  warning: ");
    vprintf (fmt, args);
    putchar ('\n');
  }
}

static struct vmdk_disk *
open_disk (void)
{
  struct vmdk_options o;

  vmdk_options_init (&o);
  o.log = (struct vmdk_log) { .error = note_error, .warning = note_warning };
  o.file = path;
  o.zeroed_grains = zeroed_grains;
  o.cid_check = VMDK_CID_OFF;
  o.table_cache = 1 << 16;
  return vmdk_open (&o);
}

/* Contents. */

static void
fill_sector (uint8_t *buf, size_t step, uint64_t sector)
{
  size_t i;

  for (i = 0; i < SECTOR; i += 4) {
    const uint32_t v = (uint32_t) (step << 24 | sector << 7 | i / 4);

    memcpy (buf + i, &v, sizeof v);
  }
}

static bool
is_of_step (const uint8_t *buf, size_t step, uint64_t sector)
{
  uint8_t expected[SECTOR] = { 0 };

  if (step == 0)
    return memcmp (buf, initial + sector * SECTOR, SECTOR) == 0;
  if (steps[step].kind == WRITE)
    fill_sector (expected, step, sector);
  return memcmp (buf, expected, SECTOR) == 0;
}

static bool
is_allowed (const uint8_t *buf, uint64_t mask, uint64_t sector)
{
  size_t i;

  for (i = 0; mask >> i != 0; i++)
    if ((mask >> i & 1) && is_of_step (buf, i, sector))
      return true;
  return false;
}

/* Requests. */

static void
make_steps (void)
{
  struct rng r = { .x = seed };
  size_t i;

  for (i = 1; i <= MOST_STEPS; i++) {
    struct step *const s = &steps[i];
    const uint64_t x = rng_below (&r, 100);

    s->kind = x < 50 ? WRITE : x < 65 ? ZERO : x < 75 ? TRIM
      : x < 85 ? READ : FLUSH;
    s->n = 1 + rng_below (&r, 1 + rng_below (&r, LONGEST));
    s->first = rng_below (&r, nr_sectors - s->n);
    s->flags = rng_below (&r, 4) == 0 ? VMDK_FUA : 0;
    if (s->kind == ZERO)
      s->flags |= rng_below (&r, 2) ? VMDK_MAY_TRIM : 0;
  }
}

static void
mark (const struct step *s, bool success)
{
  const uint64_t bit = UINT64_C (1) << (s - steps);
  uint64_t i;

  for (i = s->first; i < s->first + s->n; i++) {
    sectors[i].now = success && s->kind != TRIM ? bit : sectors[i].now | bit;
    sectors[i].later |= bit;
    if (success && (s->flags & VMDK_FUA))
      sectors[i].later = sectors[i].now;
  }
}

static void
mark_flushed (void)
{
  uint64_t i;

  for (i = 0; i < nr_sectors; i++)
    sectors[i].later = sectors[i].now;
}

static void
compare (const uint8_t *buf, uint64_t first, uint64_t n, bool later,
         const char *when)
{
  uint64_t i;

  for (i = 0; i < n; i++) {
    const struct sector *const s = &sectors[first + i];

    if (is_allowed (buf + i * SECTOR, later ? s->later : s->now, first + i))
      continue;
    bad ("%s: sector %" PRIu64 " has %02x%02x%02x%02x, and should be of the "
         "requests of the mask %" PRIx64, when, first + i,
         buf[i * SECTOR], buf[i * SECTOR + 1], buf[i * SECTOR + 2],
         buf[i * SECTOR + 3], later ? s->later : s->now);
    return;
  }
}

static int
do_request (struct vmdk_disk *disk, const struct step *s, uint8_t *buf)
{
  const uint64_t offset = s->first * SECTOR;
  uint64_t i;

  switch (s->kind) {
  case WRITE:
    for (i = 0; i < s->n; i++)
      fill_sector (buf + i * SECTOR, (size_t) (s - steps), s->first + i);
    return vmdk_pwrite (disk, buf, (size_t) s->n * SECTOR, offset, s->flags);
  case ZERO:
    return vmdk_zero (disk, s->n * SECTOR, offset, s->flags);
  case TRIM:
    return vmdk_trim (disk, s->n * SECTOR, offset, s->flags);
  case FLUSH:
    return vmdk_flush (disk);
  case READ:
    break;
  }
  return vmdk_pread (disk, buf, (size_t) s->n * SECTOR, offset);
}

static bool
is_data_file (const struct fault_file *f)
{
  uint8_t magic[4];

  blob_read (&f->initial, magic, sizeof magic, 0);
  return memcmp (magic, "# Di", 4) != 0;
}

/* Whether a request may fail that the fault hasn't hit. */
static bool
may_fail (void)
{
  const struct fault *const f = fault_plan.fault;

  if (f == NULL || !fault_plan.hit)
    return false;
  if (f->lasting)
    return true;
  return f->operation == OP_SYNC; /* even growing needs one */
}

static void
judge_failure (const struct step *s, int err, bool hit_before)
{
  const struct fault *const f = fault_plan.fault;
  const size_t i = (size_t) (s - steps);

  run.failed++;
  if (!fault_plan.hit || (hit_before && !may_fail ()))
    bad ("request %zu failed without reason: %s: %s", i, strerror (err),
         run.last);
  else if (err != f->err && !(hit_before && err == EIO))
    bad ("request %zu failed with \"%s\": %s", i, strerror (err), run.last);
  if (run.errors == 0 || (run.errors > 1 && s->kind != FLUSH))
    bad ("request %zu failed with %u messages, the last one: %s", i,
         run.errors, run.last);
}

static void
judge_success (const struct step *s, bool hit_before)
{
  const struct fault *const f = fault_plan.fault;
  const size_t i = (size_t) (s - steps);

  if (f && f->operation == OP_PREAD && !hit_before)
    return; /* there may be a copy */
  if (f && f->operation == OP_RESIZE && !f->lasting && run.errors == 0)
    return; /* there was room for what is needed, if not for more */
  if (run.errors > 0)
    bad ("request %zu succeeded with %u errors: %s", i, run.errors, run.last);
  if (!hit_before && fault_plan.hit && f->err != EOPNOTSUPP)
    bad ("request %zu has succeeded", i);
  if (s->kind == FLUSH && run.sync_failed && run.changed)
    bad ("flush %zu succeeded after a sync had failed", i);
}

static void
do_step (struct vmdk_disk *disk, const struct step *s)
{
  static uint8_t buf[LONGEST * SECTOR];
  const bool hit_before = fault_plan.hit;
  int r;

  run.errors = 0;
  r = do_request (disk, s, buf);
  if (verbose)
    printf ("%zu: %s %" PRIu64 "+%" PRIu64 " flags %x: %s\n",
            (size_t) (s - steps),
            (const char *[]) { "write", "zero", "trim", "flush",
                               "read" }[s->kind], s->first, s->n, s->flags,
            r == 0 ? "ok" : strerror (errno));
  if (r == -1)
    judge_failure (s, errno, hit_before);
  else
    judge_success (s, hit_before);
  if (fault_plan.hit && fault_plan.fault->operation == OP_SYNC &&
      is_data_file (fault_plan.file))
    run.sync_failed = true;
  if (fault_plan.hit && fault_plan.fault->lose)
    run.lost = true;
  if (s->kind < FLUSH) {
    mark (s, r == 0);
    run.changed |= r == 0 && s->kind == WRITE; /* zeroes may be there */
  }
  if (s->kind == FLUSH && r == 0)
    mark_flushed ();
  if (s->kind == READ && r == 0 && !run.lost)
    compare (buf, s->first, s->n, false, "reading");
}

/* What is left. */

static bool
is_unclean (const struct vmdk_disk *disk)
{
  struct vmdk_link_info link;
  bool unclean = false;
  size_t i;

  vmdk_get_link (disk, 0, &link);
  for (i = 0; i < link.nr_extents; i++) {
    struct vmdk_extent_info e;

    vmdk_get_extent (disk, 0, i, &e);
    unclean |= e.unclean;
  }
  return unclean;
}

/* Flat extents have no mark. */
static bool
is_sparse (const struct fault_file *f)
{
  uint8_t magic[4];

  blob_read (&f->initial, magic, sizeof magic, 0);
  return memcmp (magic, "KDMV", 4) == 0 || memcmp (magic, "COWD", 4) == 0;
}

struct found {
  bool unclean;
  const char *when;
};

/* Copies of tables may differ while the extent is marked. */
static void
note_defect (void *opaque, const struct vmdk_defect *d)
{
  const struct found *const f = opaque;

  if (d->severity == VMDK_NOTE || d->severity == VMDK_LEAK)
    return;
  if (f->unclean && (strcmp (d->code, "mirror-differs") == 0 ||
                     d->severity == VMDK_WARNING))
    return;
  bad ("%s: check: %s: %s [%s]", f->when, d->file, d->text, d->code);
}

static void
examine (struct vmdk_disk *disk, bool closed_well, const char *when)
{
  struct vmdk_check_result result = { 0 };
  struct found found = { is_unclean (disk), when };
  uint8_t *const buf = grab (nr_sectors * SECTOR);

  if (closed_well && found.unclean && run.changed)
    bad ("%s: closed without an error, but it isn't clean", when);
  if (!closed_well && run.sync_failed && run.changed && !found.unclean &&
      is_sparse (fault_plan.file) && fault_plan.file_changed)
    bad ("%s: clean, though a sync had failed", when);
  if (vmdk_check (disk, note_defect, &found, &result) == -1)
    bad ("%s: can't be checked: %s", when, run.last);
  if (vmdk_pread (disk, buf, nr_sectors * SECTOR, 0) == -1)
    bad ("%s: can't be read: %s", when, run.last);
  else
    compare (buf, 0, nr_sectors, !closed_well, when);
  free (buf);
}

/* Writes some more, with which all must be well again. */
static void
go_on (struct vmdk_disk *disk)
{
  struct step *const s = &steps[MOST_STEPS + 1];
  uint64_t i;

  for (i = 0; i < nr_sectors; i++)
    sectors[i].now = sectors[i].later;
  if (vmdk_start_writing (disk) == -1) {
    bad ("can't be written again: %s", run.last);
    return;
  }
  run.changed = run.sync_failed = run.lost = false;
  for (i = 0; i < nr_sectors; i += 900) {
    *s = (struct step) { .kind = WRITE, .first = i, .n = 1 };
    do_step (disk, s);
  }
}

static void
examine_and_go_on (bool closed_well)
{
  struct vmdk_disk *disk;
  int r;

  fault_plan = (struct fault_plan) {
    .fault = fault_plan.fault, .at = fault_plan.at, .file = fault_plan.file,
    .file_changed = fault_plan.file_changed,
  };
  disk = open_disk ();
  if (disk == NULL) {
    bad ("can't be opened afterwards: %s", run.last);
    return;
  }
  examine (disk, closed_well, "afterwards");
  if (closed_well)
    mark_flushed ();
  run.changed = false;
  go_on (disk);
  r = vmdk_close (disk);
  if (r == -1)
    bad ("can't be closed afterwards: %s", run.last);
  disk = r == 0 ? open_disk () : NULL;
  if (disk)
    examine (disk, true, "in the end");
  vmdk_close (disk);
}

/* Runs. */

static void
start_model (void)
{
  uint64_t i;

  memset (&run, 0, sizeof run);
  for (i = 0; i < nr_sectors; i++)
    sectors[i] = (struct sector) { .now = 1, .later = 1 };
}

static void
finish (struct vmdk_disk *disk)
{
  const bool hit_before = fault_plan.hit;
  int r;

  run.errors = 0;
  r = vmdk_close (disk);
  if (verbose)
    printf ("close: %s\n", r == 0 ? "ok" : "failed");
  if (r == -1 && run.errors == 0)
    bad ("closing fails without a message");
  if (r == -1 && !fault_plan.hit)
    bad ("closing fails without reason: %s", run.last);
  if (r == -1 && hit_before && !fault_plan.fault->lasting &&
      fault_plan.fault->operation != OP_SYNC)
    bad ("closing fails, long after the fault: %s", run.last);
  if (r == 0 && run.sync_failed && run.changed)
    bad ("closing succeeds after a sync had failed");
  if (r == 0 && !hit_before && fault_plan.hit &&
      fault_plan.fault->err != EOPNOTSUPP)
    bad ("closing succeeds, with a fault in it");
  examine_and_go_on (r == 0);
}

static void
run_once (void)
{
  struct vmdk_disk *const disk = open_disk ();
  size_t i;

  if (disk == NULL)
    die ("%s: %s", path, run.last);
  start_model ();
  fault_plan.counting = true;
  if (vmdk_start_writing (disk) == -1 && !fault_plan.hit)
    die ("%s: %s", path, run.last);
  if (fault_plan.hit && vmdk_start_writing (disk) == -1)
    die ("%s: can't be written after a fault: %s", path, run.last);
  for (i = 1; i <= nr_steps; i++)
    do_step (disk, &steps[i]);
  finish (disk);
}

static void
run_with (unsigned at, const struct fault *f)
{
  char name[100];

  snprintf (name, sizeof name, "%u.%s", at, f->name);
  if (only && strcmp (only, name) != 0)
    return;
  fault_reset ();
  fault_plan = (struct fault_plan) { .at = at, .fault = f };
  run_once ();
}

static void
read_initial (void)
{
  struct vmdk_disk *const disk = open_disk ();

  if (disk == NULL)
    die ("%s: %s", path, run.last);
  nr_sectors = vmdk_size (disk) / SECTOR;
  initial = grab (nr_sectors * SECTOR);
  sectors = grab (nr_sectors * sizeof sectors[0]);
  if (vmdk_pread (disk, initial, nr_sectors * SECTOR, 0) == -1)
    die ("%s: %s", path, run.last);
  vmdk_close (disk);
}

static void
run_all (void)
{
  unsigned char *const operations = grab (MOST_OPERATIONS);
  unsigned i, n, runs = 0;
  size_t k;

  memset (operations, NR_OPERATIONS, MOST_OPERATIONS);
  fault_plan = (struct fault_plan) { .operations = operations };
  run_once ();
  for (n = 0; n < MOST_OPERATIONS && operations[n] != NR_OPERATIONS; n++)
    ;
  for (i = 0; i < n; i++)
    for (k = 0; k < nr_faults; k++)
      if (faults[k].operation == operations[i]) {
        run_with (i, &faults[k]);
        runs++;
      }
  printf ("%s: seed %" PRIu64 ": %u operations, %u faults, %u bad\n", path,
          seed, n, runs, nr_bad);
  free (operations);
}

static void
parse (int argc, char *argv[])
{
  int opt;

  while ((opt = getopt (argc, argv, "n:o:s:vz:")) != -1)
    switch (opt) {
    case 'n': nr_steps = (size_t) atoi (optarg); break;
    case 'o': only = optarg; break;
    case 's': seed = strtoull (optarg, NULL, 0); break;
    case 'v': verbose = true; break;
    case 'z': zeroed_grains = strcmp (optarg, "always") == 0
        ? VMDK_ZEROED_ALWAYS : VMDK_ZEROED_NEVER; break;
    default: die ("see the top of faults.c");
    }
  if (optind != argc - 1 || nr_steps > MOST_STEPS)
    die ("see the top of faults.c");
  path = argv[optind];
}

int
main (int argc, char *argv[])
{
  parse (argc, argv);
  read_initial ();
  make_steps ();
  run_all ();
  return nr_bad > 0;
}
