/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the programs share that put a server under load: random-io.c and
 * overlap-io.c.
 */

#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libnbd.h>

/* Ends the program: a request failed, or the server is wrong. */
extern void die (const char *fmt, ...)
  __attribute__ ((__noreturn__, __format__ (__printf__, 1, 2)));

/* Random numbers that only depend on the seed. */
struct rng {
  uint64_t x;
};
extern struct rng rng_new (uint64_t seed, uint64_t thread);
extern uint64_t rng_next (struct rng *r);
extern uint64_t rng_below (struct rng *r, uint64_t n); /* 0 if n is 0 */
extern bool one_of (struct rng *r, unsigned n);

/* A connection to the server on a Unix socket. */
extern struct nbd_handle *load_connect (const char *socket);

/* A whole file in memory; written back by load_save.  load_map: for
 * reading only.
 */
extern uint8_t *load_file (const char *name, uint64_t *size);
extern void load_save (const char *name, const void *data, uint64_t size);
extern const uint8_t *load_map (const char *name, uint64_t *size);

#endif /* LOAD_H */
