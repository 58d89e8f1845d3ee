/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Descriptors: text to struct, struct to text, and changes of the text.
 * What an input says to change stands behind the byte that ends its text.
 *   - what is composed of a struct is parsed to the same struct;
 *   - a change has its effect, and only that: all other lines remain.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor-edit.h"
#include "descriptor-write.h"
#include "descriptor.h"
#include "fuzz.h"

#define MAX_SIZES 4
#define MAX_LINES_COMPOSED 64
#define BIT(N) (1U << (N))

static struct vmdk_log messages;

static struct descriptor *
parse (const char *text, size_t length)
{
  struct descriptor *d;

  clear_messages ();
  errno = 0;
  d = descriptor_parse (&messages, "d.vmdk", text, length);
  if (d && nr_errors > 0)
    complain ("parsed, with an error: %s", last_error);
  if (d == NULL && (nr_errors == 0 || errno != EINVAL))
    complain ("not parsed, without an error");
  return d;
}

static bool
same_text (const char *a, const char *b)
{
  return a == b || (a && b && strcmp (a, b) == 0);
}

static bool
same_extent (const struct extent_line *a, const struct extent_line *b)
{
  return a->access == b->access && a->type == b->type && a->size == b->size &&
    a->offset == b->offset && same_text (a->name, b->name);
}

/* Composing. */

static bool
is_common (const struct descriptor *d)
{
  size_t i;

  for (i = 0; i < d->nr_extents; i++)
    if (d->extents[i].offset != 0 || d->extents[i].name == NULL)
      return false;
  return d->create_type && strchr (d->create_type, '"') == NULL &&
    d->nr_extents <= MAX_LINES_COMPOSED;
}

static char *
compose (const struct descriptor *d)
{
  struct new_extent_line lines[MAX_LINES_COMPOSED];
  const struct new_descriptor n = {
    .cid = d->cid, .parent_cid = d->parent_cid,
    .parent_hint = d->parent_hint, .create_type = d->create_type,
    .extents = lines, .nr_extents = d->nr_extents,
    .adapter = descriptor_ddb (d, "adapterType"),
  };
  size_t i;

  for (i = 0; i < d->nr_extents; i++)
    lines[i] = (struct new_extent_line) {
      .access = d->extents[i].access, .type = d->extents[i].type,
      .size = d->extents[i].size, .name = d->extents[i].name,
      .has_offset = d->extents[i].has_offset,
    };
  return descriptor_compose (&messages, &n);
}

static void
compare_composed (const struct descriptor *a, const struct descriptor *b)
{
  size_t i;

  if (b->cid != a->cid || b->parent_cid != a->parent_cid ||
      b->size != a->size || b->nr_extents != a->nr_extents ||
      !same_text (a->create_type, b->create_type))
    complain ("what was composed says something else");
  for (i = 0; i < a->nr_extents; i++)
    if (!same_extent (&a->extents[i], &b->extents[i]))
      complain ("extent %zu that was composed is another one", i);
}

static void
round_trip (const struct descriptor *d)
{
  struct descriptor *again;
  char *text;

  if (!is_common (d))
    return;
  clear_messages ();
  text = compose (d);
  if (text == NULL && nr_errors == 0)
    complain ("not composed, without an error");
  if (text == NULL || strlen (text) > VMDK_MAX_DESCRIPTOR) {
    free (text);
    return;
  }
  again = parse (text, strlen (text));
  if (again == NULL)
    complain ("what was composed can't be parsed: %s", last_error);
  compare_composed (d, again);
  descriptor_free (again);
  free (text);
}

/* The lines of a text that aren't of some kinds. */

struct walk {
  struct descriptor_lines lines;
  unsigned without;
};

static struct walk
walk_begin (const char *text, size_t length, unsigned without)
{
  return (struct walk) {
    .lines = descriptor_lines (text, length), .without = without,
  };
}

static bool
walk_next (struct walk *w, struct descriptor_line *line)
{
  while (descriptor_next_line (&w->lines, line))
    if (!(w->without >> line->kind & 1))
      return true;
  return false;
}

