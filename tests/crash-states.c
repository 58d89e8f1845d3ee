/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Which states a crash may leave.  What a sync has covered is there: all
 * that ended before the sync began.  Of everything else each sector of a
 * write may be there or not, each block of a punched range may be punched
 * or not, and the length may be any that the file had since; sectors
 * behind it are lost.  Files don't depend on each other.
 *
 * These choices are the units of a state.  When there are few, all states
 * are tried, otherwise random ones, drawn in several ways, since each bad
 * order has its own likely pattern.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crash.h"

/* What isn't durable of a file. */
struct loose {
  const struct event *e;
  bool fixed;      /* the bytes are durable, */
  bool size_fixed; /* and the length that it made */
  size_t first, n; /* units */
};

struct sweep_file {
  struct blob base; /* what is durable */
  struct loose *loose;
  size_t nr;
  size_t least_cut; /* of the loose ones so many have their length */
};

struct sweep {
  struct scenario *s;
  const struct budget *budget;
  struct totals *totals;
  struct model model;
  struct sweep_file *files;
  size_t nr_files;
  struct event **at; /* what begins or ends at a tick */
  uint64_t tick;
  size_t nr_units;
  uint64_t nr_reports;
  unsigned seen; /* at this tick: a bit for each outcome */
};

/* One state: for each unit whether it is there, and for each file how
 * many of the loose changes of its length are.
 */
struct state {
  uint8_t *on;
  size_t *cut;
};

static size_t
unit_size (const struct event *e)
{
  return e->kind == EV_WRITE ? SECTOR : BLOCK;
}

static size_t
count_units (const struct event *e)
{
  const size_t u = unit_size (e);

  if (e->kind == EV_RESIZE || e->length == 0)
    return 0;
  if (e->kind == EV_REPLACE)
    return 1;
  return (e->offset + e->length - 1) / u - e->offset / u + 1;
}

/* The part of an event that is its i-th unit. */
static void
find_unit (const struct event *e, size_t i, uint64_t *offset, size_t *n)
{
  const size_t u = unit_size (e);
  const uint64_t start = (e->offset / u + i) * u;
  const uint64_t end = e->offset + e->length;

  *offset = start < e->offset ? e->offset : start;
  *n = (size_t) ((start + u < end ? start + u : end) - *offset);
}

static void
apply_unit (struct blob *b, const struct event *e, size_t i)
{
  uint64_t offset;
  size_t n;

  find_unit (e, i, &offset, &n);
  if (e->kind == EV_WRITE)
    blob_write (b, e->data + (offset - e->offset), n, offset);
  else
    blob_zero (b, n, offset);
}

static void
apply_replace (struct blob *b, const struct event *e)
{
  blob_set_size (b, 0);
  blob_write (b, e->data, e->length, 0);
  b->size = e->length;
}

static void
apply_size (struct blob *b, const struct event *e)
{
  if (e->new_size < e->old_size)
    blob_set_size (b, e->new_size);
  b->size = e->new_size;
}

/* Of a file.  st is NULL: all of the first so many events are there. */
static void
apply (struct blob *b, const struct sweep_file *f, size_t nr,
       const struct state *st, size_t cut)
{
  size_t i, u;

  for (i = 0; i < nr; i++) {
    const struct loose *const l = &f->loose[i];
    const bool all = st == NULL || l->fixed;

    if (l->e->kind == EV_REPLACE) {
      if (!all && !st->on[l->first])
        break; /* what follows was done to the new file */
      apply_replace (b, l->e);
      continue;
    }
    for (u = 0; u < l->n; u++)
      if (all || st->on[l->first + u])
        apply_unit (b, l->e, u);
    if (i < cut && l->e->new_size != l->e->old_size)
      apply_size (b, l->e);
  }
}

/* Following the log. */

/* What is durable and has nothing loose before it needn't be remembered. */
static void
fold (struct sweep_file *f)
{
  size_t n = 0;

  while (n < f->nr && f->loose[n].fixed && f->loose[n].size_fixed)
    n++;
  if (n == 0)
    return;
  apply (&f->base, f, n, NULL, n);
  f->nr -= n;
  f->least_cut = f->least_cut > n ? f->least_cut - n : 0;
  memmove (f->loose, f->loose + n, f->nr * sizeof f->loose[0]);
}

