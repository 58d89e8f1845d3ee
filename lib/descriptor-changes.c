/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changing the text of a descriptor in any way that an operation on a disk
 * may ask for.  Line by line: what isn't concerned is copied as it is, down
 * to blanks and line ends.  What is added has the line ends of the line
 * before.  Of lines that come twice the parser takes the first one, and so
 * that one is changed; what is dropped, is dropped everywhere.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor-edit.h"
#include "descriptor-write.h"
#include "descriptor.h"
#include "le.h"
#include "memstream.h"

#define CID_DIGITS 8
#define LONG_ID_DIGITS 32

struct edit {
  const struct vmdk_log *log;
  const char *name;
  const struct descriptor_changes *changes;
  struct descriptor_line first[NR_LINE_KINDS]; /* start NULL: none */
  const char *last_extent;    /* where that line starts */
  /* Where the lines start behind which what is missing goes; NULL: it
   * isn't to be added.
   */
  const char *cid_after, *parent_cid_after, *hint_after;
  size_t nr_extents;          /* that were put */
  struct descriptor_line title; /* of change tracking, held back */
  FILE *out;
};

/* What there is. */

static void
find_lines (struct edit *e, const char *text, size_t length)
{
  struct descriptor_lines lines = descriptor_lines (text, length);
  struct descriptor_line line;

  while (descriptor_next_line (&lines, &line)) {
    if (e->first[line.kind].start == NULL)
      e->first[line.kind] = line;
    if (line.kind == LINE_EXTENT)
      e->last_extent = line.start;
  }
}

static bool
is_missing (const struct edit *e, enum line_kind kind)
{
  return e->first[kind].start == NULL;
}

/* The first of some kinds of lines that is there, or the text's first. */
static const char *
find_place (const struct edit *e, const char *text, size_t length,
            const enum line_kind *kinds)
{
  for (; *kinds != LINE_OTHER; kinds++)
    if (!is_missing (e, *kinds))
      return e->first[*kinds].start;
  return descriptor_lines (text, length).next;
}

static void
find_places (struct edit *e, const char *text, size_t length)
{
  static const enum line_kind order[] = {
    LINE_CREATE_TYPE, LINE_PARENT_CID, LINE_CID, LINE_VERSION, LINE_OTHER,
  };
  const struct descriptor_changes *const c = e->changes;

  if (c->cid && is_missing (e, LINE_CID))
    e->cid_after = find_place (e, text, length, order + 3);
  if (c->parent_cid && is_missing (e, LINE_PARENT_CID))
    e->parent_cid_after = find_place (e, text, length, order + 2);
  if (c->parent_hint && c->parent_hint[0] != '\0' &&
      is_missing (e, LINE_PARENT_HINT))
    e->hint_after = find_place (e, text, length, order);
}

/* Putting. */

static void
put (const struct edit *e, const char *start, const char *end)
{
  fwrite (start, 1, (size_t) (end - start), e->out);
}

/* The line with something else in place of its value. */
static void
put_value (const struct edit *e, const struct descriptor_line *line,
           const char *value)
{
  put (e, line->start, line->value);
  fputs (value, e->out);
  put (e, line->value_end, line->end);
}

static void
put_number (const struct edit *e, const struct descriptor_line *line,
            uint64_t n)
{
  char digits[24];

  snprintf (digits, sizeof digits, "%" PRIu64, n);
  put_value (e, line, digits);
}

static void
put_cid (const struct edit *e, const struct descriptor_line *line,
         uint32_t cid)
{
  char digits[CID_DIGITS + 1];

  snprintf (digits, sizeof digits, "%08" PRIx32, cid);
  put_value (e, line, digits);
}

/* Its end is the content ID; what isn't such an ID stays. */
static void
put_long_id (const struct edit *e, const struct descriptor_line *line)
{
  struct descriptor_line tail = *line;

  if (line->value_end - line->value == LONG_ID_DIGITS) {
    tail.value = line->value_end - CID_DIGITS;
    put_cid (e, &tail, *e->changes->cid);
  }
  else
    put (e, line->start, line->end);
}

