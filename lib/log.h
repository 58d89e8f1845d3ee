/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Where the library's messages go: the sink that the caller gave.  All of
 * these keep errno.  A message is given once, where the fault is found;
 * above that place only -1 or NULL and errno travel.
 */

#ifndef VMDK_LOG_H
#define VMDK_LOG_H

#include "vmdkio.h"

extern void vmdk_error (const struct vmdk_log *log, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3), __nonnull__ (1, 2)));
extern void vmdk_warning (const struct vmdk_log *log, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3), __nonnull__ (1, 2)));
extern void vmdk_debug_message (const struct vmdk_log *log, const char *fmt,
                                ...)
  __attribute__ ((__format__ (__printf__, 2, 3), __nonnull__ (1, 2)));

/* The arguments are evaluated only when the topic is on. */
#define vmdk_debug(log, topic, ...)                   \
  do {                                                \
    if (__builtin_expect ((log)->topics >> (topic) & 1, 0)) \
      vmdk_debug_message ((log), __VA_ARGS__);        \
  } while (0)

/* A sink that drops everything, for attempts whose failure is no error. */
extern const struct vmdk_log vmdk_no_log;

/* Text from an image, fit for a message: control characters become '?',
 * what doesn't fit into size bytes ends with "...".  Returns buf.
 */
#define EXCERPT_SIZE 200
extern const char *vmdk_excerpt (char *buf, size_t size, const char *text)
  __attribute__ ((__nonnull__ (1, 3)));

#endif /* VMDK_LOG_H */
