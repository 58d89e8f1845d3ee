/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What a guest may find after a crash.  A sector has one of these values:
 * what any request put there that had begun, or what was there before the
 * first one; but nothing that a request replaced which was durable by then
 * and had begun after the other one ended.  A request is durable when it
 * was made with FUA and has ended, or when a flush has ended that began
 * after it had ended.
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"

struct touched {
  const struct event **ops;
  size_t nr;
};

static const char *const outcome_names[] = {
  [GOOD] = "good",
  [NOT_OPENED] = "not-opened",
  [UNREADABLE] = "unreadable",
  [BAD_CHECK] = "bad-check",
  [MIRRORS] = "mirrors-differ",
  [LOST] = "flushed-data-lost",
  [CHANGED] = "unwritten-data-changed",
  [GARBAGE] = "garbage",
  [STALE_CID] = "stale-cid",
  [NO_RECOVERY] = "no-recovery",
  [BAD_RECOVERY] = "bad-recovery",
};

const char *
outcome_name (enum outcome o)
{
  return outcome_names[o];
}

void
verdict_set (struct verdict *v, enum outcome o, const char *fmt, ...)
{
  va_list args;

  v->seen |= 1u << o;
  if (v->outcome != GOOD && v->outcome != MIRRORS)
    return;
  v->outcome = o;
  va_start (args, fmt);
  vsnprintf (v->text, sizeof v->text, fmt, args);
  va_end (args);
}

/* Preparing. */

static void
find_cover (const struct log *l, struct event *e)
{
  size_t i;

  if (e->end == NEVER)
    return;
  if (e->fua)
    e->covered_at = e->end;
  for (i = 0; i < l->nr; i++) {
    const struct event *const f = l->events[i];

    if (f->kind == EV_GUEST_FLUSH && e->end < f->start &&
        f->end < e->covered_at)
      e->covered_at = f->end;
  }
}

static void
touch (struct model *m, const struct event *e)
{
  uint64_t i;

  for (i = e->offset / BLOCK; i * BLOCK < e->offset + e->length; i++) {
    struct touched *const t = &m->touched[i];

    if (i >= m->nr_blocks)
      die ("a request is outside of the disk");
    t->ops = grow_array (t->ops, t->nr, sizeof t->ops[0]);
    t->ops[t->nr++] = e;
  }
}

void
model_init (struct model *m, const struct scenario *s)
{
  size_t i;

  *m = (struct model) {
    .s = s, .nr_blocks = (s->guest.size + BLOCK - 1) / BLOCK,
  };
  m->touched = grab ((m->nr_blocks + 1) * sizeof m->touched[0]);
  for (i = 0; i < s->log->nr; i++) {
    struct event *const e = s->log->events[i];

    if (is_guest (e) && e->kind != EV_GUEST_FLUSH) {
      find_cover (s->log, e);
      touch (m, e);
    }
  }
}

void
model_release (struct model *m)
{
  size_t i;

  for (i = 0; i < m->nr_blocks; i++)
    free (m->touched[i].ops);
  free (m->touched);
}

/* Comparing. */

/* One difference is enough, but all kinds of them are counted for another
 * program.
 */
static bool
goes_on (const struct model *m, const struct verdict *v)
{
  return v->outcome == GOOD || m->s->foreign;
}

static const uint8_t zeroes[BLOCK];

static bool
touches (const struct event *e, uint64_t offset)
{
  return offset >= e->offset && offset < e->offset + e->length;
}

/* Whether it is certain to have had an effect on a sector. */
static bool
is_definite (const struct event *e, uint64_t offset)
{
  return e->kind != EV_GUEST_TRIM ||
    (e->seen && e->seen[(offset - e->offset) / SECTOR]);
}

static bool
may_have_effect (const struct event *e, uint64_t offset)
{
  return e->seen == NULL || e->seen[(offset - e->offset) / SECTOR];
}

static const uint8_t *
value_of (const struct event *e, uint64_t offset)
{
  return e->kind == EV_GUEST_WRITE ? e->data + (offset - e->offset) : zeroes;
}