/* The last one may have got an end. */
static bool
same_line (const struct descriptor_line *a, const struct descriptor_line *b)
{
  const size_t m = (size_t) (a->end - a->start);
  const size_t n = (size_t) (b->end - b->start);

  return m <= n && memcmp (a->start, b->start, m) == 0 && n - m <= 2 &&
    (m == n || (m > 0 && a->end[-1] != '\n'));
}

static void
compare_lines (const char *a, size_t length_a, const char *b,
               size_t length_b, unsigned without)
{
  struct walk v = walk_begin (a, length_a, without);
  struct walk w = walk_begin (b, length_b, without);
  struct descriptor_line old, new;

  while (walk_next (&v, &old))
    if (!walk_next (&w, &new) || !same_line (&old, &new))
      complain ("a line has changed: %.*s",
                (int) (old.end - old.start), old.start);
  if (walk_next (&w, &new))
    complain ("a line was added: %.*s", (int) (new.end - new.start),
              new.start);
}

/* A new content ID. */

static void
change_cid (const char *text, size_t length, const struct descriptor *d,
            unsigned how)
{
  const struct descriptor_edit edit = {
    .in_place = how & 1, .drop_change_track = how & 2,
  };
  unsigned kinds = BIT (LINE_CID) | BIT (LINE_LONG_CONTENT_ID);
  struct descriptor *again;
  size_t n;
  uint32_t cid;
  char *new;

  clear_messages ();
  new = descriptor_change (&messages, "d.vmdk", text, length, &edit, &n,
                           &cid);
  /* Where nothing better begins it, that makes sense of what follows. */
  if (new == NULL && edit.drop_change_track && d->change_track &&
      !descriptor_probe (text, length))
    return;
  if (new == NULL)
    complain ("the content ID can't be changed: %s", last_error);
  again = parse (new, n);
  if (again == NULL || again->cid != cid || (d->has_cid && cid == d->cid))
    complain ("the content ID hasn't become another one");
  if (edit.in_place && n != length)
    complain ("changed in place, with another length");
  if (edit.drop_change_track)
    kinds |= BIT (LINE_CHANGE_TRACK) | BIT (LINE_CHANGE_TRACK_TITLE) |
      BIT (LINE_VERSION) | (edit.in_place ? BIT (LINE_OTHER) : 0);
  if (edit.drop_change_track && again->change_track)
    complain ("change tracking is still there");
  compare_lines (text, length, new, n, kinds);
  descriptor_free (again);
  free (new);
}

/* Other changes. */

struct wishes {
  struct descriptor_changes changes;
  uint32_t cid, parent_cid;
  uint64_t sizes[MAX_SIZES];
  struct geometry geometry;
  unsigned kinds; /* of lines that change */
};

static void
wish_sizes (struct wishes *w, struct requests *r)
{
  size_t i;

  w->changes.extent_sizes = w->sizes;
  w->changes.nr_sizes = (size_t) take (r, 1) % (MAX_SIZES + 1);
  for (i = 0; i < w->changes.nr_sizes; i++)
    w->sizes[i] = take (r, 5) * SECTOR;
  w->kinds |= BIT (LINE_EXTENT);
}

