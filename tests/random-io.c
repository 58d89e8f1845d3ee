/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Random requests on several connections at once, compared with a model.
 *
 *   random-io [-c CONNECTIONS] [-n REQUESTS] [-s SEED] SOCKET RAW
 *
 * RAW is what the server has; at the end it becomes what the server must
 * have then.  Each byte belongs to one connection, so that the model is
 * exact; but the connections' parts are interleaved, so that they meet in
 * grains, tables and sectors of tables.  A single connection has the whole
 * disk, and makes larger requests.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define SECTOR UINT64_C (512)
#define REGION (UINT64_C (1) << 20)
#define LARGEST (UINT64_C (6) << 20)

static unsigned nr_connections = 4;
static unsigned nr_requests = 1000;
static uint64_t seed = 1;
static const char *sock;
static uint8_t *model;
static uint64_t disk_size;

struct connection {
  pthread_t thread;
  unsigned number;
  struct nbd_handle *nbd;
  struct rng rng;
  uint8_t *buf;
  unsigned done;   /* requests */
};

struct part {
  uint64_t offset, length;
};

static uint64_t
min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* Who owns what: each MiB is dealt out in pieces of another size. */

static uint64_t
piece_size (uint64_t region)
{
  static const unsigned sectors[] = { 1, 8, 3, 128, 64, 1, 129, 256, 1024 };

  return sectors[region % (sizeof sectors / sizeof sectors[0])] * SECTOR;
}

static unsigned
owner (uint64_t offset)
{
  const uint64_t region = offset / REGION;

  return (unsigned) ((offset % REGION / piece_size (region) + region) %
                     nr_connections);
}

/* A piece that the connection owns.  The first ones are preferred, so that
 * they are changed many times.
 */
static struct part
pick_piece (struct connection *c)
{
  const uint64_t regions = (disk_size + REGION - 1) / REGION;
  struct part p;

  if (nr_connections == 1)
    return (struct part) { .length = disk_size };
  do {
    const uint64_t region =
      rng_below (&c->rng, 1 + rng_below (&c->rng, regions));

    p.length = piece_size (region);
    p.offset = region * REGION +
      rng_below (&c->rng, REGION) / p.length * p.length;
    p.length = min (p.length, (region + 1) * REGION - p.offset);
  } while (p.offset >= disk_size || owner (p.offset) != c->number);
  p.length = min (p.length, disk_size - p.offset);
  return p;
}

/* A part of a piece: all of it, some sectors, or some bytes. */
static struct part
pick (struct connection *c)
{
  const struct part piece = pick_piece (c);
  const uint64_t unit = one_of (&c->rng, 2) ? SECTOR : 1;
  const uint64_t most = min (piece.length, LARGEST);
  struct part p = piece;

  if (p.length <= LARGEST && one_of (&c->rng, 3))
    return p;
  p.length = 1 + rng_below (&c->rng, 1 + rng_below (&c->rng, most));
  p.length = min (most, (p.length + unit - 1) / unit * unit);
  p.offset += rng_below (&c->rng, piece.length - p.length + 1) / unit * unit;
  return p;
}

/* Checking. */

static void
check_failed (const struct connection *c, const char *what, struct part p,
              uint64_t at)
{
  die ("seed %" PRIu64 ", connection %u, request %u: %s %" PRIu64 "+%" PRIu64
       ": wrong at %" PRIu64 ", sector %" PRIu64, seed, c->number, c->done,
       what, p.offset, p.length, at, at / SECTOR);
}

static void
check_result (const struct connection *c, const char *what, struct part p,
              int result)
{
  if (result == -1)
    die ("seed %" PRIu64 ", connection %u, request %u: %s %" PRIu64 "+%"
         PRIu64 ": %s", seed, c->number, c->done, what, p.offset, p.length,
         nbd_get_error ());
}

static void
read_part (struct connection *c, struct part p)
{
  check_result (c, "read", p,
                nbd_pread (c->nbd, c->buf, p.length, p.offset, 0));
}

