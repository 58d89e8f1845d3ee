/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The JSON writer of vmdk-img: layout, escaping, and what isn't UTF-8.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG
#include <assert.h>

#include "json.h"

#define REPLACED "\xef\xbf\xbd" /* U+FFFD */

static char *text;
static size_t length;

static struct json
begin (void)
{
  FILE *const out = open_memstream (&text, &length);

  assert (out);
  return JSON_TO (out);
}

static void
expect (struct json *j, const char *expected)
{
  assert (fclose (j->out) == 0);
  if (strcmp (text, expected) != 0) {
    fprintf (stderr, "expected: %s\nwritten:  %s\n", expected, text);
    abort ();
  }
  free (text);
}

static void
test_layout (void)
{
  struct json j = begin ();

  json_object (&j, NULL, false);
  json_string (&j, "a", "b");
  json_array (&j, "list", false);
  json_object (&j, NULL, true);
  json_bool (&j, "yes", true);
  json_bool (&j, "no", false);
  json_array (&j, "inner", false); /* on the line that it is in */
  json_uint (&j, NULL, 1);
  json_uint (&j, NULL, 2);
  json_end (&j);
  json_end (&j);
  json_uint (&j, NULL, UINT64_MAX);
  json_end (&j);
  json_string (&j, "none", NULL);
  json_end (&j);
  expect (&j,
          "{\n"
          "  \"a\": \"b\",\n"
          "  \"list\": [\n"
          "    {\"yes\": true, \"no\": false, \"inner\": [1, 2]},\n"
          "    18446744073709551615\n"
          "  ],\n"
          "  \"none\": null\n"
          "}\n");
}

static void
test_empty (void)
{
  struct json j = begin ();

  json_array (&j, NULL, false);
  json_end (&j);
  expect (&j, "[]\n");

  j = begin ();
  json_object (&j, NULL, false);
  json_object (&j, "o", false);
  json_end (&j);
  json_end (&j);
  expect (&j, "{\n  \"o\": {}\n}\n");
}

static void
expect_string (const char *value, const char *expected)
{
  struct json j = begin ();

  json_string (&j, NULL, value);
  expect (&j, expected);
}

static void
test_escaping (void)
{
  struct json j = begin ();

  expect_string ("", "\"\"");
  expect_string ("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
  expect_string ("\x01\t\n\r\x1b\x1f\x7f",
                 "\"\\u0001\\u0009\\u000a\\u000d\\u001b\\u001f\x7f\"");

  json_object (&j, NULL, true);
  json_uint (&j, "k\"\n\xff", 0);
  json_end (&j);
  expect (&j, "{\"k\\\"\\u000a" REPLACED "\": 0}\n");
}

/* The first and the last character of each length, and those beside the
 * surrogates, are passed through.
 */
static void
test_valid_utf8 (void)
{
  expect_string ("\xc2\x80 \xdf\xbf", "\"\xc2\x80 \xdf\xbf\"");
  expect_string ("\xe0\xa0\x80 \xef\xbf\xbf", "\"\xe0\xa0\x80 \xef\xbf\xbf\"");
  expect_string ("\xed\x9f\xbf \xee\x80\x80", "\"\xed\x9f\xbf \xee\x80\x80\"");
  expect_string ("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf",
                 "\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"");
}

static void
test_invalid_utf8 (void)
{
  /* A byte that can't begin a character. */
  expect_string ("a\x80z", "\"a" REPLACED "z\"");
  expect_string ("\xff", "\"" REPLACED "\"");
  expect_string ("\xfe", "\"" REPLACED "\"");
  /* One that is cut off, at the end and by another character. */
  expect_string ("\xc3", "\"" REPLACED "\"");
  expect_string ("\xe2\x82", "\"" REPLACED REPLACED "\"");
  expect_string ("\xf0\x9f\x98", "\"" REPLACED REPLACED REPLACED "\"");
  expect_string ("\xc3\"", "\"" REPLACED "\\\"\"");
  expect_string ("\xe2\x82\xc3\xa4", "\"" REPLACED REPLACED "\xc3\xa4\"");
  /* Longer than needed: these could smuggle a quote or a NUL. */
  expect_string ("\xc0\xa2", "\"" REPLACED REPLACED "\"");
  expect_string ("\xc1\xbf", "\"" REPLACED REPLACED "\"");
  expect_string ("\xe0\x9f\xbf", "\"" REPLACED REPLACED REPLACED "\"");
  expect_string ("\xf0\x8f\xbf\xbf",
                 "\"" REPLACED REPLACED REPLACED REPLACED "\"");
  /* Surrogates, and past the last character. */
  expect_string ("\xed\xa0\x80", "\"" REPLACED REPLACED REPLACED "\"");
  expect_string ("\xf4\x90\x80\x80",
                 "\"" REPLACED REPLACED REPLACED REPLACED "\"");
  expect_string ("\xf5\x80", "\"" REPLACED REPLACED "\"");
}

int
main (void)
{
  test_layout ();
  test_empty ();
  test_escaping ();
  test_valid_utf8 ();
  test_invalid_utf8 ();
  return 0;
}
