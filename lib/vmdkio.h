/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * libvmdkio: the guest's view of a VMware virtual disk (VMDK), whatever
 * it is made of: one file or many, flat, sparse or compressed, with or
 * without snapshots.  This is the only header that users of the library
 * include; it knows nothing of NBD.
 *
 * Units: every size and offset is in bytes, every range is half-open.
 * Errors: functions return -1 or NULL, set errno, and have by then said
 * why through the log sink; nothing is said twice, nothing is printed,
 * and nothing in a file can make the library exit or abort.
 */

#ifndef VMDKIO_H
#define VMDKIO_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits.  They bound what an image can make us do; see docs/formats.md. */
#define VMDK_MAX_DESCRIPTOR (1 << 20)       /* bytes of descriptor text */
#define VMDK_MAX_EXTENTS 4096               /* extent lines in one link */
#define VMDK_MAX_CHAIN 255                  /* links in one chain */
#define VMDK_MAX_SIZE ((uint64_t) INT64_MAX) /* guest bytes */

#define VMDK_DEFAULT_TABLE_CACHE (64 << 20) /* bytes */
#define VMDK_DEFAULT_GRAIN_CACHE (32 << 20) /* bytes */

/* What debug messages are about: bit numbers of vmdk_log.topics. */
enum vmdk_topic {
  VMDK_TOPIC_DESCRIPTOR, /* what was read from descriptors and headers */
  VMDK_TOPIC_CHAIN,      /* how names became files */
  VMDK_TOPIC_EXTENTS,    /* each range that a map reports */
  VMDK_TOPIC_TABLES,     /* each grain table page that is loaded */
  VMDK_TOPIC_STATS,      /* counters, when the disk is closed */
};

/* Where messages go.  The functions may be called by several threads at
 * once.  A message has no newline; it names the file it is about.  %m in
 * the format stands for the errno of the moment, as in syslog(3).  debug
 * may be NULL; it is called only for topics that are set.
 */
struct vmdk_log {
  void (*error) (void *opaque, const char *fmt, va_list args);
  void (*warning) (void *opaque, const char *fmt, va_list args);
  void (*debug) (void *opaque, const char *fmt, va_list args);
  void *opaque;
  unsigned topics; /* 1u << enum vmdk_topic */
};

/* What to do when a parent's content isn't what the child was made over. */
enum vmdk_cid_check {
  VMDK_CID_FAIL,
  VMDK_CID_WARN,
  VMDK_CID_OFF,
};

/* Whether grains of hosted sparse extents are marked as zero, when what
 * was in the parent is zeroed.  The alternative is a grain that is a hole
 * of the file, which every program can read.
 */
enum vmdk_zeroed_grains {
  VMDK_ZEROED_AUTO,   /* where the header says that there are such */
  VMDK_ZEROED_ALWAYS, /* the header is made to say so (version 2) */
  VMDK_ZEROED_NEVER,
};

/* Says where an extent really lies: name is as in the descriptor. */
struct vmdk_extent_path {
  const char *name;
  const char *path;
};

/* How to open a disk.  Everything is borrowed for the time of the call,
 * but log is copied and its functions are used until vmdk_close.
 */
struct vmdk_options {
  struct vmdk_log log;
  const char *file;  /* descriptor or sparse extent */
  int fd;            /* >= 0: already open; file is then only its name
                        in messages and may be NULL.  It is duplicated. */
  const char *parent; /* NULL, or the parent of the top link */
  const char *const *trusted_dirs; /* NULL, or a NULL-terminated list */
  const struct vmdk_extent_path *extents;
  size_t nr_extents;
  enum vmdk_cid_check cid_check;
  bool allow_devices; /* descriptors may name block devices */
  bool allow_nbd;     /* file may be the URI of an NBD export, whose bytes
                         are the guest's unless probe_nbd says otherwise */
  bool raw;           /* file has the guest's bytes as they are; nothing in
                         it is looked at */
  bool probe_nbd;     /* the export holds a VMDK file */
  const char *member; /* file is an OVA: the disk in it that is meant, by
                         name; NULL: the only one */
  unsigned connections; /* to an NBD server at most; 0: 4 */
  bool single_link;   /* this layer alone: no parent is opened */
  bool recover;       /* rebuild the tables of a stream without footer */
  bool no_lock;       /* neither lock files nor look for others' locks */
  bool drop_cbt;      /* writing may end VMware's change tracking */
  bool allow_parent_write; /* ... and destroy children beside the disk */
  enum vmdk_zeroed_grains zeroed_grains;
  uint64_t table_cache; /* most bytes of grain tables to keep */
  uint64_t grain_cache; /* most bytes of inflated grains to keep */
};

