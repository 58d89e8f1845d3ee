/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Finding disks in an OVA.  What is a disk, its description says; without
 * one, the names do.  The disk itself is read where it lies in the archive.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ova.h"
#include "ovf.h"
#include "store-part.h"

/* ".000000000" */
#define CHUNK_SUFFIX 10

static struct ova_disk *
no_memory (const struct ova *o)
{
  vmdk_error (o->log, "%s: %m", o->store->name);
  return NULL;
}

/* The pieces of a file that was cut up: its name with a number. */

/* NULL: there is none, or no memory. */
static const struct tar_member *
find_chunk (const struct ova *o, const char *name, unsigned number)
{
  const struct tar_member *m;
  char *chunk;

  if (asprintf (&chunk, "%s.%09u", name, number) == -1)
    return NULL;
  m = tar_find (o->tar, chunk);
  free (chunk);
  return m;
}

static uint64_t
chunks_size (const struct ova *o, const char *name)
{
  const struct tar_member *m;
  uint64_t size = 0;
  unsigned i;

  for (i = 0; (m = find_chunk (o, name, i)); i++)
    if (__builtin_add_overflow (size, m->size, &size))
      return INT64_MAX;
  return size;
}

/* Whether a member is the first piece of a file; *stem: the length of the
 * file's name.
 */
static bool
is_first_chunk (const char *name, size_t *stem)
{
  const size_t n = strlen (name);

  *stem = n > CHUNK_SUFFIX ? n - CHUNK_SUFFIX : 0;
  return *stem > 0 && strcmp (name + *stem, ".000000000") == 0;
}

/* -1: it isn't one. */
static int
hex_digit (char c)
{
  static const char digits[] = "0123456789abcdef0123456789ABCDEF";
  const char *const p = c == '\0' ? NULL : strchr (digits, c);

  return p ? (int) (p - digits) % 16 : -1;
}

/* Names in an OVF are URIs, in which "%20" is a blank.  NULL: no memory. */
static char *
decode_uri (const char *uri)
{
  char *const name = strdup (uri), *to = name;

  for (; name && *uri; to++) {
    const int high = *uri == '%' ? hex_digit (uri[1]) : -1;
    const int low = high >= 0 ? hex_digit (uri[2]) : -1;

    if (low >= 0 && high + low > 0) {
      *to = (char) (high * 16 + low);
      uri += 3;
    }
    else
      *to = *uri++;
  }
  if (name)
    *to = '\0';
  return name;
}

/* The list of disks. */

/* Takes name over. */
static struct ova_disk *
add_disk (struct ova *o, char *name)
{
  struct ova_disk *const longer = name ?
    reallocarray (o->disks, o->nr_disks + 1, sizeof *longer) : NULL;
  struct ova_disk *d;

  if (longer == NULL) {
    free (name);
    return no_memory (o);
  }
  o->disks = longer;
  d = &longer[o->nr_disks++];
  *d = (struct ova_disk) { .name = name };
  return d;
}

static int
look_at_start (const struct ova *o, struct ova_disk *d, uint64_t offset)
{
  uint8_t start[2];

  if (store_pread (o->store, start, sizeof start, offset) == -1)
    return -1;
  if (start[0] == 0x1f && start[1] == 0x8b)
    d->compressed = true;
  return 0;
}

static int
find_file (const struct ova *o, struct ova_disk *d)
{
  const struct tar_member *m = tar_find (o->tar, d->name);

  if (m)
    d->file_size = m->size;
  else {
    m = find_chunk (o, d->name, 0);
    d->chunked = m != NULL;
    d->file_size = m ? chunks_size (o, d->name) : 0;
  }
  d->absent = m == NULL;
  return m ? look_at_start (o, d, m->offset) : 0;
}

/* The name that a file has in the archive: as it is given, or decoded. */
static char *
name_of (const struct ova *o, const char *href)
{
  while (strncmp (href, "./", 2) == 0)
    href += 2;
  return tar_find (o->tar, href) || find_chunk (o, href, 0) ? strdup (href)
    : decode_uri (href);
}

static bool
has_disk (const struct ova *o, const char *name)
{
  size_t i;

  for (i = 0; i < o->nr_disks; i++)
    if (strcmp (o->disks[i].name, name) == 0)
      return true;
  return false;
}

static char *
copy (const char *text)
{
  return text ? strdup (text) : NULL;
}

/* Disks without a file are to be made empty.  There may be several for
 * one file, of different configurations of a machine: the first counts.
 */
static int
add_described (struct ova *o, const struct ovf *ovf, const struct ovf_disk *v)
{
  struct ovf_file *const f =
    v->file_ref ? ovf_find_file (ovf, v->file_ref) : NULL;
  struct ova_disk *d;
  char *name;

  if (f == NULL || f->taken)
    return 0;
  f->taken = true;
  name = name_of (o, f->href);
  if (name && has_disk (o, name)) {
    free (name);
    return 0;
  }
  d = add_disk (o, name);
  if (d == NULL)
    return -1;
  d->disk_id = copy (v->id);
  d->file_id = copy (f->id);
  d->capacity = v->capacity;
  d->compressed = f->compressed;
  d->said_size = f->size;
  if (d->disk_id == NULL || d->file_id == NULL) {
    no_memory (o);
    return -1;
  }
  return find_file (o, d);
}

