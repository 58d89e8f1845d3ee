/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Reading from an NBD server, by means of libnbd, which is loaded when the
 * first URI is opened: nobody else has to have it.
 *
 * There is a pool of connections.  Who reads takes one, or makes one if the
 * server is made for several and there aren't so many yet, or waits for one.
 * No lock is held meanwhile.  Of what is a hole the answers are kept, so
 * that going through the disk in small steps costs few questions.
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "store-nbd.h"

#define DEFAULT_CONNECTIONS 4
#define MAX_CONNECTIONS 16

/* What every server takes, if it doesn't say otherwise. */
#define MAX_REQUEST (32 << 20)
#define MAX_ALIGNMENT (1 << 20)

/* libnbd, whose functions never change their types. */

struct nbd_handle;

struct extent_callback { /* nbd_extent_callback */
  int (*callback) (void *opaque, const char *context, uint64_t offset,
                   uint32_t *entries, size_t nr_entries, int *error);
  void *opaque;
  void (*free) (void *opaque);
};

struct api {
  struct nbd_handle *(*create) (void);
  void (*close) (struct nbd_handle *h);
  const char *(*get_error) (void);
  int (*get_errno) (void);
  int (*set_uri_allow_transports) (struct nbd_handle *h, uint32_t mask);
  int (*set_uri_allow_local_file) (struct nbd_handle *h, bool allow);
  int (*add_meta_context) (struct nbd_handle *h, const char *name);
  int (*connect_uri) (struct nbd_handle *h, const char *uri);
  int64_t (*get_size) (struct nbd_handle *h);
  int64_t (*get_block_size) (struct nbd_handle *h, int which);
  int (*can_multi_conn) (struct nbd_handle *h);
  int (*can_meta_context) (struct nbd_handle *h, const char *name);
  int (*pread) (struct nbd_handle *h, void *buf, size_t count,
                uint64_t offset, uint32_t flags);
  int (*block_status) (struct nbd_handle *h, uint64_t count, uint64_t offset,
                       struct extent_callback callback, uint32_t flags);
  int (*aio_is_ready) (struct nbd_handle *h);
  int (*aio_get_fd) (struct nbd_handle *h);
};

#define LIBRARY "libnbd.so.0"
#define ALLOW_TCP_UNIX_VSOCK 7
#define SIZE_MINIMUM 0
#define SIZE_MAXIMUM 2
#define CONTEXT "base:allocation"
#define STATE_ZERO 2

static const struct {
  const char *name;
  size_t offset;
} functions[] = {
#define F(NAME) { "nbd_" #NAME, offsetof (struct api, NAME) }
  F (create), F (close), F (get_error), F (get_errno),
  F (set_uri_allow_transports), F (set_uri_allow_local_file),
  F (add_meta_context), F (connect_uri), F (get_size), F (get_block_size),
  F (can_multi_conn), F (can_meta_context), F (pread), F (block_status),
  F (aio_is_ready), F (aio_get_fd),
#undef F
};
#define NR_FUNCTIONS (sizeof functions / sizeof functions[0])

/* Answers about holes. */

#define NR_MAPS 8          /* places of the disk that are looked at at once */
#define MAX_RANGES 65536   /* of one answer, the rest is asked for again */
#define FEW_RANGES 1024
#define FIRST_QUESTION (UINT64_C (64) << 20)
#define LONGEST_QUESTION (UINT64_C (2) << 30)

struct range {
  uint64_t end;
  bool hole;
};

struct map { /* of [start, ranges[n - 1].end) */
  uint64_t start;
  struct range *ranges;
  size_t n;           /* 0: nothing is known */
  uint64_t used;      /* when */
};

struct nbd {
  struct store s; /* must come first */
  struct api api;
  char *uri;
  uint64_t alignment;   /* of requests: a power of two */
  uint64_t max_request;
  atomic_bool lost;     /* the server has gone, which was said */

  pthread_mutex_t lock; /* for the pool */
  pthread_cond_t freed;
  struct nbd_handle *idle[MAX_CONNECTIONS];
  size_t nr_idle, nr_open, max_open;

  pthread_mutex_t map_lock; /* for the answers, also while one is awaited */
  bool can_map;
  uint64_t question;    /* how many bytes the next one is about */
  uint64_t clock;
  struct map maps[NR_MAPS];
};

static struct nbd *
nbd_of (struct store *s)
{
  return (struct nbd *) s;
}

/* "nbd_pread: read: Connection reset": without the function. */
static const char *
reason (const struct nbd *n)
{
  const char *const text = n->api.get_error ();
  const char *const colon =
    text && strncmp (text, "nbd_", 4) == 0 ? strstr (text, ": ") : NULL;

  return text == NULL ? "unknown error" : colon ? colon + 2 : text;
}

