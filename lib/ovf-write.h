/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The text of an OVF for a virtual machine with one disk.  Without any
 * I/O.
 */

#ifndef VMDK_OVF_WRITE_H
#define VMDK_OVF_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct new_ovf {
  const char *id;       /* of the machine: letters, digits, "-", "_", "." */
  const char *name;     /* of the machine; any bytes */
  const char *disk_name; /* the file's; the same characters as in id */
  const char *adapter;  /* as in ddb.adapterType */
  unsigned hw_version;  /* raised to what the importers take */
  uint64_t capacity;    /* guest bytes */
  uint64_t file_size;   /* of the disk's file */
  uint64_t populated;   /* guest bytes in it */
};

/* The length doesn't depend on file_size and populated.  The caller frees
 * it.  NULL: out of memory, errno is ENOMEM.
 */
extern char *ovf_compose (const struct new_ovf *o);

#endif /* VMDK_OVF_WRITE_H */
