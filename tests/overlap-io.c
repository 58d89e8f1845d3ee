/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Requests on several connections that overlap, and what may be found
 * after them, also when the server was killed.
 *
 *   overlap-io [-c CONNECTIONS] [-t MILLISECONDS] [-s SEED] [-w MIB]
 *              [-l SECTORS] [-f PERCENT] [-k PID | -m] STATE RAW SOCKET
 *   overlap-io -V STATE RAW FILE
 *
 * RAW is what the disk was at first.  STATE remembers, from one run to the
 * next, what was done; it is made when it isn't there.  A run compares what
 * the last one has left, then changes a window of the disk for a while (0: all
 * of it), and with -k kills the server in the midst of it; it prints
 * "changing" when that begins, and then how much it was.  With -m the server
 * may die of something else.  -l is the largest request.  -f says how many
 * requests are flushes, and twice as many of the changes have FUA.  -V
 * compares a raw file.
 *
 * Each sector that is written says by which request.  Time is counted in
 * ticks, of which each beginning and each end of a request is one.  What a
 * sector has may come from any request that didn't end before the latest
 * beginning of one that is certain to have come after it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define SECTOR 512
#define MOST_OPS (1u << 20)
#define LARGEST (32u << 11) /* sectors of a request */
#define NEVER UINT32_MAX

enum kind { WRITE, ZERO, TRIM };

struct op {
  uint32_t start, end; /* ticks; NEVER: it didn't end */
};

struct sector {
  uint32_t base;       /* what it had when it was last settled: a request,
                          0: what is in RAW, or ZEROED */
  uint32_t floor[2];   /* what ended before is gone; [1]: durably */
  uint32_t zero_end;   /* the latest end of a request that zeroed it */
  uint16_t zeroing;    /* how many do that now */
  uint16_t busy;       /* how many change it now */
  uint32_t last_start; /* of any of them */
};
#define ZEROED UINT32_MAX

/* In the file STATE. */
struct state {
  uint64_t nr_sectors;
  uint32_t tick;
  uint32_t nr_ops;
  uint32_t settled;    /* requests that began before are in base, or gone */
  uint32_t first, end; /* the window of the last run */
  uint32_t killed;     /* in the last run, or it was interrupted */
  struct op ops[MOST_OPS];
  struct sector sectors[];
};

/* Requests that have ended, for the next flush. */
struct done {
  uint32_t op, first, n;
};

static unsigned nr_connections = 4;
static unsigned milliseconds = 100;
static uint64_t seed = 1;
static uint32_t window = 4 << 11; /* sectors */
static uint32_t largest = 512;
static unsigned flushes = 5; /* percent */
static pid_t victim;
static bool may_die;
static const char *sock;
static struct state *st;
static const uint8_t *raw;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* *st, and: */
static struct done *done;
static size_t nr_done, first_unflushed;
static atomic_bool stop;
static atomic_bool killed;

/* Contents. */

static void
fill_sector (uint8_t *buf, uint32_t op, uint32_t sector)
{
  struct rng r = { .x = (uint64_t) op << 32 | sector };
  uint64_t words[SECTOR / 8];
  size_t i;

  words[0] = (uint64_t) op << 32 | sector;
  for (i = 1; i < SECTOR / 8; i++)
    words[i] = rng_next (&r);
  memcpy (buf, words, SECTOR);
}

static bool
is_zero (const uint8_t *buf)
{
  return buf[0] == 0 && memcmp (buf, buf + 1, SECTOR - 1) == 0;
}

/* The request that wrote it, ZEROED, or 0 if nobody did. */
static uint32_t
writer_of (const uint8_t *buf, uint32_t sector)
{
  uint8_t expected[SECTOR];
  uint64_t word;

  if (is_zero (buf))
    return ZEROED;
  memcpy (&word, buf, sizeof word);
  fill_sector (expected, (uint32_t) (word >> 32), sector);
  return memcmp (buf, expected, SECTOR) == 0 ? (uint32_t) (word >> 32) : 0;
}

/* The model; with the lock held. */