/* Compares what was read, as far as it is the connection's. */
static void
compare (const struct connection *c, const char *what, struct part p)
{
  uint64_t i, n;

  for (i = 0; i < p.length; i += n) {
    const uint64_t at = p.offset + i;

    n = min (p.length - i, SECTOR - at % SECTOR);
    if (owner (at) != c->number || memcmp (c->buf + i, model + at, n) == 0)
      continue;
    while (c->buf[i] == model[p.offset + i])
      i++;
    check_failed (c, what, p, p.offset + i);
  }
}

/* Requests. */

static unsigned
fua (struct connection *c)
{
  return one_of (&c->rng, 8) ? LIBNBD_CMD_FLAG_FUA : 0;
}

static void
do_write (struct connection *c)
{
  const struct part p = pick (c);
  uint64_t i;

  for (i = 0; i < p.length; i += 8) {
    const uint64_t v = rng_next (&c->rng);

    memcpy (c->buf + i, &v, 8);
  }
  check_result (c, "write", p, nbd_pwrite (c->nbd, c->buf, p.length, p.offset,
                                           fua (c)));
  memcpy (model + p.offset, c->buf, p.length);
}

static void
do_zero (struct connection *c)
{
  const struct part p = pick (c);
  const unsigned no_hole =
    one_of (&c->rng, 2) ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
  const unsigned fast = one_of (&c->rng, 3) ? LIBNBD_CMD_FLAG_FAST_ZERO : 0;
  const int r = nbd_zero (c->nbd, p.length, p.offset,
                          fua (c) | no_hole | fast);

  if (r == -1 && fast && nbd_get_errno () == ENOTSUP) {
    read_part (c, p);
    compare (c, "fast zero that was refused", p);
    return;
  }
  check_result (c, "zero", p, r);
  memset (model + p.offset, 0, p.length);
}

/* Each byte is zero afterwards, or what it was. */
static void
do_trim (struct connection *c)
{
  const struct part p = pick (c);
  uint64_t i;

  check_result (c, "trim", p, nbd_trim (c->nbd, p.length, p.offset, fua (c)));
  read_part (c, p);
  for (i = 0; i < p.length; i++)
    if (c->buf[i] == 0)
      model[p.offset + i] = 0;
  compare (c, "trim", p);
}

/* What is around the connection's own is read, too. */
static struct part
widen (struct connection *c, struct part p)
{
  const uint64_t before =
    min (p.offset, rng_below (&c->rng, 1 + rng_below (&c->rng, 200000)));
  const uint64_t after = rng_below (&c->rng, 1 + rng_below (&c->rng, 200000));

  p.offset -= before;
  p.length = min (p.length + before + after, disk_size - p.offset);
  return p;
}

static void
do_read (struct connection *c)
{
  const struct part p = widen (c, pick (c));

  read_part (c, p);
  compare (c, "read", p);
}

struct listing {
  const struct connection *c;
  struct part p;
  uint64_t at;
};

static void
check_zero (const struct listing *l, uint64_t at, uint64_t end)
{
  for (; at < end; at++)
    if (owner (at) == l->c->number && model[at] != 0)
      check_failed (l->c, "block status says zero", l->p, at);
}

static int
add_extents (void *opaque, const char *context, uint64_t offset,
             uint32_t *entries, size_t nr, int *error)
{
  struct listing *const l = opaque;
  size_t i;

  (void) context;
  (void) error;
  if (offset != l->p.offset || nr < 2)
    check_failed (l->c, "block status is not for this", l->p, offset);
  for (i = 0; i + 1 < nr; i += 2) {
    const uint64_t end = min (l->at + entries[i], disk_size);

    if (entries[i] == 0)
      check_failed (l->c, "block status has an empty extent", l->p, l->at);
    if (entries[i + 1] & LIBNBD_STATE_ZERO)
      check_zero (l, l->at, end);
    l->at = end;
  }
  return 0;
}

