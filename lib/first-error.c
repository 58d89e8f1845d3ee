/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Passing only the first error on.
 */

#include <config.h>

#include "first-error.h"

static void
pass_first_error (void *opaque, const char *fmt, va_list args)
{
  struct first_error *const f = opaque;

  if (!atomic_exchange (&f->said, true) && f->real.error)
    f->real.error (f->real.opaque, fmt, args);
}

static void
pass_warning (void *opaque, const char *fmt, va_list args)
{
  const struct first_error *const f = opaque;

  if (f->real.warning)
    f->real.warning (f->real.opaque, fmt, args);
}

static void
pass_debug (void *opaque, const char *fmt, va_list args)
{
  const struct first_error *const f = opaque;

  if (f->real.debug)
    f->real.debug (f->real.opaque, fmt, args);
}

void
first_error_init (struct first_error *f, const struct vmdk_log *real)
{
  *f = (struct first_error) {
    .real = *real,
    .log = {
      .error = pass_first_error, .warning = pass_warning,
      .debug = pass_debug, .opaque = f, .topics = real->topics,
    },
  };
}