static void
end_sync (struct sweep *sw, const struct event *sync)
{
  struct sweep_file *const f = &sw->files[sync->file];
  size_t i;

  for (i = 0; i < f->nr; i++) {
    struct loose *const l = &f->loose[i];

    if (l->e->end >= sync->start)
      continue;
    if (sync_covers (sw->s, sync, l->e))
      l->fixed = true;
    if (l->e->new_size == l->e->old_size)
      l->size_fixed = l->fixed;
    else if (sync_covers_size (sw->s, sync, l->e)) {
      l->size_fixed = true;
      f->least_cut = i + 1;
    }
  }
  fold (f);
}

static void
end_replace (struct sweep *sw, const struct event *e)
{
  struct sweep_file *const f = &sw->files[e->file];
  size_t i;

  if (!replace_is_durable ())
    return;
  for (i = 0; i < f->nr; i++) {
    f->loose[i].fixed = f->loose[i].size_fixed = true;
    if (f->loose[i].e == e)
      break;
  }
  if (f->least_cut < i + 1)
    f->least_cut = i + 1;
  fold (f);
}

static void
advance (struct sweep *sw, uint64_t tick)
{
  const struct event *const e = sw->at[tick];

  sw->tick = tick;
  if (e == NULL || is_guest (e))
    return;
  if (tick == e->end) {
    if (e->kind == EV_SYNC)
      end_sync (sw, e);
    else if (e->kind == EV_REPLACE)
      end_replace (sw, e);
  }
  else if (e->kind != EV_SYNC) {
    struct sweep_file *const f = &sw->files[e->file];

    f->loose = grow_array (f->loose, f->nr, sizeof f->loose[0]);
    f->loose[f->nr++] = (struct loose) { .e = e, .n = count_units (e) };
  }
}

/* Making states. */

static void
number_units (struct sweep *sw)
{
  size_t i, j, n = 0;

  for (i = 0; i < sw->nr_files; i++)
    for (j = 0; j < sw->files[i].nr; j++) {
      sw->files[i].loose[j].first = n;
      if (!sw->files[i].loose[j].fixed)
        n += sw->files[i].loose[j].n;
    }
  sw->nr_units = n;
}

static struct state
state_new (const struct sweep *sw)
{
  return (struct state) {
    .on = grab (sw->nr_units + 1),
    .cut = grab ((sw->nr_files + 1) * sizeof (size_t)),
  };
}

static void
state_free (struct state *st)
{
  free (st->on);
  free (st->cut);
}

/* The cuts that make a difference: behind each change of the length. */
static size_t
count_cuts (const struct sweep_file *f)
{
  size_t i, n = 1;

  for (i = f->least_cut; i < f->nr; i++)
    n += f->loose[i].e->new_size != f->loose[i].e->old_size;
  return n;
}

static size_t
nth_cut (const struct sweep_file *f, size_t n)
{
  size_t i;

  for (i = f->least_cut; n > 0; i++)
    n -= f->loose[i].e->new_size != f->loose[i].e->old_size;
  return i;
}

static uint64_t
count_states (const struct sweep *sw)
{
  uint64_t n = 1;
  size_t i;

  if (sw->nr_units > 20)
    return NEVER;
  for (i = 0; i < sw->nr_files; i++)
    n *= count_cuts (&sw->files[i]);
  return n << sw->nr_units;
}

static void
choose_numbered (const struct sweep *sw, struct state *st, uint64_t n)
{
  size_t i;

  for (i = 0; i < sw->nr_units; i++, n >>= 1)
    st->on[i] = n & 1;
  for (i = 0; i < sw->nr_files; i++) {
    const size_t cuts = count_cuts (&sw->files[i]);

    st->cut[i] = nth_cut (&sw->files[i], n % cuts);
    n /= cuts;
  }
}

static void
choose_units (const struct sweep *sw, struct state *st, struct rng *r,
              unsigned percent)
{
  size_t i;

  for (i = 0; i < sw->nr_units; i++)
    st->on[i] = rng_below (r, 100) < percent;
}

/* Whole events. */
static void
choose_events (const struct sweep *sw, struct state *st, struct rng *r,
               unsigned percent)
{
  size_t i, j;

  for (i = 0; i < sw->nr_files; i++)
    for (j = 0; j < sw->files[i].nr; j++)
      if (!sw->files[i].loose[j].fixed)
        memset (st->on + sw->files[i].loose[j].first,
                rng_below (r, 100) < percent, sw->files[i].loose[j].n);
}

