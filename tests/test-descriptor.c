/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The descriptor parser: what it takes, what it refuses, and what it says
 * about that.
 */

#include <config.h>

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "descriptor.h"

#define NAME "disk.vmdk"
#define TITLE "# Disk DescriptorFile\n"
#define IDS "CID=12345678\nparentCID=ffffffff\n"
#define HEAD TITLE "version=1\n" IDS
#define EXTENT "RW 2048 SPARSE \"x.vmdk\"\n"

/* The last message of each kind, and how many there were. */
struct heard {
  char text[2048];
  unsigned count;
};

static struct heard errors, warnings, debugs;

static void
hear (struct heard *h, const char *fmt, va_list args)
{
  const int n = vsnprintf (h->text, sizeof h->text, fmt, args);
  size_t i;

  h->count++;
  assert (n > 0 && n < 500); /* bounded, whatever is in the text */
  for (i = 0; h->text[i] != '\0'; i++)
    assert (h->text[i] >= 0x20 && h->text[i] < 0x7f);
  assert (strncmp (h->text, NAME ": ", strlen (NAME ": ")) == 0);
}

static void
on_error (void *opaque, const char *fmt, va_list args)
{
  hear (opaque, fmt, args);
}

static void
on_warning (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  hear (&warnings, fmt, args);
}

static void
on_debug (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  hear (&debugs, fmt, args);
}

static const struct vmdk_log test_log = {
  .error = on_error,
  .warning = on_warning,
  .debug = on_debug,
  .opaque = &errors,
  .topics = 1u << VMDK_TOPIC_DESCRIPTOR,
};

/* Parses a copy that ends where the text ends, for AddressSanitizer. */
static struct descriptor *
parse_bytes (const char *text, size_t length)
{
  char *const copy = malloc (length ? length : 1);
  struct descriptor *d;

  assert (copy);
  memcpy (copy, text, length);
  memset (&errors, 0, sizeof errors);
  memset (&warnings, 0, sizeof warnings);
  memset (&debugs, 0, sizeof debugs);
  errno = 0;
  d = descriptor_parse (&test_log, NAME, copy, length);
  if (d == NULL && errors.count != 1)
    fprintf (stderr, "%u errors for: %.200s\n", errors.count, text);
  assert (errors.count == (d == NULL));
  assert (d || errno == EINVAL);
  free (copy);
  return d;
}

static struct descriptor *
parse_good (const char *text)
{
  struct descriptor *const d = parse_bytes (text, strlen (text));

  if (d == NULL)
    fprintf (stderr, "%s\nfor: %s\n", errors.text, text);
  assert (d);
  return d;
}

/* Nothing to complain about either. */
static struct descriptor *
parse_clean (const char *text)
{
  struct descriptor *const d = parse_good (text);

  if (warnings.count)
    fprintf (stderr, "%s\nfor: %s\n", warnings.text, text);
  assert (warnings.count == 0);
  return d;
}

static void
assert_said (const struct heard *h, const char *part, const char *text)
{
  if (strstr (h->text, part) == NULL)
    fprintf (stderr, "expected %s\nin %s\nfor %s\n", part, h->text, text);
  assert (strstr (h->text, part));
}

static void
parse_bad_bytes (const char *text, size_t length, const char *message)
{
  assert (parse_bytes (text, length) == NULL);
  assert_said (&errors, message, text);
}

static void
parse_bad (const char *text, const char *message)
{
  parse_bad_bytes (text, strlen (text), message);
}

static void
parse_warned (const char *text, unsigned count, const char *message)
{
  descriptor_free (parse_good (text));
  assert (warnings.count == count);
  assert_said (&warnings, message, text);
}

static bool
probe (const char *text)
{
  return descriptor_probe (text, strlen (text));
}

static void
assert_string (const char *found, const char *expected)
{
  if (expected == NULL)
    assert (found == NULL);
  else {
    assert (found);
    assert (strcmp (found, expected) == 0);
  }
}