static bool
is_base (const struct sector *s, uint32_t sector, const uint8_t *buf,
         uint32_t writer)
{
  if (s->base == 0)
    return memcmp (buf, raw + (uint64_t) sector * SECTOR, SECTOR) == 0;
  return s->base == writer;
}

static bool
is_allowed (uint32_t sector, const uint8_t *buf, unsigned durably)
{
  const struct sector *const s = &st->sectors[sector];
  const uint32_t writer = writer_of (buf, sector);
  const uint32_t floor = s->floor[durably];

  if (floor == 0 && is_base (s, sector, buf, writer))
    return true;
  if (writer == ZEROED)
    return s->zeroing > 0 || (s->zero_end > 0 && s->zero_end >= floor);
  return writer > 0 && writer < st->nr_ops &&
    st->ops[writer].start > st->settled && st->ops[writer].end >= floor;
}

static void
complain (uint32_t sector, const uint8_t *buf, unsigned durably)
{
  const struct sector *const s = &st->sectors[sector];
  const uint32_t writer = writer_of (buf, sector);

  fprintf (stderr, "sector %" PRIu32 " has ", sector);
  if (writer == ZEROED)
    fprintf (stderr, "zeroes, last made at %" PRIu32, s->zero_end);
  else if (memcmp (buf, raw + (uint64_t) sector * SECTOR, SECTOR) == 0)
    fprintf (stderr, "what it had at first");
  else if (writer == 0 || writer >= st->nr_ops)
    fprintf (stderr, "garbage: %02x%02x%02x%02x", buf[0], buf[1], buf[2],
             buf[3]);
  else
    fprintf (stderr, "what request %" PRIu32 " wrote, ticks %" PRIu32 "-%"
             PRIu32, writer, st->ops[writer].start, st->ops[writer].end);
  fputc ('\n', stderr);
  die ("seed %" PRIu64 ": but %s since tick %" PRIu32 "; settled at %" PRIu32
       " with %" PRIu32 ", now it is %" PRIu32, seed, durably
       ? "what replaces that is durable" : "that was replaced",
       s->floor[durably], st->settled, s->base, st->tick);
}

static void
raise_floor (const struct done *d, unsigned durably)
{
  const uint32_t start = st->ops[d->op].start;
  uint32_t i;

  for (i = d->first; i < d->first + d->n; i++)
    if (st->sectors[i].floor[durably] < start)
      st->sectors[i].floor[durably] = start;
}

static void
begin (enum kind kind, struct done *d)
{
  uint32_t i;

  pthread_mutex_lock (&lock);
  if (st->nr_ops == MOST_OPS)
    die ("too many requests for one state");
  d->op = st->nr_ops++;
  st->ops[d->op] = (struct op) { .start = ++st->tick, .end = NEVER };
  for (i = d->first; i < d->first + d->n; i++) {
    struct sector *const s = &st->sectors[i];

    s->busy++;
    s->zeroing += kind != WRITE;
    s->last_start = st->tick;
  }
  pthread_mutex_unlock (&lock);
}

static void
end (enum kind kind, const struct done *d, bool fua)
{
  uint32_t i;

  pthread_mutex_lock (&lock);
  st->ops[d->op].end = ++st->tick;
  for (i = d->first; i < d->first + d->n; i++) {
    struct sector *const s = &st->sectors[i];

    s->busy--;
    s->zeroing -= kind != WRITE;
    if (kind != WRITE)
      s->zero_end = st->tick;
  }
  if (kind != TRIM) {
    raise_floor (d, 0);
    if (fua)
      raise_floor (d, 1);
    done[nr_done++] = *d;
  }
  pthread_mutex_unlock (&lock);
}

/* Nothing is going on: what is there now is all that counts. */
static void
settle (uint32_t sector, const uint8_t *buf)
{
  struct sector *const s = &st->sectors[sector];
  const uint32_t writer = writer_of (buf, sector);

  *s = (struct sector) { .base = writer };
}

/* Requests of a connection.  They fail when the server is killed, and then
 * nobody knows whether they have had an effect.
 */

