/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Reading the headers of a tar archive.  Each member is a header of 512
 * bytes and its bytes, padded to 512.  Longer names and sizes come in
 * members of their own before that which they are about.  Nothing can make
 * the walk go back, so it ends; names are compared, and never opened.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tar.h"

/* Of the header. */
#define AT_NAME 0
#define NAME_LENGTH 100
#define AT_SIZE 124
#define SIZE_LENGTH 12
#define AT_CHECKSUM 148
#define CHECKSUM_LENGTH 8
#define AT_TYPE 156
#define AT_MAGIC 257
#define AT_PREFIX 345
#define PREFIX_LENGTH 155

/* Of the data of members that are about the next one. */
#define MAX_EXTENDED (64 << 10)

bool
tar_is (const uint8_t block[TAR_BLOCK])
{
  /* POSIX has a null byte behind it, and GNU a blank. */
  return memcmp (block + AT_MAGIC, "ustar", 5) == 0 &&
    (block[AT_MAGIC + 5] == '\0' || block[AT_MAGIC + 5] == ' ');
}

/* What is known of the next member. */
struct next {
  char *name;    /* NULL: as in its header */
  bool has_size;
  uint64_t size;
  bool sparse;
};

struct walk {
  const struct vmdk_log *log;
  struct store *store;
  struct tar *tar;
  struct next next;
  uint64_t offset;    /* of the header */
  uint64_t names;     /* bytes */
  const char *ovf;    /* the first one's name */
  size_t room;
  uint8_t block[TAR_BLOCK];
};

static int
damaged (const struct walk *w, const char *what)
{
  vmdk_error (w->log, "%s: the archive is damaged: at offset %" PRIu64
              ": %s; was it downloaded completely?",
              w->store->name, w->offset, what);
  errno = EINVAL;
  return -1;
}

/* Digits to base 8 between blanks. */
static bool
parse_octal (const uint8_t *text, size_t n, uint64_t *value)
{
  size_t i = 0;

  *value = 0;
  while (i < n && text[i] == ' ')
    i++;
  for (; i < n && text[i] >= '0' && text[i] <= '7'; i++)
    if (__builtin_mul_overflow (*value, 8, value) ||
        __builtin_add_overflow (*value, text[i] - '0', value))
      return false;
  return i == n || text[i] == '\0' || text[i] == ' ';
}

/* GNU's way for numbers that are too large for that: big-endian binary. */
static bool
parse_number (const uint8_t *text, size_t n, uint64_t *value)
{
  size_t i;

  if (text[0] != 0x80)
    return (text[0] & 0x80) == 0 && parse_octal (text, n, value);
  *value = 0;
  for (i = 1; i < n; i++) {
    if (*value >> 56 != 0)
      return false;
    *value = *value << 8 | text[i];
  }
  return true;
}

static bool
checksum_is_right (const uint8_t *block)
{
  uint64_t expected;
  unsigned sum = 0;
  size_t i;

  for (i = 0; i < TAR_BLOCK; i++)
    sum += i - AT_CHECKSUM < CHECKSUM_LENGTH ? ' ' : block[i];
  return parse_octal (block + AT_CHECKSUM, CHECKSUM_LENGTH, &expected) &&
    sum == expected;
}

static void
forget_next (struct walk *w)
{
  free (w->next.name);
  w->next = (struct next) { .name = NULL };
}

/* Names. */

static char *
header_name (const uint8_t *block)
{
  const size_t n = strnlen ((const char *) block, NAME_LENGTH);
  const size_t prefix = block[AT_MAGIC + 5] != '\0' ? 0 /* GNU has none */
    : strnlen ((const char *) block + AT_PREFIX, PREFIX_LENGTH);
  char *const name = malloc (prefix + 1 + n + 1), *p = name;

  if (name == NULL)
    return NULL;
  if (prefix > 0) {
    memcpy (p, block + AT_PREFIX, prefix);
    p += prefix;
    *p++ = '/';
  }
  memcpy (p, block + AT_NAME, n);
  p[n] = '\0';
  return name;
}

static const char *
without_dot (const char *name)
{
  while (strncmp (name, "./", 2) == 0)
    name += 2;
  return name;
}

static bool
is_ovf (const char *name)
{
  const size_t n = strlen (name);

  return n > 4 && strcasecmp (name + n - 4, ".ovf") == 0;
}

