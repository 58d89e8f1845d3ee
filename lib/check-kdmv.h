/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking hosted sparse extents: between plain ones and streams.
 */

#ifndef VMDK_CHECK_KDMV_H
#define VMDK_CHECK_KDMV_H

#include "check-sparse.h"
#include "kdmv.h"

/* sparse_check_ops.zeroed */
extern void kdmv_check_zeroed (struct sparse_check *c, uint64_t grain,
                               uint64_t value);

/* All but the header. */
extern int stream_check (struct kdmv *k, struct check *check);

#endif /* VMDK_CHECK_KDMV_H */