static void
test_esxi (void)
{
  struct descriptor *const d = parse_clean (
    "# Disk DescriptorFile\n"
    "version=3\n"
    "encoding=\"windows-1252\"\n"
    "CID=1c071021\n"
    "parentCID=0a0B0c0D\n"
    "isNativeSnapshot=\"no\"\n"
    "createType=\"vmfsSparse\"\n"
    "parentFileNameHint=\"C:\\vm\\my disk.vmdk\"\n"
    "\n"
    "# Extent description\n"
    "RW 83886080 VMFSSPARSE \"vm-000001-delta.vmdk\"\n"
    "\n"
    "# Change Tracking File\n"
    "changeTrackPath=\"vm-000001-ctk.vmdk\"\n"
    "\n"
    "# The Disk Data Base \n"
    "#DDB\n"
    "\n"
    "ddb.longContentID = \"0123456789abcdef012345671c071021\"\n"
    "ddb.uuid = \"60 00 C2 99 d3 f5 dc ad-9e 25 3e 89 48 2c 3f de\"\n");

  assert (d->version == 3);
  assert_string (d->encoding, "windows-1252");
  assert (d->has_cid && d->cid == 0x1c071021);
  assert (d->has_parent_cid && d->parent_cid == 0x0a0b0c0d);
  assert_string (d->native_snapshot, "no");
  assert_string (d->create_type, "vmfsSparse");
  assert_string (d->parent_hint, "C:\\vm\\my disk.vmdk");
  assert_string (d->change_track, "vm-000001-ctk.vmdk");
  assert (!d->encrypted);
  assert (d->nr_extents == 1);
  assert (d->extents[0].line == 11);
  assert (d->extents[0].access == ACCESS_RW);
  assert (d->extents[0].type == TYPE_VMFSSPARSE);
  assert (d->extents[0].size == UINT64_C (83886080) * 512);
  assert (d->extents[0].offset == 0 && !d->extents[0].has_offset);
  assert_string (d->extents[0].name, "vm-000001-delta.vmdk");
  assert (d->size == d->extents[0].size);
  assert (d->nr_ddb == 2);
  assert_string (d->ddb[0].key, "longContentID");
  assert_string (d->ddb[1].value,
                 "60 00 C2 99 d3 f5 dc ad-9e 25 3e 89 48 2c 3f de");
  assert (debugs.count > 0);
  descriptor_free (d);
}

static void
test_not_given (void)
{
  struct descriptor *const d = parse_good (TITLE "version=1\n" EXTENT
                                           "createType=\nencoding=\"\"\n");

  assert (warnings.count == 2); /* CID, parentCID */
  assert (!d->has_cid && d->cid == 0xfffffffe);
  assert (!d->has_parent_cid && d->parent_cid == CID_NONE);
  assert (d->create_type == NULL);
  assert (d->encoding == NULL);
  assert (d->parent_hint == NULL);
  assert (d->change_track == NULL);
  assert (d->native_snapshot == NULL);
  assert (d->nr_ddb == 0 && descriptor_ddb (d, "uuid") == NULL);
  descriptor_free (d);
  descriptor_free (NULL);
}

/* Extent lines. */

struct good_extent {
  const char *text;
  enum extent_access access;
  enum extent_type type;
  uint64_t sectors;
  const char *name;
  bool has_offset;
  uint64_t offset; /* sectors */
};

