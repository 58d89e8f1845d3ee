/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changing the text of a descriptor.  Two walks over its lines: the first
 * finds what is to be changed, the second copies the text and changes it
 * on the way.  What a line means is the parser's business; of lines that
 * come twice it takes the first one, and so only that one is changed.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "descriptor-edit.h"
#include "descriptor.h"

#define CID_DIGITS 8
#define LONG_ID_DIGITS 32

struct change {
  const struct vmdk_log *log;
  const char *name;
  const struct descriptor_edit *edit;
  struct descriptor_line first[NR_LINE_KINDS]; /* start NULL: none */
  size_t room;                       /* bytes that the text may grow */
  char cid[CID_DIGITS + 1];          /* "": can't be changed */
  char long_id[LONG_ID_DIGITS + 1];  /* "": remains as it is */
  char *out;                         /* where the next byte goes */
  char *title;                       /* where the last line went, if it is
                                        the title of change tracking */
};

/* New numbers. */

static int
get_random (const struct change *c, void *buf, size_t size)
{
  ssize_t r;

  do
    r = getrandom (buf, size, 0);
  while (r == -1 && errno == EINTR);
  if (r == (ssize_t) size)
    return 0;
  if (r != -1)
    errno = EIO;
  vmdk_error (c->log, "%s: random numbers for a new content ID: %m", c->name);
  return -1;
}

static bool
is_reserved (uint32_t cid)
{
  return cid == CID_NONE || cid == CID_UNSET;
}

/* The digits may lie in two sectors, of which a crash leaves one old.
 * What is there then must be another number than the old one, too, and
 * one that means a content.
 */
static bool
is_suitable (uint32_t old, uint32_t new, size_t digits)
{
  unsigned bits;

  for (bits = 0; bits < digits * 4; bits += 4) {
    const uint32_t low = (UINT32_C (1) << bits) - 1;

    if (((old ^ new) >> bits & 0xf) == 0 ||
        is_reserved ((new & ~low) | (old & low)) ||
        (bits > 0 && is_reserved ((old & ~low) | (new & low))))
      return false;
  }
  return true;
}

static int
choose_cid (const struct change *c, uint32_t old, size_t digits,
            uint32_t *cid)
{
  do {
    if (get_random (c, cid, sizeof *cid) == -1)
      return -1;
    *cid &= UINT32_MAX >> (CID_DIGITS - digits) * 4;
  } while (!is_suitable (old, *cid, digits));
  return 0;
}

static size_t
value_length (const struct descriptor_line *line)
{
  return (size_t) (line->value_end - line->value);
}

/* How many digits to write in place of those that are there. */
static size_t
new_digits (struct change *c, size_t old, size_t wanted)
{
  if (c->edit->in_place || (wanted > old && wanted - old > c->room))
    return old;
  if (wanted > old)
    c->room -= wanted - old;
  return wanted;
}

/* Sets c->cid and *cid. */
static int
prepare_cid (struct change *c, uint32_t *cid)
{
  const struct descriptor_line *const line = &c->first[LINE_CID];
  uint32_t old;
  size_t digits;

  *cid = CID_UNSET;
  if (line->start == NULL ||
      !descriptor_read_cid (line->value, value_length (line), &old)) {
    vmdk_warning (c->log, "%s: found no CID= line, so the content ID can't be "
                  "changed: children won't notice that their parent's content "
                  "has", c->name);
    return 0;
  }
  digits = new_digits (c, value_length (line), CID_DIGITS);
  if (choose_cid (c, old, digits, cid) == -1)
    return -1;
  snprintf (c->cid, sizeof c->cid, "%0*" PRIx32, (int) digits, *cid);
  return 0;
}

static bool
is_long_id (const struct descriptor_line *line)
{
  const char *p;
  uint32_t part;

  for (p = line->value; p < line->value_end; p += CID_DIGITS)
    if (line->value_end - p < CID_DIGITS ||
        !descriptor_read_cid (p, CID_DIGITS, &part))
      return false;
  return value_length (line) == LONG_ID_DIGITS;
}

/* Whatever else is there gives way to one, if it may. */
static bool
takes_long_id (struct change *c, const struct descriptor_line *line)
{
  return is_long_id (line) ||
    (!c->edit->in_place &&
     new_digits (c, value_length (line), LONG_ID_DIGITS) == LONG_ID_DIGITS);
}

