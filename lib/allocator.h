/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Where new grains and tables go: behind everything that any entry speaks
 * of, in the order in which they are asked for.  Nothing that was in use
 * is ever handed out again.
 *
 * The file grows in large steps, and a new length is durable before the
 * first byte of it is handed out: an entry is written in place and can
 * reach the disk before the length does, and an entry past the end would
 * be damage.
 */

#ifndef VMDK_ALLOCATOR_H
#define VMDK_ALLOCATOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/* Ranges of the file behind its end that some entry claims.  A program
 * that crashed may leave any number of these; when there are too many to
 * remember, what lies between the closest two counts as claimed, too.
 */
#define MAX_CLAIMS 256
struct claims {
  struct claim {
    uint64_t start, end;
  } list[MAX_CLAIMS + 1]; /* ascending, apart from each other */
  size_t n;
  uint64_t from;  /* what ends before isn't remembered */
  uint64_t lost;  /* how many entries speak of what is behind it, */
  uint64_t first_lost; /* and where the first of them does */
};
extern void claims_add (struct claims *c, uint64_t start, uint64_t end);
/* Counts an entry, but not its redundant copy. */
extern void claims_count (struct claims *c, uint64_t start);

struct allocator {
  struct store *store;
  void *owner;         /* for the functions */

  /* Adds to claims what the tables speak of from claims.from on. */
  int (*find_claims) (void *owner, struct claims *claims);
  /* May be NULL.  The file has durably grown up to end. */
  int (*has_grown) (void *owner, uint64_t end);

  uint64_t start;      /* nothing may begin before */
  uint64_t max;        /* nothing may end behind: what entries can say */

  pthread_mutex_t lock; /* protects what follows; not held during I/O */
  pthread_cond_t changed;
  bool ready;          /* the claims are known */
  bool growing;        /* some thread does it */
  bool no_more_ahead;  /* there is no room for more than what is needed */
  uint64_t next;       /* free from here on, but for the claims */
  uint64_t limit;      /* the file's durable length */
  struct claims claims;
  struct claim back[64]; /* was given back */
  size_t nr_back;
};

/* All but what the lock protects must be set before. */
extern void allocator_init (struct allocator *a);
extern void allocator_destroy (struct allocator *a);

/* Finds a place for bytes at a multiple of align.  It reads as zero if
 * store->fresh_is_zero.  -1: reported; ENOSPC, or what the system said.
 */
extern int allocator_reserve (struct allocator *a, uint64_t bytes,
                              uint64_t align, uint64_t *place);

/* Gives back what was reserved and isn't used after all. */
extern void allocator_give_back (struct allocator *a, uint64_t place,
                                 uint64_t bytes);

/* Where what is in use ends, or 0 if nothing was ever handed out. */
extern uint64_t allocator_end (struct allocator *a);

#endif /* VMDK_ALLOCATOR_H */
