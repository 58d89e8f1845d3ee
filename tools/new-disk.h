/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the commands share that make disks: the options that say what a
 * disk is to be, and telling what it became.
 */

#ifndef VMDK_IMG_NEW_DISK_H
#define VMDK_IMG_NEW_DISK_H

#include "vmdk-img.h"

/* A command's own options begin at OPT_NEW_DISK_END. */
enum {
  OPT_ADAPTER = OWN_OPTIONS,
  OPT_FORCE,
  OPT_GRAIN_SIZE,
  OPT_HW_VERSION,
  OPT_PREALLOCATE,
  OPT_NEW_DISK_END,
  OPT_TYPE = 't',
};

#define NEW_DISK_LETTERS "t:"
#define NEW_DISK_OPTIONS \
  { "adapter", required_argument, NULL, OPT_ADAPTER }, \
  { "force", no_argument, NULL, OPT_FORCE }, \
  { "grain-size", required_argument, NULL, OPT_GRAIN_SIZE }, \
  { "hw-version", required_argument, NULL, OPT_HW_VERSION }, \
  { "preallocate", required_argument, NULL, OPT_PREALLOCATE }, \
  { "type", required_argument, NULL, OPT_TYPE }

#define NEW_DISK_TYPE_HELP \
"                          monolithicFlat, twoGbMaxExtentSparse,\n" \
"                          twoGbMaxExtentFlat, vmfs, vmfsSparse, seSparse,\n" \
"                          streamOptimized, raw\n"
#define NEW_DISK_HELP \
"  --adapter=TYPE          ide, buslogic, lsilogic (the default) or legacyESX\n" \
"  --force                 replace FILE if it exists\n" \
"  --grain-size=SIZE       a power of two; what is allowed depends on the type\n" \
"  --hw-version=N          the virtual machine's hardware version (default: 4)\n" \
"  --preallocate=off|metadata|full\n" \
"                          give each grain its place, or also its space on\n" \
"                          the file system (default: off)\n"

/* n has been initialised.  Returns false if it is none of these options. */
extern bool set_new_disk_option (const struct settings *s,
                                 struct vmdk_new *n, int option,
                                 const char *value);

/* With --json: an object about a disk that was made.  The exit status. */
extern int tell_new_disk (const struct settings *s, const char *file,
                          enum vmdk_type type);

#endif /* VMDK_IMG_NEW_DISK_H */