/* Members. */

static int
make_room (struct walk *w)
{
  struct tar *const t = w->tar;
  const size_t room = w->room == 0 ? 16 : 2 * w->room;
  struct tar_member *members;
  char **names;

  if (t->nr_members < w->room)
    return 0;
  members = reallocarray (t->members, room, sizeof members[0]);
  if (members)
    t->members = members;
  names = reallocarray (t->names, room, sizeof names[0]);
  if (names)
    t->names = names;
  if (members == NULL || names == NULL) {
    vmdk_error (w->log, "%s: %m", w->store->name);
    return -1;
  }
  w->room = room;
  return 0;
}

static int
add_member (struct walk *w, uint64_t size)
{
  const uint64_t start = w->offset + TAR_BLOCK, total = w->store->size;
  const uint64_t there = start < total ? total - start : 0;
  struct tar *const t = w->tar;
  char *const name = w->next.name ? w->next.name : header_name (w->block);

  w->next.name = NULL;
  if (name == NULL) {
    vmdk_error (w->log, "%s: %m", w->store->name);
    return -1;
  }
  w->names += strlen (name) + 1;
  if (make_room (w) == -1) {
    free (name);
    return -1;
  }
  t->names[t->nr_names++] = name;
  t->members[t->nr_members++] = (struct tar_member) {
    .name = without_dot (name),
    .offset = start,
    .size = size,
    .missing = size > there ? size - there : 0,
    .sparse = w->next.sparse,
  };
  if (w->ovf == NULL && is_ovf (name))
    w->ovf = without_dot (name);
  if (t->nr_members <= TAR_MAX_MEMBERS && w->names <= TAR_MAX_NAMES)
    return 0;
  vmdk_error (w->log, "%s: the archive has more than %d files, or names with "
              "more than %d bytes: that is no OVA", w->store->name,
              TAR_MAX_MEMBERS, TAR_MAX_NAMES);
  errno = EINVAL;
  return -1;
}

/* What is about the next one. */

static char *
read_extended (struct walk *w, uint64_t size)
{
  char *text;

  if (size > MAX_EXTENDED || w->offset + TAR_BLOCK > w->store->size ||
      size > w->store->size - w->offset - TAR_BLOCK) {
    damaged (w, "an extended header is too long");
    return NULL;
  }
  text = malloc ((size_t) size + 1);
  if (text == NULL) {
    vmdk_error (w->log, "%s: %m", w->store->name);
    return NULL;
  }
  if (store_pread (w->store, text, (size_t) size, w->offset + TAR_BLOCK) ==
      -1) {
    free (text);
    return NULL;
  }
  text[size] = '\0';
  return text;
}

static int
take_long_name (struct walk *w, uint64_t size)
{
  char *const name = read_extended (w, size);

  if (name == NULL)
    return -1;
  free (w->next.name);
  w->next.name = name;
  return 0;
}

static int
take_record (struct walk *w, const char *key, const char *value)
{
  char *end;

  if (strcmp (key, "path") == 0) {
    free (w->next.name);
    w->next.name = strdup (value);
    if (w->next.name)
      return 0;
    vmdk_error (w->log, "%s: %m", w->store->name);
    return -1;
  }
  if (strncmp (key, "GNU.sparse.", 11) == 0)
    w->next.sparse = true;
  if (strcmp (key, "size") != 0)
    return 0;
  errno = 0;
  w->next.size = strtoumax (value, &end, 10);
  w->next.has_size = true;
  if (value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0)
    return 0;
  return damaged (w, "the size of a file is no number");
}

/* Records are "LENGTH KEY=VALUE\n", where LENGTH is that of it all. */
static int
take_records (struct walk *w, uint64_t size)
{
  char *const text = read_extended (w, size);
  char *p = text, *const end = text ? text + size : NULL;
  int r = text ? 0 : -1;

  while (r == 0 && p < end && *p != '\0') {
    char *key, *equal;
    const uintmax_t n = strtoumax (p, &key, 10);

    if (*p < '0' || *p > '9' || *key != ' ' || n > (uintmax_t) (end - p) ||
        n < (uintmax_t) (key - p) + 3 || p[n - 1] != '\n')
      r = damaged (w, "an extended header can't be understood");
    else {
      p[n - 1] = '\0';
      equal = strchr (++key, '=');
      if (equal) {
        *equal = '\0';
        r = take_record (w, key, equal + 1);
      }
      p += n;
    }
  }
  free (text);
  return r;
}

