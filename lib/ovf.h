/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the description of a virtual machine (OVF) says about its disks.
 */

#ifndef VMDK_OVF_H
#define VMDK_OVF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* <File>; what isn't there is NULL or 0. */
struct ovf_file {
  char *id;
  char *href;
  uint64_t size;
  bool compressed;
  bool chunked;
  bool taken; /* for those who look them up: there was a disk for it */
};

/* <Disk> */
struct ovf_disk {
  char *id;
  char *file_ref;
  uint64_t capacity; /* bytes */
};

struct ovf {
  struct ovf_file *files;
  size_t nr_files;
  struct ovf_disk *disks;
  size_t nr_disks;
};

/* text is changed.  What can't be understood is skipped, since others may
 * have added it; -1: out of memory.
 */
extern int ovf_parse (struct ovf *o, char *text);
extern void ovf_destroy (struct ovf *o);

/* The file with that ID, or NULL. */
extern struct ovf_file *ovf_find_file (const struct ovf *o, const char *id);

#endif /* VMDK_OVF_H */
