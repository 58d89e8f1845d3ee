/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A lock for ranges of numbers: who wants a range waits only for those
 * who came before and want a part of it.
 */

#ifndef VMDK_RANGE_LOCK_H
#define VMDK_RANGE_LOCK_H

#include <pthread.h>
#include <stdint.h>

/* One range that is held or waited for; lives on its owner's stack. */
struct held_range {
  uint64_t first, last;
  struct held_range *earlier, *later;
};

struct range_lock {
  pthread_mutex_t lock; /* protects all of this and the ranges */
  pthread_cond_t released;
  struct held_range *newest; /* in the order of arrival */
};

extern void range_lock_init (struct range_lock *l);
extern void range_lock_destroy (struct range_lock *l);

/* Takes [first, last].  A thread must not hold two ranges of one lock. */
extern void range_lock (struct range_lock *l, struct held_range *r,
                        uint64_t first, uint64_t last);
extern void range_unlock (struct range_lock *l, struct held_range *r);

#endif /* VMDK_RANGE_LOCK_H */