/* Sets c->long_id.  It ends with the CID, the rest is random. */
static int
prepare_long_id (struct change *c, uint32_t cid)
{
  const struct descriptor_line *const line = &c->first[LINE_LONG_CONTENT_ID];
  uint32_t n[3];

  if (c->cid[0] == '\0' || line->start == NULL || !takes_long_id (c, line))
    return 0;
  if (get_random (c, n, sizeof n) == -1)
    return -1;
  snprintf (c->long_id, sizeof c->long_id, "%08" PRIx32 "%08" PRIx32 "%08"
            PRIx32 "%08" PRIx32, n[0], n[1], n[2], cid);
  return 0;
}

/* Version 3 stands for change tracking; the others have other reasons. */
static bool
is_version_3 (const struct descriptor_line *line)
{
  const char *p = line->value;

  while (p < line->value_end && *p == '0')
    p++;
  return line->value_end - p == 1 && *p == '3';
}

/* The new text. */

static void
put (struct change *c, const char *start, const char *end)
{
  /* There is a line if descriptor_next_line says so. */
  /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
  memcpy (c->out, start, (size_t) (end - start));
  c->out += end - start;
}

/* The line with something else in place of [from, the value's end). */
static void
put_changed (struct change *c, const struct descriptor_line *line,
             const char *from, const char *with)
{
  put (c, line->start, from);
  put (c, with, with + strlen (with));
  put (c, line->value_end, line->end);
}

static void
put_change_track (struct change *c, const struct descriptor_line *line,
                  char *title)
{
  static const char comment[] = "#";

  if (c->edit->in_place) {
    put (c, comment, comment + 1);
    put (c, line->start + 1, line->end);
  }
  else if (title)
    c->out = title;
}

static void
put_line (struct change *c, const struct descriptor_line *line)
{
  const bool is_first = line->start == c->first[line->kind].start;
  const bool drop = c->edit->drop_change_track;
  char *const title = c->title;

  c->title = line->kind == LINE_CHANGE_TRACK_TITLE ? c->out : NULL;
  if (line->kind == LINE_CHANGE_TRACK && drop)
    put_change_track (c, line, title); /* all: the second would be next */
  else if (line->kind == LINE_VERSION && is_first && drop &&
           is_version_3 (line))
    put_changed (c, line, line->value_end - 1, "1");
  else if (line->kind == LINE_CID && is_first && c->cid[0] != '\0')
    put_changed (c, line, line->value, c->cid);
  else if (line->kind == LINE_LONG_CONTENT_ID && is_first &&
           c->long_id[0] != '\0')
    put_changed (c, line, line->value, c->long_id);
  else
    put (c, line->start, line->end);
}

static void
put_text (struct change *c, const char *text, size_t length)
{
  struct descriptor_lines lines = descriptor_lines (text, length);
  struct descriptor_line line;

  put (c, text, lines.next);
  while (descriptor_next_line (&lines, &line))
    put_line (c, &line);
  put (c, lines.end, text + length);
}

static void
find_lines (struct change *c, const char *text, size_t length)
{
  struct descriptor_lines lines = descriptor_lines (text, length);
  struct descriptor_line line;

  while (descriptor_next_line (&lines, &line))
    if (c->first[line.kind].start == NULL)
      c->first[line.kind] = line;
}

/* The last look before a disk depends on it. */
static int
check_result (const struct change *c, const char *text, size_t length,
              uint32_t cid)
{
  struct descriptor *const d =
    descriptor_parse (&vmdk_no_log, c->name, text, length);
  const bool good = d && d->cid == cid;

  if (d == NULL && errno == ENOMEM)
    vmdk_error (c->log, "%s: %m", c->name);
  else if (!good) {
    vmdk_error (c->log, "%s: found a descriptor that wouldn't be valid with "
                "another CID, expected one that is; it was left as it is",
                c->name);
    errno = EINVAL;
  }
  descriptor_free (d);
  return good ? 0 : -1;
}

char *
descriptor_change (const struct vmdk_log *log, const char *name,
                   const char *text, size_t length,
                   const struct descriptor_edit *edit, size_t *new_length,
                   uint32_t *cid)
{
  struct change c = { .log = log, .name = name, .edit = edit };
  char *new;

  if (length < VMDK_MAX_DESCRIPTOR)
    c.room = VMDK_MAX_DESCRIPTOR - length;
  find_lines (&c, text, length);
  if (prepare_cid (&c, cid) == -1 || prepare_long_id (&c, *cid) == -1)
    return NULL;
  new = malloc (length + CID_DIGITS + LONG_ID_DIGITS);
  if (new == NULL) {
    vmdk_error (log, "%s: %m", name);
    return NULL;
  }
  c.out = new;
  put_text (&c, text, length);
  *new_length = (size_t) (c.out - new);
  assert (!edit->in_place || *new_length == length);
  if (check_result (&c, new, *new_length, *cid) == -1) {
    const int err = errno;

    free (new);
    errno = err;
    return NULL;
  }
  return new;
}
