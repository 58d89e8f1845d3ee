/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What the parts of vmdk-img share: a command is a table of its options
 * and a function.
 */

#ifndef VMDK_IMG_H
#define VMDK_IMG_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmdkio.h"

/* Exit status; these are documented. */
enum {
  STATUS_OK = 0,
  STATUS_FAILED = 1,
  STATUS_ERRORS = 2,         /* check found errors */
  STATUS_LEAKS = 3,          /* check found nothing but leaks */
  STATUS_STOPPED = 130,      /* by ^C or SIGTERM, in good order */
  STATUS_NOT_SUPPORTED = 63, /* check can't do this disk */
};

/* What the options say that all commands have. */
struct settings {
  const struct command *command;
  struct vmdk_options open;
  const char **trusted_dirs; /* NULL-terminated, or NULL */
  size_t nr_trusted_dirs;
  struct vmdk_extent_path *extents;
  const char *const *words; /* what isn't an option, as the usage says */
  size_t nr_words;
  bool json;
  bool quiet;
  bool progress;            /* --progress */
};

#define OWN_OPTIONS 512

struct command {
  const char *name;
  const char *summary;          /* for the list of commands */
  const char *usage;            /* "SIZE FILE"; NULL: "FILE" */
  size_t min_words, max_words;  /* both 0: 1.  open.file is the first word
                                   if file_word isn't set */
  size_t file_word;             /* the word that is open.file, from 1 on */
  const char *help;             /* of its own options; ends with a newline */
  const struct option *options; /* vals from OWN_OPTIONS on, or a letter;
                                   at most 24; of the letters, hpqUV
                                   are taken, and f if takes_uri */
  const char *letters;          /* of short options of its own, as for
                                   getopt: "ft:"; or NULL */
  enum vmdk_cid_check cid_check; /* the default */
  bool takes_uri; /* FILE may be the URI of an NBD export; see --format */
  bool writes;    /* has --drop-cbt, too, */
  bool changes_content; /* and --allow-parent-write */

  /* Takes an option of its own; value is NULL if it has none. */
  void (*set) (const struct settings *s, int option, const char *value);
  int (*run) (const struct settings *s); /* returns the exit status */
};

extern const struct command check_command;
extern const struct command commit_command;
extern const struct command compact_command;
extern const struct command convert_command;
extern const struct command create_command;
extern const struct command fix_cid_command;
extern const struct command info_command;
extern const struct command map_command;
extern const struct command pull_command;
extern const struct command rebuild_descriptor_command;
extern const struct command repair_command;
extern const struct command resize_command;
extern const struct command snapshot_command;

/* Progress of long work.  It is shown on standard error if that is a
 * terminal and neither --quiet nor --json is given, or with --progress; and
 * once for each SIGUSR1 (SIGINFO).  From begin to end, SIGINT and SIGTERM
 * make the operation stop in good order.
 */
extern void progress_init (void); /* when the program begins */
extern struct vmdk_progress progress_begin (const struct settings *s);
extern void progress_end (void);
extern void progress_end_line (void); /* before a message */

/* The exit status of a library function that returned r: 0, or -1 and
 * errno.  Says that it was stopped, if it was.
 */
extern int status_of (int r);

/* "vmdk-img: text", on stderr. */
extern void error_message (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2), __nonnull__ (1)));

/* Also says where help is, and exits. */
extern void usage_error (const struct command *command, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3), __nonnull__ (2),
                  __noreturn__));

/* The value of an option: "64K", "0x10000".  Exits if it isn't a size. */
extern uint64_t parse_size (const struct settings *s, const char *option,
                            const char *value);

/* The same for a word that isn't an option's value. */
extern uint64_t parse_size_word (const struct settings *s, const char *what,
                                 const char *word);

/* NULL: reported.  Drop it with vmdk_close. */
extern struct vmdk_disk *open_disk (const struct settings *s)
  __attribute__ ((__nonnull__ (1)));

/* "40 GiB", "1.5 MiB", "512 bytes".  Returns buf. */
#define SIZE_TEXT 32
extern const char *size_text (char buf[SIZE_TEXT], uint64_t bytes);

/* Text from an image to stdout: what could control a terminal, and what
 * isn't UTF-8, becomes '?'.
 */
extern void print_text (const char *text) __attribute__ ((__nonnull__ (1)));

#endif /* VMDK_IMG_H */
