/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing: what the parts of it share.
 *
 * It goes in rounds.  In each the disk is opened through overlays of its
 * files and checked; the check says where its defects are, and each format
 * changes, in the overlays, what it can.  When a round finds nothing more to
 * do, an undo file is written, and then the files are changed (undo.c).
 */

#ifndef VMDK_REPAIR_H
#define VMDK_REPAIR_H

#include "check.h"
#include "disk.h"
#include "sparse.h"
#include "store-overlay.h"

/* So many places of defects are kept from a check; the next round sees what
 * remains.
 */
#define REPAIR_MAX_PLACES (1 << 20)

/* Guest ranges of the same fate that follow each other are told as one. */
struct repair_range {
  const char *code;
  const struct extent *e;
  uint64_t start, end; /* in the extent */
  const char *what;
};

struct repair {
  const struct vmdk_options *options;
  const struct vmdk_repair *how;
  struct vmdk_repair_result *result;
  struct vmdk_log log;
  bool write;             /* not dry_run */
  bool undo_written;      /* it has its name */

  struct overlay **files;
  size_t nr_files;

  struct vmdk_disk *disk; /* while a round goes on */
  unsigned round;
  bool rescan;            /* open streams by their markers next time */
  unsigned rescans;       /* so often that was done */
  uint64_t compared;      /* entries, for the places of lost tables */

  /* What the check of this round found. */
  struct check_place *places;
  size_t nr_places;
  uint64_t *faults;       /* directory entries (repair-kdmv-tables.c) */
  size_t nr_faults;
  struct kept_defect *defects;
  size_t nr_defects;

  /* What was done before it was told what was found. */
  struct kept_defect *early;
  size_t nr_early;
  bool told_found;

  uint64_t made;          /* repairs in this round */
  struct tally *tallies;  /* of what was done, by code and file */
  size_t nr_tallies;
  struct repair_range range;
};

/* Counts what was done, and tells it, the first of one kind and file. */
extern void repair_done (struct repair *r, const char *code,
                         const char *file, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 4, 5)));

/* The same of something that the guest may notice: grains [grain, grain+n) of
 * the extent.  what: "read as zero now".
 */
extern void repair_grains (struct repair *r, const char *code,
                           const struct extent *e, uint64_t grain,
                           uint64_t n, const char *what);

/* A defect that prevents the disk from being opened, and so isn't found by
 * the check.
 */
extern void repair_found (struct repair *r, const char *code,
                          const char *file, const char *text);

/* The places of defects in an extent (NULL: the descriptor), of one kind,
 * from *i on, which moves behind it.  NULL: there are no more.
 */
extern const struct check_place *
repair_next (const struct repair *r, const struct extent *e,
             enum check_kind kind, size_t *i);

/* Whether there is one with this code. */
extern bool repair_has (const struct repair *r, const struct extent *e,
                        const char *code);

/* Changes some bytes of the first sectors of an extent's file. */
extern int repair_patch (struct extent *e, uint64_t offset, const void *data,
                         size_t count);

/* The formats.  -1: reported. */
extern int repair_descriptor (struct repair *r, struct link *l);
extern int repair_flat (struct extent *e, struct repair *r);
extern int repair_kdmv (struct extent *e, struct repair *r);
extern int repair_stream (struct extent *e, struct repair *r);
extern int repair_cowd (struct extent *e, struct repair *r);
extern int repair_sesparse (struct extent *e, struct repair *r);


/* Before the disk is opened: puts right what would prevent that, in a file
 * of which this is the overlay's store.
 */
extern int repair_header (struct repair *r, struct store *s);

/* A new content ID, since the content has changed. */
extern int repair_new_cid (struct repair *r, struct link *l);

/* The same for the other formats. */
extern int repair_header_cowd (struct repair *r, struct store *s);
extern int repair_header_sesparse (struct repair *r, struct store *s);

#endif /* VMDK_REPAIR_H */
