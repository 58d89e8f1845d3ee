/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What was done to files, and what for: the notes in memory, and as text.
 * One line of text is one tick, so that other programs' traces can be
 * turned into it:
 *
 *   file N NAME                        N counts from 0
 *   begin ID write N OFFSET DATA       DATA: hexadecimal, or zero:LENGTH
 *   begin ID punch|zero N OFFSET LENGTH
 *   begin ID resize N SIZE
 *   begin ID sync N
 *   begin ID replace N DATA
 *   begin ID guest-write OFFSET DATA
 *   begin ID guest-zero|guest-trim OFFSET LENGTH
 *   begin ID guest-flush
 *   end ID
 *
 * ID is any number, used again only after its end.  A line that begins
 * something may go on with "fua" (requests), "for=ID" (the request that it
 * is done for) and "seen=01..." (a trim: which of its sectors were zero
 * afterwards).  Lines that begin with # are comments.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

__thread const struct event *current_op;

static const struct {
  const char *name;
  bool file, offset, length, data;
} kinds[] = {
  [EV_WRITE] = { "write", true, true, false, true },
  [EV_PUNCH] = { "punch", true, true, true, false },
  [EV_ZERO] = { "zero", true, true, true, false },
  [EV_RESIZE] = { "resize", true, false, true, false },
  [EV_SYNC] = { "sync", true, false, false, false },
  [EV_REPLACE] = { "replace", true, false, false, true },
  [EV_GUEST_WRITE] = { "guest-write", false, true, false, true },
  [EV_GUEST_ZERO] = { "guest-zero", false, true, true, false },
  [EV_GUEST_TRIM] = { "guest-trim", false, true, true, false },
  [EV_GUEST_FLUSH] = { "guest-flush", false, false, false, false },
};
#define NR_KINDS (sizeof kinds / sizeof kinds[0])

const char *
event_name (enum event_kind kind)
{
  return kinds[kind].name;
}

struct log *
log_new (void)
{
  struct log *const l = grab (sizeof *l);

  pthread_mutex_init (&l->lock, NULL);
  return l;
}

void
log_free (struct log *l)
{
  size_t i;

  if (l == NULL)
    return;
  for (i = 0; i < l->nr; i++) {
    free (l->events[i]->data);
    free (l->events[i]->seen);
    free (l->events[i]);
  }
  free (l->events);
  pthread_mutex_destroy (&l->lock);
  free (l);
}

/* what->data is copied, what->seen isn't. */
struct event *
log_begin (struct log *l, const struct event *what)
{
  struct event *const e = grab (sizeof *e);

  *e = *what;
  if (e->data) {
    e->data = grab (e->length ? e->length : 1);
    memcpy (e->data, what->data, e->length);
  }
  e->seen = NULL;
  if (!is_guest (e) && e->op == NULL)
    e->op = current_op;
  e->end = e->covered_at = NEVER;
  pthread_mutex_lock (&l->lock);
  e->start = ++l->now;
  l->events = grow_array (l->events, l->nr, sizeof l->events[0]);
  l->events[l->nr++] = e;
  pthread_mutex_unlock (&l->lock);
  return e;
}

void
log_end (struct log *l, struct event *e)
{
  pthread_mutex_lock (&l->lock);
  e->end = ++l->now;
  pthread_mutex_unlock (&l->lock);
}

/* As text. */

static void
save_data (FILE *f, const struct event *e)
{
  uint64_t i;

  for (i = 0; i < e->length && e->data[i] == 0; i++)
    ;
  if (i == e->length) {
    fprintf (f, " zero:%" PRIu64, e->length);
    return;
  }
  fputc (' ', f);
  for (i = 0; i < e->length; i++)
    fprintf (f, "%02x", e->data[i]);
}

