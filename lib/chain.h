/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A chain of links, from the one that the guest sees down to its base.
 */

#ifndef VMDK_CHAIN_H
#define VMDK_CHAIN_H

#include "link.h"

/* Opens the image that ctx->options names and, unless they say that it
 * is to be a single link, all of its parents.
 */
extern struct link *chain_open (struct context *ctx);
extern void chain_close (struct link *top); /* NULL is allowed */

#endif /* VMDK_CHAIN_H */
