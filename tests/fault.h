/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Faults on demand: a store in memory that takes the place of the
 * library's store_file_new, and fails when it is told to.
 */

#ifndef FAULT_H
#define FAULT_H

#include "crash.h"

/* What the library does with a store. */
enum operation {
  OP_PREAD,
  OP_PWRITE,
  OP_PUNCH,
  OP_ZERO,
  OP_RESIZE,
  OP_SYNC,
  OP_REPLACE,
  NR_OPERATIONS
};

/* How it fails. */
struct fault {
  const char *name;
  enum operation operation;
  int err;      /* EOPNOTSUPP isn't reported by the store */
  bool partly;  /* half of it is done */
  bool lasting; /* all later ones fail as well */
  bool lose;    /* OP_SYNC: what it was to make durable is gone */
};
extern const struct fault faults[];
extern const size_t nr_faults;

struct fault_file {
  char *name;
  uint64_t dev, ino;
  struct blob initial; /* as it is on the disk */
  struct blob now;
  struct blob synced;
};

extern struct fault_file *fault_files;
extern size_t nr_fault_files;

/* The operations that count, and the one that fails: fault is NULL for
 * none.  hit: it has been reached.
 */
struct fault_plan {
  bool counting;
  unsigned count;
  unsigned at;
  const struct fault *fault;
  bool hit;
  const struct fault_file *file; /* ... in this one */
  bool file_changed;             /* durably, before that */
  unsigned char *operations;     /* NULL, or what they are, to be filled in */
};
extern struct fault_plan fault_plan;
#define MOST_OPERATIONS 100000

extern const char *operation_name (enum operation o);

/* All files are as on the disk again. */
extern void fault_reset (void);

#endif /* FAULT_H */