/* More than a machine can have, so that nothing here takes long. */
#define MAX_DISKS 1024

static int
check_number (const struct ova *o)
{
  if (o->nr_disks <= MAX_DISKS)
    return 0;
  vmdk_error (o->log, "%s: there are more than %d disks in it",
              o->store->name, MAX_DISKS);
  errno = EINVAL;
  return -1;
}

static int
add_all_described (struct ova *o, char *text)
{
  struct ovf ovf;
  int r = ovf_parse (&ovf, text);
  size_t i;

  if (r == -1)
    no_memory (o);
  for (i = 0; i < ovf.nr_disks && r == 0; i++)
    if (add_described (o, &ovf, &ovf.disks[i]) == -1 ||
        check_number (o) == -1)
      r = -1;
  ovf_destroy (&ovf);
  return r;
}

static int
refuse_sparse (const struct ova *o, const char *name)
{
  vmdk_error (o->log, "%s: %s is stored in it without its holes, in a way "
              "that isn't supported; unpack it", o->store->name, name);
  errno = EINVAL;
  return -1;
}

static int
read_description (struct ova *o)
{
  const struct tar_member *const m = &o->tar->members[o->tar->first_ovf];
  char name[EXCERPT_SIZE];
  char *text;
  int r = -1;

  vmdk_excerpt (name, sizeof name, m->name);
  if (m->sparse)
    return refuse_sparse (o, name);
  if (m->size - m->missing > OVF_MAX_SIZE) {
    vmdk_error (o->log, "%s: the description of the machine, %s, has %"
                PRIu64 " bytes, expected at most %d", o->store->name, name,
                m->size, OVF_MAX_SIZE);
    errno = EINVAL;
    return -1;
  }
  text = calloc (1, (size_t) (m->size - m->missing) + 1);
  if (text == NULL)
    no_memory (o);
  else if (store_pread (o->store, text, (size_t) (m->size - m->missing),
                        m->offset) == 0)
    r = add_all_described (o, text);
  free (text);
  return r;
}

static bool
is_disk_name (const char *name, size_t n)
{
  return n > 5 && strncasecmp (name + n - 5, ".vmdk", 5) == 0;
}

static int
add_by_names (struct ova *o)
{
  size_t i, n;

  for (i = 0; i < o->tar->nr_members; i++) {
    const char *const name = o->tar->members[i].name;
    struct ova_disk *d;

    if (!is_first_chunk (name, &n))
      n = strlen (name);
    if (!is_disk_name (name, n))
      continue;
    d = add_disk (o, strndup (name, n));
    if (d == NULL || find_file (o, d) == -1 || check_number (o) == -1)
      return -1;
  }
  return 0;
}

static void
forget_disks (struct ova *o)
{
  size_t i;

  for (i = 0; i < o->nr_disks; i++) {
    free (o->disks[i].name);
    free (o->disks[i].disk_id);
    free (o->disks[i].file_id);
  }
  free (o->disks);
  o->disks = NULL;
  o->nr_disks = 0;
}

static int
find_disks (struct ova *o)
{
  if (o->tar->first_ovf < o->tar->nr_members && read_description (o) == -1)
    return -1;
  if (o->nr_disks > 0)
    return 0;
  return add_by_names (o);
}

struct ova *
ova_open (const struct vmdk_log *log, struct store *store)
{
  struct ova *const o = calloc (1, sizeof *o);

  if (o == NULL) {
    vmdk_error (log, "%s: %m", store->name);
    return NULL;
  }
  o->log = log;
  o->store = store_ref (store);
  o->tar = tar_open (log, store);
  if (o->tar && find_disks (o) == 0)
    return o;
  ova_free (o);
  return NULL;
}

void
ova_free (struct ova *o)
{
  if (o == NULL)
    return;
  forget_disks (o);
  tar_free (o->tar);
  store_unref (o->store);
  free (o);
}

/* Choosing one. */

/* "a.vmdk, b.vmdk and 3 more" */
static void
list_disks (const struct ova *o, char *buf, size_t size)
{
  char name[EXCERPT_SIZE];
  size_t i, n = 0;

  buf[0] = '\0';
  for (i = 0; i < o->nr_disks; i++) {
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are disks */
    vmdk_excerpt (name, sizeof name, o->disks[i].name);
    if (n + strlen (name) + 40 > size) {
      snprintf (buf + n, size - n, " and %zu more", o->nr_disks - i);
      return;
    }
    n += (size_t) snprintf (buf + n, size - n, "%s%s%s", n > 0 ? ", " : "",
                            name, o->disks[i].absent ? " (missing)" : "");
  }
}

