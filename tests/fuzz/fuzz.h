/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Fuzzing: what its parts share.
 *
 *   pages.c            contents of files in memory, sparse
 *   input.c            an input of the fuzzer, as text of bytes and as files
 *   world.c            puts the files of an input under the library
 *   target-*.c         what is done with them, and what must hold
 *   mutate-*.c         changes that keep an image worth looking at
 *   fuzzer.c           what libFuzzer calls
 *   replay.c           the same without libFuzzer, for make check
 *   pack.c             makes inputs of images
 *
 * A target returns; whatever must not be ends the program (complain).
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmdkio.h"

#define SECTOR 512
#define PAGE 4096

/* Sizes of files are below this: as on a file system. */
#define MAX_FILE_SIZE (UINT64_C (1) << 42)

extern void complain (const char *fmt, ...)
  __attribute__ ((__noreturn__, __format__ (__printf__, 1, 2)));

/* A file's content.  What isn't there is a hole.  { 0 } is empty. */
struct page {
  uint64_t number;
  uint8_t *bytes;
};
struct pages {
  uint64_t size;
  size_t nr;
  struct page *list; /* ascending */
};
extern void pages_clear (struct pages *p);
extern void pages_clone (struct pages *to, const struct pages *from);
/* What lies past the end is zero. */
extern void pages_read (const struct pages *p, void *buf, size_t count,
                        uint64_t offset);
/* Doesn't change the size.  False: there is no space left. */
extern bool pages_write (struct pages *p, const void *buf, size_t count,
                         uint64_t offset);
extern void pages_zero (struct pages *p, uint64_t count, uint64_t offset);
extern void pages_resize (struct pages *p, uint64_t size);
/* The first byte from offset on that is data, or a hole; UINT64_MAX. */
extern uint64_t pages_next_data (const struct pages *p, uint64_t offset);
extern uint64_t pages_next_hole (const struct pages *p, uint64_t offset);
extern bool pages_equal (const struct pages *a, const struct pages *b);

/* An input: some files, and numbers that say what is done with them. */
#define NR_NAMES 13
#define MAX_FILES 6
#define NR_OPTIONS 6
#define MAX_REQUESTS 512

struct input_file {
  unsigned name;       /* of input_names */
  struct pages pages;
};
struct input {
  uint8_t options[NR_OPTIONS];
  uint8_t requests[MAX_REQUESTS];
  size_t nr_requests;  /* bytes */
  struct input_file files[MAX_FILES];
  size_t nr_files;
};
extern const char *const input_names[NR_NAMES];

/* Any bytes are an input; what is missing is zero. */
extern void input_load (struct input *in, const uint8_t *data, size_t size);
/* Returns the size, 0: it doesn't fit. */
extern size_t input_save (const struct input *in, uint8_t *data,
                          size_t max_size);
extern void input_clear (struct input *in);

/* The bytes that say what to do, one after the other; then zeroes. */
struct requests {
  const uint8_t *next, *end;
};
extern struct requests input_requests (const struct input *in);
extern uint64_t take (struct requests *r, unsigned bytes);

/* The world: a folder with the files of an input.  Their names are real,
 * their contents are in memory.
 */
struct world_file {
  uint64_t dev, ino;
  struct pages now;
  const struct input_file *origin; /* NULL: made meanwhile */
};
#define MAX_WORLD_FILES 128
struct world {
  struct world_file files[MAX_WORLD_FILES];
  size_t nr;
  bool no_punch;
  bool no_replace;
  unsigned writes_left; /* until writing fails */
  bool failed;          /* it has */
};
extern struct world world;

extern void world_begin (const struct input *in);
/* For a target that makes, replaces or removes files. */
extern void world_clean (void);
/* Nothing that is open may be left. */
extern void world_end (void);
/* The path of a file, valid until the next call. */
extern const char *world_path (const char *name);
extern bool world_has (const char *name);
extern void world_remove (const char *name);

/* A log that looks at each message. */
extern unsigned nr_errors; /* since clear_messages */
extern const char *last_error;
extern struct vmdk_log watching_log (unsigned topics);
extern void clear_messages (void);
extern bool is_verbose (void);

/* How the input says that it is to be opened. */
extern void read_options (const struct input *in,
                          struct vmdk_options *options);
/* vmdk_open, which must say why it fails. */
extern struct vmdk_disk *open_disk (const struct vmdk_options *options);
/* Whether a check of it is short. */
extern bool is_small (const struct vmdk_disk *disk);
extern bool are_files_small (void);

/* A check.  codes: which have been found, as a set of bits. */
struct findings {
  struct vmdk_check_result result;
  uint64_t codes;
  bool complete;
};
extern void inspect (struct vmdk_disk *disk, struct findings *f);

/* The targets. */
extern void fuzz_read (const uint8_t *data, size_t size);
extern void fuzz_write (const uint8_t *data, size_t size);
extern void fuzz_repair (const uint8_t *data, size_t size);
extern void fuzz_change (const uint8_t *data, size_t size);
extern void fuzz_descriptor (const uint8_t *data, size_t size);

/* Random numbers that only depend on the seed. */
struct rng {
  uint64_t x;
};
extern uint64_t rng_next (struct rng *r);
extern uint64_t rng_below (struct rng *r, uint64_t n); /* n > 0 */

/* One change of an input.  bytes: libFuzzer's own change of some bytes. */
typedef size_t (*bytes_fn) (uint8_t *data, size_t size, size_t max_size);
extern void mutate_input (struct input *in, struct rng *r, bytes_fn bytes);
/* Takes some of other. */
extern void cross_inputs (struct input *in, const struct input *other,
                          struct rng *r);

/* Formats: mutate-tables.c, mutate-text.c, mutate-archive.c */
extern bool mutate_format (struct pages *p, struct rng *r);
extern bool mutate_archive (struct pages *p, struct rng *r);
extern bool mutate_undo (struct pages *p, struct rng *r);
extern bool mutate_descriptor (struct pages *p, struct rng *r);
extern size_t mutate_text (char *text, size_t length, size_t max,
                           struct rng *r);

#endif /* FUZZ_H */
