/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Looking for <File> and <Disk> in an OVF, which is XML.  That takes only
 * the start tags and their attributes; prefixes differ between writers and
 * don't matter.  No entity is ever defined, fetched or expanded but the
 * five of XML itself and those for single characters.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ovf.h"

#define BLANKS " \t\r\n"

struct attribute {
  const char *name; /* without prefix */
  char *value;
};
#define MAX_ATTRIBUTES 32

struct tag {
  const char *name; /* without prefix */
  struct attribute attributes[MAX_ATTRIBUTES];
  size_t n;
};

/* Characters. */

static size_t
put_utf8 (char *to, unsigned long c)
{
  if (c < 0x80) {
    to[0] = (char) c;
    return 1;
  }
  if (c < 0x800) {
    to[0] = (char) (0xc0 | c >> 6);
    to[1] = (char) (0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    to[0] = (char) (0xe0 | c >> 12);
    to[1] = (char) (0x80 | (c >> 6 & 0x3f));
    to[2] = (char) (0x80 | (c & 0x3f));
    return 3;
  }
  to[0] = (char) (0xf0 | c >> 18);
  to[1] = (char) (0x80 | (c >> 12 & 0x3f));
  to[2] = (char) (0x80 | (c >> 6 & 0x3f));
  to[3] = (char) (0x80 | (c & 0x3f));
  return 4;
}

/* "&#65;", "&#x41;": it is never longer than that.  0: it is neither. */
static size_t
put_numbered (char *to, const char *name, char **end)
{
  const bool hexadecimal = name[1] == 'x';
  const char *const digits = name + (hexadecimal ? 2 : 1);
  const unsigned long c = strtoul (digits, end, hexadecimal ? 16 : 10);

  if (*end == digits || **end != ';' || c == 0 || c > 0x10ffff)
    return 0;
  (*end)++;
  return put_utf8 (to, c);
}

/* Replaces the entities in value, which only becomes shorter by it. */
static void
decode (char *value)
{
  static const struct {
    const char *name;
    char c;
  } entities[] = {
    { "amp;", '&' }, { "lt;", '<' }, { "gt;", '>' }, { "quot;", '"' },
    { "apos;", '\'' },
  };
  char *to = value, *from = value;

  while (*from) {
    size_t i = 0, n = 0;
    char *end;

    if (*from == '&' && from[1] == '#' &&
        (n = put_numbered (to, from + 1, &end)) > 0) {
      to += n;
      from = end;
      continue;
    }
    while (*from == '&' && i < 5 &&
           strncmp (from + 1, entities[i].name,
                    strlen (entities[i].name)) != 0)
      i++;
    if (*from == '&' && i < 5) {
      *to++ = entities[i].c;
      from += 1 + strlen (entities[i].name);
    }
    else
      *to++ = *from++;
  }
  *to = '\0';
}

/* Tags. */

static const char *
without_prefix (const char *name)
{
  const char *const colon = strchr (name, ':');

  return colon ? colon + 1 : name;
}

/* Past the end of what begins with "<!" or "<?". */
static char *
skip_other (char *p)
{
  const char *end = ">";
  char *found;

  if (strncmp (p, "<!--", 4) == 0)
    end = "-->";
  else if (strncmp (p, "<![CDATA[", 9) == 0)
    end = "]]>";
  else if (p[1] == '?')
    end = "?>";
  found = strstr (p, end);
  return found ? found + strlen (end) : p + strlen (p);
}

/* One attribute at p, if there is one.  Returns where it ends, or NULL. */
static char *
parse_attribute (struct tag *t, char *p)
{
  char *const name = p, *const end = p + strcspn (p, "=/>" BLANKS);
  char *value = end + strspn (end, BLANKS);
  char *close;

  if (end == name || *value != '=')
    return NULL;
  value++;
  value += strspn (value, BLANKS);
  if (*value != '"' && *value != '\'')
    return NULL;
  close = strchr (value + 1, *value);
  if (close == NULL)
    return NULL;
  *end = *close = '\0';
  decode (++value);
  if (t->n < MAX_ATTRIBUTES)
    t->attributes[t->n++] =
      (struct attribute) { .name = without_prefix (name), .value = value };
  return close + 1;
}

/* The start tag at p.  Returns where it ends, or as far as it could be
 * understood.
 */
static char *
parse_tag (struct tag *t, char *p)
{
  char *const name = p + 1, *end = name + strcspn (name, "/>" BLANKS);
  const bool has_attributes = *end != '\0' && strchr (BLANKS, *end);
  char *next;

  *t = (struct tag) { .name = "" };
  if (*end == '\0')
    return end;
  p = end;
  if (has_attributes) {
    *p++ = '\0';
    t->name = without_prefix (name);
  }
  for (;;) {
    p += strspn (p, BLANKS);
    next = has_attributes ? parse_attribute (t, p) : NULL;
    if (next == NULL)
      return p;
    p = next;
  }
}

static const char *
attribute (const struct tag *t, const char *name)
{
  size_t i;

  for (i = 0; i < t->n; i++)
    if (strcmp (t->attributes[i].name, name) == 0)
      return t->attributes[i].value;
  return NULL;
}

/* What they say. */

static bool
copy (const char *value, char **copied)
{
  *copied = value ? strdup (value) : NULL;
  return value == NULL || *copied;
}

/* 0: it isn't a plain number, or too large. */
static uint64_t
number (const char *value)
{
  char *end;
  uintmax_t n;

  if (value == NULL)
    return 0;
  value += strspn (value, BLANKS);
  if (*value < '0' || *value > '9')
    return 0;
  errno = 0;
  n = strtoumax (value, &end, 10);
  end += strspn (end, BLANKS);
  return *end == '\0' && errno == 0 && n <= INT64_MAX ? n : 0;
}

/* "byte * 2^30", also with powers of ten; bytes if it isn't given.  0: it
 * is something else.
 */
static uint64_t
unit_bytes (const char *unit)
{
  static const struct {
    const char *name;
    uint64_t bytes;
  } names[] = {
    { "byte", 1 }, { "bytes", 1 }, { "KiloBytes", 1 << 10 },
    { "MegaBytes", 1 << 20 }, { "GigaBytes", 1 << 30 },
    { "TeraBytes", UINT64_C (1) << 40 },
  };
  char plain[32];
  size_t n = 0, i;
  unsigned base, power;
  uint64_t bytes = 1;

  if (unit == NULL)
    return 1;
  for (; *unit && n < sizeof plain - 1; unit++)
    if (strchr (BLANKS, *unit) == NULL)
      plain[n++] = *unit;
  plain[n] = '\0';
  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcasecmp (plain, names[i].name) == 0)
      return names[i].bytes;
  if (strncasecmp (plain, "byte*", 5) != 0)
    return 0;
  base = strncmp (plain + 5, "2^", 2) == 0 ? 2
    : strncmp (plain + 5, "10^", 3) == 0 ? 10 : 0;
  power = (unsigned) number (plain + (base == 2 ? 7 : base == 10 ? 8 : n));
  if (base == 0 || power >= 63)
    return 0;
  while (power-- > 0)
    if (__builtin_mul_overflow (bytes, base, &bytes))
      return 0;
  return bytes;
}

