/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The space that a hosted sparse extent keeps for a descriptor, whatever
 * is in it.
 */

#ifndef VMDK_EMBEDDED_H
#define VMDK_EMBEDDED_H

#include "kdmv.h"

/* What is there, up to VMDK_MAX_DESCRIPTOR bytes, which the caller frees.
 * -1: reported, also (EINVAL) if there is no such space.
 */
extern int embedded_read (struct kdmv *k, char **text, size_t *length);

/* Whether that is a descriptor. */
extern bool embedded_is_sound (struct kdmv *k, const char *text,
                               size_t length);

/* The bytes that there are for one, or 0. */
extern size_t embedded_room (struct kdmv *k);

/* Puts a descriptor there, durably.  Nothing sound should be there, since
 * a crash may leave none; never a part of it.  Takes the writer's lock.
 */
extern int embedded_write (struct kdmv *k, const char *text);

#endif /* VMDK_EMBEDDED_H */