static void
do_status (struct connection *c)
{
  const struct part p = widen (c, pick (c));
  struct listing l = { .c = c, .p = p, .at = p.offset };
  const nbd_extent_callback callback = {
    .callback = add_extents, .user_data = &l,
  };

  check_result (c, "block status", p,
                nbd_block_status (c->nbd, p.length, p.offset, callback,
                                  one_of (&c->rng, 4)
                                  ? LIBNBD_CMD_FLAG_REQ_ONE : 0));
  if (l.at == p.offset)
    check_failed (c, "block status has no extent", p, p.offset);
}

static void
do_flush (struct connection *c)
{
  check_result (c, "flush", (struct part) { 0 }, nbd_flush (c->nbd, 0));
}

static void
do_cache (struct connection *c)
{
  const struct part p = pick (c);

  check_result (c, "cache", p, nbd_cache (c->nbd, p.length, p.offset, 0));
}

static const struct {
  void (*fn) (struct connection *c);
  unsigned weight;
} requests[] = {
  { do_write, 40 },
  { do_read, 20 },
  { do_zero, 15 },
  { do_trim, 8 },
  { do_status, 8 },
  { do_flush, 4 },
  { do_cache, 2 },
};

static void
do_request (struct connection *c)
{
  unsigned sum = 0, x;
  size_t i;

  for (i = 0; i < sizeof requests / sizeof requests[0]; i++)
    sum += requests[i].weight;
  x = (unsigned) rng_below (&c->rng, sum);
  for (i = 0; x >= requests[i].weight; i++)
    x -= requests[i].weight;
  requests[i].fn (c);
}

static void *
run_connection (void *opaque)
{
  struct connection *const c = opaque;

  c->rng = rng_new (seed, c->number);
  c->buf = malloc (LARGEST + REGION);
  c->nbd = load_connect (sock);
  if (c->buf == NULL)
    die ("out of memory");
  for (c->done = 0; c->done < nr_requests; c->done++)
    do_request (c);
  nbd_shutdown (c->nbd, 0);
  nbd_close (c->nbd);
  free (c->buf);
  return NULL;
}

static void
run_all (void)
{
  struct connection *const cs = calloc (nr_connections, sizeof cs[0]);
  unsigned i;

  for (i = 0; i < nr_connections; i++) {
    cs[i].number = i;
    if (pthread_create (&cs[i].thread, NULL, run_connection, &cs[i]) != 0)
      die ("pthread_create failed");
  }
  for (i = 0; i < nr_connections; i++)
    pthread_join (cs[i].thread, NULL);
  free (cs);
}

/* The whole disk, by a connection that comes later. */
static void
compare_all (void)
{
  struct connection c = { .nbd = load_connect (sock) };
  struct part p = { 0 };

  nr_connections = 1;
  c.buf = malloc (REGION);
  if (c.buf == NULL)
    die ("out of memory");
  for (; p.offset < disk_size; p.offset += p.length) {
    p.length = min (REGION, disk_size - p.offset);
    read_part (&c, p);
    compare (&c, "final read", p);
  }
  nbd_shutdown (c.nbd, 0);
  nbd_close (c.nbd);
  free (c.buf);
}

static void
parse (int argc, char *argv[])
{
  int opt;

  while ((opt = getopt (argc, argv, "c:n:s:")) != -1)
    switch (opt) {
    case 'c': nr_connections = (unsigned) atoi (optarg); break;
    case 'n': nr_requests = (unsigned) atoi (optarg); break;
    case 's': seed = strtoull (optarg, NULL, 0); break;
    default: die ("see the top of random-io.c");
    }
  if (argc - optind != 2 || nr_connections < 1)
    die ("see the top of random-io.c");
  sock = argv[optind];
}

int
main (int argc, char *argv[])
{
  const char *raw;

  parse (argc, argv);
  raw = argv[optind + 1];
  model = load_file (raw, &disk_size);
  run_all ();
  compare_all ();
  load_save (raw, model, disk_size);
  free (model);
  return 0;
}
