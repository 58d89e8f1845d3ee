/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Parsing the descriptor.  VMware's own parser is liberal, so whatever
 * doesn't change which bytes the guest sees is taken as it comes: case,
 * blanks, quotes, line ends, unknown keys.  What does change it is never
 * guessed: an extent line is understood completely or it is an error,
 * since a disk without one of its extents is shorter and shifted.
 *
 * The text is hostile.  It is walked once, nothing looks back, so that
 * time and memory are proportional to its length; what a message quotes
 * of it is short and printable ASCII; and no function that depends on the
 * locale sees it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"
#include "le.h"

#define MAX_DIGITS 20     /* of a decimal number: those of UINT64_MAX */
#define MAX_CID_DIGITS 8
#define MAX_SHOWN 40      /* bytes of the text that a message quotes */
#define MAX_WARNINGS 16   /* about single lines */

enum header_key {
  KEY_VERSION,
  KEY_ENCODING,
  KEY_CID,
  KEY_PARENT_CID,
  KEY_NATIVE_SNAPSHOT,
  KEY_CREATE_TYPE,
  KEY_PARENT_HINT,
  KEY_CHANGE_TRACK,
  NR_KEYS,
};

static const char *const header_keys[] = {
  [KEY_VERSION] = "version",
  [KEY_ENCODING] = "encoding",
  [KEY_CID] = "CID",
  [KEY_PARENT_CID] = "parentCID",
  [KEY_NATIVE_SNAPSHOT] = "isNativeSnapshot",
  [KEY_CREATE_TYPE] = "createType",
  [KEY_PARENT_HINT] = "parentFileNameHint",
  [KEY_CHANGE_TRACK] = "changeTrackPath",
};

#define NR_ACCESSES 3
static const char *const access_names[] = {
  [ACCESS_RW] = "RW",
  [ACCESS_RDONLY] = "RDONLY",
  [ACCESS_NOACCESS] = "NOACCESS",
};

#define NR_TYPES 9
static const char *const type_names[] = {
  [TYPE_FLAT] = "FLAT",
  [TYPE_SPARSE] = "SPARSE",
  [TYPE_ZERO] = "ZERO",
  [TYPE_VMFS] = "VMFS",
  [TYPE_VMFSSPARSE] = "VMFSSPARSE",
  [TYPE_SESPARSE] = "SESPARSE",
  [TYPE_VMFSRDM] = "VMFSRDM",
  [TYPE_VMFSRAW] = "VMFSRAW",
  [TYPE_VSANSPARSE] = "VSANSPARSE",
};

/* A piece of the text. */
struct span {
  const char *start;
  size_t length;
};

struct parser {
  const struct vmdk_log *log;
  const char *name;
  struct descriptor *d;
  unsigned line;
  unsigned seen;        /* 1u << enum header_key */
  unsigned nr_warnings;
  size_t max_extents;   /* what the arrays have room for */
  size_t max_ddb;
  bool titled;          /* some comment says that this is a descriptor */
  bool understood;      /* ... or some line looks like it */
};

/* Characters, in ASCII whatever the locale. */

static bool
is_blank (int c)
{
  return c == ' ' || c == '\t';
}

static bool
is_digit (int c)
{
  return c >= '0' && c <= '9';
}

