/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is done to the images, while it is written down.  Without threads
 * the same seed gives the same requests.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crash.h"

#define MAX_THREADS 4

struct run {
  const struct workload *workload;
  struct scenario *s;
  struct vmdk_disk *disk;
  uint64_t sectors, grain; /* sectors */
  struct rng rng;
};

struct workload {
  const char *name, *image;
  void (*run) (struct run *r);
  unsigned threads;
  enum vmdk_zeroed_grains zeroed;
  uint64_t table_cache;
  bool no_punch, no_replace, device, drop_cbt;
};

/* Requests. */

static void __attribute__ ((__noreturn__))
give_up (const struct run *r, const char *what)
{
  die ("%s: %s failed: %s: %s", r->workload->name, what, strerror (errno),
       collected ());
}

static void
request (struct run *r, const struct event *what)
{
  static uint8_t look;
  struct event e = *what;

  if (r->workload->threads == 0)
    e.seen = &look;
  if (make_request (r->disk, r->s->log, &e) == -1)
    give_up (r, event_name (e.kind));
}

/* Sectors; what is behind the end is left out. */
static void
change (struct run *r, enum event_kind kind, uint64_t sector, uint64_t n,
        bool fua)
{
  struct event e = { .kind = kind, .offset = sector * SECTOR, .fua = fua };
  uint64_t i;

  if (sector >= r->sectors)
    return;
  if (n > r->sectors - sector)
    n = r->sectors - sector;
  e.length = n * SECTOR;
  if (kind == EV_GUEST_WRITE) {
    e.data = grab (e.length);
    for (i = 0; i < e.length; i += 8) {
      const uint64_t x = rng_next (&r->rng) | 1;

      memcpy (e.data + i, &x, 8);
    }
  }
  request (r, &e);
  free (e.data);
}

static void
write_sectors (struct run *r, uint64_t sector, uint64_t n)
{
  change (r, EV_GUEST_WRITE, sector, n, false);
}

static void
flush (struct run *r)
{
  request (r, &(struct event) { .kind = EV_GUEST_FLUSH });
}

static void
open_disk (struct run *r)
{
  collect_nothing ();
  r->disk = vmdk_open (&r->s->options);
  if (r->disk == NULL)
    give_up (r, "opening");
  if (vmdk_start_writing (r->disk) == -1)
    give_up (r, "starting to write");
  r->sectors = vmdk_size (r->disk) / SECTOR;
  r->grain = vmdk_grain_size (r->disk) / SECTOR;
  if (r->grain == 0)
    r->grain = 8;
}

static void
close_disk (struct run *r)
{
  if (vmdk_close (r->disk) == -1)
    give_up (r, "closing");
}

/* What is done. */

/* A request anywhere, small or over several grains. */
static void
random_change (struct run *r, unsigned zero_percent)
{
  const uint64_t x = rng_below (&r->rng, 100);
  const bool fua = rng_below (&r->rng, 8) == 0;
  uint64_t n = 1 + rng_below (&r->rng, 4);
  uint64_t sector = rng_below (&r->rng, r->sectors);
  enum event_kind kind = EV_GUEST_WRITE;

  if (rng_below (&r->rng, 3) == 0) {
    sector = sector / r->grain * r->grain;
    n = r->grain * (1 + rng_below (&r->rng, 3));
    if (n > 64 && r->grain > 64)
      n = r->grain;
  }
  if (x < zero_percent)
    kind = x % 2 ? EV_GUEST_ZERO : EV_GUEST_TRIM;
  change (r, kind, sector, n, fua);
}

static void
do_mixed (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 24; i++) {
    random_change (r, 35);
    if (rng_below (&r->rng, 5) == 0)
      flush (r);
  }
  close_disk (r);
}

static void
do_writes (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 24; i++) {
    random_change (r, 0);
    if (rng_below (&r->rng, 6) == 0)
      flush (r);
  }
  close_disk (r);
}

/* Grain after grain, with a flush now and then. */
static void
do_sequential (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 16; i++) {
    write_sectors (r, i * r->grain, r->grain);
    if (i % 6 == 5)
      flush (r);
  }
  close_disk (r);
}

