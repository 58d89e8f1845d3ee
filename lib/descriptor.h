/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The descriptor: the text that says what a link is made of.  Text to
 * struct, without any I/O and without a judgement about chains or files.
 * Grammar and limits: docs/formats.md.
 */

#ifndef VMDK_DESCRIPTOR_H
#define VMDK_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

#define CID_NONE UINT32_C (0xffffffff)
#define CID_UNSET UINT32_C (0xfffffffe) /* nobody has chosen a number yet */

enum extent_access {
  ACCESS_RW,
  ACCESS_RDONLY,
  ACCESS_NOACCESS,
};

enum extent_type {
  TYPE_FLAT,
  TYPE_SPARSE,
  TYPE_ZERO,
  TYPE_VMFS,
  TYPE_VMFSSPARSE,
  TYPE_SESPARSE,
  TYPE_VMFSRDM,
  TYPE_VMFSRAW,
  TYPE_VSANSPARSE,
};

/* One extent line. */
struct extent_line {
  unsigned line;             /* line number in the text, from 1 */
  enum extent_access access;
  enum extent_type type;
  uint64_t size;             /* bytes, > 0 */
  uint64_t offset;           /* bytes, in the extent's file */
  bool has_offset;
  char *name;                /* raw bytes, may be ""; NULL: none given,
                                only for ZERO and NOACCESS */
};

/* One key of the disk data base, without the "ddb." */
struct ddb_entry {
  char *key;
  char *value;
};

struct descriptor {
  unsigned version;
  bool has_cid;
  bool has_parent_cid;
  uint32_t cid;             /* 0xfffffffe when not given; once the disk is
                               open, read and written atomically */
  uint32_t parent_cid;      /* CID_NONE when not given */
  char *create_type;        /* these are NULL when not given or empty */
  char *encoding;
  char *parent_hint;
  char *change_track;
  char *native_snapshot;
  bool encrypted;           /* some key speaks of a key safe */
  struct extent_line *extents;
  size_t nr_extents;
  struct ddb_entry *ddb;    /* as they come, duplicates too */
  size_t nr_ddb;
  uint64_t size;            /* sum of the extents, bytes */
};

/* True if text looks like a descriptor, by its first lines: a comment
 * that names a disk descriptor file, or a version= line after nothing but
 * comments and blank lines.  Also true for either in UTF-16, which
 * descriptor_parse then refuses with a reason.
 */
extern bool descriptor_probe (const char *text, size_t length)
  __attribute__ ((__nonnull__ (1)));

/* Parses length bytes of text; what follows a NUL byte is not looked at.
 * Messages begin with name and the number of the line.  Returns NULL and
 * sets errno to EINVAL (not a valid descriptor), or ENOMEM.  Free it with
 * descriptor_free.
 */
extern struct descriptor *descriptor_parse (const struct vmdk_log *log,
                                            const char *name,
                                            const char *text, size_t length)
  __attribute__ ((__nonnull__ (1, 2, 3)));
extern void descriptor_free (struct descriptor *d); /* NULL is allowed */

/* The value of "ddb.KEY" in any case, the first if there are several, or
 * NULL; key is given without the "ddb."
 */
extern const char *descriptor_ddb (const struct descriptor *d,
                                   const char *key)
  __attribute__ ((__nonnull__ (1, 2)));

/* The lines that a writer may have to change. */
enum line_kind {
  LINE_OTHER,
  LINE_VERSION,
  LINE_CID,
  LINE_PARENT_CID,
  LINE_CREATE_TYPE,
  LINE_PARENT_HINT,
  LINE_CHANGE_TRACK,
  LINE_CHANGE_TRACK_TITLE, /* the comment that VMware puts before it */
  LINE_EXTENT,
  LINE_LONG_CONTENT_ID,
  LINE_CYLINDERS, /* ddb.geometry.* */
  LINE_HEADS,
  LINE_SECTORS,
  NR_LINE_KINDS,
};

/* One line, by places in the text. */
struct descriptor_line {
  enum line_kind kind;
  const char *start, *end;       /* with what ends it */
  const char *value, *value_end; /* without quotes; of a key, or the
                                    size of an extent */
};

/* Walks over the lines of a text as the parser does, from what
 * descriptor_lines returns.  False: there are no more.
 */
struct descriptor_lines {
  const char *next, *end;
};
extern struct descriptor_lines descriptor_lines (const char *text,
                                                 size_t length)
  __attribute__ ((__nonnull__ (1)));
extern bool descriptor_next_line (struct descriptor_lines *lines,
                                  struct descriptor_line *line)
  __attribute__ ((__nonnull__ (1, 2)));

/* The number that the digits of a CID are; false if they aren't any. */
extern bool descriptor_read_cid (const char *digits, size_t length,
                                 uint32_t *cid)
  __attribute__ ((__nonnull__ (1, 3)));

/* The canonical spelling: "RDONLY", "VMFSSPARSE", ... */
extern const char *extent_access_name (enum extent_access access);
extern const char *extent_type_name (enum extent_type type);

#endif /* VMDK_DESCRIPTOR_H */