static int
reason_errno (const struct nbd *n)
{
  const int err = n->api.get_errno ();

  return err != 0 ? err : EIO;
}

/* Connections. */

/* A server that has vanished without a word is noticed after two minutes. */
static void
keep_alive (int fd)
{
  static const struct {
    int level, name, value;
  } options[] = {
    { SOL_SOCKET, SO_KEEPALIVE, 1 },
    { IPPROTO_TCP, TCP_KEEPIDLE, 60 },
    { IPPROTO_TCP, TCP_KEEPINTVL, 15 },
    { IPPROTO_TCP, TCP_KEEPCNT, 4 },
  };
  size_t i;

  /* Sockets of other kinds don't know these, nor do they need them. */
  for (i = 0; i < sizeof options / sizeof options[0]; i++)
    setsockopt (fd, options[i].level, options[i].name, &options[i].value,
                sizeof options[i].value);
}

/* NULL: not reported. */
static struct nbd_handle *
connect_once (const struct nbd *n)
{
  struct nbd_handle *const h = n->api.create ();

  if (h == NULL)
    return NULL;
  if (n->api.set_uri_allow_transports (h, ALLOW_TCP_UNIX_VSOCK) == -1 ||
      n->api.set_uri_allow_local_file (h, true) == -1 ||
      n->api.add_meta_context (h, CONTEXT) == -1 ||
      n->api.connect_uri (h, n->uri) == -1) {
    n->api.close (h);
    return NULL;
  }
  keep_alive (n->api.aio_get_fd (h));
  return h;
}

/* One more, or not, and then never again.  The lock is held. */
static struct nbd_handle *
connect_again (struct nbd *n)
{
  struct nbd_handle *h;

  n->nr_open++;
  pthread_mutex_unlock (&n->lock);
  h = connect_once (n);
  pthread_mutex_lock (&n->lock);
  if (h)
    return h;
  vmdk_debug (n->s.log, VMDK_TOPIC_CHAIN, "%s: no more than %zu connections: "
              "%s", n->s.name, n->nr_open - 1, reason (n));
  n->nr_open--;
  n->max_open = n->nr_open;
  return NULL;
}

/* NULL: the server has gone; reported. */
static struct nbd_handle *
take_connection (struct nbd *n)
{
  struct nbd_handle *h = NULL;

  pthread_mutex_lock (&n->lock);
  while (h == NULL && !n->lost) {
    if (n->nr_idle > 0)
      h = n->idle[--n->nr_idle];
    else if (n->nr_open < n->max_open)
      h = connect_again (n);
    else
      pthread_cond_wait (&n->freed, &n->lock);
  }
  pthread_mutex_unlock (&n->lock);
  if (h == NULL)
    errno = EIO;
  return h;
}

static void
put_connection (struct nbd *n, struct nbd_handle *h)
{
  pthread_mutex_lock (&n->lock);
  n->idle[n->nr_idle++] = h;
  pthread_cond_signal (&n->freed);
  pthread_mutex_unlock (&n->lock);
}

/* Reading. */

/* A server that has gone is mentioned once, however many wait for it. */
static int
report_read (struct nbd *n, struct nbd_handle *h, size_t count,
             uint64_t offset)
{
  const int err = reason_errno (n);

  if (n->api.aio_is_ready (h) == 1)
    vmdk_error (n->s.log, "%s: reading %zu bytes at offset %" PRIu64 ": %s",
                n->s.name, count, offset, reason (n));
  else if (!atomic_exchange (&n->lost, true))
    vmdk_error (n->s.log, "%s: the server has gone, or has closed the "
                "connection, when %zu bytes at offset %" PRIu64 " were read: "
                "%s", n->s.name, count, offset, reason (n));
  errno = n->lost ? EIO : err;
  return -1;
}

static int
request (struct nbd *n, struct nbd_handle *h, void *buf, size_t count,
         uint64_t offset)
{
  if (n->api.pread (h, buf, count, offset, 0) == 0)
    return 0;
  return report_read (n, h, count, offset);
}

/* Less than the server gives: reads the whole block around it. */
static int
read_in_block (struct nbd *n, struct nbd_handle *h, void *buf, size_t count,
               uint64_t offset)
{
  const uint64_t start = offset & ~(n->alignment - 1);
  const uint64_t left = n->s.size - start;
  const size_t length =
    left < n->alignment ? (size_t) left : (size_t) n->alignment;
  char *const block = malloc (length);
  int r;

  if (block == NULL) {
    vmdk_error (n->s.log, "%s: %m", n->s.name);
    return -1;
  }
  r = request (n, h, block, length, start);
  if (r == 0)
    memcpy (buf, block + (offset - start), count);
  free (block);
  return r;
}

