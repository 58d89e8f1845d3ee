/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing an OVA: a tar file with an OVF (a description of a virtual
 * machine in XML), a manifest, and one disk, which is a stream.
 *
 *   ova_begin    makes the file, without a name
 *   ...          the stream is built in ova_store: image_options.store
 *   ova_finish   writes what describes it, and gives the file its name
 *   ova_writer_free
 */

#ifndef VMDK_OVA_WRITE_H
#define VMDK_OVA_WRITE_H

#include "store.h"

struct context;
struct ova;

/* n is that of the OVA, and must live as long; size is the guest's bytes;
 * source is what they come from, whose modes limit that of the OVA.  NULL:
 * reported.
 */
extern struct ova *ova_begin (const struct vmdk_new *n, uint64_t size,
                              const struct context *source);

/* Where the disk goes: empty at first, and writable.  It belongs to ova. */
extern struct store *ova_store (struct ova *ova);
/* The disk's file name in the OVA; valid as long as ova. */
extern const char *ova_disk_name (const struct ova *ova);

/* The disk is complete.  populated: build.populated of its stream.  -1:
 * reported.
 */
extern int ova_finish (struct ova *ova, uint64_t populated);

/* What isn't finished vanishes.  NULL is allowed. */
extern void ova_writer_free (struct ova *ova);

#endif /* VMDK_OVA_WRITE_H */