static void
save_begin (FILE *f, const struct event *e)
{
  uint64_t i;

  fprintf (f, "begin %" PRIu64 " %s", e->start, kinds[e->kind].name);
  if (kinds[e->kind].file)
    fprintf (f, " %u", e->file);
  if (kinds[e->kind].offset)
    fprintf (f, " %" PRIu64, e->offset);
  if (kinds[e->kind].length)
    fprintf (f, " %" PRIu64, e->length);
  if (kinds[e->kind].data)
    save_data (f, e);
  if (e->fua)
    fputs (" fua", f);
  if (e->op)
    fprintf (f, " for=%" PRIu64, e->op->start);
  if (e->seen) {
    fputs (" seen=", f);
    for (i = 0; i < e->length / SECTOR; i++)
      fputc ('0' + (e->seen[i] & 1), f);
  }
  fputc ('\n', f);
}

void
log_save (const struct log *l, const struct world *w, const char *path)
{
  const struct event **const at = grab ((l->now + 1) * sizeof *at);
  FILE *const f = fopen (path, "w");
  uint64_t t;
  size_t i;

  if (f == NULL)
    die ("%s: %s", path, strerror (errno));
  for (i = 0; i < w->nr; i++)
    fprintf (f, "file %zu %s\n", i, w->files[i].name);
  for (i = 0; i < l->nr; i++) {
    at[l->events[i]->start] = l->events[i];
    if (l->events[i]->end != NEVER)
      at[l->events[i]->end] = l->events[i];
  }
  for (t = 1; t <= l->now; t++)
    if (at[t] && at[t]->start == t)
      save_begin (f, at[t]);
    else if (at[t])
      fprintf (f, "end %" PRIu64 "\n", at[t]->start);
  if (fclose (f) != 0)
    die ("%s: %s", path, strerror (errno));
  free (at);
}

/* Reading it. */

struct loader {
  const char *path;
  unsigned line;
  struct world *w;
  struct log *log;
  unsigned *files;   /* their numbers in the world */
  uint64_t *sizes;   /* as they are now, for each of the world's */
  size_t nr_files;
  struct running {
    uint64_t id;
    struct event *e;
  } *running;
  size_t nr_running;
};

static void __attribute__ ((__noreturn__))
bad_line (const struct loader *l, const char *why)
{
  die ("%s:%u: %s", l->path, l->line, why);
}

static char *
next_word (char **p)
{
  char *w;

  while ((w = strsep (p, " \n")) != NULL && *w == '\0')
    ;
  return w;
}

static uint64_t
next_number (struct loader *l, char **p)
{
  const char *const w = next_word (p);
  char *end;
  uint64_t v;

  if (w == NULL)
    bad_line (l, "a number is missing");
  v = strtoull (w, &end, 10);
  if (*end != '\0')
    bad_line (l, "this isn't a number");
  return v;
}

static void
parse_data (struct loader *l, const char *w, struct event *e)
{
  size_t i;

  if (w == NULL)
    bad_line (l, "the data are missing");
  if (strncmp (w, "zero:", 5) == 0) {
    e->length = strtoull (w + 5, NULL, 10);
    e->data = grab (e->length + 1);
    return;
  }
  e->length = strlen (w) / 2;
  e->data = grab (e->length + 1);
  for (i = 0; i < 2 * e->length; i++) {
    static const char digits[] = "0123456789abcdef";
    const char *const d = strchr (digits, w[i]);

    if (d == NULL)
      bad_line (l, "these aren't hexadecimal digits");
    e->data[i / 2] = (uint8_t) (e->data[i / 2] << 4 | (d - digits));
  }
}

static struct running *
find_running (struct loader *l, uint64_t id)
{
  size_t i;

  for (i = 0; i < l->nr_running; i++)
    if (l->running[i].id == id)
      return &l->running[i];
  return NULL;
}

static void
parse_rest (struct loader *l, char **p, struct event *e)
{
  const char *w;
  uint64_t i;

  while ((w = next_word (p)) != NULL)
    if (strcmp (w, "fua") == 0)
      e->fua = true;
    else if (strncmp (w, "for=", 4) == 0) {
      const struct running *const r =
        find_running (l, strtoull (w + 4, NULL, 10));

      e->op = r ? r->e : NULL;
    }
    else if (strncmp (w, "seen=", 5) == 0 &&
             strlen (w + 5) >= e->length / SECTOR) {
      e->seen = grab (e->length / SECTOR + 1);
      for (i = 0; i < e->length / SECTOR; i++)
        e->seen[i] = w[5 + i] == '1';
    }
    else
      bad_line (l, "nothing that belongs here");
}

