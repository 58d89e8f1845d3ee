/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The extents that a split disk gets when it is made larger.  They are
 * empty, and called as those that it has: after x-s002.vmdk comes
 * x-s003.vmdk.  An earlier try that was interrupted may have left files of
 * these names, which no descriptor speaks of.  They are replaced if they
 * hold nothing.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "descriptor-write.h"
#include "le.h"
#include "own-file.h"
#include "resize.h"
#include "scan.h"
#include "store-file.h"

/* How extents are called: "disk-s", 3 digits, 2, ".vmdk". */
struct pattern {
  const char *name;  /* of the last one, in the descriptor */
  size_t stem;       /* characters before the digits */
  int digits;
  uint64_t number;
  const char *folder;
  size_t folder_length; /* with the slash */
};

static int
report_pattern (const struct link *l, const char *name)
{
  char excerpt[EXCERPT_SIZE];

  vmdk_excerpt (excerpt, sizeof excerpt, name);
  vmdk_error (&l->ctx->log, "%s: can't be resized: it needs another extent, "
              "but its last one is called \"%s\", and from that it can't be "
              "seen how to call the next; expected something like "
              "\"disk-s001.vmdk\"", l->store->name, excerpt);
  errno = ENOTSUP;
  return -1;
}

/* The name in the descriptor is the end of the file's path, unless somebody
 * said that it is elsewhere.
 */
static int
find_pattern (const struct link *l, struct pattern *p)
{
  const struct extent *const last = l->extents[l->nr_extents - 1];
  const char *const name = last->line->name, *const path = last->store->name;
  const size_t n = strlen (name), m = strlen (path);
  size_t i = n >= 5 ? n - 5 : 0;

  *p = (struct pattern) { .name = name, .folder = path };
  if (m < n || strcmp (path + m - n, name) != 0 ||
      (m > n && path[m - n - 1] != '/') ||
      strcasecmp (name + i, ".vmdk") != 0)
    return report_pattern (l, name);
  p->folder_length = m - n;
  while (i > 0 && name[i - 1] >= '0' && name[i - 1] <= '9')
    i--;
  p->stem = i;
  p->digits = (int) (n - 5 - i);
  if (i < 2 || p->digits < 3 || p->digits > 6 || name[i - 2] != '-' ||
      strchr ("sfSF", name[i - 1]) == NULL)
    return report_pattern (l, name);
  p->number = strtoull (name + i, NULL, 10);
  return 0;
}

static char *
name_of (const struct pattern *p, uint64_t i)
{
  char *name;

  return asprintf (&name, "%.*s%0*" PRIu64 "%s", (int) p->stem, p->name,
                   p->digits, p->number + 1 + i,
                   p->name + p->stem + p->digits) == -1 ? NULL : name;
}

/* What is there already. */

static int
find_place (struct sparse *sp, void *opaque, const struct scanned_table *t)
{
  bool *const found = opaque;
  unsigned copy;
  size_t i;

  for (copy = 0; copy < 2; copy++)
    for (i = 0; t->data[copy] && i < sparse_gt_bytes (sp); i++)
      if (((const uint8_t *) t->data[copy])[i] != 0)
        *found = true;
  return 0;
}

/* Takes s over. */
static bool
is_empty_sparse (struct store *s)
{
  struct vmdk_options options;
  struct context *ctx;
  struct extent *e = NULL;
  bool found = false, r;

  vmdk_options_init (&options);
  ctx = context_new (&options);
  if (ctx)
    e = kdmv_open (ctx, s, NULL);
  else
    store_unref (s);
  r = e && strcmp (e->format, "hosted sparse") == 0 &&
    scan_tables ((struct sparse *) e, find_place, &found) == 0 && !found;
  extent_close (e);
  context_free (ctx);
  return r;
}

