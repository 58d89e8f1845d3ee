/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changing a descriptor's text: that nothing but what must changes, byte
 * for byte; that the parser sees the change; and that a crash which leaves
 * only some of the sectors changed leaves a valid text, with another CID
 * than the old one as soon as any of its digits is new.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor-edit.h"
#include "descriptor.h"

#define NAME "disk.vmdk"
#define TITLE "# Disk DescriptorFile\n"
#define EXTENT "RW 2048 SPARSE \"x.vmdk\"\n"
#define CT_TITLE "# Change Tracking File"
#define CT "changeTrackPath=\"x-ctk.vmdk\""
#define OLD_ID "0123456789abcdef0123456712345678"

/* In an expected text, each stands for any digit. */
#define D "\1"
#define D8 D D D D D D D D
#define D32 D8 D8 D8 D8

static unsigned nr_errors, nr_warnings;

static void
on_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  (void) fmt;
  (void) args;
  nr_errors++;
}

static void
on_warning (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  (void) fmt;
  (void) args;
  nr_warnings++;
}

static const struct vmdk_log test_log = {
  .error = on_error, .warning = on_warning,
};

/* A text of any length. */
struct text {
  char *bytes;
  size_t length;
};

static struct text
text_of (const char *bytes, size_t length)
{
  struct text t = { malloc (length + 1), length }; /* never NULL */

  assert (t.bytes);
  memcpy (t.bytes, bytes, length);
  return t;
}

#define LITERAL(S) text_of ((S), sizeof (S) - 1)

static void
append (struct text *t, const char *bytes, size_t length)
{
  t->bytes = realloc (t->bytes, t->length + length + 1);
  assert (t->bytes);
  memcpy (t->bytes + t->length, bytes, length);
  t->length += length;
}

static void
append_string (struct text *t, const char *s)
{
  append (t, s, strlen (s));
}

static struct text
change (struct text old, struct descriptor_edit edit, uint32_t *cid)
{
  /* Ends where the text ends, for AddressSanitizer. */
  char *const exact = malloc (old.length ? old.length : 1);
  struct text new;

  assert (exact);
  memcpy (exact, old.bytes, old.length);
  new.bytes = descriptor_change (&test_log, NAME, exact, old.length, &edit,
                                 &new.length, cid);
  assert (new.bytes);
  assert (!edit.in_place || new.length == old.length);
  free (exact);
  return new;
}

static struct descriptor *
parse (struct text t)
{
  return descriptor_parse (&vmdk_no_log, NAME, t.bytes, t.length);
}

