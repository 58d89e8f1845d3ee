/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * For those who move what is in an extent: they rely on every entry.
 */

#ifndef VMDK_SOUND_H
#define VMDK_SOUND_H

#include "extent.h"

/* Checks an extent: a table that is damaged, a place that is used twice,
 * copies that differ.  -1: reported; errno is EIO if there is such a thing.
 * doing is for the message: "resized".
 */
extern int extent_see_sound (struct extent *e, const char *doing);

#endif /* VMDK_SOUND_H */
