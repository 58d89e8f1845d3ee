/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Refusing to touch an extent that is damaged: who moves grains by entries
 * that contradict each other makes it worse.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sound.h"

struct finding {
  const struct extent *e;
  const char *doing;
  unsigned nr_errors;
};

/* What is behind the capacity counts, too, since that may be about to
 * change.
 */
static bool
matters (const struct vmdk_defect *d)
{
  return d->severity == VMDK_ERROR ||
    strcmp (d->code, "entry-past-capacity") == 0;
}

static void
note (void *opaque, const struct vmdk_defect *d)
{
  struct finding *const f = opaque;

  if (matters (d) && f->nr_errors++ == 0)
    vmdk_error (&f->e->ctx->log, "%s: can't be %s, since it is damaged: %s "
                "(%s); run vmdk-img repair first", d->file, f->doing, d->text,
                d->code);
}

int
extent_see_sound (struct extent *e, const char *doing)
{
  struct vmdk_check_result result = { 0 };
  struct finding f = { .e = e, .doing = doing };
  struct check *const check = calloc (1, sizeof *check);
  int r;

  if (check == NULL) {
    vmdk_error (&e->ctx->log, "%s: checking it: %m", e->store->name);
    return -1;
  }
  *check = (struct check) { .fn = note, .opaque = &f, .result = &result };
  r = e->ops->check (e, check);
  check_end_file (check);
  free (check);
  if (r == 0 && f.nr_errors > 0) {
    errno = EIO;
    r = -1;
  }
  return r;
}
