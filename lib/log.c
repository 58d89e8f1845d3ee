/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Passing messages to the caller's sink.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "log.h"

typedef void (*sink_fn) (void *opaque, const char *fmt, va_list args);

static void
pass_on (sink_fn sink, void *opaque, const char *fmt, va_list args)
{
  const int err = errno;

  if (sink)
    sink (opaque, fmt, args);
  errno = err;
}

const struct vmdk_log vmdk_no_log;

#define PASS_ON(SINK)                        \
  va_list args;                              \
  va_start (args, fmt);                      \
  pass_on ((SINK), log->opaque, fmt, args);  \
  va_end (args)

void
vmdk_error (const struct vmdk_log *log, const char *fmt, ...)
{
  PASS_ON (log->error);
}

void
vmdk_warning (const struct vmdk_log *log, const char *fmt, ...)
{
  PASS_ON (log->warning);
}

void
vmdk_debug_message (const struct vmdk_log *log, const char *fmt, ...)
{
  PASS_ON (log->debug);
}

/* Control characters of ASCII, and those that terminals know beyond it:
 * 0x80 to 0x9f as bytes of their own, or in UTF-8 behind 0xc2.
 */
static bool
is_control (unsigned char before, unsigned char c)
{
  return c < 0x20 || c == 0x7f ||
    (c >= 0x80 && c < 0xa0 && (before < 0x80 || before == 0xc2));
}

const char *
vmdk_excerpt (char *buf, size_t size, const char *text)
{
  unsigned char before = 0;
  size_t i;

  for (i = 0; i < size - 1 && text[i] != '\0'; i++) {
    const unsigned char c = (unsigned char) text[i];

    buf[i] = (char) (is_control (before, c) ? '?' : text[i]);
    if (c >= 0x80 && before == 0xc2 && buf[i] == '?')
      buf[i - 1] = '?';
    before = c;
  }
  buf[i] = '\0';
  if (text[i] != '\0' && size > 4)
    memcpy (buf + size - 4, "...", 4);
  return buf;
}
