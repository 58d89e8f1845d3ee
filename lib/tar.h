/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What is where in a tar archive: ustar, and what GNU and POSIX (pax) added
 * to it.
 */

#ifndef VMDK_TAR_H
#define VMDK_TAR_H

#include "store.h"

/* Limits of what an archive can make us keep in memory. */
#define TAR_MAX_MEMBERS 65536
#define TAR_MAX_NAMES (8 << 20) /* bytes, of all names */

struct tar_member {
  const char *name; /* without a leading "./" */
  uint64_t offset;  /* of its first byte in the archive */
  uint64_t size;
  uint64_t missing; /* how much of that is behind the archive's end */
  bool sparse;      /* its bytes are not in the archive as they are */
};

struct tar {
  struct tar_member *members; /* the regular files, in the order of names;
                                 of several with one name, the last one */
  size_t nr_members;
  size_t first_ovf;  /* the first *.ovf of the archive; nr_members: none */
  char **names;      /* what the names lie in */
  size_t nr_names;
};

/* Whether the first 512 bytes of a file are a tar archive's. */
#define TAR_BLOCK 512
extern bool tar_is (const uint8_t block[TAR_BLOCK]);

/* Reads all headers.  NULL: reported. */
extern struct tar *tar_open (const struct vmdk_log *log, struct store *store);
extern void tar_free (struct tar *t); /* NULL is allowed */

/* The member of that name, or NULL. */
extern const struct tar_member *tar_find (const struct tar *t,
                                          const char *name);

#endif /* VMDK_TAR_H */