static void
put_hint (const struct edit *e, const struct descriptor_line *line)
{
  const bool quoted = line->value > line->start && line->value[-1] == '"';

  put (e, line->start, line->value);
  fprintf (e->out, quoted ? "%s" : "\"%s\"", e->changes->parent_hint);
  put (e, line->value_end, line->end);
}

static void
put_extent (struct edit *e, const struct descriptor_line *line)
{
  const struct descriptor_changes *const c = e->changes;
  const size_t i = e->nr_extents++;

  if (i < c->nr_sizes && c->extent_sizes[i] != 0)
    put_number (e, line, c->extent_sizes[i] / SECTOR_SIZE);
  else
    put (e, line->start, line->end);
}

/* Version 3 stands for change tracking; the others have other reasons. */
static void
put_version (const struct edit *e, const struct descriptor_line *line)
{
  const char *p = line->value;

  while (p < line->value_end && *p == '0')
    p++;
  if (e->changes->version != 0)
    put_number (e, line, e->changes->version);
  else if (e->changes->drop_change_track && line->value_end - p == 1 &&
           *p == '3')
    put_number (e, line, 1);
  else
    put (e, line->start, line->end);
}

/* A line that is the first of its kind. */
static void
put_first (const struct edit *e, const struct descriptor_line *line)
{
  const struct descriptor_changes *const c = e->changes;

  if (line->kind == LINE_VERSION)
    put_version (e, line);
  else if (line->kind == LINE_CID && c->cid)
    put_cid (e, line, *c->cid);
  else if (line->kind == LINE_LONG_CONTENT_ID && c->cid)
    put_long_id (e, line);
  else if (line->kind == LINE_PARENT_CID && c->parent_cid)
    put_cid (e, line, *c->parent_cid);
  else if (line->kind == LINE_PARENT_HINT && c->parent_hint)
    put_hint (e, line);
  else if (line->kind == LINE_CYLINDERS && c->geometry)
    put_number (e, line, c->geometry->cylinders);
  else if (line->kind == LINE_HEADS && c->geometry)
    put_number (e, line, c->geometry->heads);
  else if (line->kind == LINE_SECTORS && c->geometry)
    put_number (e, line, c->geometry->sectors);
  else
    put (e, line->start, line->end);
}

static bool
is_dropped (const struct edit *e, const struct descriptor_line *line)
{
  const struct descriptor_changes *const c = e->changes;

  return (line->kind == LINE_CHANGE_TRACK && c->drop_change_track) ||
    (line->kind == LINE_PARENT_HINT && c->parent_hint &&
     c->parent_hint[0] == '\0');
}

/* The title goes where the line goes that it stands above. */
static void
put_title (struct edit *e, const struct descriptor_line *next)
{
  const bool drop = next && next->kind == LINE_CHANGE_TRACK &&
    is_dropped (e, next);

  if (e->title.start && !drop)
    put (e, e->title.start, e->title.end);
  e->title.start = NULL;
}

static void
put_old (struct edit *e, const struct descriptor_line *line)
{
  put_title (e, line);
  if (line->kind == LINE_CHANGE_TRACK_TITLE)
    e->title = *line;
  else if (line->kind == LINE_EXTENT)
    put_extent (e, line);
  else if (is_dropped (e, line))
    ;
  else if (line->start == e->first[line->kind].start)
    put_first (e, line);
  else
    put (e, line->start, line->end);
}

/* Adding. */

/* How line ends; *missing: it doesn't, as the last one may. */
static const char *
line_end (const struct descriptor_line *line, bool *missing)
{
  const bool cr = line->end > line->start && line->end[-1] == '\r';
  const bool lf = line->end > line->start && line->end[-1] == '\n';

  *missing = !cr && !lf;
  if (cr)
    return "\r";
  return lf && line->end - line->start > 1 && line->end[-2] == '\r' ? "\r\n" :
    "\n";
}

static void
put_more_extents (const struct edit *e, const char *eol)
{
  const char *p = e->changes->more_extents;

  while (*p != '\0') {
    const size_t n = strcspn (p, "\n");

    put (e, p, p + n);
    fputs (eol, e->out);
    p += n + (p[n] == '\n');
  }
}

