/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing JSON as it comes, without holding it in memory: commas, line
 * breaks and escaping are done here.  Errors stay in the stream.
 */

#ifndef VMDK_JSON_H
#define VMDK_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_MAX_DEPTH 8

struct json {
  FILE *out;
  unsigned depth;
  struct json_level {
    char close;   /* ']' or '}' */
    bool inlined; /* all on one line */
    bool filled;  /* has an item */
  } levels[JSON_MAX_DEPTH];
};

/* Zero-initialise all but out. */
#define JSON_TO(FILE) ((struct json) { .out = (FILE) })

/* A value: in an array or on top with key NULL, in an object with its
 * key.  Those that are inlined have no line breaks, nor what is in them.
 */
extern void json_object (struct json *j, const char *key, bool inlined)
  __attribute__ ((__nonnull__ (1)));
extern void json_array (struct json *j, const char *key, bool inlined)
  __attribute__ ((__nonnull__ (1)));
/* Closes the object or array begun last; after the outermost one comes a
 * line break.
 */
extern void json_end (struct json *j) __attribute__ ((__nonnull__ (1)));

/* value NULL is written as null.  What isn't valid UTF-8 in it becomes
 * U+FFFD.
 */
extern void json_string (struct json *j, const char *key, const char *value)
  __attribute__ ((__nonnull__ (1)));
extern void json_uint (struct json *j, const char *key, uint64_t value)
  __attribute__ ((__nonnull__ (1)));
extern void json_bool (struct json *j, const char *key, bool value)
  __attribute__ ((__nonnull__ (1)));

/* The number of bytes of the UTF-8 character that s, which isn't empty,
 * begins with.  0: it doesn't begin with a valid one.
 */
extern size_t utf8_length (const char *s) __attribute__ ((__nonnull__ (1)));

#endif /* VMDK_JSON_H */