static const struct good_extent good_extents[] = {
  { "RW 1 FLAT \"a.vmdk\" 0", ACCESS_RW, TYPE_FLAT, 1, "a.vmdk", true, 0 },
  { "RDONLY 7 SPARSE \"a b.vmdk\"", ACCESS_RDONLY, TYPE_SPARSE, 7, "a b.vmdk",
    false, 0 },
  { "NOACCESS 5 FLAT \"a\" 3", ACCESS_NOACCESS, TYPE_FLAT, 5, "a", true, 3 },
  { "NOACCESS 5 FLAT", ACCESS_NOACCESS, TYPE_FLAT, 5, NULL, false, 0 },
  { "RW 9 ZERO", ACCESS_RW, TYPE_ZERO, 9, NULL, false, 0 },
  { "RW 9 ZERO ", ACCESS_RW, TYPE_ZERO, 9, NULL, false, 0 },
  { "RW 9 ZERO 0 more", ACCESS_RW, TYPE_ZERO, 9, NULL, false, 0 },
  { "RW 9 ZERO \"\" 0", ACCESS_RW, TYPE_ZERO, 9, "", true, 0 },
  { "RW 123 SPARSE \"\"", ACCESS_RW, TYPE_SPARSE, 123, "", false, 0 },
  { "RW 20480 VMFS \"a\" 0", ACCESS_RW, TYPE_VMFS, 20480, "a", true, 0 },
  { "RW 2 VMFSSPARSE \"a\" 0", ACCESS_RW, TYPE_VMFSSPARSE, 2, "a", true, 0 },
  { "RW 2 SESPARSE \"a\"", ACCESS_RW, TYPE_SESPARSE, 2, "a", false, 0 },
  { "RW 2 VMFSRDM \"a\"", ACCESS_RW, TYPE_VMFSRDM, 2, "a", false, 0 },
  { "RW 2 VMFSRAW \"/vmfs/devices/disks/x\"", ACCESS_RW, TYPE_VMFSRAW, 2,
    "/vmfs/devices/disks/x", false, 0 },
  { "RW 2 VSANSPARSE \"vsan://52\"", ACCESS_RW, TYPE_VSANSPARSE, 2,
    "vsan://52", false, 0 },
  { "\t rw \t 2\tsparse\t\"a\" \t", ACCESS_RW, TYPE_SPARSE, 2, "a", false, 0 },
  { "rdOnly 2 VmfsSparse \"A\"", ACCESS_RDONLY, TYPE_VMFSSPARSE, 2, "A",
    false, 0 },
  { "RW 2 FLAT \" a\\b=c#d \" 1", ACCESS_RW, TYPE_FLAT, 2, " a\\b=c#d ", true,
    1 },
  { "RW 2 FLAT \"\xc3\xa4\xff\x01\" 1", ACCESS_RW, TYPE_FLAT, 2,
    "\xc3\xa4\xff\x01", true, 1 },
  { "RW 2 FLAT a.vmdk 1", ACCESS_RW, TYPE_FLAT, 2, "a.vmdk", true, 1 },
  { "RW 2 FLAT \"\\\\.\\PhysicalDrive1\" 63 partitionUUID {a} b", ACCESS_RW,
    TYPE_FLAT, 2, "\\\\.\\PhysicalDrive1", true, 63 },
  { "RW 2 FLAT \"a\" partitionUUID b", ACCESS_RW, TYPE_FLAT, 2, "a", false,
    0 },
  { "RW 2 SPARSE \"a\" 0 \"b\" c", ACCESS_RW, TYPE_SPARSE, 2, "a", true, 0 },
  { "RW 0002 SPARSE\"a\"", ACCESS_RW, TYPE_SPARSE, 2, "a", false, 0 },
  { "RW 18014398509481983 SPARSE \"a\"", ACCESS_RW, TYPE_SPARSE,
    UINT64_C (18014398509481983), "a", false, 0 },
  { "RW 1 FLAT \"a\" 18014398509481982", ACCESS_RW, TYPE_FLAT, 1, "a", true,
    UINT64_C (18014398509481982) },
};

static void
test_good_extents (void)
{
  char text[500];
  size_t i;

  for (i = 0; i < sizeof good_extents / sizeof good_extents[0]; i++) {
    const struct good_extent *const g = &good_extents[i];
    const struct extent_line *e;
    struct descriptor *d;

    snprintf (text, sizeof text, HEAD "%s", g->text);
    d = parse_clean (text);
    assert (d->nr_extents == 1);
    e = &d->extents[0];
    assert (e->line == 5);
    assert (e->access == g->access);
    assert (e->type == g->type);
    assert (e->size == g->sectors * 512);
    assert_string (e->name, g->name);
    assert (e->has_offset == g->has_offset);
    assert (e->offset == g->offset * 512);
    assert (d->size == e->size);
    descriptor_free (d);
  }
}