/* All before a moment, which is another one for each file. */
static void
choose_prefix (const struct sweep *sw, struct state *st, struct rng *r)
{
  size_t i, j;

  for (i = 0; i < sw->nr_files; i++) {
    const struct sweep_file *const f = &sw->files[i];
    const size_t n = (size_t) rng_below (r, f->nr + 1);

    for (j = 0; j < f->nr; j++)
      if (!f->loose[j].fixed)
        memset (st->on + f->loose[j].first, j < n, f->loose[j].n);
  }
}

/* One event, or one unit, is the only one that is there, or the only one
 * that isn't.
 */
static void
choose_single (const struct sweep *sw, struct state *st, struct rng *r)
{
  const uint8_t on = (uint8_t) rng_below (r, 2);
  size_t i, j, n;

  memset (st->on, !on, sw->nr_units);
  if (sw->nr_units == 0)
    return;
  n = (size_t) rng_below (r, sw->nr_units);
  st->on[n] = on;
  if (rng_below (r, 2))
    return;
  for (i = 0; i < sw->nr_files; i++)
    for (j = 0; j < sw->files[i].nr; j++) {
      const struct loose *const l = &sw->files[i].loose[j];

      if (!l->fixed && n >= l->first && n < l->first + l->n)
        memset (st->on + l->first, on, l->n);
    }
}

/* What the tables and headers say, without the data, or the reverse. */
static void
choose_regions (const struct sweep *sw, struct state *st, struct rng *r)
{
  const bool metadata = rng_below (r, 4) != 0;
  const unsigned percent = rng_below (r, 2) ? 0 : 50;
  size_t i, j, u;

  for (i = 0; i < sw->nr_files; i++)
    for (j = 0; j < sw->files[i].nr; j++) {
      const struct loose *const l = &sw->files[i].loose[j];
      const bool is_metadata =
        region_at (sw->s, (unsigned) i, l->e->offset) != NULL;

      for (u = 0; !l->fixed && u < l->n; u++)
        st->on[l->first + u] =
          is_metadata == metadata || rng_below (r, 100) < percent;
    }
}

static void
choose_cuts (const struct sweep *sw, struct state *st, struct rng *r)
{
  size_t i;

  for (i = 0; i < sw->nr_files; i++) {
    const size_t n = count_cuts (&sw->files[i]);
    const uint64_t how = rng_below (r, 4);

    st->cut[i] = nth_cut (&sw->files[i], how == 0 ? 0 : how == 1 ? n - 1
                          : (size_t) rng_below (r, n));
  }
}

static void
choose_random (const struct sweep *sw, struct state *st, uint64_t n)
{
  struct rng r = { .x = sw->s->seed * 1000003 + sw->tick * 10007 + n };
  static const unsigned percents[] = { 50, 10, 90, 2, 98 };
  const unsigned percent = percents[rng_below (&r, 5)];

  rng_next (&r);
  choose_cuts (sw, st, &r);
  switch (n < 2 ? n : 2 + rng_below (&r, 6)) {
  case 0: choose_units (sw, st, &r, 0); break;
  case 1: choose_units (sw, st, &r, 100); break;
  case 2: choose_units (sw, st, &r, percent); break;
  case 3: choose_events (sw, st, &r, percent); break;
  case 4: choose_prefix (sw, st, &r); break;
  case 5: choose_regions (sw, st, &r); break;
  default: choose_single (sw, st, &r); break;
  }
}

static struct world *
make_world (const struct sweep *sw, const struct state *st)
{
  const struct world *const initial = sw->s->initial;
  struct world *const w = world_like (initial);
  size_t i;

  for (i = 0; i < sw->nr_files; i++) {
    const struct world_file *const f = &initial->files[i];

    w->files = grow_array (w->files, i, sizeof w->files[0]);
    w->files[i] = (struct world_file) {
      .name = strdup (f->name), .dev = f->dev, .ino = f->ino,
    };
    blob_clone (&w->files[i].now, &sw->files[i].base);
    apply (&w->files[i].now, &sw->files[i], sw->files[i].nr, st, st->cut[i]);
    blob_set_size (&w->files[i].now, w->files[i].now.size);
  }
  w->nr = sw->nr_files;
  return w;
}

/* Reporting. */

static bool
fails (struct sweep *sw, const struct state *st, uint64_t n,
       enum outcome outcome)
{
  struct totals ignored = { 0 };
  struct verdict v = { .outcome = GOOD };

