/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changing a descriptor: the text, of which nothing but what must changes,
 * byte for byte; and where it lies inside of an extent, that whatever
 * sectors of a write a crash leaves, there is the old or the new one, which
 * can be changed again.
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
#include "descriptor-write.h"
#include "kdmv-format.h"
#include "le.h"
#include "link.h"
#include "relabel.h"

#define NAME "disk.vmdk"
#define TITLE "# Disk DescriptorFile\n"
#define EXTENT "RW 2048 SPARSE \"x.vmdk\"\n"

static unsigned nr_errors;

static void
on_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  (void) fmt;
  (void) args;
  nr_errors++;
}

static const struct vmdk_log test_log = { .error = on_error };

/* Text to text. */

static char *
edit (const char *text, size_t length, const struct descriptor_changes *c,
      size_t *new_length)
{
  /* Ends where the text ends, for AddressSanitizer. */
  char *const exact = malloc (length);
  char *new;

  assert (exact);
  memcpy (exact, text, length);
  new = descriptor_edit (&test_log, NAME, exact, length, c, new_length);
  free (exact);
  return new;
}

static void
expect_bytes (const char *old, size_t length, struct descriptor_changes c,
              const char *expected)
{
  size_t n = 0;
  char *const new = edit (old, length, &c, &n);

  if (new == NULL || n != strlen (expected) ||
      memcmp (new, expected, n) != 0) {
    fprintf (stderr, "--- old:\n%.*s\n--- new:\n%.*s\n--- expected:\n%s\n",
             (int) length, old, (int) n, new ? new : "", expected);
    abort ();
  }
  free (new);
}

#define EXPECT(OLD, EXPECTED, ...)                               \
  expect_bytes ((OLD), sizeof (OLD) - 1,                         \
                (struct descriptor_changes) { __VA_ARGS__ },     \
                (EXPECTED))

static const uint32_t cid = 0x0000beef, none = CID_NONE;

static void
test_ids (void)
{
  EXPECT (TITLE "CID=12\nparentCID=ffffffff\n" EXTENT,
          TITLE "CID=0000beef\nparentCID=ffffffff\n" EXTENT, .cid = &cid);
  EXPECT (TITLE " cid\t= \"12\" x\nCID=13\n" EXTENT,
          TITLE " cid\t= \"0000beef\" x\nCID=13\n" EXTENT, .cid = &cid);
  EXPECT (TITLE "CID=12345678\nparentCID=1\n" EXTENT,
          TITLE "CID=12345678\nparentCID=0000beef\n" EXTENT,
          .parent_cid = &cid);
  EXPECT (TITLE "CID=1\n" EXTENT
          "ddb.longContentID = \"0123456789abcdef0123456712345678\"\n",
          TITLE "CID=0000beef\n" EXTENT
          "ddb.longContentID = \"0123456789abcdef012345670000beef\"\n",
          .cid = &cid);
  EXPECT (TITLE "CID=1\n" EXTENT "ddb.longContentID = \"odd\"\n",
          TITLE "CID=0000beef\n" EXTENT "ddb.longContentID = \"odd\"\n",
          .cid = &cid);
  /* What isn't there is added. */
  EXPECT ("version=1\r\n" EXTENT,
          "version=1\r\nCID=0000beef\r\nparentCID=ffffffff\r\n" EXTENT,
          .cid = &cid, .parent_cid = &none);
  EXPECT (TITLE EXTENT, TITLE "CID=0000beef\n" EXTENT, .cid = &cid);
}

