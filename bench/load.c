/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The benchmark's client: puts an NBD server under load, says how fast it
 * was, and whether its answers were right.  bench.py runs it.
 *
 *   load fill  [OPTIONS] FILE               write the content to a file
 *   load run   [OPTIONS] SOCKET             requests; prints JSON
 *   load check [OPTIONS] SOCKET             are these the right bytes?
 *   load first [OPTIONS] SOCKET COMMAND...  start a server, time to its answer
 *
 * The disk is cut into grains of 64 KiB and the grains into groups of
 * --stride; one of each group, drawn by the seed, is in use.  The address of
 * the n-th request, and what is written there, follow from the options
 * alone, so that check knows what a run with the same options has left.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define GRAIN 65536
#define BLOCK 4096 /* what is compared at once */
#define SECTOR 512
#define CHECK_SIZE (1 << 20) /* of the requests of check */

enum operation { READ, WRITE, ZERO, TRIM };
enum pattern {
  SEQUENTIAL,
  RANDOM,
  SHUFFLED, /* every block of the grains in use, once */
  GRAINS,   /* one block in each grain in use, once */
};

static struct {
  int operation, pattern;
  uint64_t block, depth, connections, size, stride, seed;
  uint64_t count;       /* of requests; 0: --seconds */
  uint64_t flush_every; /* on each connection */
  uint64_t sample;      /* check only so many places */
  uint64_t offset;      /* first */
  double seconds, warmup;
  bool flush; /* at the end, and it counts */
  const char *base;
} o = { .block = 4096, .depth = 1, .connections = 1, .stride = 1, .seed = 1 };

static void __attribute__ ((format (printf, 1, 2), noreturn))
die (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  fputs ("load: ", stderr);
  vfprintf (stderr, fmt, args);
  fputc ('\n', stderr);
  va_end (args);
  exit (2);
}