  verify (sw->s, &sw->model, make_world (sw, st), sw->tick, n, &ignored, &v,
          NULL);
  return v.outcome == outcome;
}

/* Takes away (or adds) what the failure doesn't need, in ever smaller
 * pieces.
 */
static void
minimize (struct sweep *sw, struct state *st, uint64_t n,
          enum outcome outcome, uint8_t value)
{
  uint8_t *const old = grab (sw->nr_units + 1);
  unsigned tries = 0;
  size_t step, i;

  for (step = sw->nr_units; step > 0; step /= 2)
    for (i = 0; i < sw->nr_units && tries < 500; i += step) {
      const size_t k = i + step < sw->nr_units ? step : sw->nr_units - i;

      if (memchr (st->on + i, !value, k) == NULL)
        continue;
      memcpy (old, st->on, sw->nr_units);
      memset (st->on + i, value, k);
      tries++;
      if (!fails (sw, st, n, outcome))
        memcpy (st->on, old, sw->nr_units);
    }
  free (old);
}

static size_t
count_on (const struct sweep *sw, const struct state *st, uint8_t value)
{
  size_t i, n = 0;

  for (i = 0; i < sw->nr_units; i++)
    n += st->on[i] == value;
  return n;
}

static void
describe_event (const struct sweep *sw, const struct loose *l,
                const struct state *st, uint8_t value)
{
  const struct event *const e = l->e;
  unsigned shown = 0;
  size_t u;

  for (u = 0; !l->fixed && u < l->n; u++) {
    uint64_t offset;
    char place[100];
    size_t n;

    if (st->on[l->first + u] != value || ++shown > 4)
      continue;
    find_unit (e, u, &offset, &n);
    describe_place (sw->s, e->file, offset, place, sizeof place);
    printf ("      %s of tick %" PRIu64 ": %s, sector %" PRIu64 " (%s)\n",
            event_name (e->kind), e->start,
            sw->s->initial->files[e->file].name, offset / SECTOR, place);
  }
  if (shown > 4)
    printf ("      ... and %u more of it\n", shown - 4);
}

static void
describe_state (const struct sweep *sw, const struct state *st)
{
  const uint8_t value = count_on (sw, st, 1) <= count_on (sw, st, 0);
  size_t i, j;

  printf ("    of what wasn't durable, %s:\n", value ? "only this was there"
          : "all was there but this");
  for (i = 0; i < sw->nr_files; i++) {
    const struct sweep_file *const f = &sw->files[i];

    for (j = 0; j < f->nr; j++)
      describe_event (sw, &f->loose[j], st, value);
    if (count_cuts (f) > 1) {
      struct blob b;

      blob_clone (&b, &f->base);
      apply (&b, f, f->nr, st, st->cut[i]);
      printf ("      %s is %" PRIu64 " bytes long\n",
              sw->s->initial->files[i].name, b.size);
      blob_clear (&b);
    }
  }
}

static void
report (struct sweep *sw, struct state *st, char kind, uint64_t n,
        const struct verdict *v)
{
  if (sw->nr_reports++ >= sw->budget->most_reports)
    return;
  printf ("  %s: %s%s: seed %" PRIu64 ", state %" PRIu64 ".%c%" PRIu64
          "\n    %s\n", sw->s->name, sw->s->depth ? "second crash: " : "",
          outcome_name (v->outcome), sw->s->seed, sw->tick, kind, n, v->text);
  minimize (sw, st, n, v->outcome, 0);
  if (count_on (sw, st, 1) > 12)
    minimize (sw, st, n, v->outcome, 1);
  describe_state (sw, st);
  fflush (stdout);
}

/* Trying them. */

static void
crash_again (struct sweep *sw, struct scenario *second)
{
  const struct budget b = {
    .states = 12, .most_reports = sw->budget->most_reports,
  };
  struct totals t = { 0 };
  unsigned i;

  explore (second, &b, &t);
  sw->totals->second += t.states;
  sw->totals->opens += t.opens;
  for (i = 0; i < NR_OUTCOMES; i++)
    sw->totals->outcomes[i] += t.outcomes[i];
  scenario_free (second);
}

static void
count_outcome (struct sweep *sw, const struct verdict *v)
{
  unsigned i;

  sw->totals->states++;
  if (!sw->s->foreign || v->outcome == GOOD)
    sw->totals->outcomes[v->outcome]++;
  else
    for (i = 0; i < NR_OUTCOMES; i++)
      sw->totals->outcomes[i] += v->seen >> i & 1;
  sw->seen |= v->seen;
}