static bool
is_hex (char c)
{
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static void
dump (const char *what, struct text t)
{
  fprintf (stderr, "--- %s, %zu bytes:\n", what, t.length);
  fwrite (t.bytes, 1, t.length, stderr);
  fprintf (stderr, "\n");
}

static void
expect_text (struct text old, struct text new, struct text expected)
{
  bool good = new.length == expected.length;
  size_t i;

  for (i = 0; good && i < new.length; i++)
    good = expected.bytes[i] == '\1' ? is_hex (new.bytes[i]) :
      new.bytes[i] == expected.bytes[i];
  if (good)
    return;
  dump ("old", old);
  dump ("expected", expected);
  dump ("new", new);
  abort ();
}

static void
expect_new_cid (struct text old, struct text new, uint32_t cid)
{
  struct descriptor *const was = parse (old), *const is = parse (new);
  const char *id;
  char end[9];

  assert (was && is);
  assert (is->cid == cid && was->has_cid == is->has_cid);
  assert (is->parent_cid == was->parent_cid);
  assert (!was->has_cid || cid != was->cid);
  assert (!was->has_cid || (cid != CID_NONE && cid != CID_UNSET));
  id = descriptor_ddb (is, "longContentID");
  snprintf (end, sizeof end, "%08" PRIx32, cid);
  if (was->has_cid && id && strlen (id) == 32)
    assert (strcmp (id + 24, end) == 0 ||
            strcmp (id, descriptor_ddb (was, "longContentID")) == 0);
  descriptor_free (was);
  descriptor_free (is);
}

/* One text, and what shall become of it. */

static const struct descriptor_edit
in_place = { .in_place = true },
beside = { .in_place = false },
drop_in_place = { .in_place = true, .drop_change_track = true },
drop_beside = { .drop_change_track = true };

static void
test_case (struct text old, struct descriptor_edit edit,
           struct text expected)
{
  uint32_t cid;
  const struct text new = change (old, edit, &cid);

  expect_text (old, new, expected);
  expect_new_cid (old, new, cid);
  assert (nr_errors == 0);
  free (new.bytes);
  free (old.bytes);
  free (expected.bytes);
}

/* Old and new have a descriptor around them. */
#define CASE_IN(HEAD, EDIT, OLD, NEW, TAIL)                               \
  test_case (LITERAL (HEAD OLD TAIL), EDIT, LITERAL (HEAD NEW TAIL))
#define CASE(EDIT, OLD, NEW)                                    \
  CASE_IN (TITLE "version=1\nparentCID=fFffFfff\n", EDIT, OLD, NEW, EXTENT)
#define BOTH(OLD, NEW)       \
  CASE (in_place, OLD, NEW); \
  CASE (beside, OLD, NEW)

static void
test_cid_lines (void)
{
  BOTH ("CID=12345678\n", "CID=" D8 "\n");
  BOTH ("CID=12345678\r\n", "CID=" D8 "\r\n");
  BOTH ("CID=12345678\r", "CID=" D8 "\r");
  BOTH ("\n\r\r\n \t\nCID=12345678\n\r", "\n\r\r\n \t\nCID=" D8 "\n\r");
  BOTH ("cid = 1234ABCD  \n", "cid = " D8 "  \n");
  BOTH ("\t cId\t=\t\"FFFFFFFE\" \n", "\t cId\t=\t\"" D8 "\" \n");
  BOTH ("CID=\"00000000\" tail\n", "CID=\"" D8 "\" tail\n");
  CASE (in_place, "CID=5\n", "CID=" D "\n");
  CASE (in_place, "CID = \"0\"\r\n", "CID = \"" D "\"\r\n");
  CASE (in_place, "CID=abcdef0\n", "CID=" D D D D D D D "\n");
  CASE (beside, "CID=5\n", "CID=" D8 "\n");
  CASE (beside, "CID=\"abcdef0\"\n", "CID=\"" D8 "\"\n");
}

/* What only looks like the line. */
static void
test_other_lines (void)
{
  BOTH ("#CID=11111111\nxCID=22222222\nCID.x=3\nthe CID=4\n"
        "CID=12345678\nCID=55555555\nPARENTCID=66666666\n",
        "#CID=11111111\nxCID=22222222\nCID.x=3\nthe CID=4\n"
        "CID=" D8 "\nCID=55555555\nPARENTCID=66666666\n");
  BOTH ("RW 16 FLAT \"CID=1\"\nparentFileNameHint=\"CID=2\"\nCID=12345678\n",
        "RW 16 FLAT \"CID=1\"\nparentFileNameHint=\"CID=2\"\nCID=" D8 "\n");
  BOTH ("CID=12345678\n\xff\x80 garbage \x02\n", "CID=" D8
        "\n\xff\x80 garbage \x02\n");
}

static void
test_ends (void)
{
#define TAIL_CASE(EDIT, OLD, NEW)                                         \
  CASE_IN ("\xef\xbb\xbf" TITLE "version=1\n" EXTENT, EDIT, OLD, NEW, "")
#define TAIL_BOTH(OLD, NEW)       \
  TAIL_CASE (in_place, OLD, NEW); \
  TAIL_CASE (beside, OLD, NEW)

  TAIL_BOTH ("CID=12345678", "CID=" D8);
  TAIL_BOTH ("CID=12345678\0", "CID=" D8 "\0");
  TAIL_BOTH ("CID=12345678\n\0\0\0\0CID=1\n\0", "CID=" D8
             "\n\0\0\0\0CID=1\n\0");
  TAIL_CASE (beside, "CID=5\0\0\0\0\0\0\0\0\0\0\0xyz", "CID=" D8
             "\0\0\0\0\0\0\0\0\0\0\0xyz");
}

static void
test_long_content_id (void)
{
#define LONG_CASE(EDIT, OLD, NEW)                                       \
  CASE (EDIT, "CID=12345678\n" OLD, "CID=" D8 "\n" NEW);                \
  CASE (EDIT, OLD "CID=12345678\n", NEW "CID=" D8 "\n")
#define LONG_BOTH(OLD, NEW)       \
  LONG_CASE (in_place, OLD, NEW); \
  LONG_CASE (beside, OLD, NEW)
#define KEY "ddb.longContentID"

  LONG_BOTH (KEY " = \"" OLD_ID "\"\n", KEY " = \"" D32 "\"\n");
  LONG_BOTH ("DDB.LONGCONTENTID=" OLD_ID "\r\n", "DDB.LONGCONTENTID=" D32
             "\r\n");
  LONG_BOTH (KEY "=\"" OLD_ID "\"\n" KEY "=\"" OLD_ID "\"\n",
             KEY "=\"" D32 "\"\n" KEY "=\"" OLD_ID "\"\n");
  LONG_BOTH ("ddb.uuid = \"" OLD_ID "\"\n", "ddb.uuid = \"" OLD_ID "\"\n");
  LONG_CASE (in_place, KEY " = \"12345678\"\n", KEY " = \"12345678\"\n");
  LONG_CASE (in_place, KEY " = \"x123456789abcdef0123456712345678\"\n",
             KEY " = \"x123456789abcdef0123456712345678\"\n");
  LONG_CASE (in_place, KEY " = \"" OLD_ID "0\"\n", KEY " = \"" OLD_ID
             "0\"\n");
  LONG_CASE (beside, KEY " = \"12345678\"\n", KEY " = \"" D32 "\"\n");
  LONG_CASE (beside, KEY "=\n", KEY "=" D32 "\n");
  LONG_CASE (beside, KEY " = \"" OLD_ID "0\"\n", KEY " = \"" D32 "\"\n");
}

static void
test_change_track (void)
{
#define CT_CASE(EDIT, OLD, NEW)                                             \
  CASE_IN (TITLE, EDIT, "version=3\nCID=12345678\n" EXTENT OLD,             \
           "version=1\nCID=" D8 "\n" EXTENT NEW, "")

  CT_CASE (drop_beside, "\n" CT_TITLE "\n" CT "\n\n# x\n", "\n\n# x\n");
  CT_CASE (drop_beside, "\r\n" CT_TITLE "\r\n" CT "\r\n\r\n", "\r\n\r\n");
  CT_CASE (drop_beside, "a=b\n" CT "\n", "a=b\n");
  CT_CASE (drop_beside, "a=b\n" CT, "a=b\n");
  CT_CASE (drop_beside, " # change tracking file \r  CHANGEtrackpath =\n",
           "");
  CT_CASE (drop_beside, CT_TITLE "\n\n" CT "\n", CT_TITLE "\n\n");
  CT_CASE (drop_beside, CT_TITLE " by Bob\n" CT "\n", CT_TITLE " by Bob\n");
  CT_CASE (drop_beside, CT "\n" CT_TITLE "\n" CT "\n" CT "\n" CT_TITLE "\n",
           CT_TITLE "\n");
  CT_CASE (drop_in_place, CT_TITLE "\r\n" CT "\r\n", CT_TITLE
           "\r\n#hangeTrackPath=\"x-ctk.vmdk\"\r\n");
  CT_CASE (drop_in_place, CT "\n \tchangeTrackPath=\ny=" CT "\n",
           "#hangeTrackPath=\"x-ctk.vmdk\"\n#\tchangeTrackPath=\ny=" CT "\n");
  BOTH ("CID=12345678\n" CT_TITLE "\n" CT "\n", "CID=" D8 "\n" CT_TITLE "\n"
        CT "\n");
}

static void
test_version (void)
{
#define VERSION_CASE(EDIT, OLD, NEW)                                      \
  CASE_IN (TITLE, EDIT, OLD "\nCID=12345678\n" CT "\n",                   \
           NEW "\nCID=" D8 "\n", EXTENT)

  VERSION_CASE (drop_beside, "version=3", "version=1");
  VERSION_CASE (drop_beside, "VERSION = \"003\"", "VERSION = \"001\"");
  VERSION_CASE (drop_beside, "version=3\nversion=3", "version=1\nversion=3");
  VERSION_CASE (drop_beside, "version=1", "version=1");
  VERSION_CASE (drop_beside, "version=2", "version=2");
  VERSION_CASE (drop_beside, "version=4", "version=4");
  VERSION_CASE (drop_beside, "# 3", "# 3");
  CASE_IN (TITLE, drop_in_place, "version = 03 \nCID=12345678\n",
           "version = 01 \nCID=" D8 "\n", EXTENT);
  CASE_IN (TITLE, in_place, "version=3\nCID=12345678\n",
           "version=3\nCID=" D8 "\n", EXTENT);
  CASE_IN (TITLE, beside, "version=3\nCID=12345678\n",
           "version=3\nCID=" D8 "\n", EXTENT);
}

/* The rest is changed nevertheless. */
static void
test_no_cid (void)
{
  const struct text old = LITERAL (TITLE "version=3\n" CT "\n" EXTENT
                                   "ddb.longContentID = \"" OLD_ID "\"\n");
  uint32_t cid;
  const struct text new = change (old, drop_beside, &cid);
  const struct text expected =
    LITERAL (TITLE "version=1\n" EXTENT
             "ddb.longContentID = \"" OLD_ID "\"\n");

  expect_text (old, new, expected);
  assert (cid == CID_UNSET);
  assert (nr_warnings == 1);
  nr_warnings = 0;
  free (old.bytes);
  free (new.bytes);
  free (expected.bytes);
}

static void
test_not_valid (void)
{
  static const char *const texts[] = {
    "", "\n", TITLE "CID=12345678\n", TITLE "CID=123456789\n" EXTENT,
    TITLE "CID=\"12345678\n" EXTENT, TITLE "CID=\nCID=12345678\n" EXTENT,
  };
  uint32_t cid;
  size_t i, length;

  for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    nr_errors = 0;
    assert (!descriptor_change (&test_log, NAME, texts[i], strlen (texts[i]),
                                &beside, &length, &cid));
    assert (errno == EINVAL);
    assert (nr_errors == 1);
  }
  nr_errors = nr_warnings = 0;
}