static double
now (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static double
own_cpu (void)
{
  struct rusage u;

  getrusage (RUSAGE_SELF, &u);
  return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
    (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
wait_for (double seconds)
{
  const time_t s = (time_t) seconds;
  const struct timespec t = { s, (long) ((seconds - (double) s) * 1e9) };

  nanosleep (&t, NULL);
}

/* The finalizer of SplitMix64. */
static uint64_t
hash (uint64_t x)
{
  x += UINT64_C (0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* Content: noise, in which every sector begins with its own number. */

static void
fill_noise (uint64_t *buf, size_t size)
{
  size_t i;

  for (i = 0; i < size / sizeof *buf; i++)
    buf[i] = hash (i % (SECTOR / sizeof *buf));
}

static void
stamp (uint64_t *buf, size_t size, uint64_t address)
{
  size_t i;

  for (i = 0; i < size; i += SECTOR)
    buf[i / sizeof *buf] = hash ((address + i) / SECTOR ^ o.seed << 48);
}

/* Addresses. */

static uint64_t groups, units;
static uint32_t *order; /* of shuffled units */

static void
shuffle (void)
{
  uint64_t i;

  if (units > UINT32_MAX || !(order = malloc (units * sizeof *order)))
    die ("too many requests to be shuffled");
  for (i = 0; i < units; i++) {
    const uint64_t j = hash (i ^ o.seed << 32) % (i + 1);

    order[i] = order[j];
    order[j] = (uint32_t) i;
  }
}

static void
prepare_addresses (void)
{
  groups = o.size / GRAIN / o.stride;
  units = o.block > GRAIN || o.pattern == SEQUENTIAL ? o.size / o.block
    : o.pattern == GRAINS ? groups
    : groups * (GRAIN / o.block);
  if (units == 0 || (o.block > GRAIN && o.stride > 1))
    die ("such requests don't fit on the disk");
  if (o.pattern == SHUFFLED || o.pattern == GRAINS)
    shuffle ();
}

static uint64_t
grain_in_use (uint64_t group)
{
  return (group * o.stride + hash (group ^ o.seed << 40) % o.stride) * GRAIN;
}

static uint64_t
address_of_unit (uint64_t unit)
{
  const uint64_t in_grain = GRAIN / o.block;

  if (o.pattern == SEQUENTIAL || o.block > GRAIN)
    return unit * o.block;
  if (o.pattern == GRAINS)
    return grain_in_use (unit) + hash (unit) % in_grain * o.block;
  return grain_in_use (unit / in_grain) + unit % in_grain * o.block;
}

static uint64_t
address (uint64_t request)
{
  if (o.pattern == SEQUENTIAL)
    return address_of_unit (request % units);
  if (o.pattern == RANDOM)
    return address_of_unit (hash (request ^ o.seed << 56) % units);
  return address_of_unit (order[request % units]);
}

/* run */

struct connection;

struct request {
  struct connection *c;
  uint64_t *buf;
};

struct connection {
  struct nbd_handle *nbd;
  pthread_t thread;
  struct request *requests, **idle;
  uint64_t nr_idle, issued, done, errors;
  int error;
  bool flushed;
};

static _Atomic uint64_t next_request;
static atomic_bool measuring, stopping;
static pthread_barrier_t start;

static struct nbd_handle *
connect_to (const char *path)
{
  struct nbd_handle *const nbd = nbd_create ();

  if (nbd == NULL)
    die ("%s", nbd_get_error ());
  /* What the client does is part of what is measured: as little as can be. */
  nbd_set_strict_mode (nbd, 0);
  nbd_set_pread_initialize (nbd, false);
  if (nbd_connect_unix (nbd, path) == 0)
    return nbd;
  nbd_close (nbd);
  return NULL;
}

static void
count_error (struct connection *c, int error)
{
  if (error && c->errors++ == 0)
    c->error = error;
}

static int
request_done (void *opaque, int *error)
{
  struct request *const r = opaque;
  struct connection *const c = r->c;

  count_error (c, *error);
  if (measuring)
    c->done++;
  c->idle[c->nr_idle++] = r;
  return 1;
}

static int
flush_done (void *opaque, int *error)
{
  struct connection *const c = opaque;

  count_error (c, *error);
  c->flushed = true;
  return 1;
}

static void
await (struct connection *c)
{
  if (nbd_poll (c->nbd, -1) == -1)
    die ("%s", nbd_get_error ());
}

static void
flush (struct connection *c)
{
  while (c->nr_idle < o.depth)
    await (c);
  c->flushed = false;
  if (nbd_aio_flush (c->nbd, (nbd_completion_callback) {
        .callback = flush_done, .user_data = c }, 0) == -1)
    die ("%s", nbd_get_error ());
  while (!c->flushed)
    await (c);
}

static void
issue (struct connection *c, uint64_t at)
{
  struct request *const r = c->idle[--c->nr_idle];
  const nbd_completion_callback cb = {
    .callback = request_done, .user_data = r,
  };
  int64_t cookie = -1;

  switch (o.operation) {
  case READ:
    cookie = nbd_aio_pread (c->nbd, r->buf, o.block, at, cb, 0);
    break;
  case WRITE:
    stamp (r->buf, o.block, at);
    cookie = nbd_aio_pwrite (c->nbd, r->buf, o.block, at, cb, 0);
    break;
  case ZERO:
    cookie = nbd_aio_zero (c->nbd, o.block, at, cb, 0);
    break;
  case TRIM:
    cookie = nbd_aio_trim (c->nbd, o.block, at, cb, 0);
    break;
  }
  if (cookie == -1)
    die ("%s", nbd_get_error ());
  c->issued++;
}

static void *
run_connection (void *opaque)
{
  struct connection *const c = opaque;
  bool more = true;

  pthread_barrier_wait (&start);
  while (more || c->nr_idle < o.depth) {
    while (more && c->nr_idle > 0) {
      const uint64_t n = atomic_fetch_add (&next_request, 1);

      more = !stopping && (o.count == 0 || n < o.count);
      if (!more)
        break;
      if (o.flush_every && c->issued && c->issued % o.flush_every == 0)
        flush (c);
      issue (c, address (n));
    }
    if (c->nr_idle < o.depth)
      await (c);
  }
  return NULL;
}

static void
open_connection (struct connection *c, const char *path)
{
  uint64_t i;

  c->nbd = connect_to (path);
  if (c->nbd == NULL)
    die ("%s", nbd_get_error ());
  c->requests = calloc (o.depth, sizeof *c->requests);
  c->idle = calloc (o.depth, sizeof *c->idle);
  for (i = 0; i < o.depth; i++) {
    struct request *const r = &c->requests[i];

    r->c = c;
    if (posix_memalign ((void **) &r->buf, BLOCK, o.block))
      die ("no memory for requests");
    fill_noise (r->buf, o.block);
    c->idle[c->nr_idle++] = r;
  }
}

static void
check_connection (const struct connection *c)
{
  const int64_t size = nbd_get_size (c->nbd);

  if (size < 0 || (uint64_t) size < o.size)
    die ("the export has %" PRIi64 " bytes", size);
  if (o.connections > 1 && nbd_can_multi_conn (c->nbd) != 1)
    die ("the server allows only one connection");
}

static void
print_run (struct connection *c, double seconds, double cpu)
{
  uint64_t i, done = 0, issued = 0, errors = 0;
  int error = 0;

  for (i = 0; i < o.connections; i++) {
    done += c[i].done;
    issued += c[i].issued;
    errors += c[i].errors;
    if (c[i].error)
      error = c[i].error;
    nbd_shutdown (c[i].nbd, 0);
    nbd_close (c[i].nbd);
  }
  printf ("{\"requests\": %" PRIu64 ", \"issued\": %" PRIu64
          ", \"errors\": %" PRIu64 ", \"error\": \"%s\", \"seconds\": %.6f"
          ", \"client_cpu\": %.6f}\n", done, issued, errors,
          strerror (error), seconds, cpu);
}

static int
run (const char *path)
{
  struct connection *const c = calloc (o.connections, sizeof *c);
  double time, cpu;
  uint64_t i;

  for (i = 0; i < o.connections; i++)
    open_connection (&c[i], path);
  check_connection (c);
  pthread_barrier_init (&start, NULL, (unsigned) o.connections + 1);
  measuring = o.seconds == 0;
  for (i = 0; i < o.connections; i++)
    if (pthread_create (&c[i].thread, NULL, run_connection, &c[i]))
      die ("can't start a thread");
  pthread_barrier_wait (&start);
  if (o.seconds > 0)
    wait_for (o.warmup);
  time = now ();
  cpu = own_cpu ();
  measuring = true;
  if (o.seconds > 0) {
    wait_for (o.seconds);
    measuring = false;
    time = now () - time;
    cpu = own_cpu () - cpu;
    stopping = true;
  }
  for (i = 0; i < o.connections; i++)
    pthread_join (c[i].thread, NULL);
  if (o.flush)
    flush (&c[0]);
  if (o.seconds == 0) {
    time = now () - time;
    cpu = own_cpu () - cpu;
  }
  print_run (c, time, cpu);
  return 0;
}

/* check */

static uint8_t *written; /* a bit for each block */
static const char *base; /* what was there before; zeroes if NULL */

static void
mark_written (void)
{
  uint64_t i, a, b;

  written = calloc (1, o.size / BLOCK / 8 + 1);
  if (written == NULL)
    die ("no memory");
  for (i = 0; o.operation != READ && i < o.count; i++)
    for (a = address (i), b = a; b < a + o.block; b += BLOCK)
      written[b / BLOCK / 8] |= (uint8_t) (1 << b / BLOCK % 8);
}

static void
map_base (void)
{
  const int fd = open (o.base, O_RDONLY | O_CLOEXEC);

  base = mmap (NULL, o.size, PROT_READ, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED)
    die ("%s: %s", o.base, strerror (errno));
  close (fd);
}

static bool
right_block (const char *buf, uint64_t at)
{
  static const char zeroes[BLOCK];
  const char *const old = base ? base + at : zeroes;
  uint64_t new[BLOCK / sizeof (uint64_t)];

  if ((written[at / BLOCK / 8] >> at / BLOCK % 8 & 1) == 0)
    return memcmp (buf, old, BLOCK) == 0;
  if (o.operation == WRITE) {
    fill_noise (new, BLOCK);
    stamp (new, BLOCK, at);
    return memcmp (buf, new, BLOCK) == 0;
  }
  /* Who trims may get zeroes or what was there. */
  return memcmp (buf, zeroes, BLOCK) == 0 ||
    (o.operation == TRIM && memcmp (buf, old, BLOCK) == 0);
}

static void
check_range (struct nbd_handle *nbd, uint64_t offset, uint64_t length)
{
  static char buf[CHECK_SIZE];
  uint64_t i;

  if (nbd_pread (nbd, buf, length, offset, 0) == -1)
    die ("%s", nbd_get_error ());
  for (i = 0; i < length; i += BLOCK)
    if (!right_block (buf + i, offset + i))
      die ("wrong bytes at %" PRIu64, offset + i);
}

/* Half of a sample is from the grains in use, half from anywhere. */
static uint64_t
sample_grain (uint64_t i)
{
  return i % 2 ? hash (i) % (o.size / GRAIN) * GRAIN
    : grain_in_use (hash (i) % groups);
}

static int
check (const char *path)
{
  struct nbd_handle *const nbd = connect_to (path);
  uint64_t i;

  if (nbd == NULL)
    die ("%s", nbd_get_error ());
  mark_written ();
  if (o.base)
    map_base ();
  for (i = 0; i < o.sample; i++)
    check_range (nbd, sample_grain (i), GRAIN);
  for (i = 0; o.sample == 0 && i < o.size; i += CHECK_SIZE)
    check_range (nbd, i, o.size - i < CHECK_SIZE ? o.size - i : CHECK_SIZE);
  nbd_shutdown (nbd, 0);
  nbd_close (nbd);
  return 0;
}

/* first and fill */

static int
first (const char *path, char **command)
{
  const double started = now ();
  struct nbd_handle *nbd;
  static char buf[BLOCK];
  const pid_t pid = fork ();

  if (pid == 0) {
    execvp (command[0], command);
    _exit (127);
  }
  while ((nbd = connect_to (path)) == NULL) {
    if (waitpid (pid, NULL, WNOHANG) != 0 || now () - started > 60)
      die ("%s doesn't serve", command[0]);
    wait_for (0.0002);
  }
  if (nbd_pread (nbd, buf, sizeof buf, o.offset, 0) == -1)
    die ("%s", nbd_get_error ());
  printf ("{\"seconds\": %.6f}\n", now () - started);
  nbd_shutdown (nbd, 0);
  nbd_close (nbd);
  kill (pid, SIGTERM);
  waitpid (pid, NULL, 0);
  return 0;
}

static int
fill (const char *path)
{
  const int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  static uint64_t buf[GRAIN / sizeof (uint64_t)];
  uint64_t i;

  if (fd == -1 || ftruncate (fd, (off_t) o.size) == -1)
    die ("%s: %s", path, strerror (errno));
  fill_noise (buf, GRAIN);
  for (i = 0; i < groups; i++) {
    const uint64_t at = grain_in_use (i);

    stamp (buf, GRAIN, at);
    if (pwrite (fd, buf, GRAIN, (off_t) at) != GRAIN)
      die ("%s: can't be written", path);
  }
  return close (fd);
}

/* Options. */

static int
choose (const char *value, const char *const *names)
{
  int i;

  for (i = 0; names[i]; i++)
    if (strcmp (value, names[i]) == 0)
      return i;
  die ("%s: unknown", value);
}

static const struct option options[] = {
  { "operation", 1, NULL, 'o' }, { "pattern", 1, NULL, 'p' },
  { "block", 1, NULL, 'b' },     { "depth", 1, NULL, 'd' },
  { "connections", 1, NULL, 'c' }, { "size", 1, NULL, 's' },
  { "stride", 1, NULL, 'g' },    { "seed", 1, NULL, 'r' },
  { "count", 1, NULL, 'n' },     { "seconds", 1, NULL, 't' },
  { "warmup", 1, NULL, 'w' },    { "flush-every", 1, NULL, 'F' },
  { "flush", 0, NULL, 'f' },     { "sample", 1, NULL, 'S' },
  { "base", 1, NULL, 'B' },      { "offset", 1, NULL, 'O' },
  { NULL }
};

static void
parse_option (int c)
{
  static const char *const operations[] = {
    "read", "write", "zero", "trim", NULL
  };
  static const char *const patterns[] = {
    "sequential", "random", "shuffled", "grains", NULL
  };
  const uint64_t n = optarg ? strtoull (optarg, NULL, 10) : 0;

  switch (c) {
  case 'o': o.operation = choose (optarg, operations); break;
  case 'p': o.pattern = choose (optarg, patterns); break;
  case 'b': o.block = n; break;
  case 'd': o.depth = n; break;
  case 'c': o.connections = n; break;
  case 's': o.size = n; break;
  case 'g': o.stride = n; break;
  case 'r': o.seed = n; break;
  case 'n': o.count = n; break;
  case 't': o.seconds = atof (optarg); break;
  case 'w': o.warmup = atof (optarg); break;
  case 'F': o.flush_every = n; break;
  case 'f': o.flush = true; break;
  case 'S': o.sample = n; break;
  case 'B': o.base = optarg; break;
  case 'O': o.offset = n; break;
  default: die ("see the head of load.c");
  }
}

int
main (int argc, char **argv)
{
  int c;

  while ((c = getopt_long (argc, argv, "+", options, NULL)) != -1)
    parse_option (c);
  if (argc - optind < 2)
    die ("see the head of load.c");
  if (strcmp (argv[optind], "first") == 0 && argc - optind > 2)
    return first (argv[optind + 1], &argv[optind + 2]);
  prepare_addresses ();
  if (strcmp (argv[optind], "fill") == 0)
    return fill (argv[optind + 1]);
  if (strcmp (argv[optind], "check") == 0)
    return check (argv[optind + 1]);
  if (o.count == 0 && o.seconds <= 0)
    die ("run needs --count or --seconds");
  return run (argv[optind + 1]);
}
