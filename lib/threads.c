/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Threads for one piece of work.
 */

#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>

#include "threads.h"

unsigned
nr_processors (void)
{
  cpu_set_t set;

  if (sched_getaffinity (0, sizeof set, &set) == -1 || CPU_COUNT (&set) < 1)
    return 1;
  return (unsigned) CPU_COUNT (&set);
}

/* The program's signals are not for the new threads. */
void
run_threads (unsigned n, void *(*work) (void *), void *opaque)
{
  pthread_t threads[MAX_THREADS];
  unsigned i, started = 0;
  sigset_t all, old;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  while (started + 1 < n && started < MAX_THREADS &&
         pthread_create (&threads[started], NULL, work, opaque) == 0)
    started++;
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  work (opaque);
  for (i = 0; i < started; i++)
    pthread_join (threads[i], NULL);
}
