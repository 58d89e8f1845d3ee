/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Work that any number of threads can do side by side.
 */

#ifndef VMDK_THREADS_H
#define VMDK_THREADS_H

#define MAX_THREADS 64

/* That this process may use, at least 1. */
extern unsigned nr_processors (void);

/* Calls work (opaque) in n threads, at most MAX_THREADS, one of which is
 * the caller's, and returns when all are done.  Where so many can't be
 * made, fewer do it.
 */
extern void run_threads (unsigned n, void *(*work) (void *), void *opaque);

#endif /* VMDK_THREADS_H */
