/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Deflating grains, with libdeflate or zlib: a pool of compressors, one
 * for each thread that uses it, so that a grain takes no allocation.
 */

#ifndef VMDK_DEFLATE_H
#define VMDK_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#define DEFLATE_MAX_LEVEL 12

struct deflater_pool;
struct deflater;

/* level is 1 (fast) to DEFLATE_MAX_LEVEL (small), or 0: the default, at
 * which grains become no larger than those of zlib's default level.  NULL:
 * out of memory.
 */
extern struct deflater_pool *deflater_pool_new (int level);
extern void deflater_pool_free (struct deflater_pool *pool); /* NULL is ok */

/* Never waits.  NULL: out of memory, errno is ENOMEM. */
extern struct deflater *deflater_acquire (struct deflater_pool *pool);
extern void deflater_release (struct deflater_pool *pool,
                              struct deflater *deflater);

/* Writes count bytes at data as a zlib stream (RFC 1950) to out, which
 * depends on nothing but the data, the level and the library.  Returns its
 * length, or 0 if that would be more than size.
 */
extern size_t deflater_run (struct deflater *deflater, const void *data,
                            size_t count, void *out, size_t size);

#endif /* VMDK_DEFLATE_H */
