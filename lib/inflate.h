/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Inflating grains, with libdeflate or zlib, and the memory for that: a
 * pool of decompressors with an input buffer each, so that the data path
 * allocates nothing and hostile grains can't make it take more.
 */

#ifndef VMDK_INFLATE_H
#define VMDK_INFLATE_H

#include <stddef.h>
#include <stdint.h>

struct inflater_pool;

/* A decompressor, with input of at least the size that was asked for. */
struct inflater {
  struct inflater *next; /* the pool's */
  size_t size;
  uint8_t *input;
  void *codec;
};

/* budget bounds the input buffers that exist at a time, in bytes; a
 * single larger one is allowed.  NULL: out of memory.
 */
extern struct inflater_pool *inflater_pool_new (size_t budget);
extern void inflater_pool_free (struct inflater_pool *pool); /* NULL is ok */

/* Waits until the budget allows it.  A thread must not hold two.  NULL:
 * out of memory, errno is ENOMEM.
 */
extern struct inflater *inflater_acquire (struct inflater_pool *pool,
                                          size_t size);
extern void inflater_release (struct inflater_pool *pool,
                              struct inflater *inflater);

/* Inflates count bytes at data (which may lie in the input buffer) to at
 * most *out_count bytes at out, and sets it to the number that came out.
 * data is a zlib stream or, if it doesn't begin like one, bare deflate
 * data.  Returns
 * NULL, or what is wrong with the data, as the rest of a sentence.
 */
extern const char *inflater_run (struct inflater *inflater,
                                 const uint8_t *data, size_t count,
                                 void *out, size_t *out_count);

#endif /* VMDK_INFLATE_H */