/* Where the text has the length that it may have, it doesn't grow. */
static void
test_no_room (void)
{
  size_t room;

  for (room = 0; room < 50; room++) {
    struct text old = LITERAL (TITLE "version=1\nCID=5\nddb.longContentID=7\n"
                               EXTENT "# "), new;
    const size_t start = old.length;
    uint32_t cid;

    old.length = VMDK_MAX_DESCRIPTOR - room;
    old.bytes = realloc (old.bytes, old.length);
    assert (old.bytes);
    memset (old.bytes + start, 'x', old.length - start);
    new = change (old, beside, &cid);
    assert (new.length - old.length == (room < 7 ? 0 : room < 38 ? 7 : 38));
    expect_new_cid (old, new, cid);
    free (old.bytes);
    free (new.bytes);
  }
}

/* Crashes. */

#define SECTOR 512

static uint32_t
cid_of (struct text t)
{
  struct descriptor *const d = parse (t);
  uint32_t cid;

  assert (d);
  cid = d->cid;
  descriptor_free (d);
  return cid;
}

static size_t
length_at (struct text t, size_t sector)
{
  const size_t rest = t.length - sector * SECTOR;

  return rest < SECTOR ? rest : SECTOR;
}

static bool
differs (struct text a, struct text b, size_t sector)
{
  return memcmp (a.bytes + sector * SECTOR, b.bytes + sector * SECTOR,
                 length_at (a, sector)) != 0;
}