/* Sets the defaults: messages are dropped, everything is confined. */
extern void vmdk_options_init (struct vmdk_options *options)
  __attribute__ ((__nonnull__ (1)));

/* An open disk.  All functions but vmdk_close may be called by any number
 * of threads at once.
 */
struct vmdk_disk;

extern struct vmdk_disk *vmdk_open (const struct vmdk_options *options)
  __attribute__ ((__nonnull__ (1)));

/* Makes durable what was written, marks the disk as cleanly closed if it
 * was changed, and frees everything.  -1: what was written since the last
 * successful vmdk_flush may be lost; reported.  NULL is allowed.
 */
extern int vmdk_close (struct vmdk_disk *disk);

/* Guest bytes; a multiple of 512. */
extern uint64_t vmdk_size (const struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));

/* The largest grain of the top link in bytes; 0 when it is all flat. */
extern uint32_t vmdk_grain_size (const struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));

/* Reads count bytes at offset: all of them or -1.  The range must lie in
 * the disk.  errno is EIO for damage, or what the system said.
 */
extern int vmdk_pread (struct vmdk_disk *disk, void *buf, size_t count,
                       uint64_t offset) __attribute__ ((__nonnull__ (1, 2)));

/* Asks that a later read of the range finds what it needs in memory, as
 * far as it fits into the caches.
 */
extern int vmdk_prefetch (struct vmdk_disk *disk, uint64_t count,
                          uint64_t offset) __attribute__ ((__nonnull__ (1)));

/* Writing.
 *
 * What was written before a successful vmdk_flush, or with VMDK_FUA,
 * survives any crash of process, kernel and power.  What nobody wrote
 * never changes.  Whatever crashes when, the disk can be opened again.
 */
enum vmdk_write_flags {
  VMDK_FUA = 1,       /* durable before the call returns */
  VMDK_MAY_TRIM = 2,  /* vmdk_zero: its space may be given back */
  VMDK_FAST_ZERO = 4, /* vmdk_zero: fail with ENOTSUP, before anything is
                         changed, if zeroes would have to be written */
};

/* Whether the top link can be written at all: its format, and how the
 * disk was opened.  If not, *why says why not, as the rest of a sentence
 * about the disk.  Says nothing about permissions.
 */
extern bool vmdk_can_write (const struct vmdk_disk *disk, const char **why)
  __attribute__ ((__nonnull__ (1, 2)));

/* To be called before the first of the functions below; may be called
 * again, also after it has failed.  Takes the writer's locks and sees that
 * the disk may be written; changes nothing yet.  -1: errno is EAGAIN when
 * another program uses the disk; else it may not be written, or can't be
 * without doing harm.  It can be read as before.
 */
extern int vmdk_start_writing (struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));

/* All of it or -1, then any part may have been written.  errno: ENOSPC,
 * EPERM (an extent that may not be written), EIO, ENOTSUP.  Ranges must
 * lie in the disk.
 */
extern int vmdk_pwrite (struct vmdk_disk *disk, const void *buf,
                        size_t count, uint64_t offset, unsigned flags)
  __attribute__ ((__nonnull__ (1, 2)));
extern int vmdk_zero (struct vmdk_disk *disk, uint64_t count,
                      uint64_t offset, unsigned flags)
  __attribute__ ((__nonnull__ (1)));

/* Gives back space, as far as that can be done; what is given back reads
 * as zero.
 */
extern int vmdk_trim (struct vmdk_disk *disk, uint64_t count,
                      uint64_t offset, unsigned flags)
  __attribute__ ((__nonnull__ (1)));

extern int vmdk_flush (struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));