static const struct ova_disk *
refuse_choice (const struct ova *o, const char *member)
{
  char list[1024], name[EXCERPT_SIZE];

  list_disks (o, list, sizeof list);
  if (o->nr_disks == 0)
    vmdk_error (o->log, "%s: there is no disk in this archive",
                o->store->name);
  else if (member)
    vmdk_error (o->log, "%s: there is no disk called %s in this archive; "
                "there are: %s", o->store->name,
                vmdk_excerpt (name, sizeof name, member), list);
  else
    vmdk_error (o->log, "%s: there are %zu disks in this archive; say which "
                "one with member=NAME: %s", o->store->name, o->nr_disks,
                list);
  errno = EINVAL;
  return NULL;
}

static const struct ova_disk *
refuse_absent (const struct ova *o, const struct ova_disk *d)
{
  char name[EXCERPT_SIZE];

  vmdk_error (o->log, "%s: the disk %s, which the description of the machine "
              "names, isn't in this archive; was it downloaded completely?",
              o->store->name, vmdk_excerpt (name, sizeof name, d->name));
  errno = EINVAL;
  return NULL;
}

static bool
is_called (const struct ova_disk *d, const char *name)
{
  return strcmp (d->name, name) == 0 ||
    (d->disk_id && strcmp (d->disk_id, name) == 0) ||
    (d->file_id && strcmp (d->file_id, name) == 0);
}

const struct ova_disk *
ova_choose (const struct ova *o, const char *name)
{
  const struct ova_disk *d = NULL;
  size_t i;

  if (name == NULL && o->nr_disks == 1)
    d = &o->disks[0];
  for (i = 0; i < o->nr_disks && name && d == NULL; i++)
    if (is_called (&o->disks[i], name))
      d = &o->disks[i];
  if (d == NULL)
    return refuse_choice (o, name);
  return d->absent ? refuse_absent (o, d) : d;
}

/* Opening it. */

struct pieces {
  struct store_piece *list;
  size_t n;
};

/* A member whose end is missing is taken as far as it is there: what is
 * in it says whether that is enough.
 */
static int
add_piece (const struct ova *o, struct pieces *p, const struct tar_member *m)
{
  struct store_piece *const longer =
    reallocarray (p->list, p->n + 1, sizeof *longer);
  char name[EXCERPT_SIZE];

  if (longer == NULL) {
    no_memory (o);
    return -1;
  }
  p->list = longer;
  longer[p->n++] = (struct store_piece) {
    .offset = m->offset, .length = m->size - m->missing,
  };
  vmdk_excerpt (name, sizeof name, m->name);
  if (m->sparse)
    return refuse_sparse (o, name);
  if (m->missing > 0)
    vmdk_warning (o->log, "%s: the archive ends before %s does: %" PRIu64
                  " bytes of it are missing", o->store->name, name,
                  m->missing);
  return 0;
}

static int
find_pieces (const struct ova *o, const struct ova_disk *d, struct pieces *p)
{
  const struct tar_member *m;
  char name[EXCERPT_SIZE];
  unsigned i;

  if (!d->chunked)
    return add_piece (o, p, tar_find (o->tar, d->name));
  for (i = 0; (m = find_chunk (o, d->name, i)); i++)
    if (add_piece (o, p, m) == -1)
      return -1;
  if (d->said_size == 0 || d->said_size == d->file_size)
    return 0;
  vmdk_error (o->log, "%s: the %zu pieces of %s that are in this archive have "
              "%" PRIu64 " bytes, but it should have %" PRIu64,
              o->store->name, p->n, vmdk_excerpt (name, sizeof name, d->name),
              d->file_size, d->said_size);
  errno = EINVAL;
  return -1;
}

static struct store *
refuse_compressed (const struct ova *o, const char *name)
{
  vmdk_error (o->log, "%s: %s is compressed as a whole (gzip) and can't be "
              "read in place; unpack the archive and uncompress it",
              o->store->name, name);
  errno = EINVAL;
  return NULL;
}

/* "vm.ova(disk.vmdk)" */
static struct store *
open_pieces (struct ova *o, const char *name, const struct pieces *p)
{
  struct store *s;
  char *full;

  if (asprintf (&full, "%s(%s)", o->store->name, name) == -1) {
    no_memory (o);
    return NULL;
  }
  s = store_part_new (o->log, store_ref (o->store), full, p->list, p->n);
  free (full);
  return s;
}

struct store *
ova_open_disk (struct ova *o, const struct ova_disk *d)
{
  struct pieces p = { .list = NULL };
  struct store *s = NULL;
  char name[EXCERPT_SIZE];

  vmdk_excerpt (name, sizeof name, d->name);
  if (d->compressed)
    return refuse_compressed (o, name);
  if (find_pieces (o, d, &p) == 0)
    s = open_pieces (o, name, &p);
  free (p.list);
  return s;
}