struct connection {
  pthread_t thread;
  struct nbd_handle *nbd;
  struct rng rng;
  uint8_t *buf, *quiet; /* of largest sectors */
  uint64_t requests, bytes;
};

static bool
went_through (struct nbd_handle *nbd, const char *what, int r)
{
  if (r == 0)
    return true;
  if (may_die && (nbd_aio_is_dead (nbd) == 1 || nbd_aio_is_closed (nbd) == 1))
    killed = true;
  if (!killed)
    die ("seed %" PRIu64 ": %s: %s", seed, what, nbd_get_error ());
  return false;
}

/* Few requests are as large as they may be, or they would take all time. */
static void
pick (struct connection *c, struct done *d)
{
  const uint32_t size = st->end - st->first;
  uint32_t most = size < largest ? size : largest;

  while (most > 512 && !one_of (&c->rng, 4))
    most /= 4;
  d->n = 1 + (uint32_t) rng_below (&c->rng, 1 + rng_below (&c->rng, most));
  if (d->n > most)
    d->n = most;
  d->first = st->first + (uint32_t) rng_below (&c->rng, size - d->n + 1);
}

static unsigned
random_flag (struct connection *c, unsigned n, unsigned flag)
{
  return one_of (&c->rng, n) ? flag : 0;
}

static bool
do_change (struct connection *c, enum kind kind)
{
  const unsigned fua =
    rng_below (&c->rng, 100) < 2 * flushes ? LIBNBD_CMD_FLAG_FUA : 0;
  const unsigned no_hole = random_flag (c, 2, LIBNBD_CMD_FLAG_NO_HOLE);
  struct done d;
  uint32_t i;
  int r = -1;

  pick (c, &d);
  begin (kind, &d);
  for (i = 0; kind == WRITE && i < d.n; i++)
    fill_sector (c->buf + i * SECTOR, d.op, d.first + i);
  switch (kind) {
  case WRITE:
    r = nbd_pwrite (c->nbd, c->buf, d.n * SECTOR,
                    (uint64_t) d.first * SECTOR, fua);
    break;
  case ZERO:
    r = nbd_zero (c->nbd, d.n * SECTOR, (uint64_t) d.first * SECTOR,
                  fua | no_hole);
    break;
  case TRIM:
    r = nbd_trim (c->nbd, d.n * SECTOR, (uint64_t) d.first * SECTOR, fua);
  }
  if (!went_through (c->nbd, "changing", r))
    return false;
  c->bytes += d.n * SECTOR;
  end (kind, &d, fua != 0);
  return true;
}

/* What others change meanwhile can't be checked: a sector needn't be read
 * in one step.  Returns the time at which it was known which sectors these
 * aren't.
 */
static uint32_t
find_quiet (struct connection *c, const struct done *d)
{
  uint32_t tick, i;

  pthread_mutex_lock (&lock);
  tick = st->tick;
  for (i = 0; i < d->n; i++)
    c->quiet[i] = st->sectors[d->first + i].busy == 0;
  pthread_mutex_unlock (&lock);
  return tick;
}

/* What a sector had, unless it was changed since that time. */
static void
check_quiet (const struct connection *c, uint32_t sector, uint32_t i,
             uint32_t tick, const uint8_t *content)
{
  if (c->quiet[i] && st->sectors[sector].last_start <= tick &&
      !is_allowed (sector, content, 0))
    complain (sector, content, 0);
}

static bool
do_read (struct connection *c)
{
  struct done d;
  uint32_t tick, i;

  pick (c, &d);
  tick = find_quiet (c, &d);
  if (!went_through (c->nbd, "reading",
                     nbd_pread (c->nbd, c->buf, d.n * SECTOR,
                                (uint64_t) d.first * SECTOR, 0)))
    return false;
  c->bytes += d.n * SECTOR;
  pthread_mutex_lock (&lock);
  for (i = 0; i < d.n; i++)
    check_quiet (c, d.first + i, i, tick, c->buf + i * SECTOR);
  pthread_mutex_unlock (&lock);
  return true;
}

struct listing {
  const struct connection *c;
  const struct done *d;
  uint32_t tick;
};