static const struct {
  const char *text, *message;
} bad_extents[] = {
  { "RW", "found nothing, expected the size" },
  { "RW 0 SPARSE \"a\"", "found \"0\", expected the size" },
  { "RW -1 SPARSE \"a\"", "found \"-1\", expected the size" },
  { "RW +1 SPARSE \"a\"", "found \"+1\", expected the size" },
  { "RW 0x10 SPARSE \"a\"", "found \"0x10\", expected the size" },
  { "RW 10SPARSE \"a\"", "found \"10SPARSE\", expected the size" },
  { "RW 1.5 SPARSE \"a\"", "found \"1.5\", expected the size" },
  { "RW SPARSE \"a\"", "found \"SPARSE\", expected the size" },
  { "RW \"a\"", "found nothing, expected the size" },
  { "RW 18014398509481984 SPARSE \"a\"",
    "too large: found \"18014398509481984\", expected less than 2^63" },
  { "RW 36028797018963968 SPARSE \"a\"", "too large" },
  { "RW 18446744073709551615 SPARSE \"a\"", "too large" },
  { "RW 18446744073709551616 SPARSE \"a\"", "expected the size" },
  { "RW 18446744073709551617 SPARSE \"a\"", "expected the size" },
  { "RW 18446744073709551626 SPARSE \"a\"", "expected the size" },
  { "RW 000000000000000000002 SPARSE \"a\"", "expected the size" },
  { "RW 99999999999999999999999999999999999999999999999999999 SPARSE \"a\"",
    "found \"9999999999999999999999999999999999999999\"..., expected" },
  { "RW 2", "found nothing, expected a type" },
  { "RW 2 FLOPPY \"a\" 0", "found \"FLOPPY\", expected a type" },
  { "RW 2 SPARSEX \"a\" 0", "found \"SPARSEX\", expected a type" },
  { "RW 2 SPARS \"a\" 0", "found \"SPARS\", expected a type" },
  { "RW 2 \"a\" 0", "found nothing, expected a type" },
  { "RW 2 SPARSE", "found nothing, expected the name" },
  { "RW 2 FLAT 0", "found \"0\", expected the name" },
  { "RW 2 VMFS ", "found nothing, expected the name" },
  { "RW 2 SPARSE \"a", "found \"\"a\", expected a quote" },
  { "RW 2 SPARSE \"", "expected a quote" },
  { "RW 2 ZERO \"", "expected a quote" },
  { "RW 2 FLAT \"a\"0", "found \"0\", expected a blank" },
  { "RW 2 FLAT \"a\"b\" 0", "found \"b\" 0\", expected a blank" },
  { "RW 2 FLAT \"a\" -1", "found \"-1\", expected the offset" },
  { "RW 2 FLAT \"a\" 0x1", "found \"0x1\", expected the offset" },
  { "RW 2 FLAT \"a\" \"b\"", "found \"\"b\"\", expected the offset" },
  { "RW 2 FLAT \"a\" x 1", "found \"x\", expected the offset" },
  { "RW 2 FLAT \"a\" 18014398509481984", "the offset is too large" },
  { "RW 2 FLAT \"a\" 18014398509481982", "the offset is too large" },
  { "RW 2 FLAT \"a\" 36028797018963967", "the offset is too large" },
  { "RW 2 FLAT \"a\" 18446744073709551616", "expected the offset" },
  { "RO 2 SPARSE \"a\"", "found \"RO\", expected RW, RDONLY or NOACCESS" },
  { "RO 2 ZERO", "found \"RO\", expected RW" },
  { "RO 2 FLOPPY \"a=b\"", "found \"RO\", expected RW" },
  { "RW2 SPARSE \"a\"", "found \"RW2\", expected RW" },
  { "RW,2,SPARSE,\"a\"", "found \"RW,2,SPARSE,\", expected RW" },
  { "RW=2", "found \"RW=2\", expected RW" },
  { "rdonly = 2", "found \"=\", expected the size" },
  { "RW\xc2\xa0""2 SPARSE \"a\"", "found \"RW\\xc2\\xa02\", expected RW" },
  { "RW 2 SPARSE\x1b[2J \"a\"", "found \"SPARSE\\x1b[2J\", expected a type" },
};

static void
test_bad_extents (void)
{
  char text[500];
  size_t i;

  for (i = 0; i < sizeof bad_extents / sizeof bad_extents[0]; i++) {
    snprintf (text, sizeof text, HEAD EXTENT "%s\n" EXTENT,
              bad_extents[i].text);
    parse_bad (text, bad_extents[i].message);
    assert_said (&errors, NAME ": line 6: ", text);
  }
}

static void
test_several_extents (void)
{
  struct descriptor *const d = parse_clean (
    HEAD
    "RW 63 FLAT \"disk-pt.vmdk\" 0\n"
    "RW 41945652 FLAT \"/dev/sda\" 63\n"
    "\n"
    "RW 63 FLAT \"disk-pt.vmdk\" 63\n"
    "ddb.x=1\n"
    "RW 2168775 ZERO");

  assert (d->nr_extents == 4);
  assert (d->size == (UINT64_C (41945652) + 63 + 63 + 2168775) * 512);
  assert (d->extents[1].offset == 32256);
  assert (d->extents[2].line == 8);
  assert_string (d->extents[2].name, "disk-pt.vmdk");
  assert (d->extents[3].line == 10);
  assert (d->extents[3].type == TYPE_ZERO);
  descriptor_free (d);
}

static void
test_sum (void)
{
  parse_bad (HEAD "RW 18014398509481983 ZERO\nRW 1 ZERO\n",
             NAME ": line 6: the disk is too large");
  parse_bad (HEAD "RW 9007199254740992 ZERO\nRW 9007199254740992 ZERO\n",
             NAME ": line 6: the disk is too large");
  descriptor_free (parse_clean (HEAD "RW 9007199254740992 ZERO\n"
                                "RW 9007199254740991 ZERO\n"));
}