/* With the sectors of the mask, among those that differ, from new. */
static struct text
mix (struct text old, struct text new, unsigned mask)
{
  const struct text t = text_of (old.bytes, old.length);
  size_t i;
  unsigned bit = 0;

  for (i = 0; i * SECTOR < t.length; i++)
    if (differs (old, new, i) && mask >> bit++ % 32 & 1)
      memcpy (t.bytes + i * SECTOR, new.bytes + i * SECTOR, length_at (t, i));
  return t;
}

/* Whether a digit of the CID that starts at place is another one. */
static bool
has_new_digit (struct text old, struct text t, size_t place, size_t digits)
{
  return memcmp (old.bytes + place, t.bytes + place, digits) != 0;
}

static void
expect_mixes (struct text old, struct text new, size_t place, size_t digits)
{
  const uint32_t old_cid = cid_of (old);
  unsigned mask, nr = 0;
  size_t i;

  for (i = 0; i * SECTOR < old.length; i++)
    nr += differs (old, new, i);
  for (mask = 0; mask < 1u << (nr > 7 ? 7 : nr); mask++) {
    /* Of many, any 7 bits for all. */
    const struct text t = mix (old, new, nr > 7 ? mask * 0x2040811u : mask);
    const uint32_t cid = cid_of (t);

    assert ((cid != old_cid) == has_new_digit (old, t, place, digits));
    assert (cid == old_cid || (cid != CID_NONE && cid != CID_UNSET));
    free (t.bytes);
  }
}

