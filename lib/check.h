/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Checking: how the parts of the checker report what they find.  Nothing
 * here changes a file, and nothing needs more memory than about 64 MiB,
 * whatever an image claims.
 *
 * The codes.  E error, W warning, L leak, N note.
 *
 * Descriptor and chain:
 *   cid-missing           E  CID or parentCID isn't given
 *   flat-too-short        E  the file ends before its flat extent does
 *   capacity-mismatch     W  header and extent line differ by a grain or more
 *   geometry              N  the geometry covers more than the disk has
 *   long-content-id       W  ddb.longContentID doesn't end with the CID
 *   change-tracking       W  version 3 without changeTrackPath, or without 3
 *   extents-overlap       E  two extents use the same part of a file
 *   parent-contradiction  E  only one of parentCID and hint names a parent
 *   cid-mismatch          E  the parent isn't as it was when the child began
 *   size-mismatch         W  parent and child have different sizes
 *   flat-with-parent      E  a flat extent hides the parent altogether
 *
 * Hosted sparse header:
 *   descriptor-misplaced  E  descriptor not between header and overHead, or
 *                            a directory in it
 *   overhead              E  a table or directory lies across overHead
 *   unclean               W  its last writer didn't close it (COWD, too)
 *   directory-misplaced   E  one copy of the grain directory isn't in the
 *                            file, or overlaps the other one
 *   rgd-unannounced       N  rgdOffset is set, but not the flag for it
 *   header-padding        N  unused bytes of the header aren't zero
 *
 * Tables (those of other formats, too):
 *   gde-zero              W  no table, where a plain extent must have one
 *   gde-invalid           E  directory entry that can't be right
 *   gt-shared             E  two tables, or copies of one, share space
 *   tables-hopeless       E  so many do that none was looked at
 *   mirror-differs        E  a redundant table isn't what it should repeat
 *   zeroed-without-flag   W  entry 1, but the header's flag isn't set
 *   gte-invalid           E  table entry of an unknown kind
 *   gte-in-metadata       E  grain in header, descriptor, directory or table
 *   gte-past-end          E  grain isn't, or not all, in the file
 *   grain-shared          E  two grains share space
 *   entry-past-capacity   W  entry for what is behind the disk's end
 *   grain-unaligned       N  grains not at multiples of their size
 *   leaked-grains         L  space among the grains that nothing refers to
 *   unused-tail           L  space behind the last grain
 *
 * Streams:
 *   footer-missing        E  no footer, or no end-of-stream marker behind it
 *   footer-differs        W  header and footer disagree
 *   marker-lba            E  grain is by its marker another one
 *   grain-length          E  impossible compressed length
 *   grain-corrupt         E  doesn't inflate to what it should
 *   stream-order          W  grain stands before one with a lower number
 *   trailing-data         W  bytes behind the end of the stream
 *   table-marker          W  wrong marker in front of a table or directory
 *
 * COWD:
 *   cowd-flags            W  flags aren't 3
 *   free-sector           E  freeSector below what is used, or past the end
 *   cowd-zeroed           W  entry 1, which only some read as zero
 *
 * seSparse:
 *   sesparse-layout       W  regions not where a host puts them
 *   region-past-end       E  the file ends inside of the metadata
 *   free-gt-number        W  freeGTNumber names a table in use
 *   free-bitmap           W  grain in use is free by the bitmap
 *   back-map              W  grain's entry in the back map names another
 *
 * Not checked, since too little is known of them: the journal of seSparse,
 * and change tracking files.
 */

#ifndef VMDK_CHECK_H
#define VMDK_CHECK_H

#include <stddef.h>

#include "vmdkio.h"

/* So many of one code and file are passed on, and then how many more. */
#define CHECK_MAX_ALIKE 10

struct tally {
  const char *code, *file;
  enum vmdk_severity severity;
  uint64_t count;
};

/* Where a defect is, for those who repair it. */
struct extent;
enum check_kind {
  AT_OTHER,           /* the code says all */
  AT_GDE_INVALID,     /* number: of the table */
  AT_GDE_ZERO,        /* number: of the first one, position: how many */
  AT_GDE_ONE_SIDED,   /* the table that the directory copy lacks */
  AT_GT_SHARED,       /* the table; the other user is another one, or copy */
  AT_GT_DIFFERS,      /* the table, of which both copies can be read */
  AT_GTE_INVALID,     /* number: of the grain, as in all that follow */
  AT_GTE_CUT,         /* the file ends inside of it */
  AT_GTE_IN_METADATA,
  AT_GRAIN_SHARED,    /* another grain is there, too */
  AT_GTE_ZEROED,      /* an entry for zero, where that may be misread */
  AT_PAST_CAPACITY,   /* number: of the table */
};
struct check_place {
  const char *code;
  enum check_kind kind;
  struct extent *e;   /* NULL: in the descriptor */
  unsigned copy;      /* of a directory or table: 1 is the redundant one */
  uint64_t number;
  uint64_t position;  /* that the entry gives, bytes; or 0 */
};

struct check {
  vmdk_defect_fn fn;
  /* Called for each defect that has a place, besides fn; may be NULL. */
  void (*at) (void *opaque, const struct check_place *place);
  void *opaque;
  struct vmdk_check_result *result;
  struct tally tallies[64];
  size_t nr_tallies;
};

/* Counts a defect and passes it on.  code and file are kept until
 * check_end_file.
 */
extern void check_defect (struct check *check, enum vmdk_severity severity,
                          const char *code, const char *file,
                          const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 5, 6)));

/* Says where the defect is that has just been counted. */
extern void check_at (struct check *check, const struct check_place *place);

/* The same where the code says all. */
extern void check_at_code (struct check *check, const char *code,
                           struct extent *e);

/* What vmdk_check does, with fn, at, opaque and result set. */
struct vmdk_disk;
extern int check_disk (struct vmdk_disk *disk, struct check *check);

/* The same for a VMDK_LEAK of so many bytes. */
extern void check_leak (struct check *check, const char *code,
                        const char *file, uint64_t bytes,
                        const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 5, 6)));

/* Says of which codes there were more than were passed on. */
extern void check_end_file (struct check *check);

#endif /* VMDK_CHECK_H */