/* What a range of the guest's disk is. */
enum vmdk_status {
  VMDK_DATA,   /* stored in a file as it is */
  VMDK_PACKED, /* stored in a file, compressed */
  VMDK_ZERO,   /* reads as zero, because a layer says so */
  VMDK_ABSENT, /* reads as zero, because no layer says anything */
};

struct vmdk_range {
  uint64_t offset; /* in the guest's disk */
  uint64_t length; /* > 0 */
  enum vmdk_status status;
  unsigned link;        /* which layer says so: 0 is the top */
  const char *file;     /* the extent's file, valid until vmdk_close;
                           NULL for what lies in none */
  uint64_t file_offset; /* of the first byte (VMDK_DATA) or of the
                           compressed grain (VMDK_PACKED), else 0 */
};

/* Called for one range after the other, ascending and without gaps.
 * 0: go on; 1: stop, vmdk_map returns 0; -1: stop, vmdk_map returns -1.
 */
typedef int (*vmdk_range_fn) (void *opaque, const struct vmdk_range *range);

/* Tells what [offset, offset+length) is, without reading guest data; the
 * cost depends on what is allocated there, not on the length.  Holes of
 * files are VMDK_ZERO.  Neighbours of the same status are one range; with
 * detail, only when they also follow each other in the same file.
 */
extern int vmdk_map (struct vmdk_disk *disk, uint64_t offset, uint64_t length,
                     bool detail, vmdk_range_fn fn, void *opaque)
  __attribute__ ((__nonnull__ (1, 5)));

/* "seSparse, 40 GiB, chain of 3, CID 1234abcd".  The caller frees it. */
extern char *vmdk_describe (const struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));

/* The same of one layer alone, 0 <= link < vmdk_nr_links: what it doesn't
 * say is VMDK_ABSENT.  The range must lie in the link.
 */
extern int vmdk_map_link (struct vmdk_disk *disk, size_t link,
                          uint64_t offset, uint64_t length, bool detail,
                          vmdk_range_fn fn, void *opaque)
  __attribute__ ((__nonnull__ (1, 6)));

/* What else the files of a link hold. */
enum vmdk_part {
  VMDK_METADATA, /* header, descriptor, directories and tables, as stored */
  VMDK_HOLE,     /* takes no space, whatever it is meant for */
};

/* 0: go on; -1: stop. */
typedef int (*vmdk_part_fn) (void *opaque, const char *file,
                             enum vmdk_part part, uint64_t offset,
                             uint64_t length);

/* Tells where in the files of a link metadata and holes are; file is as in
 * vmdk_range.  No part is a hole and metadata at once.  What is neither, and
 * isn't guest data by vmdk_map_link, is used by nothing, except the length
 * of compressed grains, which isn't known.
 */
extern int vmdk_map_files (struct vmdk_disk *disk, size_t link,
                           vmdk_part_fn fn, void *opaque)
  __attribute__ ((__nonnull__ (1, 3)));

/* What a link of the chain is made of.  All pointers are valid until
 * vmdk_close; those that the descriptor doesn't give are NULL.
 */
struct vmdk_link_info {
  const char *file;        /* the file that holds the descriptor */
  bool embedded;           /* ... inside a sparse extent */
  bool has_descriptor;     /* false: a lone extent, all below is unset */
  unsigned version;        /* of the descriptor */
  const char *create_type;
  const char *encoding;
  const char *parent_hint;
  const char *change_track; /* changeTrackPath */
  uint32_t cid;
  uint32_t parent_cid;     /* 0xffffffff: none */
  const char *long_content_id;
  uint64_t size;           /* guest bytes */
  size_t nr_extents;
  size_t nr_ddb;
};

struct vmdk_extent_info {
  const char *file;     /* as opened; NULL: none (ZERO, NOACCESS) */
  const char *name;     /* as in the descriptor; may be NULL */
  const char *access;   /* "RW", "RDONLY", "NOACCESS" */
  const char *type;     /* the descriptor's: "SPARSE", ... */
  const char *format;   /* what it is: "flat", "zero", "no access",
                           "hosted sparse", "stream", "COWD", "seSparse" */
  uint64_t start;       /* in the guest's view of the link */
  uint64_t size;        /* guest bytes */
  uint64_t file_size;
  uint64_t file_offset; /* of the data of a flat extent */
  uint64_t grain_size;  /* 0: not sparse */
  uint32_t version;     /* of the header; 0: not sparse */
  uint32_t flags;       /* of the header, hosted sparse and COWD */
  bool compressed;
  bool zeroed_grains;   /* header says that grains may be marked zero */
  bool redundant;       /* tables are kept twice */
  bool unclean;         /* whoever wrote it last didn't close it */
  bool recovered;       /* the tables were rebuilt by scanning */
};

