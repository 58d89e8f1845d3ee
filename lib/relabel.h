/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving a link a new content ID, durably, before its content changes.
 */

#ifndef VMDK_RELABEL_H
#define VMDK_RELABEL_H

#include "link.h"

/* Changes the descriptor of l, whose store is writable: new CID and long
 * content ID, and no change tracking if that is to be dropped.  Does
 * nothing for a lone extent without descriptor.  -1: reported; the
 * descriptor is as it was, or as it should be.
 */
extern int relabel (struct link *l);

/* Makes the store of l writable and keeps others out: what must precede the
 * functions below, where l isn't written otherwise.  -1: reported.
 */
extern int link_start_change (struct link *l);

/* Changes the descriptor of l durably: after a crash it is the old or the
 * new one.  The store must be writable.  A separate one is replaced as a
 * whole, or refused (ENOTSUP) where that can't be done and any mixture of
 * old and new sectors wouldn't do; one inside of an extent by one sector if
 * that is enough, or else by way of a copy behind it, which the header names
 * meanwhile.
 * l->desc is the new one then; strings of the old one are gone.  -1: reported.
 */
struct descriptor_changes;
extern int link_change_descriptor (struct link *l,
                                   const struct descriptor_changes *changes);

/* Sees that this can be done, as far as the descriptor's place or file is
 * concerned, and completes a change that was interrupted.
 */
extern int link_check_change (struct link *l,
                              const struct descriptor_changes *changes);

/* The text that this would give; the caller frees it.  NULL: reported. */
extern char *link_edit_descriptor (struct link *l,
                                   const struct descriptor_changes *changes,
                                   size_t *length);

/* The same with a text that is wholly new. */
extern int link_replace_descriptor (struct link *l, const char *text,
                                    size_t length);

#endif /* VMDK_RELABEL_H */