/* FUA for a fresh grain, and for one whose entry isn't durable. */
static void
do_fua (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 6; i++) {
    const uint64_t sector = rng_below (&r->rng, r->sectors);

    change (r, EV_GUEST_WRITE, sector, 1, true);
    write_sectors (r, rng_below (&r->rng, r->sectors), 2);
    write_sectors (r, sector + r->grain, 1);
    change (r, EV_GUEST_WRITE, sector + r->grain, 1, true);
    change (r, EV_GUEST_ZERO, rng_below (&r->rng, r->sectors), 9, true);
  }
  close_disk (r);
}

/* Zeroes over what is stored, over what the parent has, and writing there
 * again.
 */
static void
do_zero (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 8; i++) {
    const uint64_t grain =
      rng_below (&r->rng, r->sectors) / r->grain * r->grain;
    const enum event_kind kind = i % 2 ? EV_GUEST_ZERO : EV_GUEST_TRIM;

    change (r, kind, grain, r->grain * (1 + i % 3), false);
    change (r, kind, rng_below (&r->rng, r->sectors), 3, i % 4 == 3);
    if (i % 3 == 1)
      flush (r);
    write_sectors (r, grain + r->grain / 2, 1);
    if (i % 4 == 2)
      flush (r);
  }
  close_disk (r);
}

/* Many grains of which only a sector is written, so that the file grows
 * several times.
 */
static void
do_growth (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 60; i++) {
    write_sectors (r, i * 31 % (r->sectors / r->grain) * r->grain
                   + i % r->grain, 1);
    if (i % 7 == 3)
      flush (r);
    if (i % 11 == 5)
      change (r, EV_GUEST_WRITE, rng_below (&r->rng, r->sectors), 1, true);
  }
  close_disk (r);
}

/* A sector in each of many tables: more than may be dirty at once. */
static void
do_many_tables (struct run *r)
{
  unsigned i;

  open_disk (r);
  for (i = 0; i < 60; i++)
    write_sectors (r, i * (r->sectors / 60) + i, 1);
  flush (r);
  for (i = 0; i < 20; i++)
    write_sectors (r, i * (r->sectors / 20) + r->grain, 1);
  close_disk (r);
}

/* Without a flush but that of closing; and again. */
static void
do_reopen (struct run *r)
{
  unsigned i, j;

  for (j = 0; j < 3; j++) {
    open_disk (r);
    for (i = 0; i < 6; i++)
      random_change (r, 20);
    close_disk (r);
  }
}

static void *
work (void *opaque)
{
  struct run *const r = opaque;
  unsigned i;

  for (i = 0; i < 12; i++) {
    random_change (r, 30);
    if (rng_below (&r->rng, 4) == 0)
      flush (r);
  }
  return NULL;
}

/* On the same few grains, so that they meet. */
static void
do_threads (struct run *r)
{
  const unsigned n = r->workload->threads;
  struct run runs[MAX_THREADS];
  pthread_t threads[MAX_THREADS];
  unsigned i;

  open_disk (r);
  the_world->slow = true;
  for (i = 0; i < n; i++) {
    runs[i] = *r;
    runs[i].rng.x += i + 1;
    if (i % 2 && r->sectors > 40 * r->grain)
      runs[i].sectors = 40 * r->grain;
    if (pthread_create (&threads[i], NULL, work, &runs[i]) != 0)
      die ("pthread_create: %s", strerror (errno));
  }
  for (i = 0; i < n; i++)
    pthread_join (threads[i], NULL);
  the_world->slow = false;
  close_disk (r);
}

/* One thread flushes all the time, while others write into new grains. */

struct race {
  struct run *run;
  unsigned number;
  bool *over;
};

static void *
race (void *opaque)
{
  const struct race *const x = opaque;
  struct run r = *x->run;
  const unsigned n = r.workload->threads - 1;
  unsigned i;

  if (x->number == 0) {
    while (!__atomic_load_n (x->over, __ATOMIC_ACQUIRE)) {
      flush (&r);
      nanosleep (&(struct timespec) { .tv_nsec = 100000 }, NULL);
    }
    return NULL;
  }
  r.rng.x += x->number;
  for (i = 0; i < 16; i++)
    write_sectors (&r, (i * n + x->number) * 5 % (r.sectors / r.grain)
                   * r.grain + rng_below (&r.rng, r.grain), 1);
  return NULL;
}