/* A head, and count times the same line.  The caller frees it. */
static char *
repeat (const char *head, const char *line, size_t count)
{
  char *const text = malloc (strlen (head) + count * strlen (line) + 1);
  char *p;

  assert (text);
  p = stpcpy (text, head);
  for (; count > 0; count--)
    p = stpcpy (p, line);
  return text;
}

static void
test_number_of_extents (void)
{
  char *text = repeat (HEAD, EXTENT, VMDK_MAX_EXTENTS);
  struct descriptor *const d = parse_clean (text);

  assert (d->nr_extents == VMDK_MAX_EXTENTS);
  assert (d->size == UINT64_C (1048576) * VMDK_MAX_EXTENTS);
  descriptor_free (d);
  free (text);

  text = repeat (HEAD, EXTENT, VMDK_MAX_EXTENTS + 1);
  parse_bad (text, NAME ": line 4101: found one more extent, expected at "
             "most 4096");
  free (text);
  parse_bad (HEAD, "found no extent lines");
}

/* Keys and values. */

static void
test_case (void)
{
  struct descriptor *const d = parse_clean (
    "# DISK DESCRIPTORFILE\nVERSION=2\nENCODING=\"UTF-8\"\ncid=ABCDEF\n"
    "ParentCid=1\nISNATIVESNAPSHOT=\"yes\"\ncreatetype=\"X\"\n"
    "PARENTFILENAMEHINT=\"p\"\nCHANGETRACKPATH=\"c\"\nDDB.AdapterType=\"ide\"\n"
    EXTENT);

  assert (d->version == 2);
  assert_string (d->encoding, "UTF-8");
  assert (d->cid == 0xabcdef && d->parent_cid == 1);
  assert_string (d->native_snapshot, "yes");
  assert_string (d->create_type, "X");
  assert_string (d->parent_hint, "p");
  assert_string (d->change_track, "c");
  assert_string (d->ddb[0].key, "AdapterType");
  assert_string (descriptor_ddb (d, "adaptertype"), "ide");
  descriptor_free (d);
}

/* In Turkish, for example, the lower case of I isn't i.  (Where there is no
 * such locale, this is the same as before.)
 */
static void
test_locale (void)
{
  setlocale (LC_ALL, "tr_TR.ISO-8859-9");
  test_case ();
  test_good_extents ();
  setlocale (LC_ALL, "C");
}

static void
test_blanks_and_quotes (void)
{
  struct descriptor *d = parse_clean (
    TITLE "  version \t= 1 \t\nCID\t=\"1\"  \n parentCID = \"2\"\n"
    "createType = custom with blanks \t\nencoding= \" a \" \n"
    "parentFileNameHint=\"a\\nb\" trailing \"c\"\n" EXTENT
    "ddb.a = \"\"\nddb.b=\nddb.c = x y \nddb.d=\"a=b\"\nddb.e==\n");

  assert (d->version == 1 && d->cid == 1 && d->parent_cid == 2);
  assert_string (d->create_type, "custom with blanks");
  assert_string (d->encoding, " a ");
  assert_string (d->parent_hint, "a\\nb");
  assert_string (descriptor_ddb (d, "a"), "");
  assert_string (descriptor_ddb (d, "b"), "");
  assert_string (descriptor_ddb (d, "c"), "x y");
  assert_string (descriptor_ddb (d, "d"), "a=b");
  assert_string (descriptor_ddb (d, "e"), "=");
  assert (descriptor_ddb (d, "f") == NULL);
  descriptor_free (d);

  parse_bad (HEAD "createType=\"x\n" EXTENT,
             NAME ": line 5: found \"\"x\", expected a quote at the end");
  parse_bad (HEAD "createType=\"\n" EXTENT, "expected a quote at the end");

  d = parse_good (HEAD "ddb.comment = \"x y\n" EXTENT);
  assert (warnings.count == 1);
  assert_string (descriptor_ddb (d, "comment"), "x y");
  descriptor_free (d);
}

static void
test_version (void)
{
  char text[200];
  int i;

  for (i = 0; i <= 5; i++) {
    snprintf (text, sizeof text, TITLE "version=%d\n" IDS EXTENT, i);
    if (i >= 1 && i <= 4) {
      struct descriptor *const d = parse_clean (text);

      assert (d->version == (unsigned) i);
      descriptor_free (d);
    }
    else
      parse_bad (text, NAME ": line 2: version: found \"");
  }
  parse_bad (TITLE "version=\n", "version: found nothing, expected 1, 2, 3");
  parse_bad (TITLE "version=one\n", "version: found \"one\"");
  parse_bad (TITLE "version=0x1\n", "version: found \"0x1\"");
  parse_bad (TITLE "version=4294967297\n", "version: found \"4294967297\"");
  parse_bad (TITLE "version=\"1 \"\n", "version: found \"1 \"");
}

