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

#endif /* VMDK_RELABEL_H */