static int
check_zeroes (void *opaque, const char *context, uint64_t offset,
              uint32_t *entries, size_t nr, int *error)
{
  static const uint8_t zeroes[SECTOR];
  const struct listing *const l = opaque;
  uint64_t at = 0, end;
  size_t i;

  (void) context;
  (void) offset;
  (void) error;
  pthread_mutex_lock (&lock);
  for (i = 0; i + 1 < nr; i += 2)
    for (end = at + entries[i] / SECTOR; at < end; at++)
      if ((entries[i + 1] & LIBNBD_STATE_ZERO) && at < l->d->n)
        check_quiet (l->c, l->d->first + (uint32_t) at, (uint32_t) at,
                     l->tick, zeroes);
  pthread_mutex_unlock (&lock);
  return 0;
}

/* What is said to be zero must be allowed to be. */
static bool
do_status (struct connection *c)
{
  struct done d;
  struct listing l = { .c = c, .d = &d };
  const nbd_extent_callback callback = {
    .callback = check_zeroes, .user_data = &l,
  };

  pick (c, &d);
  l.tick = find_quiet (c, &d);
  return went_through (c->nbd, "block status",
                       nbd_block_status (c->nbd, (uint64_t) d.n * SECTOR,
                                         (uint64_t) d.first * SECTOR,
                                         callback, 0));
}

/* Covers what had ended, on all connections, when it began. */
static bool
do_flush (struct connection *c)
{
  size_t to;

  pthread_mutex_lock (&lock);
  to = nr_done;
  pthread_mutex_unlock (&lock);
  if (!went_through (c->nbd, "flushing", nbd_flush (c->nbd, 0)))
    return false;
  pthread_mutex_lock (&lock);
  for (; first_unflushed < to; first_unflushed++)
    raise_floor (&done[first_unflushed], 1);
  pthread_mutex_unlock (&lock);
  return true;
}

static bool
do_request (struct connection *c)
{
  const uint64_t x = rng_below (&c->rng, 95);

  if (rng_below (&c->rng, 100) < flushes)
    return do_flush (c);
  if (x < 55)
    return do_change (c, WRITE);
  if (x < 70)
    return do_change (c, ZERO);
  if (x < 78)
    return do_change (c, TRIM);
  if (x < 92)
    return do_read (c);
  return do_status (c);
}

static void *
run_connection (void *opaque)
{
  struct connection *const c = opaque;

  while (!stop && do_request (c))
    c->requests++;
  if (!killed)
    nbd_shutdown (c->nbd, 0);
  nbd_close (c->nbd);
  free (c->buf);
  free (c->quiet);
  return NULL;
}

/* A run. */

/* Compares [first, end) with what may be there, and settles it. */
static void
verify (struct nbd_handle *nbd, const uint8_t *file, uint32_t first,
        uint32_t end_sector)
{
  enum { STEP = 2048 };
  static uint8_t buf[STEP * SECTOR];
  uint32_t n, i;

  for (; first < end_sector; first += n) {
    const uint64_t offset = (uint64_t) first * SECTOR;

    n = end_sector - first < STEP ? end_sector - first : STEP;
    if (nbd == NULL)
      memcpy (buf, file + offset, (size_t) n * SECTOR);
    else if (nbd_pread (nbd, buf, (size_t) n * SECTOR, offset, 0) == -1)
      die ("reading what the last run left: %s", nbd_get_error ());
    for (i = 0; i < n; i++) {
      if (!is_allowed (first + i, buf + i * SECTOR, st->killed))
        complain (first + i, buf + i * SECTOR, st->killed);
      settle (first + i, buf + i * SECTOR);
    }
  }
}

/* The last window, and another place, where nothing may have changed. */
static void
verify_last_run (struct rng *r)
{
  struct nbd_handle *const nbd = load_connect (sock);
  uint32_t other;

  verify (nbd, NULL, st->first, st->end);
  st->settled = st->tick;
  other = (uint32_t) rng_below (r, st->nr_sectors);
  verify (nbd, NULL, other, (uint32_t) (st->nr_sectors - other > window
                                        ? other + window : st->nr_sectors));
  nbd_shutdown (nbd, 0);
  nbd_close (nbd);
}

