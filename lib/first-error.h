/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A sink that passes only the first error on.  Where several threads work
 * for one operation, all of them meet a full disk at once, and all would
 * say so.
 */

#ifndef VMDK_FIRST_ERROR_H
#define VMDK_FIRST_ERROR_H

#include <stdatomic.h>

#include "log.h"

struct first_error {
  struct vmdk_log log;  /* to be used instead of the real one */
  struct vmdk_log real;
  atomic_bool said;
};

/* f mustn't be moved as long as f->log is used, or a copy of it. */
extern void first_error_init (struct first_error *f,
                              const struct vmdk_log *real);

#endif /* VMDK_FIRST_ERROR_H */