static uint64_t
capacity (const struct tag *t)
{
  const uint64_t n = number (attribute (t, "capacity"));
  uint64_t bytes;

  if (__builtin_mul_overflow (
        n, unit_bytes (attribute (t, "capacityAllocationUnits")), &bytes))
    return 0;
  return bytes;
}

/* Room for one more in a list that has n items of that size: its length is
 * the next power of two.
 */
static bool
grow (void **list, size_t n, size_t size)
{
  void *longer;

  if ((n & (n - 1)) != 0)
    return true;
  longer = reallocarray (*list, n == 0 ? 1 : 2 * n, size);
  if (longer)
    *list = longer;
  return longer != NULL;
}

static bool
add_file (struct ovf *o, const struct tag *t)
{
  const char *const compression = attribute (t, "compression");
  struct ovf_file *f;

  if (attribute (t, "id") == NULL || attribute (t, "href") == NULL)
    return true;
  if (!grow ((void **) &o->files, o->nr_files, sizeof *f))
    return false;
  f = &o->files[o->nr_files++];
  *f = (struct ovf_file) {
    .size = number (attribute (t, "size")),
    .compressed = compression && strcasecmp (compression, "identity") != 0 &&
      compression[0] != '\0',
    .chunked = attribute (t, "chunkSize") != NULL,
  };
  return copy (attribute (t, "id"), &f->id) &&
    copy (attribute (t, "href"), &f->href);
}

static bool
add_disk (struct ovf *o, const struct tag *t)
{
  struct ovf_disk *d;

  if (attribute (t, "diskId") == NULL)
    return true;
  if (!grow ((void **) &o->disks, o->nr_disks, sizeof *d))
    return false;
  d = &o->disks[o->nr_disks++];
  *d = (struct ovf_disk) { .capacity = capacity (t) };
  return copy (attribute (t, "diskId"), &d->id) &&
    copy (attribute (t, "fileRef"), &d->file_ref);
}

static int
compare_files (const void *a, const void *b)
{
  return strcmp (((const struct ovf_file *) a)->id,
                 ((const struct ovf_file *) b)->id);
}

int
ovf_parse (struct ovf *o, char *text)
{
  bool good = true;
  struct tag t;
  char *p = text;

  *o = (struct ovf) { .files = NULL };
  while (good && (p = strchr (p, '<'))) {
    if (p[1] == '!' || p[1] == '?') {
      p = skip_other (p);
      continue;
    }
    p = parse_tag (&t, p);
    if (strcmp (t.name, "File") == 0)
      good = add_file (o, &t);
    else if (strcmp (t.name, "Disk") == 0)
      good = add_disk (o, &t);
  }
  if (good && o->nr_files > 0)
    qsort (o->files, o->nr_files, sizeof o->files[0], compare_files);
  return good ? 0 : -1;
}

struct ovf_file *
ovf_find_file (const struct ovf *o, const char *id)
{
  const struct ovf_file key = { .id = (char *) id };

  return o->nr_files == 0 ? NULL
    : bsearch (&key, o->files, o->nr_files, sizeof key, compare_files);
}

void
ovf_destroy (struct ovf *o)
{
  size_t i;

  for (i = 0; i < o->nr_files; i++) {
    free (o->files[i].id);
    free (o->files[i].href);
  }
  for (i = 0; i < o->nr_disks; i++) {
    free (o->disks[i].id);
    free (o->disks[i].file_ref);
  }
  free (o->files);
  free (o->disks);
}
