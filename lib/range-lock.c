/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The lock for ranges: a list of all that are held or waited for, in the
 * order of their arrival.  There are as many as there are requests that
 * allocate at this moment, so looking through it is cheap.  That order is
 * also why a large range is never starved by small ones.
 */

#include <config.h>

#include <stdbool.h>
#include <stddef.h>

#include "range-lock.h"

void
range_lock_init (struct range_lock *l)
{
  *l = (struct range_lock) { 0 };
  pthread_mutex_init (&l->lock, NULL);
  pthread_cond_init (&l->released, NULL);
}

void
range_lock_destroy (struct range_lock *l)
{
  pthread_cond_destroy (&l->released);
  pthread_mutex_destroy (&l->lock);
}

static bool
must_wait_locked (const struct held_range *r)
{
  const struct held_range *e;

  for (e = r->earlier; e; e = e->earlier)
    if (e->first <= r->last && e->last >= r->first)
      return true;
  return false;
}

void
range_lock (struct range_lock *l, struct held_range *r, uint64_t first,
            uint64_t last)
{
  *r = (struct held_range) { .first = first, .last = last };
  pthread_mutex_lock (&l->lock);
  r->earlier = l->newest;
  if (l->newest)
    l->newest->later = r;
  l->newest = r;
  while (must_wait_locked (r))
    pthread_cond_wait (&l->released, &l->lock);
  pthread_mutex_unlock (&l->lock);
}

void
range_unlock (struct range_lock *l, struct held_range *r)
{
  pthread_mutex_lock (&l->lock);
  if (r->earlier)
    r->earlier->later = r->later;
  if (r->later)
    r->later->earlier = r->earlier;
  else
    l->newest = r->earlier;
  pthread_cond_broadcast (&l->released);
  pthread_mutex_unlock (&l->lock);
}
