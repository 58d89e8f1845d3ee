/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Long work: how far it is, and stopping it in good order.
 *
 * The library calls report very often and from any of its threads, one at
 * a time, so that it must cost next to nothing unless a line is due.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmdk-img.h"

#define INTERVAL 0.2 /* seconds between updates of a terminal's line */

/* Set by signal handlers, in whichever thread they run, and read by the
 * library's threads: sig_atomic_t would be for one thread only.
 */
static atomic_bool stop_asked, line_asked;
static_assert (ATOMIC_BOOL_LOCK_FREE == 2, "no locks in signal handlers");

static bool shown;       /* unasked */
static bool on_terminal; /* a line is updated in place */
static bool line_begun;  /* ... and there is one */
static double started, last_update;
static unsigned last_tenth;
static struct sigaction old_int, old_term;

static double
now (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
ask_stop (int signal)
{
  (void) signal;
  stop_asked = true;
}

static void
ask_line (int signal)
{
  (void) signal;
  line_asked = true;
}

static void
print_line (uint64_t done, uint64_t total)
{
  const double fraction =
    total == 0 ? 1 : (double) done / (double) total;
  const double seconds = now () - started;
  char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

  fprintf (stderr, "%sprogress: %5.1f %%, %s of %s", on_terminal ? "\r" : "",
           fraction * 100, size_text (a, done), size_text (b, total));
  if (seconds >= 1) {
    fprintf (stderr, ", %s/s",
             size_text (c, (uint64_t) ((double) done / seconds)));
    if (fraction > 0.001) {
      const unsigned left =
        (unsigned) (seconds / fraction - seconds);

      fprintf (stderr, ", %u:%02u left", left / 60, left % 60);
    }
  }
  fputs (on_terminal ? "\033[K" : "\n", stderr);
  fflush (stderr);
  line_begun = on_terminal;
}

/* Without a terminal, a line for each tenth is enough. */
static bool
is_due (uint64_t done, uint64_t total)
{
  unsigned tenth;

  if (on_terminal) {
    const double t = now ();

    if (t - last_update < INTERVAL)
      return false;
    last_update = t;
    return true;
  }
  if (total == 0)
    return false;
  tenth = (unsigned) ((double) done * 10 / (double) total);
  if (tenth == last_tenth)
    return false;
  last_tenth = tenth;
  return true;
}

static int
report (void *opaque, uint64_t done, uint64_t total)
{
  (void) opaque;
  if (line_asked || (shown && is_due (done, total))) {
    line_asked = false;
    print_line (done, total);
  }
  return stop_asked;
}

/* The first one asks; the second one ends the program at once. */
static void
catch (int signal, void (*handler) (int), int flags, struct sigaction *old)
{
  struct sigaction action;

  memset (&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset (&action.sa_mask);
  if (sigaction (signal, NULL, old) == 0 && old->sa_handler != SIG_IGN)
    sigaction (signal, &action, NULL);
}

/* Whoever asks too early or too late mustn't end the program. */
void
progress_init (void)
{
  struct sigaction old;

  catch (SIGUSR1, ask_line, SA_RESTART, &old);
#ifdef SIGINFO
  catch (SIGINFO, ask_line, SA_RESTART, &old);
#endif
}

struct vmdk_progress
progress_begin (const struct settings *s)
{
  const bool terminal = isatty (2) == 1;

  shown = s->progress || (terminal && !s->quiet && !s->json);
  on_terminal = terminal;
  started = now ();
  last_update = started;
  last_tenth = 0;
  line_asked = false;
  catch (SIGINT, ask_stop, SA_RESETHAND, &old_int);
  catch (SIGTERM, ask_stop, SA_RESETHAND, &old_term);
  return (struct vmdk_progress) { .fn = report };
}

/* Messages begin on a line of their own. */
void
progress_end_line (void)
{
  if (line_begun)
    fputs ("\r\033[K", stderr);
  line_begun = false;
}

void
progress_end (void)
{
  progress_end_line ();
  sigaction (SIGINT, &old_int, NULL);
  sigaction (SIGTERM, &old_term, NULL);
}

int
status_of (int r)
{
  if (r == 0)
    return STATUS_OK;
  if (errno != ECANCELED)
    return STATUS_FAILED;
  error_message ("stopped");
  return STATUS_STOPPED;
}