/* base in folder. */
static bool
holds_nothing (int folder, const char *base)
{
  const int fd = openat (folder, base,
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct store *const s =
    fd == -1 ? NULL : store_file_new (&vmdk_no_log, fd, base);
  uint8_t start[8];
  bool r;

  if (s == NULL)
    return false;
  if (store_pread (s, start, sizeof start, 0) == 0 &&
      extent_magic (start) == MAGIC_KDMV)
    return is_empty_sparse (s);
  r = s->size == 0 || store_next_data (s, 0) == UINT64_MAX;
  store_unref (s);
  return r;
}

/* What replaces a file belongs to whom that belonged.  Another user may have
 * put it there, to own what the guest writes.
 */
static bool
is_others (const struct new_file *f, int folder, const char *last)
{
  const int fd = store_file_number (f->store);
  struct stat st, st_last;

  return fstat (fd, &st) == -1 || fstatat (folder, last, &st_last, 0) == -1 ||
    (st.st_uid != st_last.st_uid && st.st_uid != geteuid ());
}

static int
report_other (const struct link *l, const char *path)
{
  vmdk_error (&l->ctx->log, "%s: can't be resized: its next extent would be "
              "%s, and there is such a file already, which isn't empty, or "
              "another user's; move it elsewhere", l->store->name, path);
  errno = EEXIST;
  return -1;
}

/* In the folder where the last extent is. */
static struct new_file *
begin_file (const struct link *l, const char *path)
{
  const struct store *const last = l->extents[l->nr_extents - 1]->store;
  const char *const base = own_file_base (path);
  const int folder = own_file_folder (last, true);
  struct new_file *f = NULL;
  bool exists;

  if (folder == -1)
    return NULL;
  exists = faccessat (folder, base, F_OK, 0) == 0;
  if (exists && !holds_nothing (folder, base))
    report_other (l, path);
  else
    f = new_file_begin_beside (&l->ctx->log, path, last, exists);
  if (f && is_others (f, folder, own_file_base (last->name))) {
    report_other (l, path);
    new_file_free (f);
    f = NULL;
  }
  if (f)
    new_file_limit_mode (f, l->ctx->stores, l->ctx->nr_stores);
  close (folder);
  return f;
}

/* Making them. */

static int
build_extent (const struct link *l, struct new_file *f, uint64_t size)
{
  const struct extent *const last = l->extents[l->nr_extents - 1];
  struct build *const b = last->grain_size ? build_kdmv_new (&l->ctx->log)
    : build_flat_new (&l->ctx->log);
  int r;

  if (b == NULL)
    return -1;
  b->store = f->store;
  b->name = f->path;
  b->size = size;
  b->grain_size = last->grain_size ? last->grain_size : 65536;
  r = b->ops->begin (b);
  if (r == 0)
    r = b->ops->finish (b);
  b->ops->free (b);
  return r;
}

static int
add_line (struct more_extents *m, const char *name, uint64_t size)
{
  const struct link *const l = m->l;
  const struct extent_line *const last = l->extents[l->nr_extents - 1]->line;
  const struct new_extent_line line = {
    .access = last->access, .type = last->type, .size = size,
    .name = name, .has_offset = last->has_offset,
  };
  char *const text = descriptor_compose_line (&l->ctx->log, &line);
  char *all;

  if (text == NULL)
    return -1;
  if (asprintf (&all, "%s%s", m->lines ? m->lines : "", text) == -1) {
    vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
    free (text);
    return -1;
  }
  free (text);
  free (m->lines);
  m->lines = all;
  return 0;
}

static int
make_one (struct more_extents *m, const struct pattern *p, uint64_t size)
{
  char *const name = name_of (p, m->n);
  char *path = NULL;
  int r = -1;

  if (name == NULL || asprintf (&path, "%.*s%s", (int) p->folder_length,
                                p->folder, name) == -1) {
    vmdk_error (&m->l->ctx->log, "%s: %m", m->l->store->name);
    path = NULL;
  }
  else {
    m->files[m->n] = begin_file (m->l, path);
    if (m->files[m->n])
      r = build_extent (m->l, m->files[m->n++], size);
  }
  if (r == 0)
    r = add_line (m, name, size);
  free (path);
  free (name);
  return r;
}

static int
report_too_many (const struct more_extents *m, uint64_t n)
{
  vmdk_error (&m->l->ctx->log, "%s: can't be resized: it would have %" PRIu64
              " extents, expected at most %d", m->l->store->name,
              n + m->l->nr_extents, VMDK_MAX_EXTENTS);
  errno = EFBIG;
  return -1;
}

int
more_extents_make (struct more_extents *m)
{
  uint64_t left = m->size, n;
  struct pattern p;

  if (m->size == 0)
    return 0;
  n = div_round_up (m->size, m->piece);
  if (n > VMDK_MAX_EXTENTS - m->l->nr_extents)
    return report_too_many (m, n);
  if (find_pattern (m->l, &p) == -1)
    return -1;
  m->files = calloc (n, sizeof m->files[0]);
  if (m->files == NULL) {
    vmdk_error (&m->l->ctx->log, "%s: %m", m->l->store->name);
    return -1;
  }
  for (; left > 0; left -= left < m->piece ? left : m->piece)
    if (make_one (m, &p, left < m->piece ? left : m->piece) == -1)
      return -1;
  return 0;
}

int
more_extents_publish (struct more_extents *m)
{
  return m->n == 0 ? 0 : new_files_publish (m->files, m->n);
}

void
more_extents_free (struct more_extents *m)
{
  size_t i;

  for (i = 0; i < m->n; i++)
    new_file_free (m->files[i]);
  free (m->files);
  free (m->lines);
}
