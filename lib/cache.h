/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A bounded cache of things that are read from files: pages of grain
 * tables in one, inflated grains in another.
 *
 * An entry is known by its owner (any address) and a number.  Whoever
 * holds an entry has it pinned: it stays as it is until it is put back.
 * When several threads want the same missing entry, one of them fills it
 * and the others wait for that.
 *
 * Memory: at most the budget, and above it only what is pinned by
 * threads at that moment.
 */

#ifndef VMDK_CACHE_H
#define VMDK_CACHE_H

#include <stddef.h>
#include <stdint.h>

struct cache;

struct cache_stats {
  uint64_t hits, misses, evictions;
  size_t bytes; /* in memory now */
};

/* Fills size bytes at data, with no lock held.  -1: errno is set, it has
 * been reported, nothing is cached.
 */
typedef int (*cache_fill_fn) (void *opaque, void *data, size_t size);

/* budget is in bytes.  More shards (a power of two), fewer threads in each
 * other's way, but each has only its part of the budget.  frame_size: no
 * entry is larger than this, and all take as much; 0: entries take what
 * they need.  NULL: out of memory.
 */
extern struct cache *cache_new (size_t budget, unsigned nr_shards,
                                size_t frame_size);
extern void cache_free (struct cache *c); /* NULL is allowed */

/* The entry, pinned, or NULL when it isn't there (or is being filled). */
extern const void *cache_find (struct cache *c, const void *owner,
                               uint64_t number)
  __attribute__ ((__nonnull__ (1)));

/* The entry, pinned; filled first when it isn't there.  NULL: fill failed
 * or there is no memory (errno is ENOMEM then, nothing is reported).
 */
extern const void *cache_get (struct cache *c, const void *owner,
                              uint64_t number, size_t size,
                              cache_fill_fn fill, void *opaque)
  __attribute__ ((__nonnull__ (1, 5)));

/* Pins an entry, which the caller has pinned, once more. */
extern void cache_pin (struct cache *c, const void *data)
  __attribute__ ((__nonnull__ (1, 2)));

/* A word for whoever has the entry pinned, NULL at first. */
extern void **cache_note (const void *data)
  __attribute__ ((__nonnull__ (1)));

/* Gives back what one of these returned or pinned. */
extern void cache_put (struct cache *c, const void *data)
  __attribute__ ((__nonnull__ (1, 2)));

extern struct cache_stats cache_get_stats (struct cache *c)
  __attribute__ ((__nonnull__ (1)));

#endif /* VMDK_CACHE_H */
