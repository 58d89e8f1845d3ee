/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the user named, as a store: a file, an open file, a disk in an OVA,
 * or an export of an NBD server.
 */

#ifndef VMDK_SOURCE_H
#define VMDK_SOURCE_H

#include "context.h"

struct source {
  struct store *store;   /* a reference, for whoever takes it */
  struct folder *folder; /* it lies in; NULL: not known, or none */
  bool raw;              /* its bytes are the guest's */
};

/* Opens what ctx->options name.  What is in an OVA is locked already. */
extern int source_open (struct context *ctx, struct source *s);

#endif /* VMDK_SOURCE_H */