extern size_t vmdk_nr_links (const struct vmdk_disk *disk)
  __attribute__ ((__nonnull__ (1)));
/* 0 <= link < vmdk_nr_links, 0 <= i < nr_extents or nr_ddb. */
extern void vmdk_get_link (const struct vmdk_disk *disk, size_t link,
                           struct vmdk_link_info *info)
  __attribute__ ((__nonnull__ (1, 3)));
extern void vmdk_get_extent (const struct vmdk_disk *disk, size_t link,
                             size_t i, struct vmdk_extent_info *info)
  __attribute__ ((__nonnull__ (1, 4)));
extern void vmdk_get_ddb (const struct vmdk_disk *disk, size_t link, size_t i,
                          const char **key, const char **value)
  __attribute__ ((__nonnull__ (1, 4, 5)));

/* Checking: everything that docs/formats.md lists, without a change to any
 * file.  Open the disk with VMDK_CID_OFF, so that a broken chain is found
 * by the check and doesn't prevent it.
 */
enum vmdk_severity {
  VMDK_ERROR,   /* data are wrong, lost, or would be by writing */
  VMDK_WARNING, /* some reader gets it wrong, or its writer crashed */
  VMDK_LEAK,    /* space in a file that nothing uses */
  VMDK_NOTE,    /* odd, and harmless */
};

struct vmdk_defect {
  const char *code;  /* stable, for programs: "gte-past-end" */
  enum vmdk_severity severity;
  const char *file;
  const char *text;  /* one line that says what was found and expected,
                        without the file's name */
};

/* The defect and its strings are valid only during the call. */
typedef void (*vmdk_defect_fn) (void *opaque,
                                const struct vmdk_defect *defect);

struct vmdk_check_result {
  uint64_t errors, warnings, notes; /* defects of that severity */
  uint64_t leaked;                  /* bytes */
  uint64_t grains;                  /* that the disk's extents cover */
  uint64_t allocated;               /* of these */
};

/* Checks all links of the chain that are open.  0: it was completed,
 * whatever it found; -1: it couldn't be, which was reported as an error.
 * At most a few defects of one code and file are passed to fn, but all
 * are counted.
 */
extern int vmdk_check (struct vmdk_disk *disk, vmdk_defect_fn fn,
                       void *opaque, struct vmdk_check_result *result)
  __attribute__ ((__nonnull__ (1, 2, 4)));

/* Making disks, and changing what they are made of.
 *
 * Nothing that is half done can be seen: new files get their names when
 * they are complete and durable.  What changes a disk in place can be
 * stopped at any point, also by a crash, and be run again.
 *
 * The operations return 0, or -1 with errno.  No other thread may use a disk
 * that one of them is called for, and after vmdk_commit, _pull, _fix_cid,
 * _resize and _compact, whatever they returned, it can only be closed.
 */

/* How far a long operation is: done of total, in bytes of something.  The
 * function is called often, by one thread at a time, not always the
 * caller's.  When it returns other than 0, the operation stops in good
 * order and fails with ECANCELED, which isn't reported.
 */
struct vmdk_progress {
  int (*fn) (void *opaque, uint64_t done, uint64_t total); /* or NULL */
  void *opaque;
};

/* The types of disks that can be made.  The first one isn't a VMDK. */
enum vmdk_type {
  VMDK_TYPE_RAW,
  VMDK_TYPE_MONOLITHIC_SPARSE,
  VMDK_TYPE_MONOLITHIC_FLAT,
  VMDK_TYPE_SPLIT_SPARSE, /* twoGbMaxExtentSparse */
  VMDK_TYPE_SPLIT_FLAT,   /* twoGbMaxExtentFlat */
  VMDK_TYPE_VMFS,
  VMDK_TYPE_VMFS_SPARSE,
  VMDK_TYPE_SESPARSE,
  VMDK_TYPE_STREAM,       /* streamOptimized */
};
#define VMDK_NR_TYPES 9