static void
read_wishes (struct wishes *w, struct requests *r)
{
  static const char *const hints[] = { "", "p.vmdk", "a b/p.vmdk", "\xff" };
  static const char line[] = "RW 16 ZERO\nRW 8 FLAT \"d-flat.vmdk\" 0\n";
  struct descriptor_changes *const c = &w->changes;
  const unsigned what = (unsigned) take (r, 1);

  *w = (struct wishes) { .kinds = BIT (LINE_CHANGE_TRACK_TITLE) };
  w->cid = (uint32_t) take (r, 4);
  w->parent_cid = (uint32_t) take (r, 4);
  if (what & 1) {
    c->cid = &w->cid;
    w->kinds |= BIT (LINE_CID) | BIT (LINE_LONG_CONTENT_ID);
  }
  if (what & 2) {
    c->parent_cid = &w->parent_cid;
    w->kinds |= BIT (LINE_PARENT_CID);
  }
  if (what & 4) {
    c->parent_hint = hints[take (r, 1) % 4];
    w->kinds |= BIT (LINE_PARENT_HINT);
  }
  if (what & 8) {
    c->drop_change_track = true;
    w->kinds |= BIT (LINE_CHANGE_TRACK) | BIT (LINE_VERSION);
  }
  if (what & 16)
    wish_sizes (w, r);
  if (what & 32) {
    c->more_extents = line;
    w->kinds |= BIT (LINE_EXTENT);
  }
  if (what & 64) {
    w->geometry = geometry_of ("ide", true, take (r, 6));
    c->geometry = &w->geometry;
    w->kinds |= BIT (LINE_CYLINDERS) | BIT (LINE_HEADS) | BIT (LINE_SECTORS);
  }
  if (what & 128) {
    c->version = (unsigned) take (r, 1) % 5;
    w->kinds |= BIT (LINE_VERSION);
  }
}

/* What nobody wanted to be changed. */
static void
compare_rest (const struct descriptor *a, const struct descriptor *b,
              const struct wishes *w)
{
  const struct descriptor_changes *const c = &w->changes;
  size_t i;

  if ((!c->cid && a->cid != b->cid) ||
      (!c->parent_cid && a->parent_cid != b->parent_cid) ||
      (!c->parent_hint && !same_text (a->parent_hint, b->parent_hint)) ||
      (!c->drop_change_track &&
       !same_text (a->change_track, b->change_track)) ||
      !same_text (a->create_type, b->create_type) ||
      !same_text (a->encoding, b->encoding))
    complain ("something changed that wasn't to be");
  if (b->nr_extents != a->nr_extents +
      (c->more_extents && a->nr_extents > 0 ? 2 : 0))
    complain ("%zu extents were %zu", b->nr_extents, a->nr_extents);
  for (i = 0; i < a->nr_extents; i++)
    if (!same_text (a->extents[i].name, b->extents[i].name) ||
        (i >= c->nr_sizes && a->extents[i].size != b->extents[i].size))
      complain ("extent %zu has become another one", i);
}

static void
edit (const char *text, size_t length, const struct descriptor *d,
      struct requests *r)
{
  struct descriptor *again;
  struct wishes w;
  size_t n;
  char *new;

  read_wishes (&w, r);
  clear_messages ();
  new = descriptor_edit (&messages, "d.vmdk", text, length, &w.changes, &n);
  if (new == NULL && nr_errors == 0)
    complain ("not edited, without an error");
  if (new == NULL)
    return;
  again = parse (new, n);
  if (again == NULL)
    complain ("what was edited can't be parsed: %s", last_error);
  compare_rest (d, again, &w);
  compare_lines (text, length, new, n, w.kinds);
  descriptor_free (again);
  free (new);
}

/* Behind a first line that is dropped, it would become the text's mark. */
static bool
has_late_mark (const char *text, size_t length)
{
  static const char mark[] = "\xef\xbb\xbf";

  return length > 1 && memmem (text + 1, length - 1, mark, 3) != NULL;
}

void
fuzz_descriptor (const uint8_t *data, size_t size)
{
  const char *const text = (const char *) data;
  const uint8_t *const end = size > 0 ? memchr (data, 0, size) : NULL;
  struct requests r = { .next = end ? end + 1 : data + size,
                        .end = data + size };
  struct descriptor *d;

  messages = watching_log (BIT (VMDK_TOPIC_DESCRIPTOR));
  if (size == 0)
    return;
  descriptor_probe (text, size);
  d = parse (text, size);
  if (d == NULL)
    return;
  if (has_late_mark (text, size)) {
    descriptor_free (d);
    return;
  }
  round_trip (d);
  change_cid (text, size, d, (unsigned) take (&r, 1));
  edit (text, size, d, &r);
  descriptor_free (d);
}