static void
do_race (struct run *r)
{
  const unsigned n = r->workload->threads;
  pthread_t threads[MAX_THREADS];
  struct race races[MAX_THREADS];
  bool over = false;
  unsigned i;

  open_disk (r);
  the_world->slow = true;
  for (i = 0; i < n; i++) {
    races[i] = (struct race) { .run = r, .number = i, .over = &over };
    if (pthread_create (&threads[i], NULL, race, &races[i]) != 0)
      die ("pthread_create: %s", strerror (errno));
  }
  for (i = 1; i < n; i++)
    pthread_join (threads[i], NULL);
  __atomic_store_n (&over, true, __ATOMIC_RELEASE);
  pthread_join (threads[0], NULL);
  the_world->slow = false;
  close_disk (r);
}

/* What vmdk-img does to a disk in place. */

static void
start_operation (struct run *r)
{
  collect_nothing ();
  r->disk = vmdk_open (&r->s->options);
  if (r->disk == NULL)
    give_up (r, "opening");
}

static void
do_compact (struct run *r)
{
  const struct vmdk_progress progress = { .fn = NULL };
  uint64_t freed;

  start_operation (r);
  if (vmdk_compact (r->disk, false, &progress, &freed) == -1)
    give_up (r, "compacting");
  close_disk (r);
}

/* After a time in which it was written. */
static void
do_write_compact (struct run *r)
{
  do_zero (r);
  do_compact (r);
}

static void
resize (struct run *r, uint64_t sectors)
{
  const struct vmdk_progress progress = { .fn = NULL };

  start_operation (r);
  r->s->new_size = vmdk_size (r->disk) + sectors * SECTOR;
  /* The header may have changed before the descriptor. */
  snprintf (r->s->known[3], sizeof r->s->known[3], "capacity-mismatch");
  if (vmdk_resize (r->disk, r->s->new_size, &progress) == -1)
    give_up (r, "resizing");
  close_disk (r);
}

/* Within the last table. */
static void
do_resize (struct run *r)
{
  resize (r, 5);
}

static void
do_resize_far (struct run *r)
{
  resize (r, 8000);
}

/* With tables and directories that are behind the grains. */
static void
do_resize_compact (struct run *r)
{
  resize (r, 8000);
  do_compact (r);
}

/* The list. */

#define WORK(NAME, IMAGE, RUN, ...) \
  { .name = NAME, .image = IMAGE, .run = RUN, __VA_ARGS__ }
#define ALWAYS .zeroed = VMDK_ZEROED_ALWAYS
#define NO_ZEROED .zeroed = VMDK_ZEROED_NEVER