/* "twoGbMaxExtentSparse", or "raw". */
extern const char *vmdk_type_name (enum vmdk_type type);
/* By that name in any case, or another that is in use; what that says of
 * preallocation ("vmfsThick") isn't told.
 */
extern bool vmdk_find_type (const char *name, enum vmdk_type *type)
  __attribute__ ((__nonnull__ (1, 2)));

enum vmdk_preallocation {
  VMDK_PREALLOCATE_OFF,      /* thin: what isn't written takes no space */
  VMDK_PREALLOCATE_METADATA, /* every grain has its place */
  VMDK_PREALLOCATE_FULL,     /* ... and its space on the file system */
};

/* What a new disk is to be.  Everything is borrowed for the time of the
 * call.
 */
struct vmdk_new {
  struct vmdk_log log;
  const char *file;
  enum vmdk_type type;
  uint64_t size;          /* guest bytes; rounded up to sectors */
  bool force;             /* replace a file that exists */
  const char *adapter;    /* ddb.adapterType; NULL: that of the source or
                             the parent, or "lsilogic" */
  unsigned hw_version;    /* ddb.virtualHWVersion; 0: likewise, or 4 */
  uint64_t grain_size;    /* bytes; 0: what VMware uses for the type */
  enum vmdk_preallocation preallocate;
  int level;              /* of compression, 1 to 12; 0: the default */
  unsigned threads;       /* 0: one for each processor; at most 64 */
  bool ova;               /* type STREAM: put it into an OVA */
  struct vmdk_progress progress;
};
extern void vmdk_new_init (struct vmdk_new *n)
  __attribute__ ((__nonnull__ (1)));

/* Makes an empty disk; parent is NULL, or the disk that it is a child of,
 * whose size it gets if n->size is 0.
 */
extern int vmdk_create (const struct vmdk_new *n,
                        const struct vmdk_options *parent)
  __attribute__ ((__nonnull__ (1)));

/* Makes a descriptor for a file with the guest's bytes, which isn't
 * changed.  n->size is 0: all of the file.  n->type is VMFS or
 * MONOLITHIC_FLAT; with the default, the file's name decides.
 */
extern int vmdk_create_from_flat (const struct vmdk_new *n, const char *flat)
  __attribute__ ((__nonnull__ (1, 2)));

/* Makes a child of parent, as VMware would.  n->file NULL: its name is
 * chosen beside the parent.  auto_type: n->type isn't looked at, the
 * parent's decides.  *file is its name, which the caller frees.
 */
extern int vmdk_snapshot (const struct vmdk_new *n, bool auto_type,
                          const struct vmdk_options *parent, char **file)
  __attribute__ ((__nonnull__ (1, 3, 4)));

/* Writes the guest's view of a disk to a new one (n->size is not looked
 * at).
 */
extern int vmdk_convert (struct vmdk_disk *disk, const struct vmdk_new *n)
  __attribute__ ((__nonnull__ (1, 2)));

/* Brings what the top link of disk says into its parent.  The disk has been
 * opened with VMDK_CID_OFF.  Unless it is deleted, the child remains, with
 * nothing in it that isn't in the parent, too.
 * Refuses when other children of the parent would be destroyed, unless
 * allow_parent_write says otherwise.
 */
extern int vmdk_commit (struct vmdk_disk *disk, bool delete_child,
                        const struct vmdk_progress *progress)
  __attribute__ ((__nonnull__ (1, 3)));

/* Brings what the parents say into the top link of disk, which then has no
 * parent.  The content, and its ID, remain.
 */
extern int vmdk_pull (struct vmdk_disk *disk,
                      const struct vmdk_progress *progress)
  __attribute__ ((__nonnull__ (1, 2)));

/* Makes each child of the chain name the parent's content ID as it is now,
 * which the user vouches for.  fn is called for each that was changed.
 */
typedef void (*vmdk_cid_fn) (void *opaque, const char *child,
                             const char *parent, uint32_t was, uint32_t now);