/* The digits of old begin this many bytes before the end of a sector. */
static void
test_straddling_at (const char *digits, size_t before)
{
  struct text old = LITERAL (TITLE "version=3\n#"), new;
  size_t i, place;
  uint32_t cid;

  while ((old.length + strlen ("\nCID=") + before) % SECTOR != 0)
    append_string (&old, "x");
  append_string (&old, "\nCID=");
  place = old.length;
  append_string (&old, digits);
  append_string (&old, "\n" CT "\n" EXTENT);
  new = change (old, drop_in_place, &cid);
  for (i = 0; i < strlen (digits); i++)
    assert (new.bytes[place + i] != old.bytes[place + i]);
  expect_new_cid (old, new, cid);
  expect_mixes (old, new, place, strlen (digits));
  free (old.bytes);
  free (new.bytes);
}

static void
test_straddling (void)
{
  static const char *const cids[] = {
    "fffffffe", "ffffffff", "00000000", "efffffff", "fffffff0", "fffffffd",
    "f0ffffff", "12345678", "ffff0000", "0000ffff", "0000fffe", "fffffff",
    "123", "f", "0",
  };
  size_t i, before;
  unsigned n;

  for (i = 0; i < sizeof cids / sizeof cids[0]; i++)
    for (before = 0; before <= strlen (cids[i]); before++)
      for (n = 0; n < 40; n++)
        test_straddling_at (cids[i], before);
}

/* Random texts.  Whoever makes one knows what shall become of it. */

struct made {
  struct text old, expected;
  struct descriptor_edit edit;
  bool cid, version, long_id; /* there is one already */
  size_t place, digits;       /* of the CID in old */
};

static unsigned
pick (unsigned count)
{
  return (unsigned) random () % count;
}

static void
both (struct made *m, const char *s)
{
  append_string (&m->old, s);
  append_string (&m->expected, s);
}

static const char *
line_end (void)
{
  static const char *const ends[] = { "\n", "\n", "\r\n", "\r\n", "\r" };

  return ends[pick (5)];
}

static const char *
blanks (void)
{
  static const char *const some[] = { "", "", "", " ", "\t", " \t " };

  return some[pick (6)];
}