static void
try_state (struct sweep *sw, char kind, uint64_t n)
{
  struct state st = state_new (sw);
  struct verdict v = { .outcome = GOOD };
  struct scenario *second = NULL;
  const bool twice = sw->budget->second &&
    sw->totals->states % sw->budget->second == 0;

  if (kind == 'x')
    choose_numbered (sw, &st, n);
  else
    choose_random (sw, &st, n);
  verify (sw->s, &sw->model, make_world (sw, &st), sw->tick, n, sw->totals,
          &v, twice ? &second : NULL);
  count_outcome (sw, &v);
  if (v.outcome != GOOD)
    report (sw, &st, kind, n, &v);
  state_free (&st);
  if (second)
    crash_again (sw, second);
}

static void
try_point (struct sweep *sw, uint64_t n)
{
  uint64_t all, i;

  number_units (sw);
  all = count_states (sw);
  sw->totals->points++;
  sw->seen = 0;
  if (all <= 4 * n + 8)
    for (i = 0; i < all; i++)
      try_state (sw, 'x', i);
  else
    for (i = 0; i < n; i++)
      try_state (sw, 'r', i);
  for (i = 0; i < NR_OUTCOMES; i++)
    sw->totals->points_with[i] += sw->s->foreign && (sw->seen >> i & 1);
}

static void
try_only (struct sweep *sw)
{
  uint64_t tick, n;
  char kind;

  if (sscanf (sw->budget->only, "%" SCNu64 ".%c%" SCNu64, &tick, &kind,
              &n) != 3)
    die ("a state is named like 17.x3 or 17.r3");
  if (tick != sw->tick)
    return;
  number_units (sw);
  try_state (sw, kind, n);
}

/* How much there is to be found out at a tick.  A crash finds nothing new
 * where neither something has begun nor something has become durable.
 */
static unsigned
weight (const struct sweep *sw, uint64_t tick)
{
  const struct event *const e = sw->at[tick];
  const struct event *const next =
    tick < sw->s->log->now ? sw->at[tick + 1] : NULL;

  if (next && next->kind == EV_SYNC && next->end == tick + 1)
    return 8; /* the most that is loose */
  if (e == NULL)
    return 0;
  if (is_guest (e))
    return tick == e->end && (e->fua || e->kind == EV_GUEST_FLUSH) ? 8 : 0;
  if (tick == e->end)
    return e->kind == EV_SYNC || e->kind == EV_REPLACE;
  return e->kind != EV_SYNC;
}

static void
sweep_init (struct sweep *sw)
{
  const struct log *const l = sw->s->log;
  size_t i;

  model_init (&sw->model, sw->s);
  sw->nr_files = sw->s->initial->nr;
  sw->files = grab ((sw->nr_files + 1) * sizeof sw->files[0]);
  for (i = 0; i < sw->nr_files; i++)
    blob_clone (&sw->files[i].base, &sw->s->initial->files[i].now);
  sw->at = grab ((l->now + 2) * sizeof sw->at[0]);
  for (i = 0; i < l->nr; i++) {
    sw->at[l->events[i]->start] = l->events[i];
    if (l->events[i]->end != NEVER)
      sw->at[l->events[i]->end] = l->events[i];
  }
}

static void
sweep_release (struct sweep *sw)
{
  size_t i;

  for (i = 0; i < sw->nr_files; i++) {
    blob_clear (&sw->files[i].base);
    free (sw->files[i].loose);
  }
  free (sw->files);
  free (sw->at);
  model_release (&sw->model);
}

static double
seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

void
explore (struct scenario *s, const struct budget *b, struct totals *t)
{
  struct sweep sw = { .s = s, .budget = b, .totals = t };
  const double begin = seconds ();
  uint64_t tick, sum = 0, done = 0;

  sweep_init (&sw);
  for (tick = 1; tick <= s->log->now; tick++)
    sum += weight (&sw, tick);
  for (tick = 1; tick <= s->log->now; tick++) {
    const unsigned w = weight (&sw, tick);

    advance (&sw, tick);
    if (b->only)
      try_only (&sw);
    else if (w > 0) {
      const uint64_t n =
        b->states * (done + w) / sum - b->states * done / sum;

      done += w;
      if (n > 0)
        try_point (&sw, n);
    }
  }
  t->milliseconds += (uint64_t) ((seconds () - begin) * 1000);
  sweep_release (&sw);
}