extern int vmdk_fix_cid (struct vmdk_disk *disk, bool dry_run,
                         vmdk_cid_fn fn, void *opaque)
  __attribute__ ((__nonnull__ (1, 3)));

/* Writes a descriptor for extents whose own is lost: to n->file, or into
 * the one extent if it is that file.  nr is 0: they are those that belong
 * to a descriptor of that name.  parent is NULL, or the disk that it was a
 * child of.  What had to be assumed is reported as warnings.
 */
extern int vmdk_rebuild_descriptor (const struct vmdk_new *n,
                                    const struct vmdk_options *parent,
                                    const char *const *extents, size_t nr)
  __attribute__ ((__nonnull__ (1)));

/* Makes the disk larger: size is in bytes, and rounded up to sectors.  What
 * is added reads as zero.  Only flat and hosted sparse disks without parent.
 */
extern int vmdk_resize (struct vmdk_disk *disk, uint64_t size,
                        const struct vmdk_progress *progress)
  __attribute__ ((__nonnull__ (1, 3)));

/* Gives back the space of grains that nothing refers to, and of those that
 * are all zero.  punch_only: grains keep their places, holes are punched.
 * *freed: bytes that the files take less of the file system.
 */
extern int vmdk_compact (struct vmdk_disk *disk, bool punch_only,
                         const struct vmdk_progress *progress,
                         uint64_t *freed)
  __attribute__ ((__nonnull__ (1, 3, 4)));

/* Repairing: the top link of a disk, whatever of it can be opened.  What
 * will be changed is first worked out without a change to any file, and
 * checked; then what was there is saved in a new file, undo, and made
 * durable, before the first change.
 */
struct vmdk_repair {
  bool dry_run;
  const char *undo;   /* NULL: beside the disk, FILE.undo */
  bool lose_journal;  /* seSparse: forget changes that its journal has */
  vmdk_defect_fn found;    /* each defect before, may be NULL */
  /* What is done about one, in a line; severity isn't set. */
  vmdk_defect_fn done;
  vmdk_defect_fn left;     /* what remains, may be NULL */
  void *opaque;
  struct vmdk_progress progress;
};
struct vmdk_repair_result {
  struct vmdk_check_result before, after;
  uint64_t repairs;        /* that were made, or would be */
  uint64_t changed_bytes;  /* of the files */
  bool content_changed;    /* the guest may see other data than before */
  char *undo;              /* the file, if one was written; caller frees */
};
extern int vmdk_repair (const struct vmdk_options *options,
                        const struct vmdk_repair *repair,
                        struct vmdk_repair_result *result)
  __attribute__ ((__nonnull__ (1, 2, 3)));

/* Takes a repair back: what it changed is, byte for byte, as it was, and the
 * files have the lengths that they had.  undo is NULL: that of
 * options->file.  Refuses, before any change, if something of that was
 * changed since, or if undo is another disk's.  The undo file is removed.
 */
extern int vmdk_repair_undo (const struct vmdk_options *options,
                             const char *undo)
  __attribute__ ((__nonnull__ (1)));

/* The disks in an OVA, as they are in its OVF.  Strings are valid during
 * the call of fn.  *is_ova says whether the file is one at all.
 */
struct vmdk_member {
  const char *name;      /* the file's, in the OVA */
  const char *disk_id;   /* or NULL */
  uint64_t capacity;     /* guest bytes; 0: not given */
  uint64_t file_size;
  bool compressed;       /* as a whole, by gzip */
  bool absent;           /* the archive lacks it */
};
typedef void (*vmdk_member_fn) (void *opaque, const struct vmdk_member *m);
extern int vmdk_list_ova (const struct vmdk_options *options, bool *is_ova,
                          vmdk_member_fn fn, void *opaque)
  __attribute__ ((__nonnull__ (1, 2, 3)));

/* "libdeflate 1.14": the library that compresses. */
extern const char *vmdk_deflate_library (void);

/* For programs, at their start: a disk may be split into more files than
 * the usual soft limit of open files allows, so raises that.  The library
 * itself changes no limits.
 */
extern void vmdk_raise_file_limit (void);

/* "libdeflate 1.14": the library that inflates. */
extern const char *vmdk_inflate_library (void);

#endif /* VMDKIO_H */