/* Whether a durable request has replaced what was there at a tick; before
 * is the end of the request that put it there, or 0.
 */
static const struct event *
find_killer (const struct touched *t, uint64_t offset, uint64_t before,
             uint64_t tick)
{
  size_t i;

  for (i = 0; i < t->nr; i++)
    if (t->ops[i]->covered_at <= tick && before < t->ops[i]->start &&
        touches (t->ops[i], offset) && is_definite (t->ops[i], offset))
      return t->ops[i];
  return NULL;
}

static void
report_sector (const struct touched *t, uint64_t offset, uint64_t tick,
               const struct event *killer, const uint8_t *have,
               struct verdict *v)
{
  const struct event *from = NULL;
  const bool is_old = killer != NULL;
  bool written = false;
  size_t i;

  for (i = 0; i < t->nr; i++)
    if (touches (t->ops[i], offset) && t->ops[i]->start <= tick) {
      written = true;
      if (memcmp (value_of (t->ops[i], offset), have, SECTOR) == 0)
        from = t->ops[i];
    }
  if (killer == NULL)
    killer = find_killer (t, offset, 0, tick);
  if (killer)
    verdict_set (v, LOST, "guest sector %" PRIu64 " has %s; but the %s that "
                 "began at tick %" PRIu64 " is durable since %" PRIu64,
                 offset / SECTOR, from ? "an older request's data"
                 : is_old ? "what was there before"
                 : "what was never there", event_name (killer->kind),
                 killer->start, killer->covered_at);
  else
    verdict_set (v, written ? GARBAGE : CHANGED,
                 "guest sector %" PRIu64 ", which %s, begins with %02x%02x"
                 "%02x%02x%s", offset / SECTOR, written
                 ? "requests have written" : "no request has written",
                 have[0], have[1], have[2], have[3],
                 memcmp (have, zeroes, SECTOR) == 0 ? " (all zero)" : "");
}

static void
compare_sector (const struct touched *t, uint64_t offset, uint64_t tick,
                const uint8_t *initial, const uint8_t *have, bool *differs,
                struct verdict *v)
{
  const struct event *killer = NULL;
  bool is_initial = memcmp (initial, have, SECTOR) == 0;
  size_t i;

  if (!is_initial)
    *differs = true;
  if (is_initial) {
    killer = find_killer (t, offset, 0, tick);
    if (killer == NULL)
      return;
  }
  for (i = 0; i < t->nr; i++) {
    const struct event *const e = t->ops[i], *k;

    if (e->start > tick || !touches (e, offset) ||
        !may_have_effect (e, offset) ||
        memcmp (value_of (e, offset), have, SECTOR) != 0)
      continue;
    k = find_killer (t, offset, e->end, tick);
    if (k == NULL)
      return;
    killer = k;
  }
  report_sector (t, offset, tick, killer, have, v);
}

static void
compare_block (const struct model *m, uint64_t i, uint64_t tick,
               const uint8_t *initial, const uint8_t *have, bool *differs,
               struct verdict *v)
{
  const uint64_t size = m->s->guest.size;
  uint64_t at;

  if (memcmp (initial, have, BLOCK) == 0 && m->touched[i].nr == 0)
    return;
  for (at = 0; at < BLOCK && i * BLOCK + at < size && goes_on (m, v);
       at += SECTOR)
    compare_sector (&m->touched[i], i * BLOCK + at, tick, initial + at,
                    have + at, differs, v);
}

void
model_compare (const struct model *m, const struct blob *read, uint64_t tick,
               bool *differs, struct verdict *v)
{
  uint64_t i;

  *differs = false;
  for (i = 0; i < m->nr_blocks && goes_on (m, v); i++) {
    const uint8_t *const initial = blob_block (&m->s->guest, i);
    const uint8_t *const have = blob_block (read, i);

    if (initial != have || m->touched[i].nr > 0)
      compare_block (m, i, tick, initial ? initial : zeroes,
                     have ? have : zeroes, differs, v);
  }
}
