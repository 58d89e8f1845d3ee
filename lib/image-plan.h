/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What a new disk will consist of, worked out before there is any file:
 * the types, what each allows, and the names and sizes of the extents.
 */

#ifndef VMDK_IMAGE_PLAN_H
#define VMDK_IMAGE_PLAN_H

#include "descriptor-write.h"
#include "new-image.h"

struct image_kind {
  const char *name;      /* createType */
  enum extent_type type; /* of the extent lines */
  const char *suffix;    /* of the extents' names: "-flat", or with split
                            what precedes the number.  NULL: the file that
                            is named is the extent. */
  bool split;
  bool hosted;           /* made by VMware's products for desktops */
  bool embedded;         /* the descriptor is inside */
  bool child;            /* may have a parent */
  struct build *(*new_build) (const struct vmdk_log *log);
  uint32_t grain_size;   /* bytes; 0: no grains */
  uint32_t min_grain_size, max_grain_size;
  uint64_t max_size;     /* bytes, whatever its file may hold */
};

struct planned_extent {
  char *path;
  uint64_t size; /* bytes */
};

struct image_plan {
  const struct image_options *o;
  const struct image_kind *kind;
  uint32_t grain_size;   /* bytes; of flat extents 65536 */
  const char *adapter;
  unsigned hw_version;
  struct planned_extent *extents;
  size_t nr_extents;
};

extern const struct image_kind *image_kind_of (enum vmdk_type type);

/* Whether an extent of that size can be filled.  Formats that number the
 * sectors of their file with 32 bits have a limit.
 */
extern bool image_kind_fits (const struct image_kind *kind,
                             uint32_t grain_size, uint64_t size);

extern bool image_allows_grain_size (enum vmdk_type type, uint64_t size);

/* The adapter type and the hardware version, with the defaults.  -1:
 * reported, there are no such.
 */
extern int image_choose_machine (const struct vmdk_new *n,
                                 const char **adapter, unsigned *hw_version);

/* "lsilogic" for "LsiLogic"; NULL: not known. */
extern const char *adapter_name (const char *adapter);

extern bool image_hw_version_is_valid (unsigned long version);

/* Refuses what can't be made.  NULL: reported. */
extern struct image_plan *image_plan (const struct image_options *o);
extern void image_plan_free (struct image_plan *plan); /* NULL is allowed */

/* What follows the last slash. */
extern const char *image_base_name (const char *path);

/* What stands before ".vmdk". */
extern size_t image_stem_length (const char *path);

#endif /* VMDK_IMAGE_PLAN_H */