static int
read_inside (struct nbd *n, struct nbd_handle *h, char *buf, size_t count,
             uint64_t offset)
{
  while (count > 0) {
    const uint64_t in_block = offset & (n->alignment - 1);
    const uint64_t to_end = n->alignment - in_block;
    size_t part = count < n->max_request ? count : (size_t) n->max_request;
    int r;

    if (in_block != 0 || part < n->alignment) {
      part = count < to_end ? count : (size_t) to_end;
      r = read_in_block (n, h, buf, part, offset);
    }
    else {
      part &= ~(size_t) (n->alignment - 1);
      r = request (n, h, buf, part, offset);
    }
    if (r == -1)
      return -1;
    buf += part;
    count -= part;
    offset += part;
  }
  return 0;
}

static int
nbd_store_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  struct nbd *const n = nbd_of (s);
  const uint64_t size = s->size;
  size_t inside = count;
  struct nbd_handle *h;
  int r;

  if (offset >= size)
    inside = 0;
  else if (count > size - offset)
    inside = (size_t) (size - offset);
  memset ((char *) buf + inside, 0, count - inside);
  if (inside == 0)
    return 0;
  h = take_connection (n);
  if (h == NULL)
    return -1;
  r = read_inside (n, h, buf, inside, offset);
  put_connection (n, h);
  return r;
}

/* Holes. */

struct answer {
  struct map *map;
  uint64_t size; /* of the disk */
};

/* Neighbours of the same kind become one. */
static bool
add_range (struct map *m, uint64_t end, bool hole)
{
  struct range *longer;

  if (m->n > 0 && m->ranges[m->n - 1].hole == hole) {
    m->ranges[m->n - 1].end = end;
    return true;
  }
  if ((m->n & (m->n - 1)) == 0) { /* the list is full */
    longer = reallocarray (m->ranges, m->n == 0 ? 1 : 2 * m->n,
                           sizeof *longer);
    if (longer == NULL)
      return false;
    m->ranges = longer;
  }
  m->ranges[m->n++] = (struct range) { .end = end, .hole = hole };
  return true;
}

/* Only what reads as zero is a hole to us. */
static int
take_answer (void *opaque, const char *context, uint64_t offset,
             uint32_t *entries, size_t nr_entries, int *error)
{
  struct answer *const a = opaque;
  size_t i;

  (void) error;
  if (strcmp (context, CONTEXT) != 0 || a->map->n > 0)
    return 0;
  for (i = 0; i + 1 < nr_entries && a->map->n < MAX_RANGES; i += 2) {
    if (offset >= a->size || entries[i] == 0)
      break;
    offset += entries[i];
    if (!add_range (a->map, offset < a->size ? offset : a->size,
                    (entries[i + 1] & STATE_ZERO) != 0))
      break;
  }
  return 0;
}

static void
forget (struct map *m)
{
  free (m->ranges);
  *m = (struct map) { .n = 0 };
}

/* The one that was not used for the longest time. */
static struct map *
oldest_map (struct nbd *n)
{
  struct map *m = &n->maps[0];
  size_t i;

  for (i = 1; i < NR_MAPS; i++)
    if (n->maps[i].used < m->used)
      m = &n->maps[i];
  return m;
}

/* A simple part of the disk is followed by a longer question. */
static void
choose_question (struct nbd *n, const struct map *m)
{
  if (m->n <= FEW_RANGES && n->question < LONGEST_QUESTION)
    n->question *= 2;
  else if (m->n > (size_t) 16 * FEW_RANGES && n->question > FIRST_QUESTION / 64)
    n->question /= 2;
}

/* A server that doesn't answer isn't asked again.  NULL: it didn't. */
static struct map *
ask (struct nbd *n, uint64_t offset)
{
  struct map *const m = oldest_map (n);
  struct answer a = { .map = m, .size = n->s.size };
  const struct extent_callback callback = {
    .callback = take_answer, .opaque = &a,
  };
  struct nbd_handle *const h = take_connection (n);
  uint64_t length;

  if (h == NULL)
    return NULL;
  forget (m);
  m->start = offset & ~(n->alignment - 1);
  length = n->s.size - m->start;
  if (length > n->question)
    length = n->question;
  if (n->api.block_status (h, length, m->start, callback, 0) == -1)
    m->n = 0;
  put_connection (n, h);
  if (m->n > 0 && m->ranges[m->n - 1].end > offset) {
    choose_question (n, m);
    return m;
  }
  forget (m);
  n->can_map = false;
  return NULL;
}

