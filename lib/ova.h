/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The disks in an OVA: a tar archive with a description of a virtual
 * machine (OVF) and the files that this names.
 */

#ifndef VMDK_OVA_H
#define VMDK_OVA_H

#include "tar.h"

/* The most that a description may have. */
#define OVF_MAX_SIZE (4 << 20)

struct ova_disk {
  char *name;         /* of its file, in the archive */
  char *disk_id;      /* these two may be NULL */
  char *file_id;
  uint64_t capacity;  /* guest bytes; 0: not given */
  uint64_t file_size;
  uint64_t said_size; /* that it has by the description; 0: not given */
  bool compressed;    /* by gzip, as a whole */
  bool absent;        /* no such file is in the archive */
  bool chunked;       /* its file is in pieces: NAME.000000000 ... */
};

struct ova {
  const struct vmdk_log *log;
  struct store *store; /* a reference */
  struct tar *tar;
  struct ova_disk *disks;
  size_t nr_disks;
};

/* Reads what is in the archive.  NULL: reported. */
extern struct ova *ova_open (const struct vmdk_log *log, struct store *store);
extern void ova_free (struct ova *o); /* NULL is allowed */

/* The disk called so: the name of its file, or an ID that the description
 * has for it; NULL: the only one.  What it returns is NULL if there is none,
 * or several; reported.
 */
extern const struct ova_disk *ova_choose (const struct ova *o,
                                          const char *name);

/* Its file, as a store for reading.  NULL: reported. */
extern struct store *ova_open_disk (struct ova *o, const struct ova_disk *d);

#endif /* VMDK_OVA_H */
