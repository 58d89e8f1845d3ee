/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The file beside a child that is being committed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commit-marker.h"
#include "descriptor.h"
#include "link.h"
#include "new-file.h"
#include "own-file.h"

#define MAX_SIZE 8192 /* two names, and some words */

#define WAS "\noldCID="
#define NOW "\nnewCID="
#define END "\nend\n"

/* The number behind the last key: names come before. */
static bool
find_cid (const char *text, const char *key, uint32_t *cid)
{
  const char *p = NULL, *next = text;

  while ((next = strstr (next, key))) {
    next += strlen (key);
    p = next;
  }
  return p && strlen (p) > 8 && p[8] == '\n' &&
    descriptor_read_cid (p, 8, cid);
}

static void
parse (struct commit_marker *m, const char *text, size_t length)
{
  const size_t n = strlen (END);

  m->valid = length > n && strcmp (text + length - n, END) == 0 &&
    find_cid (text, WAS, &m->was) && find_cid (text, NOW, &m->now) &&
    m->now != CID_NONE && m->now != CID_UNSET;
}

int
commit_marker_read (const struct link *child, struct commit_marker *m)
{
  char text[MAX_SIZE + 1];
  ssize_t n;
  int folder, fd;

  *m = (struct commit_marker) { .path = NULL };
  if (asprintf (&m->path, "%s.commit", child->store->name) == -1) {
    m->path = NULL;
    vmdk_error (&child->ctx->log, "%s: %m", child->store->name);
    return -1;
  }
  folder = own_file_folder (child->store, true);
  if (folder == -1)
    return -1;
  fd = openat (folder, own_file_base (m->path),
               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  close (folder);
  if (fd == -1 && errno == ENOENT)
    return 0;
  n = fd == -1 ? -1 : read (fd, text, MAX_SIZE);
  if (n == -1)
    vmdk_error (&child->ctx->log, "%s: reading it: %m", m->path);
  else {
    m->exists = true;
    text[n] = '\0';
    parse (m, text, (size_t) n);
  }
  if (fd >= 0)
    close (fd);
  return n == -1 ? -1 : 0;
}

/* Names are for people to read; line ends can't be in them. */
static char *
compose (const struct link *child, const struct commit_marker *m)
{
  char *text;

  if (asprintf (&text, "# The disk below is being committed to its parent.\n"
                "# If no program does it any more, run vmdk-img commit again."
                "\nchild=%s\nparent=%s" WAS "%08" PRIx32 NOW "%08" PRIx32 END,
                child->store->name, child->parent->store->name, m->was,
                m->now) != -1)
    return text;
  vmdk_error (&child->ctx->log, "%s: %m", m->path);
  return NULL;
}

int
commit_marker_write (const struct link *child, struct commit_marker *m)
{
  struct new_file *const f =
    new_file_begin_beside (&child->ctx->log, m->path, child->store, false);
  char *const text = f ? compose (child, m) : NULL;
  int r = -1;

  if (text && store_pwrite (f->store, text, strlen (text), 0) == 0)
    r = new_files_publish (&f, 1);
  free (text);
  new_file_free (f);
  m->exists = m->valid = r == 0;
  return r;
}

int
commit_marker_remove (const struct link *child, struct commit_marker *m)
{
  if (!m->exists)
    return 0;
  if (own_file_remove_beside (child->store, m->path) == -1)
    return -1;
  m->exists = m->valid = false;
  return 0;
}

void
commit_marker_free (struct commit_marker *m)
{
  free (m->path);
}
