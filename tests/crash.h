/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The crash simulator: what its parts share.
 *
 *   crash-blob.c       contents of files in memory, cheap to copy
 *   crash-store.c      the store that the library gets instead of files; it
 *                      writes down what is done to it
 *   crash-log.c        these notes, in memory and as text
 *   crash-model.c      what a guest may find after a crash
 *   crash-states.c     which states a crash may leave
 *   crash-verify.c     opens such a state and compares it with the model
 *   crash-mutations.c  what a broken library, or disk, would do
 *   crash-workloads.c  what is done to the images
 *   crash-sim.c        the program
 *
 * Time is counted in ticks: each beginning and each end of an operation
 * is one.  A crash at tick t comes after it: whatever began by then may
 * have had an effect, whatever ended by then has been reported.
 */

#ifndef CRASH_H
#define CRASH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmdkio.h"

#define SECTOR 512
#define BLOCK 4096
#define NEVER UINT64_MAX

/* Ends the program: for what isn't the library's fault. */
extern void die (const char *fmt, ...)
  __attribute__ ((__noreturn__, __format__ (__printf__, 1, 2)));
extern void *grab (size_t size); /* zeroed, or the program ends */
extern void *grow_array (void *array, size_t n, size_t size);

/* A file's content.  What isn't there is a hole.  { 0 } is empty. */
struct block;
struct blob {
  uint64_t size;
  size_t nr;
  struct block **blocks;
};
extern void blob_clone (struct blob *to, const struct blob *from);
extern void blob_clear (struct blob *b);
extern void blob_load (struct blob *b, int fd, const char *name);
/* What lies past the end is zero. */
extern void blob_read (const struct blob *b, void *buf, size_t count,
                       uint64_t offset);
/* Neither changes the size. */
extern void blob_write (struct blob *b, const void *buf, size_t count,
                        uint64_t offset);
extern void blob_zero (struct blob *b, uint64_t count, uint64_t offset);
extern void blob_set_size (struct blob *b, uint64_t size);
/* The first byte from offset on that is data, or a hole. */
extern uint64_t blob_next (const struct blob *b, uint64_t offset, bool data);
/* A block, or NULL if it is a hole. */
extern const uint8_t *blob_block (const struct blob *b, uint64_t i);

/* Random numbers that only depend on the seed. */
struct rng {
  uint64_t x;
};
extern uint64_t rng_next (struct rng *r);
extern uint64_t rng_below (struct rng *r, uint64_t n);

/* What was done. */
enum event_kind {
  EV_WRITE,
  EV_PUNCH,
  EV_ZERO,
  EV_RESIZE,
  EV_SYNC,
  EV_REPLACE,
  EV_GUEST_WRITE, /* from here on: requests of the guest */
  EV_GUEST_ZERO,
  EV_GUEST_TRIM,
  EV_GUEST_FLUSH,
};

struct event {
  enum event_kind kind;
  unsigned file;           /* of the world; not for requests */
  uint64_t start, end;     /* ticks; NEVER: it didn't end */
  uint64_t offset, length; /* bytes; EV_RESIZE: length is the new one */
  uint8_t *data;           /* EV_WRITE, EV_REPLACE, EV_GUEST_WRITE */
  uint64_t old_size, new_size; /* of the file, if it is changed */
  bool fua;
  const struct event *op;  /* the request that it belongs to, or NULL */
  uint8_t *seen;           /* EV_GUEST_TRIM: for each sector whether it was
                              zero afterwards; NULL: not known */
  uint64_t covered_at;     /* requests: since when it is durable */
};

static inline bool
is_guest (const struct event *e)
{
  return e->kind >= EV_GUEST_WRITE;
}

struct log {
  pthread_mutex_t lock;
  struct event **events; /* as they began */
  size_t nr;
  uint64_t now;          /* the last tick */
};

extern const char *event_name (enum event_kind kind);
extern struct log *log_new (void);
extern void log_free (struct log *l);
extern struct event *log_begin (struct log *l, const struct event *what);
extern void log_end (struct log *l, struct event *e);

/* The request that this thread works on. */
extern __thread const struct event *current_op;

/* The files that stores are made of. */
struct world_file {
  char *name;
  uint64_t dev, ino;
  struct blob now;
  bool writable; /* somebody made it so */
};

struct world {
  pthread_mutex_t lock;
  struct world_file *files;
  size_t nr;
  struct log *log;  /* NULL: nothing is written down */
  bool no_punch;
  bool no_replace;
  bool device;      /* doesn't grow, and isn't zero where nothing was used */
  bool slow;        /* other threads get their turn in every operation */
};

extern struct world *the_world; /* that store_file_new uses */
extern struct world *world_new (void);
extern struct world *world_like (const struct world *w); /* no files */
extern struct world *world_clone (const struct world *w);
extern void world_free (struct world *w);

extern void log_save (const struct log *l, const struct world *w,
                      const char *path);
extern struct log *log_load (struct world *w, const char *path);