static void
set_sizes (struct loader *l, struct event *e)
{
  uint64_t *const size = &l->sizes[e->file];

  e->old_size = e->new_size = *size;
  if (e->kind == EV_RESIZE || e->kind == EV_REPLACE)
    e->new_size = e->length;
  else if (e->kind == EV_WRITE && e->offset + e->length > *size)
    e->new_size = e->offset + e->length;
  *size = e->new_size;
}

static void
parse_begin (struct loader *l, char **p)
{
  const uint64_t id = next_number (l, p);
  const char *const name = next_word (p);
  struct event what = { .kind = 0 }, *e;
  size_t k;

  for (k = 0; k < NR_KINDS; k++)
    if (name && strcmp (kinds[k].name, name) == 0)
      break;
  if (k == NR_KINDS)
    bad_line (l, "unknown kind");
  what.kind = (enum event_kind) k;
  if (kinds[k].file) {
    const uint64_t n = next_number (l, p);

    if (n >= l->nr_files)
      bad_line (l, "no such file");
    what.file = l->files[n];
  }
  if (kinds[k].offset)
    what.offset = next_number (l, p);
  if (kinds[k].length)
    what.length = next_number (l, p);
  if (kinds[k].data)
    parse_data (l, next_word (p), &what);
  parse_rest (l, p, &what);
  if (is_guest (&what) && (what.offset | what.length) % SECTOR)
    bad_line (l, "requests must be whole sectors");
  if (kinds[k].file)
    set_sizes (l, &what);
  e = log_begin (l->log, &what);
  e->seen = what.seen;
  free (what.data);
  if (find_running (l, id))
    bad_line (l, "this ID is in use");
  l->running = grow_array (l->running, l->nr_running, sizeof l->running[0]);
  l->running[l->nr_running++] = (struct running) { id, e };
}

static void
parse_end (struct loader *l, char **p)
{
  struct running *const r = find_running (l, next_number (l, p));

  if (r == NULL)
    bad_line (l, "this hasn't begun");
  log_end (l->log, r->e);
  *r = l->running[--l->nr_running];
}

static void
parse_file (struct loader *l, char **p)
{
  const uint64_t n = next_number (l, p);
  const char *const name = next_word (p);
  unsigned i;

  if (n != l->nr_files || name == NULL)
    bad_line (l, "files are counted from 0");
  for (i = 0; i < l->w->nr; i++)
    if (strcmp (l->w->files[i].name, name) == 0)
      break;
  if (i == l->w->nr)
    bad_line (l, "the disk has no file of this name");
  l->files = grow_array (l->files, l->nr_files, sizeof l->files[0]);
  l->files[l->nr_files++] = i;
}

static void
parse_line (struct loader *l, char *p)
{
  const char *const w = next_word (&p);

  if (w == NULL || *w == '#')
    return;
  if (strcmp (w, "file") == 0)
    parse_file (l, &p);
  else if (strcmp (w, "begin") == 0)
    parse_begin (l, &p);
  else if (strcmp (w, "end") == 0)
    parse_end (l, &p);
  else
    bad_line (l, "neither file nor begin nor end");
}

struct log *
log_load (struct world *w, const char *path)
{
  struct loader l = { .path = path, .w = w, .log = log_new () };
  FILE *const f = fopen (path, "r");
  char *line = NULL;
  size_t room = 0, i;

  if (f == NULL)
    die ("%s: %s", path, strerror (errno));
  l.sizes = grab (w->nr * sizeof l.sizes[0]);
  for (i = 0; i < w->nr; i++)
    l.sizes[i] = w->files[i].now.size;
  while (getline (&line, &room, f) != -1) {
    l.line++;
    parse_line (&l, line);
  }
  fclose (f);
  free (line);
  free (l.files);
  free (l.sizes);
  free (l.running);
  return l.log;
}