static void
test_hint (void)
{
  EXPECT (TITLE "createType=\"a\"\r\n# x\r\n" EXTENT,
          TITLE "createType=\"a\"\r\nparentFileNameHint=\"p\"\r\n# x\r\n"
          EXTENT, .parent_hint = "p");
  EXPECT (TITLE EXTENT "CID=1", TITLE EXTENT "CID=1\n"
          "parentFileNameHint=\"p\"\n", .parent_hint = "p");
  EXPECT (TITLE "parentCID=1\rCID=1\r" EXTENT,
          TITLE "parentCID=1\rparentFileNameHint=\"a b\"\rCID=1\r" EXTENT,
          .parent_hint = "a b");
  EXPECT (TITLE " parentFileNameHint = \"o\" # x\nparentfilenamehint=y\n"
          EXTENT, TITLE " parentFileNameHint = \"new\" # x\n"
          "parentfilenamehint=y\n" EXTENT, .parent_hint = "new");
  EXPECT (TITLE "parentFileNameHint=old  \n" EXTENT,
          TITLE "parentFileNameHint=\"new\"  \n" EXTENT,
          .parent_hint = "new");
  EXPECT (TITLE "parentFileNameHint=\n" EXTENT,
          TITLE "parentFileNameHint=\"new\"\n" EXTENT,
          .parent_hint = "new");
  EXPECT (TITLE "parentFileNameHint=\"\"\n" EXTENT,
          TITLE "parentFileNameHint=\"new\"\n" EXTENT,
          .parent_hint = "new");
  EXPECT (TITLE "a=b\nparentFileNameHint=\"o\"\r\nPARENTFILENAMEHINT=y\n"
          "c=d\n" EXTENT, TITLE "a=b\nc=d\n" EXTENT, .parent_hint = "");
  EXPECT (TITLE EXTENT "parentFileNameHint=\"o\"", TITLE EXTENT,
          .parent_hint = "");
}

static void
test_extents (void)
{
  static const uint64_t sizes[] = { 0, 1024 };
  static const uint64_t both[] = { 512, UINT64_C (1) << 50 };

  EXPECT (TITLE "RW 5 FLAT \"a\" 7\nrw\t 6  sparse b 9 x\n",
          TITLE "RW 5 FLAT \"a\" 7\nrw\t 2  sparse b 9 x\n",
          .extent_sizes = sizes, .nr_sizes = 2);
  EXPECT (TITLE "RW 5 FLAT \"a\" 7\nRW 6 SPARSE \"b\"",
          TITLE "RW 1 FLAT \"a\" 7\nRW 2199023255552 SPARSE \"b\"",
          .extent_sizes = both, .nr_sizes = 2);
  EXPECT (TITLE EXTENT EXTENT "x=y\n", TITLE EXTENT EXTENT "RW 1 ZERO\n"
          "RW 2 ZERO\nx=y\n", .more_extents = "RW 1 ZERO\nRW 2 ZERO\n");
  EXPECT (TITLE "RW 3 ZERO\r\nx=y\r\n", TITLE "RW 3 ZERO\r\nRW 1 ZERO\r\n"
          "RW 2 ZERO\r\nx=y\r\n", .more_extents = "RW 1 ZERO\nRW 2 ZERO");
  EXPECT (TITLE "RW 3 ZERO", TITLE "RW 3 ZERO\nRW 1 ZERO\n",
          .more_extents = "RW 1 ZERO\n");
}

static void
test_others (void)
{
  static const struct geometry g = { 1044, 255, 63 };

  EXPECT (TITLE EXTENT "ddb.geometry.cylinders = \"1\"\n"
          "DDB.Geometry.Heads=16\nddb.geometry.biosHeads = \"1\"\n",
          TITLE EXTENT "ddb.geometry.cylinders = \"1044\"\n"
          "DDB.Geometry.Heads=255\nddb.geometry.biosHeads = \"1\"\n",
          .geometry = &g);
  EXPECT ("version=1\n" EXTENT, "version=4\n" EXTENT, .version = 4);
  EXPECT ("version= 03 \n# a\n#  Change Tracking File\n# Change Tracking "
          "File\nchangeTrackPath=\"x\"\n" EXTENT,
          "version= 1 \n# a\n#  Change Tracking File\n" EXTENT,
          .drop_change_track = true);
  EXPECT (TITLE "# Change Tracking File\nchangeTrackPath=\"x\"\n" EXTENT
          "# Change Tracking File\n",
          TITLE "# Change Tracking File\nchangeTrackPath=\"x\"\n" EXTENT
          "# Change Tracking File\n", .version = 0);
  EXPECT ("\xef\xbb\xbf" TITLE "\x80odd line\nCID=1\n" EXTENT "\n\n#\0x\n",
          "\xef\xbb\xbf" TITLE "\x80odd line\nCID=0000beef\n" EXTENT "\n\n#",
          .cid = &cid);
}