static void
wait_and_kill (struct rng *r)
{
  uint64_t ms = milliseconds;
  struct timespec t;

  if (victim)
    ms = ms / 4 + rng_below (r, ms);
  t = (struct timespec) {
    .tv_sec = (time_t) (ms / 1000), .tv_nsec = (long) (ms % 1000) * 1000000,
  };
  nanosleep (&t, NULL);
  if (victim) {
    killed = true;
    kill (victim, SIGKILL);
  }
  stop = true;
}

static void
prepare (struct connection *c, unsigned number)
{
  c->rng = rng_new (seed, number);
  c->nbd = load_connect (sock);
  c->buf = malloc ((size_t) largest * SECTOR);
  c->quiet = malloc (largest);
  if (c->buf == NULL || c->quiet == NULL)
    die ("out of memory");
}

static void
run (void)
{
  uint64_t requests = 0, bytes = 0;
  struct rng r = rng_new (seed, 1000);
  struct connection *const cs = calloc (nr_connections, sizeof cs[0]);
  unsigned i;

  verify_last_run (&r);
  st->first = window ? (uint32_t) rng_below (&r, st->nr_sectors) : 0;
  st->end = (uint32_t) (window && st->nr_sectors - st->first > window
                        ? st->first + window : st->nr_sectors);
  st->killed = 1;
  for (i = 0; i < nr_connections; i++)
    prepare (&cs[i], i);
  for (i = 0; i < nr_connections; i++)
    if (pthread_create (&cs[i].thread, NULL, run_connection, &cs[i]) != 0)
      die ("pthread_create failed");
  puts ("changing");
  fflush (stdout);
  wait_and_kill (&r);
  for (i = 0; i < nr_connections; i++) {
    pthread_join (cs[i].thread, NULL);
    requests += cs[i].requests;
    bytes += cs[i].bytes;
  }
  st->killed = killed || may_die;
  free (cs);
  printf ("%" PRIu64 " requests, %" PRIu64 " bytes\n", requests, bytes);
}

static void
open_state (const char *name, uint64_t nr_sectors)
{
  const size_t size =
    sizeof *st + (size_t) nr_sectors * sizeof st->sectors[0];
  const int fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

  if (fd == -1 || ftruncate (fd, (off_t) size) == -1)
    die ("%s: %s", name, strerror (errno));
  st = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (st == MAP_FAILED)
    die ("%s: %s", name, strerror (errno));
  close (fd);
  if (st->nr_ops == 0)
    st->nr_ops = st->tick = 1; /* request 0 is nobody's */
  st->nr_sectors = nr_sectors;
}

int
main (int argc, char *argv[])
{
  bool only_verify = false;
  uint64_t size;
  int opt;

  while ((opt = getopt (argc, argv, "c:f:k:l:ms:t:Vw:")) != -1)
    switch (opt) {
    case 'c': nr_connections = (unsigned) atoi (optarg); break;
    case 'f': flushes = (unsigned) atoi (optarg); break;
    case 'k': victim = atoi (optarg); break;
    case 'l': largest = (uint32_t) atoi (optarg); break;
    case 'm': may_die = true; break;
    case 's': seed = strtoull (optarg, NULL, 0); break;
    case 't': milliseconds = (unsigned) atoi (optarg); break;
    case 'V': only_verify = true; break;
    case 'w': window = (uint32_t) atoi (optarg) << 11; break;
    default: die ("see the top of overlap-io.c");
    }
  if (argc - optind != 3 || largest < 1 || largest > LARGEST)
    die ("see the top of overlap-io.c");
  raw = load_map (argv[optind + 1], &size);
  open_state (argv[optind], size / SECTOR);
  done = malloc (MOST_OPS * sizeof done[0]);
  if (done == NULL)
    die ("out of memory");
  sock = argv[optind + 2];
  if (!only_verify)
    run ();
  else
    verify (NULL, load_map (sock, &size), 0, (uint32_t) st->nr_sectors);
  free (done);
  return 0;
}
