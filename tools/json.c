/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A small JSON writer.
 */

#include <config.h>

#include <assert.h>
#include <inttypes.h>

#include "json.h"

size_t
utf8_length (const char *s)
{
  const unsigned char *const u = (const unsigned char *) s;
  unsigned char low = 0x80, high = 0xbf; /* of the second byte */
  size_t i, n;

  if (u[0] < 0x80)
    return 1;
  if (u[0] < 0xc2 || u[0] > 0xf4) /* 0xc0 and 0xc1 are never needed */
    return 0;
  n = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

  /* Longer than needed, surrogates, or past U+10FFFF. */
  if (u[0] == 0xe0)
    low = 0xa0;
  else if (u[0] == 0xed)
    high = 0x9f;
  else if (u[0] == 0xf0)
    low = 0x90;
  else if (u[0] == 0xf4)
    high = 0x8f;
  if (u[1] < low || u[1] > high)
    return 0;
  for (i = 2; i < n; i++)
    if (u[i] < 0x80 || u[i] > 0xbf)
      return 0;
  return n;
}

static void
write_string (FILE *out, const char *s)
{
  putc ('"', out);
  while (*s != '\0') {
    const size_t n = utf8_length (s);

    if (n == 0)
      fputs ("\xef\xbf\xbd", out);
    else if (*s == '"' || *s == '\\')
      fprintf (out, "\\%c", *s);
    else if ((unsigned char) *s < 0x20)
      fprintf (out, "\\u%04x", (unsigned) *s);
    else
      fwrite (s, 1, n, out);
    s += n == 0 ? 1 : n;
  }
  putc ('"', out);
}

static void
new_line (const struct json *j)
{
  fprintf (j->out, "\n%*s", (int) j->depth * 2, "");
}

/* What comes before a value. */
static void
begin_value (struct json *j, const char *key)
{
  if (j->depth > 0) {
    struct json_level *const level = &j->levels[j->depth - 1];

    assert ((level->close == '}') == (key != NULL));
    if (level->filled)
      putc (',', j->out);
    if (!level->inlined)
      new_line (j);
    else if (level->filled)
      putc (' ', j->out);
    level->filled = true;
  }
  if (key) {
    write_string (j->out, key);
    fputs (": ", j->out);
  }
}

static void
begin_level (struct json *j, const char *key, char open, char close,
             bool inlined)
{
  begin_value (j, key);
  assert (j->depth < JSON_MAX_DEPTH);
  if (j->depth > 0 && j->levels[j->depth - 1].inlined)
    inlined = true;
  j->levels[j->depth++] =
    (struct json_level) { .close = close, .inlined = inlined };
  putc (open, j->out);
}

void
json_object (struct json *j, const char *key, bool inlined)
{
  begin_level (j, key, '{', '}', inlined);
}

void
json_array (struct json *j, const char *key, bool inlined)
{
  begin_level (j, key, '[', ']', inlined);
}

void
json_end (struct json *j)
{
  const struct json_level *level;

  assert (j->depth > 0);
  level = &j->levels[--j->depth];
  if (level->filled && !level->inlined)
    new_line (j);
  putc (level->close, j->out);
  if (j->depth == 0)
    putc ('\n', j->out);
}

void
json_string (struct json *j, const char *key, const char *value)
{
  begin_value (j, key);
  if (value)
    write_string (j->out, value);
  else
    fputs ("null", j->out);
}

void
json_uint (struct json *j, const char *key, uint64_t value)
{
  begin_value (j, key);
  fprintf (j->out, "%" PRIu64, value);
}

void
json_bool (struct json *j, const char *key, bool value)
{
  begin_value (j, key);
  fputs (value ? "true" : "false", j->out);
}