static struct map *
find_map (struct nbd *n, uint64_t offset)
{
  struct map *m = NULL;
  size_t i;

  for (i = 0; i < NR_MAPS && m == NULL; i++)
    if (n->maps[i].n > 0 && n->maps[i].start <= offset &&
        n->maps[i].ranges[n->maps[i].n - 1].end > offset)
      m = &n->maps[i];
  if (m == NULL && n->can_map)
    m = ask (n, offset);
  if (m)
    m->used = ++n->clock;
  return m;
}

/* The range that has the byte at offset. */
static const struct range *
find_range (const struct map *m, uint64_t offset)
{
  size_t low = 0, high = m->n - 1;

  while (low < high) {
    const size_t mid = low + (high - low) / 2;

    if (offset < m->ranges[mid].end)
      high = mid;
    else
      low = mid + 1;
  }
  return &m->ranges[low];
}

static int
next (struct store *s, uint64_t offset, bool hole, uint64_t *found)
{
  struct nbd *const n = nbd_of (s);
  const struct map *m = NULL;

  *found = UINT64_MAX;
  pthread_mutex_lock (&n->map_lock);
  while (offset < s->size && *found == UINT64_MAX) {
    const struct range *r;

    m = find_map (n, offset);
    if (m == NULL)
      break;
    r = find_range (m, offset);
    if (r->hole == hole)
      *found = offset;
    offset = r->end;
  }
  pthread_mutex_unlock (&n->map_lock);
  return m ? 0 : -1;
}

static int
nbd_store_next_data (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, false, found);
}

static int
nbd_store_next_hole (struct store *s, uint64_t offset, uint64_t *found)
{
  return next (s, offset, true, found);
}

/* Opening and closing. */

static void
nbd_store_close (struct store *s)
{
  struct nbd *const n = nbd_of (s);
  size_t i;

  for (i = 0; i < n->nr_idle; i++)
    n->api.close (n->idle[i]);
  for (i = 0; i < NR_MAPS; i++)
    free (n->maps[i].ranges);
  pthread_mutex_destroy (&n->map_lock);
  pthread_cond_destroy (&n->freed);
  pthread_mutex_destroy (&n->lock);
  store_destroy (s);
  free (n->uri);
  free (n);
}

static const struct store_ops nbd_ops = {
  .pread = nbd_store_pread,
  .next_data = nbd_store_next_data,
  .next_hole = nbd_store_next_hole,
  .close = nbd_store_close,
};

