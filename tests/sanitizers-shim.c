/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Preloaded into nbdkit together with a sanitizer's library, and nowhere
 * else.  There the C library's lock of locales gets out of balance before
 * main, with any plugin.  It still can be taken for reading; but when a
 * destructor of libp11-kit frees a locale at exit, after a message with %m,
 * it waits for ever.  Nothing is lost by keeping the locale.
 */

#include <config.h>

#include <locale.h>

void
freelocale (locale_t locale)
{
  (void) locale;
}