/* The walk. */

/* One member.  *size is how many bytes of data it has. */
static int
take_member (struct walk *w, uint64_t *size)
{
  const uint8_t type = w->block[AT_TYPE];
  int r;

  if (!parse_number (w->block + AT_SIZE, SIZE_LENGTH, size))
    return damaged (w, "the size of a file is no number");
  switch (type) {
  case 'L':
    return take_long_name (w, *size);
  case 'x':
    return take_records (w, *size);
  case 'g': /* for all members; nothing in it is about their data */
  case 'K':
    return 0;
  }
  if (w->next.has_size)
    *size = w->next.size;
  if (*size > INT64_MAX)
    return damaged (w, "a file's size is too large");
  if (type == 'S')
    w->next.sparse = true;
  if (type >= '1' && type <= '6')
    *size = 0; /* links, folders and such */
  r = type == '0' || type == '\0' || type == '7' || type == 'S' ?
    add_member (w, *size) : 0;
  forget_next (w);
  return r;
}

static bool
is_blank (const uint8_t *block)
{
  size_t i;

  for (i = 0; i < TAR_BLOCK; i++)
    if (block[i] != 0)
      return false;
  return true;
}

/* The archive ends with a block of zeroes, or where the file does. */
static int
walk (struct walk *w)
{
  size_t headers = 0;
  uint64_t size;

  while (w->offset <= w->store->size &&
         w->store->size - w->offset >= TAR_BLOCK) {
    if (store_pread (w->store, w->block, TAR_BLOCK, w->offset) == -1)
      return -1;
    if (is_blank (w->block))
      return 0;
    if (!tar_is (w->block) || !checksum_is_right (w->block))
      return damaged (w, "this isn't the header of a file");
    if (++headers > (size_t) 4 * TAR_MAX_MEMBERS)
      return damaged (w, "there are too many headers");
    if (take_member (w, &size) == -1)
      return -1;
    size = (size + TAR_BLOCK - 1) & ~(uint64_t) (TAR_BLOCK - 1);
    if (__builtin_add_overflow (w->offset, TAR_BLOCK + size, &w->offset))
      return damaged (w, "a file's size is too large");
  }
  return 0;
}

static int
compare_members (const void *a, const void *b)
{
  const struct tar_member *const x = a, *const y = b;
  const int order = strcmp (x->name, y->name);

  return order != 0 ? order : x->offset < y->offset ? -1
    : x->offset > y->offset;
}

/* Who unpacks the archive gets the last one of each name. */
static void
sort (struct tar *t)
{
  size_t i, n = 0;

  if (t->nr_members == 0)
    return;
  qsort (t->members, t->nr_members, sizeof t->members[0], compare_members);
  for (i = 0; i < t->nr_members; i++)
    if (i + 1 == t->nr_members ||
        strcmp (t->members[i].name, t->members[i + 1].name) != 0)
      t->members[n++] = t->members[i];
  t->nr_members = n;
}

struct tar *
tar_open (const struct vmdk_log *log, struct store *store)
{
  struct walk w = { .log = log, .store = store };
  int r;

  w.tar = calloc (1, sizeof *w.tar);
  if (w.tar == NULL) {
    vmdk_error (log, "%s: %m", store->name);
    return NULL;
  }
  r = walk (&w);
  forget_next (&w);
  if (r == -1) {
    tar_free (w.tar);
    return NULL;
  }
  sort (w.tar);
  w.tar->first_ovf = w.tar->nr_members;
  if (w.ovf)
    w.tar->first_ovf = (size_t) (tar_find (w.tar, w.ovf) - w.tar->members);
  return w.tar;
}

void
tar_free (struct tar *t)
{
  size_t i;

  if (t == NULL)
    return;
  for (i = 0; i < t->nr_names; i++)
    free (t->names[i]);
  free (t->names);
  free (t->members);
  free (t);
}

static int
compare_name (const void *name, const void *member)
{
  return strcmp (name, ((const struct tar_member *) member)->name);
}

const struct tar_member *
tar_find (const struct tar *t, const char *name)
{
  return t->nr_members == 0 ? NULL
    : bsearch (name, t->members, t->nr_members, sizeof t->members[0],
               compare_name);
}
