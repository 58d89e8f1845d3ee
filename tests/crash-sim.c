/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The crash simulator: does some work on images in memory, and looks at
 * what any crash could have left of it.
 *
 *   crash-sim --list                     workloads, and the images they need
 *   crash-sim --images DIR [OPTION...]   DIR has a folder for each image
 *     --workload NAME      only this one (repeatable: a prefix will do)
 *     --states N           for each workload
 *     --second N           every N-th state is crashed once more; 0: none
 *     --seed N
 *     --state TICK.xN      this state alone, as it was reported
 *     --mutation NAME      breaks something; succeeds if that is found
 *     --dump-log FILE      what was written down
 *   crash-sim --replay-log FILE --image DISK [--foreign]
 *     looks at what is written down in FILE (see crash-log.c), which was
 *     done to DISK as it is now.  --foreign: by another program, of which
 *     nothing is expected: counts everything that is wrong in each state,
 *     and doesn't write to it.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

enum {
  O_LIST, O_IMAGES, O_WORKLOAD, O_STATES, O_SECOND, O_SEED, O_STATE,
  O_MUTATION, O_DUMP, O_REPLAY, O_IMAGE, O_FOREIGN, O_REPORTS,
};

static const struct option long_options[] = {
  { "list", no_argument, NULL, O_LIST },
  { "images", required_argument, NULL, O_IMAGES },
  { "workload", required_argument, NULL, O_WORKLOAD },
  { "states", required_argument, NULL, O_STATES },
  { "second", required_argument, NULL, O_SECOND },
  { "seed", required_argument, NULL, O_SEED },
  { "state", required_argument, NULL, O_STATE },
  { "mutation", required_argument, NULL, O_MUTATION },
  { "dump-log", required_argument, NULL, O_DUMP },
  { "replay-log", required_argument, NULL, O_REPLAY },
  { "image", required_argument, NULL, O_IMAGE },
  { "foreign", no_argument, NULL, O_FOREIGN },
  { "reports", required_argument, NULL, O_REPORTS },
  { NULL, 0, NULL, 0 }
};

struct arguments {
  const char *images, *image, *replay, *dump;
  const char *workloads[20];
  size_t nr_workloads;
  struct budget budget;
  uint64_t seed;
  bool foreign;
};

static void
list_workloads (void)
{
  const struct workload *w;
  size_t i;

  for (i = 0; (w = workload_at (i)) != NULL; i++)
    printf ("%s %s\n", workload_name (w), workload_image (w));
}

static uint64_t
parse_number (const char *s)
{
  char *end;
  const uint64_t v = strtoull (s, &end, 10);

  if (*s == '\0' || *end != '\0')
    die ("%s isn't a number", s);
  return v;
}

static void
set_mutation (const char *name)
{
  unsigned i;

  for (i = 0; i < NR_MUTATIONS; i++)
    if (strcmp (mutation_name ((enum mutation) i), name) == 0) {
      mutation = (enum mutation) i;
      return;
    }
  for (i = 1; i < NR_MUTATIONS; i++)
    fprintf (stderr, "%s\n", mutation_name ((enum mutation) i));
  die ("unknown mutation %s", name);
}

static void
add_workload (struct arguments *a, const char *name)
{
  if (a->nr_workloads == sizeof a->workloads / sizeof a->workloads[0])
    die ("too many workloads");
  a->workloads[a->nr_workloads++] = name;
}

static void
parse_arguments (struct arguments *a, int argc, char *argv[])
{
  int c;

  while ((c = getopt_long (argc, argv, "", long_options, NULL)) != -1)
    switch (c) {
    case O_LIST: list_workloads (); exit (0);
    case O_IMAGES: a->images = optarg; break;
    case O_WORKLOAD: add_workload (a, optarg); break;
    case O_STATES: a->budget.states = parse_number (optarg); break;
    case O_SECOND: a->budget.second = (unsigned) parse_number (optarg); break;
    case O_SEED: a->seed = parse_number (optarg); break;
    case O_STATE: a->budget.only = optarg; break;
    case O_MUTATION: set_mutation (optarg); break;
    case O_DUMP: a->dump = optarg; break;
    case O_REPLAY: a->replay = optarg; break;
    case O_IMAGE: a->image = optarg; break;
    case O_FOREIGN: a->foreign = true; break;
    case O_REPORTS:
      a->budget.most_reports = (unsigned) parse_number (optarg);
      break;
    default: exit (2);
    }
  if (optind < argc)
    die ("unexpected argument %s", argv[optind]);
  if (a->replay ? a->image == NULL : a->images == NULL)
    die ("--images DIR, or --replay-log FILE --image DISK, is needed");
}