static void
test_no_version (void)
{
  parse_warned (TITLE IDS EXTENT, 1, NAME ": found no version= line");
  parse_warned (IDS EXTENT, 1, "taken as version 1");
  descriptor_free (parse_good (TITLE "junk\n" EXTENT));
  assert (warnings.count == 4); /* junk, version, CID, parentCID */
  parse_bad (EXTENT, NAME ": found no version= line, expected one: this is "
             "not a descriptor");
  parse_bad ("a=b\n", "not a descriptor");
  parse_bad ("", "not a descriptor");
  parse_bad ("# comment\n", "not a descriptor");
  parse_bad ("some prose\n" HEAD EXTENT,
             NAME ": line 1: this is not a descriptor: found \"some prose\"");
}

static void
test_cid (void)
{
  struct descriptor *d;

  parse_bad (TITLE "CID=\n", NAME ": line 2: CID: found nothing, expected 1");
  parse_bad (TITLE "CID=123456789\n", "CID: found \"123456789\"");
  parse_bad (TITLE "CID=012345678\n", "CID: found \"012345678\"");
  parse_bad (TITLE "CID=0x12\n", "CID: found \"0x12\"");
  parse_bad (TITLE "CID=-1\n", "CID: found \"-1\"");
  parse_bad (TITLE "CID=1 2\n", "CID: found \"1 2\"");
  parse_bad (TITLE "CID=1234567g\n", "CID: found \"1234567g\"");
  parse_bad (TITLE "parentCID=x\n", "parentCID: found \"x\"");

  d = parse_clean (TITLE "version=1\nparentCID=2\nCID=1\n" EXTENT);
  assert (d->cid == 1 && d->parent_cid == 2);
  descriptor_free (d);

  d = parse_good (TITLE "version=1\nparentCID=2\n" EXTENT);
  assert_said (&warnings, "found no CID= line", "");
  assert (warnings.count == 1 && !d->has_cid && d->parent_cid == 2);
  descriptor_free (d);

  d = parse_good (TITLE "version=1\nCID=FFFFFFFE\n" EXTENT);
  assert_said (&warnings, "found no parentCID= line", "");
  assert (warnings.count == 1 && d->has_cid && d->cid == 0xfffffffe);
  descriptor_free (d);
}

static void
test_duplicates (void)
{
  struct descriptor *d;

  d = parse_good (HEAD EXTENT "cid=2\n");
  assert (warnings.count == 1);
  assert_said (&warnings, NAME ": line 6: CID \"2\", which was given before",
               "");
  assert (d->cid == 0x12345678);
  descriptor_free (d);

  d = parse_good (HEAD EXTENT "createType=\"a\"\ncreateType=\"b\"\n"
                  "parentFileNameHint=\"\"\nparentFileNameHint=\"b\"\n"
                  "version=9\n");
  assert (warnings.count == 3);
  assert_string (d->create_type, "a");
  assert (d->parent_hint == NULL);
  assert (d->version == 1);
  descriptor_free (d);

  d = parse_clean (HEAD EXTENT "ddb.k=1\nddb.K=2\n");
  assert (d->nr_ddb == 2);
  assert_string (descriptor_ddb (d, "k"), "1");
  descriptor_free (d);
}

static void
test_encrypted (void)
{
  static const char *const keys[] = {
    "encryption.keySafe", "ENCRYPTION.data", "ddb.encryption", "x.KeySafe2",
    "dataFileKey", "ddb.dataFileKey", "encryptionKeys",
  };
  struct descriptor *d;
  char text[200];
  size_t i;

  for (i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    snprintf (text, sizeof text, HEAD EXTENT "%s = \"vmware:key/\"\n",
              keys[i]);
    d = parse_clean (text);
    assert (d->encrypted);
    descriptor_free (d);
  }
  d = parse_clean (HEAD "# encryption\nRW 1 FLAT \"keysafe=encryption\" 0\n"
                   "ddb.comment=\"encryption\"\nencrypt=1\n");
  assert (!d->encrypted);
  descriptor_free (d);
  parse_bad (HEAD "encryption.data=x\n", "the descriptor is encrypted");
}

/* Lines. */