static void
put_new (const struct edit *e, const struct descriptor_line *line)
{
  const struct descriptor_changes *const c = e->changes;
  const bool extents = c->more_extents && line->start == e->last_extent;
  bool missing;
  const char *const eol = line_end (line, &missing);

  if (missing && (extents || line->start == e->cid_after ||
                  line->start == e->parent_cid_after ||
                  line->start == e->hint_after))
    fputs (eol, e->out);
  if (line->start == e->cid_after)
    fprintf (e->out, "CID=%08" PRIx32 "%s", *c->cid, eol);
  if (line->start == e->parent_cid_after)
    fprintf (e->out, "parentCID=%08" PRIx32 "%s", *c->parent_cid, eol);
  if (line->start == e->hint_after)
    fprintf (e->out, "parentFileNameHint=\"%s\"%s", c->parent_hint, eol);
  if (extents)
    put_more_extents (e, eol);
}

static void
put_text (struct edit *e, const char *text, size_t length)
{
  struct descriptor_lines lines = descriptor_lines (text, length);
  struct descriptor_line line;

  put (e, text, lines.next);
  while (descriptor_next_line (&lines, &line)) {
    put_old (e, &line);
    if (line.start == e->cid_after || line.start == e->parent_cid_after ||
        line.start == e->hint_after || line.start == e->last_extent)
      put_new (e, &line);
  }
  put_title (e, NULL);
}

/* Checking. */

static int
check_changes (const struct vmdk_log *log, const char *name,
               const struct descriptor_changes *c)
{
  if (c->parent_hint == NULL || strpbrk (c->parent_hint, "\"\r\n") == NULL)
    return 0;
  vmdk_error (log, "%s: no descriptor can name this parent: there is a quote "
              "or the end of a line in its name; rename it", name);
  errno = EINVAL;
  return -1;
}

static bool
is_hint (const struct descriptor *d, const char *hint)
{
  return d->parent_hint ? strcmp (d->parent_hint, hint) == 0 :
    hint[0] == '\0';
}

static bool
has_changes (const struct descriptor *d, const struct descriptor_changes *c)
{
  size_t i;

  if ((c->cid && d->cid != *c->cid) ||
      (c->parent_cid && d->parent_cid != *c->parent_cid) ||
      (c->parent_hint && !is_hint (d, c->parent_hint)) ||
      (c->version != 0 && d->version != c->version) ||
      c->nr_sizes > d->nr_extents)
    return false;
  for (i = 0; i < c->nr_sizes; i++)
    if (c->extent_sizes[i] != 0 && d->extents[i].size != c->extent_sizes[i])
      return false;
  return true;
}

/* The last look before a disk depends on it. */
static int
check_result (const struct edit *e, const char *text, size_t length)
{
  struct descriptor *const d =
    descriptor_parse (&vmdk_no_log, e->name, text, length);
  const bool good = d && has_changes (d, e->changes);

  if (d == NULL && errno == ENOMEM)
    vmdk_error (e->log, "%s: %m", e->name);
  else if (!good) {
    vmdk_error (e->log, "%s: found a descriptor that wouldn't be valid after "
                "the change, expected one that is; it was left as it is",
                e->name);
    errno = EINVAL;
  }
  descriptor_free (d);
  return good ? 0 : -1;
}

char *
descriptor_edit (const struct vmdk_log *log, const char *name,
                 const char *text, size_t length,
                 const struct descriptor_changes *changes,
                 size_t *new_length)
{
  struct edit e = { .log = log, .name = name, .changes = changes };
  char *new = NULL;
  int err;

  if (check_changes (log, name, changes) == -1)
    return NULL;
  e.out = open_memstream (&new, new_length);
  if (e.out == NULL) {
    vmdk_error (log, "%s: %m", name);
    return NULL;
  }
  find_lines (&e, text, length);
  find_places (&e, text, length);
  put_text (&e, text, length);
  if (memstream_close (e.out, &new) == NULL)
    vmdk_error (log, "%s: %m", name);
  else if (check_result (&e, new, *new_length) == 0)
    return new;
  err = errno;
  free (new);
  errno = err;
  return NULL;
}
