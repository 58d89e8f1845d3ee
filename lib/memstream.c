/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * fclose(3) alone doesn't say that a text is incomplete: not what failed
 * before, and with glibc not even that there is no text in the end.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "memstream.h"

char *
memstream_close (FILE *stream, char **text)
{
  const bool complete = !ferror (stream);

  if (fclose (stream) == 0 && complete && *text)
    return *text;
  free (*text);
  *text = NULL;
  errno = ENOMEM;
  return NULL;
}