static void
expect_refused (const char *text, struct descriptor_changes c)
{
  size_t n;

  nr_errors = 0;
  errno = 0;
  assert (edit (text, strlen (text), &c, &n) == NULL);
  assert (errno == EINVAL && nr_errors == 1);
}

static void
test_refused (void)
{
  static const uint64_t sizes[] = { 0, 512 }, odd[] = { 100 };

  expect_refused (TITLE EXTENT, (struct descriptor_changes) {
      .parent_hint = "a\"b" });
  expect_refused (TITLE EXTENT, (struct descriptor_changes) {
      .parent_hint = "a\nb" });
  expect_refused (TITLE EXTENT, (struct descriptor_changes) {
      .extent_sizes = sizes, .nr_sizes = 2 });
  expect_refused (TITLE EXTENT, (struct descriptor_changes) {
      .extent_sizes = odd, .nr_sizes = 1 });
  expect_refused (TITLE EXTENT, (struct descriptor_changes) {
      .more_extents = "RW 1 FLAT\n" });
  expect_refused ("version=1\n", (struct descriptor_changes) { .cid = &cid });
}

/* Inside of an extent: a store in memory, which writes down what is done
 * to it.
 */

#define FILE_SECTORS 128
#define FILE_BYTES (FILE_SECTORS * 512)
#define MAX_LOG 1000

struct image {
  uint8_t bytes[FILE_BYTES];
};

struct written {
  bool sync;       /* else: */
  unsigned sector; /* one, with this content */
  uint8_t bytes[512];
};

struct memory {
  struct store s; /* must come first */
  struct image image;
};

static struct written *written; /* NULL: nothing is written down */
static size_t nr_written;

static int
memory_pread (struct store *s, void *buf, size_t count, uint64_t offset)
{
  const struct memory *const m = (const struct memory *) s;
  const size_t n = offset >= FILE_BYTES ? 0 :
    count > FILE_BYTES - offset ? (size_t) (FILE_BYTES - offset) : count;

  memset (buf, 0, count);
  if (n > 0)
    memcpy (buf, m->image.bytes + offset, n);
  return 0;
}

static int
memory_pwrite (struct store *s, const void *buf, size_t count,
               uint64_t offset)
{
  struct memory *const m = (struct memory *) s;
  size_t i;

  assert (count % 512 == 0 && offset % 512 == 0);
  assert (offset + count <= FILE_BYTES);
  for (i = 0; i < count && written; i += 512) {
    assert (nr_written < MAX_LOG);
    written[nr_written] = (struct written) {
      .sector = (unsigned) (offset + i) / 512
    };
    memcpy (written[nr_written++].bytes, (const char *) buf + i, 512);
  }
  memcpy (m->image.bytes + offset, buf, count);
  return 0;
}

static int
memory_sync (struct store *s)
{
  (void) s;
  if (written) {
    assert (nr_written < MAX_LOG);
    written[nr_written++] = (struct written) { .sync = true };
  }
  return 0;
}

static int
memory_make_writable (struct store *s)
{
  (void) s;
  return 0;
}

static void
memory_close (struct store *s)
{
  store_destroy (s);
  free (s);
}

static const struct store_ops memory_ops = {
  .pread = memory_pread, .pwrite = memory_pwrite, .sync = memory_sync,
  .make_writable = memory_make_writable, .close = memory_close,
};

