/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Where the files are that a descriptor names.  A name that leads out of
 * its folder gets a second chance as an absolute path that lies in one of
 * the roots; a parent's hint, which is only a hint, is tried in all the
 * ways in which a disk may have been moved.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"
#include "resolve.h"

/* A FIFO must not hang us, and a terminal not become ours. */
#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* Takes fd over. */
static struct folder *
folder_new (int fd, const char *path)
{
  struct folder *const f = calloc (1, sizeof *f);

  if (f == NULL) {
    close (fd);
    return NULL;
  }
  f->fd = fd;
  f->path = strdup (path);
  f->absolute = realpath (path, NULL);
  if (f->path == NULL || f->absolute == NULL) {
    folder_close (f);
    return NULL;
  }
  return f;
}

struct folder *
folder_open (struct context *ctx, const char *path)
{
  const int fd = open (path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct folder *const f = fd >= 0 ? folder_new (fd, path) : NULL;

  if (f == NULL)
    vmdk_error (&ctx->log, "%s: opening the folder: %m", path);
  return f;
}

struct folder *
folder_again (struct context *ctx, const struct folder *folder)
{
  const int fd = fcntl (folder->fd, F_DUPFD_CLOEXEC, 0);
  struct folder *const f = fd >= 0 ? folder_new (fd, folder->path) : NULL;

  if (f == NULL)
    vmdk_error (&ctx->log, "%s: opening the folder: %m", folder->path);
  return f;
}

/* "a/b" and "c" make "a/b/c"; NULL: no memory. */
static char *
join (const char *dir, const char *name)
{
  char *path;

  if (strcmp (dir, ".") == 0)
    return strdup (name);
  if (asprintf (&path, "%s%s%s", dir,
                dir[strlen (dir) - 1] == '/' ? "" : "/", name) == -1)
    return NULL;
  return path;
}

/* What stands before the last slash, "." or "/"; NULL: no memory. */
static char *
dir_name (const char *path)
{
  const char *const slash = strrchr (path, '/');

  if (slash == NULL)
    return strdup (".");
  return strndup (path, slash == path ? 1 : (size_t) (slash - path));
}

static const char *
base_name (const char *path)
{
  const char *const slash = strrchr (path, '/');

  return slash ? slash + 1 : path;
}

/* The folder comes first, and the file is looked up in it: another lookup of
 * the same path could end in another folder.
 */
static int
open_in_folder (const char *path, struct folder **folder)
{
  char *const dir = dir_name (path);
  const int fd = dir ? open (dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
  const char *const base = base_name (path);

  *folder = fd >= 0 ? folder_new (fd, dir) : NULL;
  free (dir);
  return *folder == NULL ? -1
    : openat ((*folder)->fd, *base ? base : ".", OPEN_FLAGS);
}

struct store *
resolve_by_hand (struct context *ctx, const char *path,
                 struct folder **folder)
{
  struct folder *own = NULL;
  struct store *store = NULL;
  const int fd =
    folder ? open_in_folder (path, &own) : open (path, OPEN_FLAGS);

  if (fd == -1)
    vmdk_error (&ctx->log, "%s: %m", path);
  else
    store = context_add_file (ctx, fd, path);
  if (store == NULL)
    folder_close (own);
  else if (folder)
    *folder = own;
  return store;
}

/* The C library loads a module for nearly every encoding, and some of them
 * have had holes; an image doesn't get to choose among them all.
 */
static bool
is_known_encoding (const char *encoding)
{
  static const char *const prefixes[] = {
    "big5", "cp125", "cp93", "cp94", "cp95", "euc-jp", "euc-kr", "gb18030",
    "gb2312", "gbk", "ibm-", "iso-8859-", "iso8859-", "koi8-r", "shift_jis",
    "sjis", "windows-125", "windows-93", "windows-94",
  };
  size_t i;

  if (strlen (encoding) > 16 || strchr (encoding, '/'))
    return false;
  for (i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
    if (strncasecmp (encoding, prefixes[i], strlen (prefixes[i])) == 0)
      return true;
  return false;
}

/* Names in other encodings: as they are first, since a file may have been
 * unpacked with its name's bytes; then in ours.  NULL: no difference.
 */
static char *
to_utf8 (const char *encoding, const char *name)
{
  const size_t size = strlen (name) * 4 + 1;
  char *in = (char *) name;
  size_t in_left = strlen (name), out_left = size - 1;
  char *const utf8 = malloc (size);
  char *out = utf8;
  iconv_t cd;

  if (utf8 == NULL || !is_known_encoding (encoding)) {
    free (utf8);
    return NULL;
  }
  cd = iconv_open ("UTF-8", encoding);
  if (cd == (iconv_t) -1 ||
      iconv (cd, &in, &in_left, &out, &out_left) == (size_t) -1 ||
      iconv (cd, NULL, NULL, &out, &out_left) == (size_t) -1)
    out = utf8;
  if (cd != (iconv_t) -1)
    iconv_close (cd);
  *out = '\0';
  if (out != utf8 && strcmp (utf8, name) != 0)
    return utf8;
  free (utf8);
  return NULL;
}

/* Removes "//", "/./" and "/../" from an absolute path, as text: what
 * comes out is still only opened beneath a root.
 */
static void
normalise (char *path)
{
  char *out = path;
  const char *in = path;

  while (*in != '\0') {
    const size_t n = strcspn (in + 1, "/") + 1; /* with its slash */

    if (n == 3 && strncmp (in, "/..", 3) == 0) {
      while (out > path && *--out != '/')
        ;
    }
    else if (n > 1 && !(n == 2 && in[1] == '.')) {
      memmove (out, in, n);
      out += n;
    }
    in += n;
  }
  if (out == path)
    *out++ = '/';
  *out = '\0';
}

/* If path lies in folder: the rest of it. */
static const char *
below (const char *path, const char *folder)
{
  const size_t n = strcmp (folder, "/") == 0 ? 0 : strlen (folder);

  return strncmp (path, folder, n) == 0 && path[n] == '/' &&
    path[n + 1] != '\0' ? path + n + 1 : NULL;
}

/* One place to look at: a name below a folder. */
struct place {
  const struct folder *folder;
  const char *name;
};

/* The root in which an absolute path lies; none: errno is EXDEV. */
static struct place
find_root (const struct context *ctx, const char *absolute)
{
  struct place p = { NULL, NULL };
  size_t i;

  for (i = 0; i < ctx->nr_roots && p.folder == NULL; i++) {
    p.name = below (absolute, ctx->roots[i]->absolute);
    if (p.name == NULL)
      p.name = below (absolute, ctx->roots[i]->path);
    if (p.name)
      p.folder = ctx->roots[i];
  }
  if (p.folder == NULL)
    errno = EXDEV;
  return p;
}

/* Opens name, which folder's descriptor gave, if it may be opened.
 * *found, unless NULL, is where it was; *text keeps the memory for it.
 */
static int
open_confined (const struct context *ctx, const struct folder *folder,
               const char *name, struct place *found, char **text)
{
  struct place p = { folder, name };
  int fd = -1;

  *text = NULL;
  if (name[0] != '/') {
    fd = open_beneath (folder->fd, name, OPEN_FLAGS);
    if (fd == -1 && errno == EXDEV)
      *text = join (folder->absolute, name);
  }
  else
    *text = strdup (name);
  if (*text) {
    normalise (*text);
    p = find_root (ctx, *text);
    if (p.folder)
      fd = open_beneath (p.folder->fd, p.name, OPEN_FLAGS);
  }
  if (fd >= 0 && found)
    *found = p;
  return fd;
}

/* Opening a device can have effects, so it is looked at first. */
static int
open_device (const char *path)
{
  const int fd = open (path, O_PATH | O_CLOEXEC);
  char proc[64];
  struct stat st;
  int r = -1, err;

  if (fd == -1)
    return -1;
  if (fstat (fd, &st) == 0) {
    snprintf (proc, sizeof proc, "/proc/self/fd/%d", fd);
    errno = ENOTBLK;
    if (S_ISBLK (st.st_mode))
      r = open (proc, OPEN_FLAGS);
  }
  err = errno;
  close (fd);
  errno = err;
  return r;
}

static bool
is_device (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && !S_ISREG (st.st_mode);
}

static void
report_extent (const struct context *ctx, const char *file,
               const struct folder *folder, const struct extent_line *line)
{
  char name[EXCERPT_SIZE], dir[EXCERPT_SIZE];
  const bool out = errno == EXDEV || errno == ELOOP;

  vmdk_excerpt (name, sizeof name, line->name);
  vmdk_excerpt (dir, sizeof dir, folder->path);
  if (errno == EMFILE)
    vmdk_error (&ctx->log, "%s: line %u: extent \"%s\": %m; allow more with "
                "ulimit -n (systemd: LimitNOFILE)", file, line->line, name);
  else if (out && strncmp (name, "/dev/", 5) == 0)
    vmdk_error (&ctx->log, "%s: line %u: extent \"%s\" is a device; if the "
                "image may be trusted, use allow-devices=true", file,
                line->line, name);
  else if (out)
    vmdk_error (&ctx->log, "%s: line %u: extent \"%s\" leads out of the "
                "image's folder \"%s\"; if the image may be trusted, use "
                "trusted-dir=DIR with the folder it is in, or extent=NAME="
                "PATH", file, line->line, name, dir);
  else
    vmdk_error (&ctx->log, "%s: line %u: extent \"%s\" in folder \"%s\": "
                "%m; if it lies elsewhere, use extent=NAME=PATH", file,
                line->line, name, dir);
}

static const char *
path_by_hand (const struct context *ctx, const char *name)
{
  const struct vmdk_options *const o = ctx->options;
  size_t i;

  for (i = 0; i < o->nr_extents; i++)
    if (strcmp (o->extents[i].name, name) == 0)
      return o->extents[i].path;
  return NULL;
}

static int
open_extent (const struct context *ctx, const struct folder *folder,
             const char *name)
{
  char *text;
  int fd = open_confined (ctx, folder, name, NULL, &text);

  free (text);
  if (fd == -1 && errno == EXDEV && name[0] == '/' &&
      ctx->options->allow_devices)
    fd = open_device (name);
  return fd;
}

/* Takes fd over. */
static struct store *
add_extent (struct context *ctx, int fd, const struct folder *folder,
            const char *name)
{
  char *const path = name[0] == '/' ? strdup (name)
    : join (folder->path, name);
  struct store *store = NULL;

  if (path == NULL) {
    vmdk_error (&ctx->log, "%m");
    close (fd);
    return NULL;
  }
  vmdk_excerpt (path, strlen (path) + 1, path);
  store = context_add_file (ctx, fd, path);
  free (path);
  return store;
}

static struct store *
refuse_extent (struct context *ctx, const char *file,
               const struct extent_line *line, const char *why)
{
  char name[EXCERPT_SIZE];

  vmdk_error (&ctx->log, "%s: line %u: extent \"%s\": %s", file, line->line,
              vmdk_excerpt (name, sizeof name, line->name), why);
  errno = EINVAL;
  return NULL;
}

struct store *
resolve_extent (struct context *ctx, const char *file,
                const struct folder *folder, const char *encoding,
                const struct extent_line *line)
{
  const char *const path = path_by_hand (ctx, line->name);
  int fd;

  if (path)
    return resolve_by_hand (ctx, path, NULL);
  if (folder == NULL)
    return refuse_extent (ctx, file, line, "the descriptor was given as an "
                          "open file: say where its extents are with "
                          "extent=NAME=PATH");
  fd = open_extent (ctx, folder, line->name);
  if (fd == -1 && errno == ENOENT && encoding) {
    char *const utf8 = to_utf8 (encoding, line->name);

    errno = ENOENT;
    if (utf8)
      fd = open_extent (ctx, folder, utf8);
    free (utf8);
  }
  if (fd == -1) {
    report_extent (ctx, file, folder, line);
    return NULL;
  }
  if (is_device (fd) && !ctx->options->allow_devices) {
    close (fd);
    return refuse_extent (ctx, file, line, "isn't a regular file; if it is a "
                          "block device and the image may be trusted, use "
                          "allow-devices=true");
  }
  return add_extent (ctx, fd, folder, line->name);
}

/* Parents. */

struct search {
  struct context *ctx;
  const struct folder *folder; /* the child's */
  bool (*matches) (void *opaque, struct store *store);
  void *opaque;

  struct store *best;
  struct folder *best_folder;
  bool best_matches;
  char tried[1024]; /* what was found where, for the message */
};

static void
note (struct search *s, const char *dir, const char *name, const char *what)
{
  const size_t n = strlen (s->tried);
  char excerpt[EXCERPT_SIZE], dir_excerpt[EXCERPT_SIZE];

  vmdk_excerpt (excerpt, sizeof excerpt, name);
  vmdk_excerpt (dir_excerpt, sizeof dir_excerpt, dir);
  snprintf (s->tried + n, sizeof s->tried - n, "%s\"%s%s%s\": %s",
            n == 0 ? "" : "; ", name[0] == '/' ? "" : dir_excerpt,
            name[0] == '/' ? "" : "/", excerpt, what);
}

/* The folder in which the file at a place lies. */
static struct folder *
folder_of_place (const struct place *p)
{
  char *const dir = dir_name (p->name);
  char *const path = dir ? join (p->folder->path, dir) : NULL;
  struct folder *f = NULL;
  int fd;

  if (path && dir) {
    fd = strcmp (dir, ".") == 0 ? fcntl (p->folder->fd, F_DUPFD_CLOEXEC, 0)
      : open_beneath (p->folder->fd, dir, O_PATH | O_DIRECTORY);
    if (fd >= 0)
      f = folder_new (fd, strcmp (dir, ".") == 0 ? p->folder->path : path);
  }
  free (path);
  free (dir);
  return f;
}

/* Takes fd over. */
static void
consider (struct search *s, int fd, const struct place *p)
{
  struct store *const store = add_extent (s->ctx, fd, p->folder, p->name);
  const bool matches = store && s->matches (s->opaque, store);
  const bool wanted = s->best == NULL || matches;
  struct folder *const folder = store && wanted ? folder_of_place (p) : NULL;

  if (folder) {
    store_unref (s->best);
    folder_close (s->best_folder);
    s->best = store;
    s->best_folder = folder;
    s->best_matches = matches;
  }
  else {
    if (wanted)
      note (s, p->folder->path, p->name, strerror (errno));
    store_unref (store);
  }
}

static void
try_name (struct search *s, const char *name)
{
  struct place p;
  char *text;
  int fd;

  if (s->best_matches || name[0] == '\0')
    return;
  fd = open_confined (s->ctx, s->folder, name, &p, &text);
  if (fd < 0)
    note (s, s->folder->path, name,
          errno == EXDEV ? "leads out of the image's folder and of every "
          "trusted-dir" : strerror (errno));
  else if (is_device (fd)) {
    note (s, s->folder->path, name, "not a regular file");
    close (fd);
  }
  else
    consider (s, fd, &p);
  free (text);
}

/* The disk may have been moved together with its parent's folder: looks
 * in <parent of the child's folder>/<last folder of the hint>.
 */
static void
try_sibling (struct search *s, const char *hint)
{
  char *const dir = dir_name (hint);
  char *above = NULL, *sibling = NULL;

  if (dir && strcmp (dir, ".") != 0 && base_name (dir)[0] != '\0')
    above = dir_name (s->folder->absolute);
  if (above &&
      asprintf (&sibling, "%s/%s/%s", above, base_name (dir),
                base_name (hint)) != -1) {
    normalise (sibling);
    try_name (s, sibling);
  }
  free (sibling);
  free (above);
  free (dir);
}

/* Windows paths, and those in a datastore, as a relative POSIX path. */
static char *
from_windows (const char *hint)
{
  char *path, *p;

  if (hint[0] != '\0' && hint[1] == ':')
    hint += 2;
  else if (hint[0] == '[' && strchr (hint, ']'))
    hint = strchr (hint, ']') + 1;
  hint += strspn (hint, " \\");
  path = strdup (hint);
  for (p = path; p && *p; p++)
    if (*p == '\\')
      *p = '/';
  return path;
}

/* Or it was moved to one of the trusted folders. */
static void
try_roots (struct search *s, const char *base)
{
  size_t i;

  for (i = 0; i < s->ctx->nr_roots; i++) {
    const char *const root = s->ctx->roots[i]->absolute;
    char *const path =
      strcmp (root, s->folder->absolute) == 0 ? NULL : join (root, base);

    if (path)
      try_name (s, path);
    free (path);
  }
}

static void
try_everywhere (struct search *s, const char *hint)
{
  char *const converted = from_windows (hint);

  try_name (s, hint);
  if (converted) {
    if (strcmp (converted, hint) != 0)
      try_name (s, converted);
    if (strcmp (base_name (converted), hint) != 0)
      try_name (s, base_name (converted));
    try_sibling (s, converted);
    try_roots (s, base_name (converted));
  }
  free (converted);
}

struct store *
resolve_parent (struct context *ctx, const char *file,
                const struct folder *folder, const char *encoding,
                const char *hint,
                bool (*matches) (void *opaque, struct store *store),
                void *opaque, struct folder **parent_folder)
{
  struct search s = {
    .ctx = ctx, .folder = folder, .matches = matches, .opaque = opaque,
  };
  char name[EXCERPT_SIZE], *utf8;

  vmdk_excerpt (name, sizeof name, hint);
  if (folder == NULL) {
    vmdk_error (&ctx->log, "%s: its folder isn't known, so say where its "
                "parent \"%s\" is with parent=FILE", file, name);
    errno = EINVAL;
    return NULL;
  }
  try_everywhere (&s, hint);
  utf8 = encoding && !s.best_matches ? to_utf8 (encoding, hint) : NULL;
  if (utf8)
    try_everywhere (&s, utf8);
  free (utf8);
  if (s.best == NULL) {
    vmdk_error (&ctx->log, "%s: its parent \"%s\" can't be opened: %s; if "
                "it is in another folder, use trusted-dir=DIR, or parent=FILE "
                "for the parent of the disk that you named; or read only "
                "that layer with single-link=true", file, name, s.tried);
    errno = ENOENT;
    return NULL;
  }
  vmdk_debug (&ctx->log, VMDK_TOPIC_CHAIN, "%s: parent \"%s\" is %s%s%s",
              file, name, s.best->name, s.tried[0] ? ", not " : "", s.tried);
  *parent_folder = s.best_folder;
  return s.best;
}