/* What is examined: a log, and what there was before. */
struct scenario {
  const char *name;
  const char *path;      /* of the disk */
  struct vmdk_options options;
  struct world *initial;
  struct log *log;
  struct blob guest;     /* as it was read from initial */
  uint64_t new_size;     /* bytes that it may have instead; 0: none */
  uint32_t cid;
  bool has_cid;
  char known[4][32];     /* codes of warnings that were there before */
  bool foreign;          /* another program's: only look at it */
  unsigned depth;        /* how many crashes came before */
  uint64_t seed;
  struct regions *regions; /* for each file */
};

/* The model. */

enum outcome {
  GOOD,
  NOT_OPENED,   /* the image can't be opened */
  UNREADABLE,   /* ... or some of it can't be read */
  BAD_CHECK,    /* the check found more than leaks, */
  MIRRORS,      /* ... or nothing else than copies of tables that differ */
  LOST,         /* what was flushed isn't there */
  CHANGED,      /* what nobody wrote has changed */
  GARBAGE,      /* something that was never written there */
  STALE_CID,    /* the content changed, and its ID didn't */
  NO_RECOVERY,  /* it can't be written again */
  BAD_RECOVERY, /* ... and then it isn't clean, or something else changed */
  NR_OUTCOMES
};
extern const char *outcome_name (enum outcome o);

struct verdict {
  enum outcome outcome; /* the first, and only in another program's log */
  unsigned seen;        /* are there more: a bit for each */
  char text[2000];
};
/* The first outcome and text remain, but for MIRRORS. */
extern void verdict_set (struct verdict *v, enum outcome o,
                         const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* Sets covered_at of the log's requests, and says which blocks of the
 * guest any of them touches.
 */
struct model {
  const struct scenario *s;
  struct touched *touched; /* for each block */
  size_t nr_blocks;
};
extern void model_init (struct model *m, const struct scenario *s);
extern void model_release (struct model *m);

/* Compares what was read after a crash at a tick.  *differs: from what
 * there was before.
 */
extern void model_compare (const struct model *m, const struct blob *read,
                           uint64_t tick, bool *differs, struct verdict *v);

/* Mutations. */

enum mutation {
  M_NONE,
  M_TABLES_FIRST,
  M_LENGTH,
  M_GROWTH,
  M_FUA,
  M_FUA_ENTRY,
  M_CID,
  M_UNCLEAN,
  M_UNFROZEN,
  NR_MUTATIONS
};
extern enum mutation mutation;
extern const char *mutation_name (enum mutation m);

enum region_kind {
  R_DATA,
  R_HEADER,
  R_DESCRIPTOR,
  R_DIRECTORY,
  R_TABLE,
};

struct regions {
  struct region {
    enum region_kind kind;
    unsigned copy;
    uint64_t number, start, end;
  } *list;
  size_t nr;
};

/* What parts of the files are, as they were at the end. */
extern void find_regions (struct scenario *s, const struct world *end);
extern void free_regions (struct scenario *s);
extern const struct region *region_at (const struct scenario *s,
                                       unsigned file, uint64_t offset);
extern void describe_place (const struct scenario *s, unsigned file,
                            uint64_t offset, char *buf, size_t size);

/* Whether a sync makes the bytes of an event, or the length, durable,
 * given that it ended before.
 */
extern bool sync_covers (const struct scenario *s, const struct event *sync,
                         const struct event *e);
extern bool sync_covers_size (const struct scenario *s,
                              const struct event *sync,
                              const struct event *e);
/* Whether a replaced file is durable when that returned. */
extern bool replace_is_durable (void);
extern void mutate_log (struct scenario *s);

/* States. */

struct totals {
  uint64_t points, states, opens, second, milliseconds;
  uint64_t outcomes[NR_OUTCOMES];
  uint64_t points_with[NR_OUTCOMES]; /* such a state; another program's */
};

struct budget {
  uint64_t states;
  unsigned second;    /* of so many states one is crashed a second time */
  const char *only;   /* "TICK.xN" or "TICK.rN": this state alone */
  unsigned most_reports;
};

extern void explore (struct scenario *s, const struct budget *b,
                     struct totals *t);

/* Opens what a crash at a tick left in w, which is used up.  second: not
 * NULL, gets what was written down of the recovery.
 */
extern void verify (const struct scenario *s, const struct model *m,
                    struct world *w, uint64_t tick, uint64_t n,
                    struct totals *t, struct verdict *v,
                    struct scenario **second);

/* Makes a request of the guest, and writes it down in l, unless that is
 * NULL.  e->seen is not NULL: looks at what a trim has done.
 */
extern int make_request (struct vmdk_disk *disk, struct log *l,
                         const struct event *e);

/* Reads the guest's disk.  -1: *v says why not. */
extern int read_guest (struct vmdk_disk *disk, struct blob *guest,
                       bool all);

/* Opens with messages going to the last verdict's text. */
extern struct vmdk_log collecting_log (void);
extern const char *collected (void);
extern void collect_nothing (void);

extern struct scenario *scenario_new (const char *name, const char *path,
                                      const struct vmdk_options *options);
extern void scenario_read_initial (struct scenario *s);
extern void scenario_free (struct scenario *s);

/* Workloads. */

struct workload;
extern const struct workload *workload_at (size_t i); /* NULL at the end */
extern const char *workload_name (const struct workload *w);
extern const char *workload_image (const struct workload *w);
extern struct scenario *workload_run (const struct workload *w,
                                      const char *images, uint64_t seed);

#endif /* CRASH_H */