static bool
is_wanted (const struct arguments *a, const char *name)
{
  size_t i;

  for (i = 0; i < a->nr_workloads; i++)
    if (strncmp (name, a->workloads[i], strlen (a->workloads[i])) == 0)
      return true;
  return a->nr_workloads == 0;
}

/* Results. */

static uint64_t
count_failures (const struct totals *t)
{
  uint64_t n = 0;
  unsigned i;

  for (i = GOOD + 1; i < NR_OUTCOMES; i++)
    n += t->outcomes[i];
  return n;
}

static void
print_totals (const char *name, const struct totals *t)
{
  unsigned i;

  printf ("%-20s %5" PRIu64 " points %7" PRIu64 " states %6" PRIu64
          " crashed twice %8" PRIu64 " opened %6.1f s", name, t->points,
          t->states, t->second, t->opens, (double) t->milliseconds / 1000);
  for (i = GOOD + 1; i < NR_OUTCOMES; i++)
    if (t->outcomes[i]) {
      printf (", %" PRIu64 " %s", t->outcomes[i],
              outcome_name ((enum outcome) i));
      if (t->points_with[i])
        printf (" at %" PRIu64 " points", t->points_with[i]);
    }
  printf ("%s\n", count_failures (t) ? "" : ", all good");
  fflush (stdout);
}

static void
add_totals (struct totals *sum, const struct totals *t)
{
  unsigned i;

  sum->points += t->points;
  sum->states += t->states;
  sum->second += t->second;
  sum->opens += t->opens;
  sum->milliseconds += t->milliseconds;
  for (i = 0; i < NR_OUTCOMES; i++) {
    sum->outcomes[i] += t->outcomes[i];
    sum->points_with[i] += t->points_with[i];
  }
}

static void
examine (struct scenario *s, const struct arguments *a, struct totals *sum)
{
  struct totals t = { 0 };

  if (a->dump)
    log_save (s->log, s->initial, a->dump);
  explore (s, &a->budget, &t);
  print_totals (s->name, &t);
  add_totals (sum, &t);
}

static void
run_workloads (const struct arguments *a, struct totals *sum)
{
  const struct workload *w;
  size_t i;

  for (i = 0; (w = workload_at (i)) != NULL; i++) {
    struct scenario *s;
    char *path;

    if (!is_wanted (a, workload_name (w)))
      continue;
    s = workload_run (w, a->images, a->seed);
    path = (char *) s->path;
    examine (s, a, sum);
    scenario_free (s);
    free (path);
    if (mutation != M_NONE && count_failures (sum) > 0)
      break; /* found */
  }
}

static void
replay (const struct arguments *a, struct totals *sum)
{
  struct vmdk_options options;
  struct scenario *s;

  vmdk_options_init (&options);
  s = scenario_new ("replay", a->image, &options);
  s->seed = a->seed;
  s->foreign = a->foreign;
  the_world = world_new ();
  scenario_read_initial (s);
  s->log = log_load (the_world, a->replay);
  find_regions (s, the_world);
  world_free (the_world);
  the_world = NULL;
  mutate_log (s);
  examine (s, a, sum);
  scenario_free (s);
}

int
main (int argc, char *argv[])
{
  struct arguments a = {
    .budget = { .states = 1000, .second = 50, .most_reports = 3 },
    .seed = 1,
  };
  struct totals sum = { 0 };
  uint64_t failures;

  parse_arguments (&a, argc, argv);
  /* Each state takes and gives back some hundred KiB. */
  mallopt (M_MMAP_THRESHOLD, 64 << 20);
  mallopt (M_TRIM_THRESHOLD, 256 << 20);
  if (a.replay)
    replay (&a, &sum);
  else
    run_workloads (&a, &sum);
  failures = count_failures (&sum);
  print_totals ("total", &sum);
  if (sum.states == 0)
    die ("nothing was tried");
  if (mutation != M_NONE) {
    printf ("mutation %s: %s\n", mutation_name (mutation),
            failures ? "found" : "NOT FOUND");
    return failures ? 0 : 1;
  }
  return failures && !a.foreign ? 1 : 0;
}