static void
test_line_ends (void)
{
  static const char *const ends[] = { "\n", "\r\n", "\r", " \r\n" };
  char text[300];
  size_t i;

  for (i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    const char *const e = ends[i];
    struct descriptor *d;

    snprintf (text, sizeof text, "# Disk DescriptorFile%sversion=1%sCID=1%s%s"
              "parentCID=2%screateType=a b%sRW 1 SPARSE \"x\"%sddb.a = \"b\"%s",
              e, e, e, e, e, e, e, e);
    d = parse_clean (text);
    assert (d->cid == 1 && d->parent_cid == 2);
    assert_string (d->create_type, "a b");
    assert (d->extents[0].line == 7);
    assert_string (descriptor_ddb (d, "a"), "b");
    descriptor_free (d);
    *strrchr (text, '"') = '\0'; /* also cut */
    d = parse_good (text);
    assert (warnings.count == 1);
    descriptor_free (d);
  }
}

static void
test_last_line (void)
{
  struct descriptor *d;

  d = parse_clean (HEAD "RW 1 FLAT \"x\" 12");
  assert (d->extents[0].offset == 6144);
  descriptor_free (d);
  d = parse_clean (TITLE "version=1\nRW 1 ZERO\nCID=5\nparentCID=ff");
  assert (d->parent_cid == 0xff);
  descriptor_free (d);
}

static void
test_unknown_lines (void)
{
  static const char junk[] = "junk\njunk\njunk\njunk\n";
  char *text;

  descriptor_free (parse_clean (HEAD EXTENT "someKey=x\nother.key = \"y\n"));
  assert_said (&debugs, "version 1, 1 extents, 1048576 bytes", "");
  parse_warned (HEAD "junk\n" EXTENT, 1, NAME ": line 5: skipped \"junk\"");
  parse_warned (HEAD EXTENT "a b = c\n", 1, "line 6: skipped \"a b = c\"");
  parse_warned (HEAD EXTENT "= c\n", 1, "skipped \"= c\"");
  parse_warned (HEAD EXTENT "RWX\n", 1, "skipped \"RWX\"");
  parse_warned (HEAD EXTENT "\x1b]0;\x07\x7f\x80%s%n\n", 1,
                "skipped \"\\x1b]0;\\x07\\x7f\\x80%s%n\"");
  text = repeat (HEAD, junk, 1000);
  assert (parse_bytes (text, strlen (text)) == NULL);
  assert (warnings.count < 20);
  assert_said (&warnings, "are left out", "");
  free (text);
}

static void
test_nul (void)
{
  static const char padded[] = HEAD EXTENT "\0\0\0\0";
  static const char followed[] = HEAD EXTENT "\0\0RW 1 ZERO\n";
  struct descriptor *d;

  d = parse_bytes (padded, sizeof padded);
  assert (d && d->nr_extents == 1 && warnings.count == 0);
  descriptor_free (d);
  d = parse_bytes (followed, sizeof followed);
  assert (d && d->nr_extents == 1 && warnings.count == 1);
  descriptor_free (d);
  parse_bad_bytes ("\0\0\0\0", 4, "not a descriptor");
}

static void
test_encodings (void)
{
  static const char le[] = "#\0 \0D\0i\0s\0k\0";
  static const char le_mark[] = "\xff\xfe#\0 \0D\0i\0s\0k\0";
  static const char be[] = "\0v\0e\0r\0s\0i\0o\0n";
  static const char be_mark[] = "\xfe\xff\0#\0 \0D\0i\0s\0k";
  static const char message[] = NAME ": found text in UTF-16, expected";
  struct descriptor *const d = parse_clean ("\xef\xbb\xbf" HEAD EXTENT);

  assert (d->version == 1);
  descriptor_free (d);
  assert (probe ("\xef\xbb\xbfversion=1\n"));
  parse_bad_bytes (le, sizeof le - 1, message);
  parse_bad_bytes (le_mark, sizeof le_mark - 1, message);
  parse_bad_bytes (be, sizeof be - 1, message);
  parse_bad_bytes (be_mark, sizeof be_mark - 1, message);
  assert (descriptor_probe (le_mark, sizeof le_mark - 1));
  assert (descriptor_probe (be, sizeof be - 1));
  assert (!descriptor_probe ("#\0\0\0", 4));
}