bool
store_nbd_is_uri (const char *name)
{
  const size_t n = strspn (name, "abcdefghijklmnopqrstuvwxyz"
                           "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

  return strncasecmp (name, "nbd", 3) == 0 && strncmp (name + n, "://", 3) == 0;
}

/* Others could run commands, or log in to other machines. */
static int
check_scheme (const struct nbd *n)
{
  static const char *const schemes[] = {
    "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
  };
  const size_t length = strcspn (n->uri, ":");
  size_t i;

  for (i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (strlen (schemes[i]) == length &&
        strncasecmp (n->uri, schemes[i], length) == 0)
      return 0;
  vmdk_error (n->s.log, "%s: this kind of URI isn't supported; there are nbd, "
              "nbds, nbd+unix, nbds+unix, nbd+vsock and nbds+vsock",
              n->s.name);
  errno = EINVAL;
  return -1;
}

static int
load_library (struct nbd *n)
{
  /* It is never unloaded: what it uses isn't made for that. */
  void *const library = dlopen (LIBRARY, RTLD_NOW | RTLD_LOCAL);
  size_t i;

  if (library == NULL) {
    vmdk_error (n->s.log, "%s: libnbd can't be loaded (%s): install libnbd0 "
                "(Debian) or libnbd (Fedora)", n->s.name, dlerror ());
    errno = ENOTSUP;
    return -1;
  }
  for (i = 0; i < NR_FUNCTIONS; i++) {
    void *const f = dlsym (library, functions[i].name);

    if (f == NULL) {
      vmdk_error (n->s.log, "%s: " LIBRARY " is too old: it has no %s",
                  n->s.name, functions[i].name);
      errno = ENOTSUP;
      return -1;
    }
    memcpy ((char *) &n->api + functions[i].offset, &f, sizeof f);
  }
  return 0;
}

static int
ask_block_sizes (struct nbd *n, struct nbd_handle *h)
{
  const int64_t min = n->api.get_block_size (h, SIZE_MINIMUM);
  const int64_t max = n->api.get_block_size (h, SIZE_MAXIMUM);

  n->alignment = min > 0 ? (uint64_t) min : 1;
  n->max_request = max > 0 && max < MAX_REQUEST ? (uint64_t) max : MAX_REQUEST;
  if (n->alignment > MAX_ALIGNMENT || (n->alignment & (n->alignment - 1)) ||
      n->alignment > n->max_request) {
    vmdk_error (n->s.log, "%s: the server wants blocks of %" PRIu64 " to %"
                PRIu64 " bytes; expected a power of two, at most %d",
                n->s.name, n->alignment, n->max_request, MAX_ALIGNMENT);
    errno = ENOTSUP;
    return -1;
  }
  n->max_request &= ~(n->alignment - 1);
  if (n->s.size % n->alignment == 0)
    return 0;
  vmdk_error (n->s.log, "%s: the export has %" PRIu64 " bytes, which isn't a "
              "multiple of the server's blocks of %" PRIu64 " bytes, so that "
              "its end can't be read", n->s.name, (uint64_t) n->s.size,
              n->alignment);
  errno = ENOTSUP;
  return -1;
}

static int
ask_server (struct nbd *n, struct nbd_handle *h, unsigned connections)
{
  const int64_t size = n->api.get_size (h);

  if (size == -1) {
    vmdk_error (n->s.log, "%s: finding its size: %s", n->s.name, reason (n));
    errno = reason_errno (n);
    return -1;
  }
  n->s.size = (uint64_t) size;
  n->can_map = n->api.can_meta_context (h, CONTEXT) == 1;
  n->question = FIRST_QUESTION;
  n->max_open = 1;
  if (n->api.can_multi_conn (h) == 1)
    n->max_open = connections == 0 ? DEFAULT_CONNECTIONS
      : connections < MAX_CONNECTIONS ? connections : MAX_CONNECTIONS;
  n->s.parallel = (unsigned) n->max_open;
  vmdk_debug (n->s.log, VMDK_TOPIC_CHAIN, "%s: %" PRIi64 " bytes, %zu "
              "connections at most, %s", n->s.name, size, n->max_open,
              n->can_map ? "holes are known" : "holes aren't known");
  return ask_block_sizes (n, h);
}

static int
open_export (struct nbd *n, unsigned connections)
{
  struct nbd_handle *h;

  if (check_scheme (n) == -1 || load_library (n) == -1)
    return -1;
  h = connect_once (n);
  if (h == NULL) {
    vmdk_error (n->s.log, "%s: %s", n->s.name, reason (n));
    errno = reason_errno (n);
    return -1;
  }
  n->idle[n->nr_idle++] = h;
  n->nr_open = 1;
  return ask_server (n, h, connections);
}

/* The URI without what stands between a user's name and "@".  NULL: no
 * memory.
 */
static char *
without_password (const char *uri)
{
  const char *const host = strstr (uri, "://") + 3;
  const size_t n = strcspn (host, "/?#");
  const char *const at = memrchr (host, '@', n);
  const char *const colon =
    at ? memchr (host, ':', (size_t) (at - host)) : NULL;
  char *name;

  if (colon == NULL)
    return strdup (uri);
  return asprintf (&name, "%.*s%s", (int) (colon - uri), uri, at) == -1 ? NULL
    : name;
}

/* NULL: reported. */
static struct nbd *
nbd_new (const struct vmdk_log *log, const char *uri)
{
  struct nbd *const n = calloc (1, sizeof *n);
  char *const name = without_password (uri);

  if (n == NULL || name == NULL || store_init (&n->s, &nbd_ops, log, name)) {
    vmdk_error (log, "%m");
    free (n);
    free (name);
    return NULL;
  }
  free (name);
  pthread_mutex_init (&n->lock, NULL);
  pthread_cond_init (&n->freed, NULL);
  pthread_mutex_init (&n->map_lock, NULL);
  n->uri = strdup (uri);
  if (n->uri)
    return n;
  vmdk_error (log, "%s: %m", n->s.name);
  nbd_store_close (&n->s);
  return NULL;
}

struct store *
store_nbd_new (const struct vmdk_log *log, const char *uri,
               unsigned connections)
{
  struct nbd *const n = nbd_new (log, uri);
  int err;

  if (n == NULL)
    return NULL;
  n->s.read_only = "exports of NBD servers are only read";
  if (open_export (n, connections) == 0)
    return &n->s;
  err = errno;
  nbd_store_close (&n->s);
  errno = err;
  return NULL;
}