static int
lower (int c)
{
  return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool
is_word_char (int c)
{
  return is_digit (c) || (lower (c) >= 'a' && lower (c) <= 'z') ||
    c == '.' || c == '_' || c == '-';
}

/* Spans. */

static void
skip (struct span *s, size_t count)
{
  s->start += count;
  s->length -= count;
}

static void
skip_blanks (struct span *s)
{
  while (s->length > 0 && is_blank (s->start[0]))
    skip (s, 1);
}

static struct span
trim (struct span s)
{
  skip_blanks (&s);
  while (s.length > 0 && is_blank (s.start[s.length - 1]))
    s.length--;
  return s;
}

static bool
starts_with (struct span s, const char *word)
{
  size_t i;

  for (i = 0; word[i] != '\0'; i++)
    if (i == s.length || lower (s.start[i]) != lower (word[i]))
      return false;
  return true;
}

static bool
span_is (struct span s, const char *word)
{
  return s.length == strlen (word) && starts_with (s, word);
}

static bool
contains (struct span s, const char *word)
{
  for (; s.length > 0; skip (&s, 1))
    if (starts_with (s, word))
      return true;
  return false;
}

/* The place of c in s, or the length of s. */
static size_t
find_char (struct span s, char c)
{
  const char *const p = s.length > 0 ? memchr (s.start, c, s.length) : NULL;

  return p ? (size_t) (p - s.start) : s.length;
}

static struct span
cut_before (struct span s, char c)
{
  return (struct span) { s.start, find_char (s, c) };
}

/* The index of s in names, or nr_names. */
static unsigned
find_name (struct span s, const char *const *names, unsigned nr_names)
{
  unsigned i;

  for (i = 0; i < nr_names; i++)
    if (span_is (s, names[i]))
      break;
  return i;
}

/* Takes letters and digits from the start of s, behind blanks. */
static struct span
take_word (struct span *s)
{
  struct span word;

  skip_blanks (s);
  word = (struct span) { s->start, 0 };
  while (s->length > 0 && is_word_char (s->start[0])) {
    word.length++;
    skip (s, 1);
  }
  return word;
}

/* Takes what stands before the next blank or quote, behind blanks. */
static struct span
take_field (struct span *s)
{
  struct span field;

  skip_blanks (s);
  field = (struct span) { s->start, 0 };
  while (s->length > 0 && !is_blank (s->start[0]) && s->start[0] != '"') {
    field.length++;
    skip (s, 1);
  }
  return field;
}

/* Takes what stands between s's first character, which is a quote, and
 * the next one.  False when there is none.
 */
static bool
take_quoted (struct span *s, struct span *inside)
{
  skip (s, 1);
  *inside = cut_before (*s, '"');
  if (inside->length == s->length)
    return false;
  skip (s, inside->length + 1);
  return true;
}

/* Takes a line.  LF, CR LF and CR end one. */
static bool
take_line (struct span *text, struct span *line)
{
  size_t n = 0;

  if (text->length == 0)
    return false;
  while (n < text->length && text->start[n] != '\n' && text->start[n] != '\r')
    n++;
  *line = (struct span) { text->start, n };
  skip (text, n);
  if (text->length > 1 && text->start[0] == '\r' && text->start[1] == '\n')
    skip (text, 1);
  if (text->length > 0)
    skip (text, 1);
  return true;
}

static bool
parse_decimal (struct span s, uint64_t *value)
{
  size_t i;

  *value = 0;
  for (i = 0; i < s.length; i++)
    if (!is_digit (s.start[i]) || i == MAX_DIGITS ||
        __builtin_mul_overflow (*value, 10, value) ||
        __builtin_add_overflow (*value, (uint64_t) (s.start[i] - '0'), value))
      return false;
  return s.length > 0;
}

static bool
parse_cid (struct span s, uint32_t *value)
{
  size_t i;

  *value = 0;
  for (i = 0; i < s.length; i++) {
    const int c = lower (s.start[i]);

    if (i == MAX_CID_DIGITS || !(is_digit (c) || (c >= 'a' && c <= 'f')))
      return false;
    *value = *value << 4 | (uint32_t) (is_digit (c) ? c - '0' : c - 'a' + 10);
  }
  return s.length > 0;
}

/* Messages. */

struct shown {
  char s[(sizeof "\\x00" - 1) * MAX_SHOWN + sizeof "\"\"..."];
};

/* The span in quotes, fit for a terminal. */
static struct shown
show (struct span s)
{
  struct shown r = { "nothing" };
  char *p = r.s;
  size_t i;

  if (s.length == 0)
    return r;
  *p++ = '"';
  for (i = 0; i < s.length && i < MAX_SHOWN; i++) {
    if (s.start[i] >= 0x20 && s.start[i] < 0x7f)
      *p++ = s.start[i];
    else
      p += sprintf (p, "\\x%02x", (unsigned char) s.start[i]);
  }
  sprintf (p, "\"%s", i < s.length ? "..." : "");
  return r;
}

#define SHOW(SPAN) (show (SPAN).s)

static int
bad_text (const struct parser *p, const char *problem)
{
  vmdk_error (p->log, "%s: %s", p->name, problem);
  errno = EINVAL;
  return -1;
}

static int
bad_line (const struct parser *p, const char *what, struct span found,
          const char *expected)
{
  vmdk_error (p->log, "%s: line %u: %sfound %s, expected %s", p->name, p->line,
              what, SHOW (found), expected);
  errno = EINVAL;
  return -1;
}

static int
no_memory (const struct parser *p)
{
  errno = ENOMEM;
  vmdk_error (p->log, "%s: %m", p->name);
  return -1;
}

/* A text can have a hundred thousand odd lines: says the first few. */
static void
odd_line (struct parser *p, const char *what, struct span found,
          const char *consequence)
{
  if (p->nr_warnings < MAX_WARNINGS)
    vmdk_warning (p->log, "%s: line %u: %s %s, %s", p->name, p->line, what,
                  SHOW (found), consequence);
  else if (p->nr_warnings == MAX_WARNINGS)
    vmdk_warning (p->log, "%s: line %u: warnings about this and later lines "
                  "are left out", p->name, p->line);
  p->nr_warnings++;
}

static void
debug_ignored (const struct parser *p, struct span ignored)
{
  ignored = trim (ignored);
  if (ignored.length > 0)
    vmdk_debug (p->log, VMDK_TOPIC_DESCRIPTOR, "%s: line %u: ignored %s",
                p->name, p->line, SHOW (ignored));
}

/* What kind of text, and what kind of line. */

/* Somebody converted the text.  Two characters must look like it, because
 * this is also asked about files that aren't text.
 */
static bool
is_utf16 (const char *text, size_t length)
{
  size_t i;

  if (length >= 2 && (memcmp (text, "\xff\xfe", 2) == 0 ||
                      memcmp (text, "\xfe\xff", 2) == 0)) {
    text += 2;
    length -= 2;
  }
  if (length < 4)
    return false;
  i = text[0] == '\0';
  return (text[i] == '#' || lower (text[i]) == 'v') &&
    text[1 - i] == '\0' && text[2 + i] != '\0' && text[3 - i] == '\0';
}

/* The text without a byte order mark, up to the first NUL byte. */
static struct span
usable_text (const char *text, size_t length)
{
  struct span s = { text, length };

  if (length >= 3 && memcmp (text, "\xef\xbb\xbf", 3) == 0)
    skip (&s, 3);
  return cut_before (s, '\0');
}

/* "# Disk DescriptorFile", and "#Disk Descriptor File" by some. */
static bool
is_title (struct span line)
{
  static const char *const words[] = { "#", "disk", "descriptor", "file" };
  size_t i;

  for (i = 0; i < sizeof words / sizeof words[0]; i++) {
    skip_blanks (&line);
    if (!starts_with (line, words[i]))
      return false;
    skip (&line, strlen (words[i]));
  }
  return true;
}

/* False if this isn't KEY = VALUE.  value may have quotes. */
static bool
split_key (struct span line, struct span *key, struct span *value)
{
  const size_t n = find_char (line, '=');

  if (n == line.length)
    return false;
  *key = trim (cut_before (line, '='));
  skip (&line, n + 1);
  *value = trim (line);
  return key->length > 0 && find_char (*key, ' ') == key->length &&
    find_char (*key, '\t') == key->length &&
    find_char (*key, '"') == key->length;
}

/* Whether a line was meant as an extent line, valid or not.  One whose
 * first word is unknown must not be taken for garbage and skipped.
 */
static bool
is_extent_line (struct span line)
{
  const bool quotes = find_char (line, '"') < find_char (line, '=');
  struct span second, third;

  if (find_name (take_word (&line), access_names, NR_ACCESSES) < NR_ACCESSES)
    return true;
  second = take_word (&line);
  third = take_word (&line);
  if (find_name (second, type_names, NR_TYPES) < NR_TYPES)
    return quotes;
  return second.length > 0 && is_digit (second.start[0]) &&
    (quotes || find_name (third, type_names, NR_TYPES) < NR_TYPES);
}

/* Extent lines. */

/* Room for one more element after nr; NULL: no memory. */
static void *
grow (void *array, size_t nr, size_t *max, size_t size)
{
  void *bigger;

  if (nr < *max)
    return array;
  bigger = reallocarray (array, *max * 2 + 8, size);
  if (bigger)
    *max = *max * 2 + 8;
  return bigger;
}

static int
take_access (const struct parser *p, struct span *rest, struct extent_line *e)
{
  const struct span field = take_field (rest);
  const unsigned i = find_name (field, access_names, NR_ACCESSES);

  if (i == NR_ACCESSES)
    return bad_line (p, "", field, "RW, RDONLY or NOACCESS");
  e->access = (enum extent_access) i;
  return 0;
}

static int
take_size (const struct parser *p, struct span *rest, struct extent_line *e)
{
  const struct span field = take_field (rest);
  uint64_t sectors;

  if (!parse_decimal (field, &sectors) || sectors == 0)
    return bad_line (p, "", field, "the size as a decimal number of sectors, "
                     "at least 1");
  if (!sectors_to_bytes (sectors, &e->size) || e->size > VMDK_MAX_SIZE)
    return bad_line (p, "the size is too large: ", field, "less than 2^63 "
                     "bytes in sectors of 512");
  return 0;
}

static int
take_type (const struct parser *p, struct span *rest, struct extent_line *e)
{
  const struct span field = take_field (rest);
  const unsigned i = find_name (field, type_names, NR_TYPES);

  if (i == NR_TYPES)
    return bad_line (p, "", field, "a type of extent (FLAT, SPARSE, ZERO, "
                     "VMFS, VMFSSPARSE, SESPARSE, VMFSRDM, VMFSRAW or "
                     "VSANSPARSE)");
  e->type = (enum extent_type) i;
  return 0;
}

/* Sets *name to NULL if there is none and none is needed. */
static int
take_name (const struct parser *p, struct span *rest,
           const struct extent_line *e, struct span *name)
{
  const char *const expected = "the name of the extent's file in quotes";
  struct span quoted;
  uint64_t number;

  *name = (struct span) { NULL, 0 };
  skip_blanks (rest);
  quoted = *rest;
  if (rest->length > 0 && rest->start[0] == '"') {
    if (!take_quoted (rest, name))
      return bad_line (p, "", quoted, "a quote after the extent's name");
    if (rest->length > 0 && !is_blank (rest->start[0]))
      return bad_line (p, "", *rest, "a blank or the end of the line after "
                       "the quote that ends the extent's name");
    return 0;
  }
  if (e->type == TYPE_ZERO) { /* what follows can't matter */
    debug_ignored (p, *rest);
    skip (rest, rest->length);
    return 0;
  }
  if (rest->length == 0 && e->access == ACCESS_NOACCESS)
    return 0;
  *name = take_field (rest);
  if (name->length == 0 || parse_decimal (*name, &number)) /* an offset */
    return bad_line (p, "", *name, expected);
  return 0;
}

/* VMware on Windows adds the partition's identity for physical disks. */
static int
take_offset (const struct parser *p, struct span *rest, struct extent_line *e)
{
  const struct span all = *rest;
  struct span field;
  uint64_t sectors, end;

  skip_blanks (rest);
  if (rest->length == 0)
    return 0;
  field = take_field (rest);
  if (span_is (field, "partitionUUID")) {
    debug_ignored (p, all);
    return 0;
  }
  if (!parse_decimal (field, &sectors))
    return bad_line (p, "", field.length > 0 ? field : trim (*rest),
                     "the offset as a decimal number of sectors");
  if (!sectors_to_bytes (sectors, &e->offset) ||
      __builtin_add_overflow (e->offset, e->size, &end) ||
      end > VMDK_MAX_SIZE)
    return bad_line (p, "the offset is too large: ", field, "that the extent "
                     "ends before 2^63 bytes, in sectors of 512");
  e->has_offset = true;
  debug_ignored (p, *rest);
  return 0;
}

/* Takes the place that the extent has in the disk. */
static int
add_extent (struct parser *p, struct extent_line *e, struct span name)
{
  struct descriptor *const d = p->d;
  struct extent_line *bigger;

  bigger = grow (d->extents, d->nr_extents, &p->max_extents,
                 sizeof *d->extents);
  if (bigger == NULL)
    return no_memory (p);
  d->extents = bigger;
  if (name.start) {
    e->name = strndup (name.start, name.length);
    if (e->name == NULL)
      return no_memory (p);
  }
  d->size += e->size;
  d->extents[d->nr_extents++] = *e;
  vmdk_debug (p->log, VMDK_TOPIC_DESCRIPTOR, "%s: line %u: extent: %s, %s, %"
              PRIu64 " bytes, name %s, at byte %" PRIu64, p->name, p->line,
              access_names[e->access], type_names[e->type], e->size,
              SHOW (name), e->offset);
  return 0;
}

static int
parse_extent (struct parser *p, struct span line)
{
  struct extent_line e = { .line = p->line };
  struct span rest = line, name;
  uint64_t sum;

  if (take_access (p, &rest, &e) == -1 || take_size (p, &rest, &e) == -1 ||
      take_type (p, &rest, &e) == -1 ||
      take_name (p, &rest, &e, &name) == -1 ||
      take_offset (p, &rest, &e) == -1)
    return -1;
  if (p->d->nr_extents == VMDK_MAX_EXTENTS) {
    vmdk_error (p->log, "%s: line %u: found one more extent, expected at most "
                "%d", p->name, p->line, VMDK_MAX_EXTENTS);
    errno = EINVAL;
    return -1;
  }
  if (__builtin_add_overflow (p->d->size, e.size, &sum) ||
      sum > VMDK_MAX_SIZE)
    return bad_line (p, "the disk is too large: ", line, "that all extents "
                     "together have less than 2^63 bytes");
  return add_extent (p, &e, name);
}

/* Keys. */

/* Takes the quotes off.  What follows them is nobody's. */
static bool
unquote (const struct parser *p, struct span raw, struct span *value)
{
  *value = raw;
  if (raw.length == 0 || raw.start[0] != '"')
    return true;
  if (!take_quoted (&raw, value))
    return false;
  debug_ignored (p, raw);
  return true;
}

static int
set_version (const struct parser *p, struct span value)
{
  uint64_t version;

  if (!parse_decimal (value, &version) || version < 1 || version > 4)
    return bad_line (p, "version: ", value, "1, 2, 3 or 4");
  p->d->version = (unsigned) version;
  return 0;
}

static int
set_cid (const struct parser *p, const char *what, struct span value,
         uint32_t *cid, bool *has_cid)
{
  if (!parse_cid (value, cid))
    return bad_line (p, what, value, "1 to 8 hexadecimal digits");
  *has_cid = true;
  return 0;
}

/* An empty value says as little as a missing key. */
static int
set_string (const struct parser *p, struct span value, char **string)
{
  if (value.length == 0)
    return 0;
  *string = strndup (value.start, value.length);
  return *string ? 0 : no_memory (p);
}

static int
set_header (struct parser *p, enum header_key key, struct span raw)
{
  struct descriptor *const d = p->d;
  struct span value;

  if (!unquote (p, raw, &value))
    return bad_line (p, "", raw, "a quote at the end of the value");
  if (p->seen & 1u << key) {
    odd_line (p, header_keys[key], value, "which was given before; the first "
              "one holds");
    return 0;
  }
  p->seen |= 1u << key;
  vmdk_debug (p->log, VMDK_TOPIC_DESCRIPTOR, "%s: line %u: %s is %s", p->name,
              p->line, header_keys[key], SHOW (value));
  switch (key) {
  case KEY_VERSION:
    return set_version (p, value);
  case KEY_CID:
    return set_cid (p, "CID: ", value, &d->cid, &d->has_cid);
  case KEY_PARENT_CID:
    return set_cid (p, "parentCID: ", value, &d->parent_cid,
                    &d->has_parent_cid);
  case KEY_ENCODING: return set_string (p, value, &d->encoding);
  case KEY_NATIVE_SNAPSHOT: return set_string (p, value, &d->native_snapshot);
  case KEY_CREATE_TYPE: return set_string (p, value, &d->create_type);
  case KEY_PARENT_HINT: return set_string (p, value, &d->parent_hint);
  case KEY_CHANGE_TRACK: return set_string (p, value, &d->change_track);
  case NR_KEYS: break;
  }
  return 0;
}

/* Duplicates aren't looked for: that would take quadratic time. */
static int
add_ddb (struct parser *p, struct span key, struct span raw)
{
  struct descriptor *const d = p->d;
  struct ddb_entry *bigger, *entry;
  struct span value;

  if (!unquote (p, raw, &value)) {
    odd_line (p, "there is no quote at the end of", raw, "its value is what "
              "the line has");
    skip (&raw, 1);
    value = raw;
  }
  bigger = grow (d->ddb, d->nr_ddb, &p->max_ddb, sizeof *d->ddb);
  if (bigger == NULL)
    return no_memory (p);
  d->ddb = bigger;
  entry = &d->ddb[d->nr_ddb++];
  entry->key = strndup (key.start, key.length);
  entry->value = strndup (value.start, value.length);
  return entry->key && entry->value ? 0 : no_memory (p);
}

static int
parse_key (struct parser *p, struct span key, struct span raw)
{
  const unsigned i = find_name (key, header_keys, NR_KEYS);

  if (i < NR_KEYS)
    return set_header (p, (enum header_key) i, raw);
  if (contains (key, "encryption") || contains (key, "keysafe") ||
      contains (key, "datafilekey"))
    p->d->encrypted = true;
  if (starts_with (key, "ddb.")) {
    skip (&key, strlen ("ddb."));
    return add_ddb (p, key, raw);
  }
  vmdk_debug (p->log, VMDK_TOPIC_DESCRIPTOR, "%s: line %u: ignored the key %s",
              p->name, p->line, SHOW (key));
  return 0;
}

static int
parse_line (struct parser *p, struct span line)
{
  struct span key, value;

  line = trim (line);
  if (line.length == 0)
    return 0;
  if (line.start[0] == '#') {
    p->titled = p->titled || is_title (line);
    return 0;
  }
  if (is_extent_line (line)) {
    p->understood = true;
    return parse_extent (p, line);
  }
  if (split_key (line, &key, &value)) {
    p->understood = true;
    return parse_key (p, key, value);
  }
  if (!p->titled && !p->understood) /* it would be all like this */
    return bad_line (p, "this is not a descriptor: ", line, "version=1");
  odd_line (p, "skipped", line, "which is neither a key with a value nor an "
            "extent");
  return 0;
}

/* The text as a whole. */

static int
check_complete (const struct parser *p)
{
  struct descriptor *const d = p->d;

  if (d->version == 0) {
    if (!p->titled && !(d->has_cid && d->nr_extents > 0))
      return bad_text (p, "found no version= line, expected one: this is not "
                       "a descriptor");
    d->version = 1;
    vmdk_warning (p->log, "%s: found no version= line, expected one; taken "
                  "as version 1", p->name);
  }
  if (d->nr_extents == 0)
    return bad_text (p, d->encrypted ? "the descriptor is encrypted, which "
                     "isn't supported" :
                     "found no extent lines, expected at least one");
  if (!d->has_cid)
    vmdk_warning (p->log, "%s: found no CID= line, expected one; taken as "
                  "%08" PRIx32, p->name, d->cid);
  if (!d->has_parent_cid)
    vmdk_warning (p->log, "%s: found no parentCID= line, expected one; taken "
                  "as %08" PRIx32 " (no parent)", p->name, d->parent_cid);
  return 0;
}

/* Padding is normal, text behind it isn't.  But qemu prints CIDs without
 * leading zeroes, and when a new one is shorter, it leaves the last bytes
 * of the former text behind the NUL that ends the new one.
 */
static void
check_rest (const struct parser *p, const char *rest, size_t length)
{
  size_t i;

  for (i = 8; i < length && rest[i] == '\0'; i++)
    ;
  if (i < length)
    vmdk_warning (p->log, "%s: line %u: the text ends with a NUL byte, but is "
                  "followed by more, which is ignored", p->name, p->line);
}

static int
parse_text (struct parser *p, const char *text, size_t length)
{
  struct span rest = usable_text (text, length), line;
  const char *const end = rest.start + rest.length;

  if (is_utf16 (text, length))
    return bad_text (p, "found text in UTF-16, expected one byte for a letter "
                     "(UTF-8, for example)");
  if (rest.length > VMDK_MAX_DESCRIPTOR) {
    vmdk_error (p->log, "%s: the descriptor has %zu bytes, expected at most "
                "%d", p->name, rest.length, VMDK_MAX_DESCRIPTOR);
    errno = EINVAL;
    return -1;
  }
  while (take_line (&rest, &line)) {
    p->line++;
    if (parse_line (p, line) == -1)
      return -1;
  }
  check_rest (p, end, (size_t) (text + length - end));
  return check_complete (p);
}

bool
descriptor_probe (const char *text, size_t length)
{
  struct span rest = usable_text (text, length), line, key, value;

  if (is_utf16 (text, length)) /* descriptor_parse says what is wrong */
    return true;
  while (take_line (&rest, &line)) {
    line = trim (line);
    if (is_title (line))
      return true;
    if (line.length > 0 && line.start[0] != '#')
      return split_key (line, &key, &value) && span_is (key, "version");
  }
  return false;
}

struct descriptor *
descriptor_parse (const struct vmdk_log *log, const char *name,
                  const char *text, size_t length)
{
  struct parser p = { .log = log, .name = name };

  p.d = calloc (1, sizeof *p.d);
  if (p.d == NULL) {
    no_memory (&p);
    return NULL;
  }
  p.d->cid = CID_UNSET;
  p.d->parent_cid = CID_NONE;
  if (parse_text (&p, text, length) == -1) {
    const int err = errno;

    descriptor_free (p.d);
    errno = err;
    return NULL;
  }
  vmdk_debug (log, VMDK_TOPIC_DESCRIPTOR, "%s: version %u, %zu extents, %"
              PRIu64 " bytes, CID %08" PRIx32 ", parentCID %08" PRIx32, name,
              p.d->version, p.d->nr_extents, p.d->size, p.d->cid,
              p.d->parent_cid);
  return p.d;
}

void
descriptor_free (struct descriptor *d)
{
  size_t i;

  if (d == NULL)
    return;
  for (i = 0; i < d->nr_extents; i++)
    free (d->extents[i].name);
  for (i = 0; i < d->nr_ddb; i++) {
    free (d->ddb[i].key);
    free (d->ddb[i].value);
  }
  free (d->extents);
  free (d->ddb);
  free (d->create_type);
  free (d->encoding);
  free (d->parent_hint);
  free (d->change_track);
  free (d->native_snapshot);
  free (d);
}

const char *
descriptor_ddb (const struct descriptor *d, const char *key)
{
  size_t i;

  for (i = 0; i < d->nr_ddb; i++) {
    const char *const k = d->ddb[i].key;

    if (span_is ((struct span) { k, strlen (k) }, key))
      return d->ddb[i].value;
  }
  return NULL;
}

/* For those who change a text. */

struct descriptor_lines
descriptor_lines (const char *text, size_t length)
{
  const struct span s = usable_text (text, length);

  return (struct descriptor_lines) { s.start, s.start + s.length };
}

static enum line_kind
kind_of_ddb (struct span key)
{
  static const char *const names[] = {
    "ddb.longContentID", "ddb.geometry.cylinders", "ddb.geometry.heads",
    "ddb.geometry.sectors",
  };
  static const enum line_kind kinds[] = {
    LINE_LONG_CONTENT_ID, LINE_CYLINDERS, LINE_HEADS, LINE_SECTORS,
    LINE_OTHER,
  };

  return kinds[find_name (key, names, sizeof names / sizeof names[0])];
}

static enum line_kind
kind_of_key (struct span key)
{
  switch (find_name (key, header_keys, NR_KEYS)) {
  case KEY_VERSION: return LINE_VERSION;
  case KEY_CID: return LINE_CID;
  case KEY_PARENT_CID: return LINE_PARENT_CID;
  case KEY_CREATE_TYPE: return LINE_CREATE_TYPE;
  case KEY_PARENT_HINT: return LINE_PARENT_HINT;
  case KEY_CHANGE_TRACK: return LINE_CHANGE_TRACK;
  default: return kind_of_ddb (key);
  }
}

/* The order of the questions is that of parse_line. */
static enum line_kind
kind_of_line (struct span line, struct span *value)
{
  struct span key, raw;

  line = trim (line);
  *value = (struct span) { line.start, 0 };
  if (line.length > 0 && line.start[0] == '#')
    return span_is (line, "# Change Tracking File") ? LINE_CHANGE_TRACK_TITLE :
      LINE_OTHER;
  if (is_extent_line (line)) {
    take_field (&line);
    *value = take_field (&line);
    return LINE_EXTENT;
  }
  if (!split_key (line, &key, &raw))
    return LINE_OTHER;
  *value = raw;
  if (raw.length > 0 && raw.start[0] == '"' && !take_quoted (&raw, value))
    *value = raw; /* what the parser makes of a "ddb." key */
  return kind_of_key (key);
}

bool
descriptor_next_line (struct descriptor_lines *lines,
                      struct descriptor_line *line)
{
  struct span rest = { lines->next, (size_t) (lines->end - lines->next) };
  struct span content, value;

  if (!take_line (&rest, &content))
    return false;
  line->kind = kind_of_line (content, &value);
  line->start = lines->next;
  line->end = lines->next = rest.start;
  line->value = value.start;
  line->value_end = value.start + value.length;
  return true;
}

bool
descriptor_read_cid (const char *digits, size_t length, uint32_t *cid)
{
  return parse_cid ((struct span) { digits, length }, cid);
}

const char *
extent_access_name (enum extent_access access)
{
  return access_names[access];
}

const char *
extent_type_name (enum extent_type type)
{
  return type_names[type];
}