static struct link *
open_image (struct context *ctx, const struct image *image)
{
  struct memory *const m = calloc (1, sizeof *m);
  struct link *l;

  assert (m && store_init (&m->s, &memory_ops, &ctx->log, NAME) == 0);
  m->s.size = FILE_BYTES;
  m->s.no_file = true;
  m->image = *image;
  l = link_open (ctx, &m->s, NULL);
  assert (l && store_make_writable (l->store) == 0);
  return l;
}

/* A descriptor of any length. */
#define PARENT "parentFileNameHint=\"p\"\n"
static char *
compose (uint32_t number, const char *hint, size_t length)
{
  char *text;

  assert (asprintf (&text, TITLE "version=1\nCID=%08" PRIx32 "\nparentCID=%s\n"
                    "createType=\"monolithicSparse\"\n%s" EXTENT
                    "ddb.filler = \"%*s\"\n", number,
                    hint[0] ? "12345678" : "ffffffff", hint,
                    (int) length, "x") != -1);
  return text;
}

static void
make_image (struct image *image, const char *text, unsigned room)
{
  const struct kdmv_header_disk h = {
    .magic = to_le32 (KDMV_MAGIC), .version = to_le32 (1),
    .flags = to_le32 (KDMV_FLAG_NEWLINES), .capacity = to_le64 (2048),
    .grain_size = to_le64 (128), .descriptor_offset = to_le64 (1),
    .descriptor_size = to_le64 (room), .gtes_per_gt = to_le32 (512),
    .gd_offset = to_le64 (room + 1), .overhead = to_le64 (FILE_SECTORS),
    .newlines = { '\n', ' ', '\r', '\n' },
  };
  const le32 gde = to_le32 (room + 2);

  memset (image, 0, sizeof *image);
  memcpy (image->bytes, &h, sizeof h);
  assert (strlen (text) <= room * 512);
  memcpy (image->bytes + 512, text, strlen (text));
  memcpy (image->bytes + (room + 1) * 512, &gde, sizeof gde);
}

static bool
has_text (const struct image *image, uint64_t offset, const char *text)
{
  return strncmp ((const char *) image->bytes + offset, text,
                  strlen (text) + 1) == 0;
}

static const struct image *
image_of (const struct link *l)
{
  return &((const struct memory *) l->store)->image;
}

/* Everything that doesn't belong to the descriptor is as it was. */
static void
expect_other_bytes (const struct image *a, const struct image *b,
                    unsigned room)
{
  assert (memcmp (a->bytes, b->bytes, 512) == 0);
  assert (memcmp (a->bytes + (room + 1) * 512, b->bytes + (room + 1) * 512,
                  FILE_BYTES - (room + 1) * 512) == 0);
}

static bool
is_blank (const uint8_t *p, const uint8_t *end)
{
  while (p < end && *p == 0)
    p++;
  return p == end;
}

/* What a crash left: the old or the new text, and nothing but; and it can
 * be changed.
 */
static void
expect_sound (struct context *ctx, const struct image *crashed,
              const struct image *first, const char *old, const char *new,
              unsigned room)
{
  struct link *const l = open_image (ctx, crashed);
  const char *const third = TITLE "version=1\nCID=7\n" EXTENT;
  char *const copy = strdup (third);
  const struct image *now;

  assert (has_text (crashed, l->desc_offset, old) ||
          has_text (crashed, l->desc_offset, new));
  assert (copy &&
          link_replace_descriptor (l, copy, strlen (copy)) == 0);
  now = image_of (l);
  assert (l->desc_offset == 512 && has_text (now, 512, third));
  assert (l->desc->cid == 7 && l->extents[0]->line == &l->desc->extents[0]);
  assert (is_blank (now->bytes + 512 + strlen (third),
                    now->bytes + (room + 1) * 512));
  expect_other_bytes (now, first, room);
  link_close (l);
  free (copy);
}

static unsigned
pick (unsigned n)
{
  return (unsigned) random () % n;
}