static void
add_random_case (struct made *m, const char *s)
{
  char c[2] = "";

  for (; *s != '\0'; s++) {
    c[0] = *s;
    if (((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')) && pick (2))
      c[0] ^= 0x20;
    both (m, c);
  }
}

static void
add_digits (struct made *m, size_t old_digits, size_t new_digits)
{
  static const char digits[] = "0123456789abcdefABCDEF";
  size_t i;

  for (i = 0; i < old_digits; i++)
    append (&m->old, &digits[pick (sizeof digits - 1)], 1);
  if (new_digits == 0) /* unchanged */
    append (&m->expected, m->old.bytes + m->old.length - old_digits,
            old_digits);
  for (i = 0; i < new_digits; i++)
    append_string (&m->expected, D);
}

static void
add_key (struct made *m, const char *key)
{
  both (m, blanks ());
  add_random_case (m, key);
  both (m, blanks ());
  both (m, "=");
  both (m, blanks ());
}

static void
add_cid (struct made *m)
{
  const size_t digits = pick (3) ? 8 : 1 + pick (8);
  const char *const quote = pick (2) ? "\"" : "";
  const bool is_first = !m->cid;

  add_key (m, "cid");
  both (m, quote);
  if (is_first) {
    m->place = m->old.length;
    m->digits = digits;
  }
  add_digits (m, digits, !is_first ? 0 : m->edit.in_place ? digits : 8);
  both (m, quote);
  both (m, blanks ());
  both (m, line_end ());
  m->cid = true;
}

static void
add_long_id (struct made *m)
{
  const size_t digits = pick (3) ? 32 : 1 + pick (50);
  const char *const quote = pick (2) ? "\"" : "";
  const bool changes =
    !m->long_id && (digits == 32 || !m->edit.in_place);

  add_key (m, "ddb.longContentID");
  both (m, quote);
  add_digits (m, digits, changes ? 32 : 0);
  both (m, quote);
  both (m, blanks ());
  both (m, line_end ());
  m->long_id = true;
}

static void
add_version (struct made *m)
{
  static const char *const numbers[] = { "1", "2", "3", "003", "4", "3" };
  const char *const number = numbers[pick (6)];
  const bool changes = m->edit.drop_change_track && !m->version &&
    number[strlen (number) - 1] == '3';

  add_key (m, "version");
  both (m, number);
  if (changes)
    m->expected.bytes[m->expected.length - 1] = '1';
  both (m, blanks ());
  both (m, line_end ());
  m->version = true;
}

static void
add_change_track (struct made *m)
{
  const size_t start = m->expected.length;
  size_t line;

  /* A former piece may end with a title of its own. */
  if (pick (2)) {
    both (m, blanks ());
    add_random_case (m, "# Change Tracking File");
    both (m, blanks ());
    both (m, line_end ());
  }
  line = m->expected.length;
  add_key (m, "changeTrackPath");
  both (m, pick (2) ? "\"x-ctk.vmdk\"" : "");
  both (m, line_end ());
  if (m->edit.drop_change_track && m->edit.in_place)
    m->expected.bytes[line] = '#';
  else if (m->edit.drop_change_track)
    m->expected.length = start;
}

static void
add_filler (struct made *m)
{
  unsigned n = pick (pick (4) ? 40 : 900);

  both (m, "# ");
  while (n-- > 0)
    both (m, "c");
  both (m, line_end ());
}

/* Each begins with what isn't a line feed, which would join the carriage
 * return before it when a line between them is dropped, or belong to it.
 */
static void
add_other (struct made *m)
{
  static const char *const lines[] = {
    " ", "#CID=1", "parentCID=ffffffff", "parentcid = 1234abcd",
    "createType=\"twoGbMaxExtentSparse\"", "x.CID=5", "unknown=\"CID=6\"",
    "RW 63 FLAT \"CID=1\" 0", "rdonly 5 zero", "ddb.adapterType = \"ide\"",
    "ddb.longContentIDs=\"" OLD_ID "\"", "garbage", "\xff\x80\x02",
    "ddb.x = \"open", "encoding=\"UTF-8\"", "# changeTrackPath=x",
    "parentFileNameHint=\"version=3\"",
  };

  both (m, lines[pick (sizeof lines / sizeof lines[0])]);
  both (m, line_end ());
}

static void
add_piece (struct made *m)
{
  switch (pick (12)) {
  case 0: add_version (m); break;
  case 1: add_cid (m); break;
  case 2: add_long_id (m); break;
  case 3: case 4: add_change_track (m); break;
  case 5: case 6: add_filler (m); break;
  default: add_other (m);
  }
}

static struct made
make (void)
{
  struct made m = {
    .old = LITERAL (""), .expected = LITERAL (""),
    .edit = { .in_place = pick (2), .drop_change_track = pick (2) },
  };
  unsigned n;

  both (&m, pick (2) ? "\xef\xbb\xbf" : "");
  both (&m, "# Disk DescriptorFile\n");
  for (n = pick (20); n > 0; n--)
    add_piece (&m);
  if (!m.cid)
    add_cid (&m);
  for (n = pick (10); n > 0; n--)
    add_piece (&m);
  both (&m, EXTENT);
  if (pick (2)) {
    append (&m.old, "\0\0rest\nCID=1\n", 14);
    append (&m.expected, "\0\0rest\nCID=1\n", 14);
  }
  return m;
}

static void
expect_same_extents (struct text old, struct text new)
{
  struct descriptor *const a = parse (old), *const b = parse (new);
  size_t i;

  assert (a && b && a->nr_extents == b->nr_extents);
  for (i = 0; i < a->nr_extents; i++)
    assert (a->extents[i].size == b->extents[i].size &&
            a->extents[i].offset == b->extents[i].offset);
  descriptor_free (a);
  descriptor_free (b);
}

static void
test_random (void)
{
  const struct made m = make ();
  uint32_t cid;
  struct text new = change (m.old, m.edit, &cid);
  struct descriptor *const d = parse (new);

  expect_text (m.old, new, m.expected);
  expect_new_cid (m.old, new, cid);
  expect_same_extents (m.old, new);
  assert (d && (!m.edit.drop_change_track ||
                (d->change_track == NULL && d->version != 3)));
  if (m.edit.in_place)
    expect_mixes (m.old, new, m.place, m.digits);
  descriptor_free (d);
  free (m.old.bytes);
  free (m.expected.bytes);
  free (new.bytes);
}

int
main (void)
{
  unsigned n;

  test_cid_lines ();
  test_other_lines ();
  test_ends ();
  test_long_content_id ();
  test_change_track ();
  test_version ();
  assert (nr_warnings == 0);
  test_no_cid ();
  test_not_valid ();
  test_no_room ();
  test_straddling ();
  srandom (1);
  for (n = 0; n < 5000; n++)
    test_random ();
  assert (nr_errors == 0 && nr_warnings == 0);
  return EXIT_SUCCESS;
}