static const struct workload workloads[] = {
  WORK ("mono-mixed", "mono", do_mixed),
  WORK ("mono-sequential", "mono", do_sequential),
  WORK ("mono-fua", "mono", do_fua),
  WORK ("mono-reopen", "mono", do_reopen),
  WORK ("mono-no-punch", "mono", do_zero, .no_punch = true),
  WORK ("mono-threads", "mono", do_threads, .threads = 3),
  WORK ("mono-device", "device", do_mixed, .device = true),
  WORK ("tracked-writes", "tracked", do_writes, .drop_cbt = true),
  WORK ("tracked-split", "trackedsplit", do_writes, .drop_cbt = true),
  WORK ("qemu-writes", "qemu", do_writes),
  WORK ("flagged-zero", "flagged", do_zero),
  WORK ("empty-writes", "empty", do_writes),
  WORK ("empty-fua", "empty", do_fua),
  WORK ("empty-race", "empty", do_race, .threads = 4),
  WORK ("empty-threads", "empty", do_threads, .threads = 4),
  WORK ("single-writes", "single", do_mixed),
  WORK ("split-mixed", "split", do_mixed),
  WORK ("split-fua", "split", do_fua),
  WORK ("split-in-place", "split", do_writes, .no_replace = true),
  WORK ("split-threads", "split", do_threads, .threads = 3),
  WORK ("flat-mixed", "flat", do_mixed),
  WORK ("flat-in-place", "flat", do_mixed, .no_replace = true),
  WORK ("splitflat-mixed", "splitflat", do_mixed),
  WORK ("splitflat-threads", "splitflat", do_threads, .threads = 3),
  WORK ("cowd-mixed", "cowd", do_mixed),
  WORK ("cowd-fua", "cowd", do_fua),
  WORK ("cowd-reopen", "cowd", do_reopen),
  WORK ("cowd-threads", "cowd", do_threads, .threads = 3),
  WORK ("cowd-empty", "cowdempty", do_writes),
  WORK ("chain-mixed", "chain", do_mixed),
  WORK ("chain-zero", "chain", do_zero),
  WORK ("chain-zero-always", "chain", do_zero, ALWAYS),
  WORK ("chain-zero-never", "chainflagged", do_zero, NO_ZEROED),
  WORK ("chain-flagged", "chainflagged", do_mixed),
  WORK ("chain-threads", "chain", do_threads, .threads = 3),
  WORK ("chain-device", "chaindevice", do_mixed, .device = true),
  WORK ("chain-race", "chain", do_race, .threads = 3),
  WORK ("chaincowd-mixed", "chaincowd", do_mixed),
  WORK ("chaincowd-zero", "chaincowd", do_zero),
  WORK ("chaincowd-threads", "chaincowd", do_threads, .threads = 3),
  WORK ("chaincowd-race", "chaincowd", do_race, .threads = 4),
  WORK ("chainsplit-mixed", "chainsplit", do_mixed),
  WORK ("big-growth", "big", do_growth),
  WORK ("bigcowd-growth", "bigcowd", do_growth),
  WORK ("many-tables", "many", do_many_tables, .table_cache = 1),
  WORK ("resize-mono", "mono", do_resize_far),
  WORK ("resize-mono-table", "mono", do_resize),
  WORK ("resize-single", "single", do_resize_far),
  WORK ("resize-flat", "flat", do_resize_far),
  WORK ("resize-flat-in-place", "flat", do_resize_far, .no_replace = true),
  WORK ("compact-mono", "holes", do_compact),
  WORK ("compact-no-punch", "holes", do_compact, .no_punch = true),
  WORK ("compact-tables", "holestables", do_compact),
  WORK ("compact-split", "holessplit", do_compact),
  WORK ("compact-cowd", "holescowd", do_compact),
  WORK ("compact-resized", "holes", do_resize_compact),
  WORK ("compact-written", "holes", do_write_compact),
};

const struct workload *
workload_at (size_t i)
{
  return i < sizeof workloads / sizeof workloads[0] ? &workloads[i] : NULL;
}

const char *
workload_name (const struct workload *w)
{
  return w->name;
}

const char *
workload_image (const struct workload *w)
{
  return w->image;
}

/* Only the top link may be changed. */
static void
check_parents (const struct run *r)
{
  size_t i;

  for (i = 0; i < the_world->nr; i++)
    if (the_world->files[i].writable &&
        strncmp (the_world->files[i].name, "d-", 2) == 0 &&
        isdigit ((unsigned char) the_world->files[i].name[2]))
      die ("%s: the parent %s was made writable", r->workload->name,
           the_world->files[i].name);
}

struct scenario *
workload_run (const struct workload *w, const char *images, uint64_t seed)
{
  struct run r = { .workload = w, .rng = { .x = seed } };
  struct vmdk_options options;
  char *path;

  if (asprintf (&path, "%s/%s/d.vmdk", images, w->image) == -1)
    die ("out of memory");
  vmdk_options_init (&options);
  options.zeroed_grains = w->zeroed;
  options.drop_cbt = w->drop_cbt;
  if (w->table_cache)
    options.table_cache = w->table_cache;
  r.s = scenario_new (w->name, path, &options);
  r.s->seed = seed;
  the_world = world_new ();
  the_world->no_punch = w->no_punch;
  the_world->no_replace = w->no_replace;
  the_world->device = w->device;
  scenario_read_initial (r.s);
  r.s->log = the_world->log = log_new ();
  w->run (&r);
  the_world->log = NULL;
  check_parents (&r);
  find_regions (r.s, the_world);
  world_free (the_world);
  the_world = NULL;
  mutate_log (r.s);
  return r.s;
}
