/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving a link a new content where its extent can't be written in place:
 * the extent is built anew beside the old one, and takes its name.
 */

#ifndef VMDK_REWRITE_H
#define VMDK_REWRITE_H

#include "copy.h"
#include "descriptor-edit.h"

struct rewrite;

/* Whether l has only one extent, of such a format. */
extern bool rewrite_is_possible (const struct link *l);

/* Builds it, as far as that nothing but a name is missing, with what c says.
 * over_parent: there will be a link below.  A descriptor inside of it has
 * the changes.  NULL: reported, unless errno is ECANCELED.
 */
extern struct rewrite *rewrite_build (struct link *l, const struct copy *c,
                                      bool over_parent,
                                      const struct descriptor_changes *d);

/* Puts it in the old one's place, durably; after a crash it is one or the
 * other.  l is still the old one.  -1: reported.
 */
extern int rewrite_swap (struct rewrite *r);

/* What isn't in place vanishes.  NULL is allowed. */
extern void rewrite_free (struct rewrite *r);

#endif /* VMDK_REWRITE_H */