/* Of what was written after a sync, any part may have come to the file. */
static void
try_crashes (struct context *ctx, const struct image *first, const char *old,
             const char *new, unsigned room, const struct written *w,
             size_t nr)
{
  struct image *const synced = malloc (sizeof *synced);
  struct image *const crashed = malloc (sizeof *crashed);
  size_t start, end, i;
  unsigned round;

  assert (synced && crashed);
  *synced = *first;
  for (start = 0; start < nr; start = end + 1) {
    for (end = start; end < nr && !w[end].sync; end++)
      ;
    for (round = 0; round < 20; round++) {
      *crashed = *synced;
      for (i = start; i < end; i++)
        if (pick (2))
          memcpy (crashed->bytes + w[i].sector * 512, w[i].bytes, 512);
      expect_sound (ctx, crashed, first, old, new, room);
    }
    for (i = start; i < end; i++)
      memcpy (synced->bytes + w[i].sector * 512, w[i].bytes, 512);
  }
  assert (has_text (synced, 512, new));
  free (synced);
  free (crashed);
}

static void
test_embedded (struct context *ctx, const char *old, const char *new,
               unsigned room, bool fits)
{
  struct image *const first = malloc (sizeof *first);
  struct written *w = calloc (MAX_LOG, sizeof *w);
  struct link *l;
  size_t nr;
  int r;

  assert (first && w);
  make_image (first, old, room);
  l = open_image (ctx, first);
  written = w;
  nr_written = 0;
  r = link_replace_descriptor (l, new, strlen (new));
  written = NULL;
  nr = nr_written;
  assert (fits ? r == 0 : r == -1 && errno == EFBIG && nr == 0);
  if (fits) {
    assert (has_text (image_of (l), 512, new));
    expect_other_bytes (image_of (l), first, room);
    try_crashes (ctx, first, old, new, room, w, nr);
  }
  link_close (l);
  free (w);
  free (first);
}

static void
test_places (struct context *ctx)
{
  static const struct {
    size_t old, new;
    unsigned room;
    bool fits;
  } cases[] = {
    { 10, 10, 20, true }, { 10, 10, 1, true }, { 700, 700, 20, true },
    { 700, 10, 20, true }, { 10, 700, 20, true }, { 4500, 4500, 20, true },
    { 700, 4500, 20, true }, { 4500, 700, 20, true },
    { 4500, 5500, 20, false }, { 10, 20000, 20, false },
    { 700, 700, 2, false }, { 700, 700, 4, true }, { 800, 10, 3, true },
  };
  size_t i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char *const old = compose (0x11111111, PARENT, cases[i].old);
    char *const new = compose (0x22222222, "", cases[i].new);

    test_embedded (ctx, old, new, cases[i].room, cases[i].fits);
    free (old);
    free (new);
  }
}

/* Only what differs is written, in one step if it can be. */
static void
test_one_sector (struct context *ctx)
{
  char *const old = compose (0x11111111, PARENT, 2000);
  struct image *const first = malloc (sizeof *first);
  struct written w[3];
  struct link *l;

  assert (first);
  make_image (first, old, 20);
  l = open_image (ctx, first);
  written = w;
  nr_written = 0;
  assert (link_change_descriptor (l, &(struct descriptor_changes) {
        .parent_cid = &cid }) == 0);
  assert (nr_written == 2 && !w[0].sync && w[0].sector == 1 && w[1].sync);
  assert (l->desc->parent_cid == cid);
  nr_written = 0;
  assert (link_change_descriptor (l, &(struct descriptor_changes) {
        .parent_cid = &cid }) == 0);
  assert (nr_written == 0 || w[0].sync);
  written = NULL;
  link_close (l);
  free (first);
  free (old);
}

int
main (void)
{
  struct vmdk_options options;
  struct context *ctx;

  test_ids ();
  test_hint ();
  test_extents ();
  test_others ();
  assert (nr_errors == 0);
  test_refused ();

  vmdk_options_init (&options);
  options.no_lock = true;
  ctx = context_new (&options);
  assert (ctx);
  srandom (1);
  test_places (ctx);
  test_one_sector (ctx);
  context_free (ctx);
  return EXIT_SUCCESS;
}