static void
test_probe (void)
{
  assert (probe (TITLE));
  assert (probe ("#Disk Descriptor File\n"));
  assert (probe ("\n  # disk descriptorFILE and more"));
  assert (probe ("version=1"));
  assert (probe ("# x\r\n\r\n \t\r\nVersion = 9\r\n"));
  assert (!probe (""));
  assert (!probe ("# Disk"));
  assert (!probe ("# x\nCID=1\nversion=1\n"));
  assert (!probe ("version\n"));
  assert (!probe ("versions=1\n"));
  assert (!probe ("KDMV" TITLE));
  assert (!descriptor_probe ("version=1", 7));
  assert (!descriptor_probe ("\0version=1", 10));
}

static void
test_too_long (void)
{
  const size_t size = VMDK_MAX_DESCRIPTOR;
  char *const text = malloc (size + 1);
  struct descriptor *d;

  assert (text);
  memset (text, ' ', size + 1);
  memcpy (text, HEAD EXTENT, strlen (HEAD EXTENT));
  d = parse_bytes (text, size);
  assert (d && d->nr_extents == 1);
  descriptor_free (d);
  parse_bad_bytes (text, size + 1, "has 1048577 bytes, expected at most "
                   "1048576");
  text[size] = '\0';
  descriptor_free (parse_clean (text));
  free (text);
}

/* Seconds that it takes to parse so many times the line. */
static double
time_lines (const char *line, size_t count)
{
  char *const text = repeat (HEAD EXTENT, line, count);
  const clock_t start = clock ();
  struct descriptor *const d = parse_good (text);
  const double seconds = (double) (clock () - start) / CLOCKS_PER_SEC;

  assert (d->nr_extents == 1);
  assert (d->nr_ddb == (strncmp (line, "ddb.", 4) == 0 ? count : 0));
  descriptor_free (d);
  free (text);
  return seconds;
}

/* Eight times the text may take eight times as long, and for noise four
 * times that; with quadratic time it would be sixty-four times as long,
 * many seconds.
 */
static void
test_linear (void)
{
  static const char *const lines[] = {
    "ddb.x=1\n", "CID=1\n", "key=1\n", "junk\n", "\r", "#\n", "k\"=1\n",
  };
  size_t i;

  for (i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    const size_t n = (VMDK_MAX_DESCRIPTOR - 200) / strlen (lines[i]);
    const double less = time_lines (lines[i], n / 8);

    assert (time_lines (lines[i], n) < 32 * less + 0.5);
  }
}

/* One line of a MiB, of each kind. */
static void
test_long_lines (void)
{
  static const char *const starts[] = {
    "ddb.x=", "createType=", "CID=", "RW ", "RW 1 SPARSE \"", "RW 1 FLAT ",
    "RW 1 FLAT \"a\" ", "", "#", "=", "RW 1 ZERO ",
  };
  static const char fills[] = { '1', ' ', '"', '=', '\xff', 'e' };
  const size_t size = VMDK_MAX_DESCRIPTOR;
  char *const text = malloc (size);
  size_t i, j, n;

  assert (text);
  for (i = 0; i < sizeof starts / sizeof starts[0]; i++)
    for (j = 0; j < sizeof fills; j++) {
      n = (size_t) sprintf (text, "%s%s", HEAD EXTENT, starts[i]);
      memset (text + n, fills[j], size - n);
      descriptor_free (parse_bytes (text, size));
    }
  free (text);
}

static void
test_quiet (void)
{
  descriptor_free (descriptor_parse (&vmdk_no_log, NAME, HEAD EXTENT,
                                     strlen (HEAD EXTENT)));
  assert (descriptor_parse (&vmdk_no_log, NAME, "RW", 2) == NULL);
  assert (errno == EINVAL);
}

static void
test_names (void)
{
  assert_string (extent_access_name (ACCESS_RDONLY), "RDONLY");
  assert_string (extent_access_name (ACCESS_NOACCESS), "NOACCESS");
  assert_string (extent_type_name (TYPE_FLAT), "FLAT");
  assert_string (extent_type_name (TYPE_VMFSSPARSE), "VMFSSPARSE");
  assert_string (extent_type_name (TYPE_VSANSPARSE), "VSANSPARSE");
}

int
main (void)
{
  test_esxi ();
  test_not_given ();
  test_good_extents ();
  test_bad_extents ();
  test_several_extents ();
  test_sum ();
  test_number_of_extents ();
  test_case ();
  test_locale ();
  test_blanks_and_quotes ();
  test_version ();
  test_no_version ();
  test_cid ();
  test_duplicates ();
  test_encrypted ();
  test_line_ends ();
  test_last_line ();
  test_unknown_lines ();
  test_nul ();
  test_encodings ();
  test_probe ();
  test_too_long ();
  test_linear ();
  test_long_lines ();
  test_quiet ();
  test_names ();
  return 0;
}
