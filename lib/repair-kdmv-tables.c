/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Repairing the directories of hosted sparse extents, and where the two
 * copies of a table differ.
 *
 * Of a table that one directory can't name any more, the other one's is
 * copied to the end of the file.  Without that, tables follow each other in
 * nearly all files, so that the neighbours tell where it must be.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "repair-kdmv.h"

/* For so many directory entries that are 0, tables are made in a round. */
#define MAX_NEW_TABLES (UINT64_C (1) << 20)

/* So many entries at most are put right in a round: both directories of
 * 2 TiB, if all is lost, but fewer of those for which all must be looked at.
 */
#define MAX_GDES (1 << 18)
#define MAX_SHARED_GDES 4096

/* For the places of lost tables, so many entries of directories at most are
 * looked at, in all: 1024 times those of 2 TiB.  Less in a build for fuzzing.
 */
#ifdef VMDK_SMALL_WINDOWS
#define MAX_COMPARED (UINT64_C (1) << 15)
#else
#define MAX_COMPARED (UINT64_C (1) << 26)
#endif

/* Of more entries that have two places, the first one is taken. */
#define MAX_RIVALS 4096

/* Directories. */

/* Which entries are at fault is asked for each of them: there's a list. */
static uint64_t
fault_key (unsigned copy, uint64_t number)
{
  return number * 2 + copy;
}

static int
compare_numbers (const void *a, const void *b)
{
  const uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return x < y ? -1 : x > y;
}

static int
list_faults (struct repair *r, const struct extent *e)
{
  size_t i;

  free (r->faults);
  r->nr_faults = 0;
  r->faults = calloc (r->nr_places + 1, sizeof r->faults[0]);
  if (r->faults == NULL) {
    vmdk_error (&r->log, "%s: %m", e->store->name);
    return -1;
  }
  for (i = 0; i < r->nr_places; i++) {
    const struct check_place *const p = &r->places[i];

    if (p->e == e && (p->kind == AT_GDE_INVALID ||
                      p->kind == AT_GDE_ONE_SIDED || p->kind == AT_GT_SHARED))
      r->faults[r->nr_faults++] = fault_key (p->copy, p->number);
  }
  qsort (r->faults, r->nr_faults, sizeof r->faults[0], compare_numbers);
  return 0;
}

static bool
is_at_fault (const struct repair *r, unsigned copy, uint64_t number)
{
  const uint64_t key = fault_key (copy, number);

  return bsearch (&key, r->faults, r->nr_faults, sizeof key,
                  compare_numbers) != NULL;
}

/* An empty place for a table; 0: there is none. */
static uint64_t
table_place (const struct kdmv *k)
{
  const uint64_t at = repair_end (&k->sp, 0, SECTOR_SIZE);

  return at / SECTOR_SIZE + sparse_gt_bytes (&k->sp) / SECTOR_SIZE >
    UINT32_MAX ? 0 : at;
}

/* A new table with what is at from, or zeroes if that is 0. */
static int
append_table (struct kdmv *k, unsigned copy, uint64_t number, uint64_t from,
              bool *done)
{
  const size_t size = sparse_gt_bytes (&k->sp);
  const uint64_t at = table_place (k);
  uint8_t *buf;
  int r;

  *done = at != 0;
  if (at == 0)
    return 0;
  buf = calloc (1, size);
  if (buf == NULL) {
    vmdk_error (&k->sp.e.ctx->log, "%s: %m", k->sp.e.store->name);
    return -1;
  }
  r = from ? store_pread (k->sp.tables, buf, size, from) : 0;
  if (r == 0)
    r = store_pwrite (k->sp.tables, buf, size, at);
  free (buf);
  return r == -1 ? -1
    : repair_set_gde (&k->sp, copy, number, at / SECTOR_SIZE);
}

/* Whether a table there would be all sound entries, and some. */
static int
looks_like_table (const struct kdmv *k, uint64_t position, bool *looks)
{
  const struct sparse *const sp = &k->sp;
  const size_t size = sparse_gt_bytes (sp);
  uint8_t *const buf = malloc (size);
  size_t i, used = 0;
  int r;

  if (buf == NULL) {
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
    return -1;
  }
  r = store_pread (sp->tables, buf, size, position);
  *looks = r == 0;
  for (i = 0; *looks && i < size; i += 4) {
    uint64_t place;
    const enum entry_kind kind =
      sp->format->decode_gte (sp, le32_at (buf + i), &place);

    *looks = kind != ENTRY_BAD;
    used += kind == ENTRY_PLACE;
  }
  *looks &= used > 0;
  free (buf);
  return r;
}

/* The first table mostly follows its directory: what would be in front of
 * it begins so much before that.
 */
static int
find_neighbour (const struct kdmv *k, unsigned copy, uint64_t number,
                uint64_t *position)
{
  const struct sparse *const sp = &k->sp;
  const uint64_t end = sp->gd[copy] +
    div_round_up (sparse_gd_bytes (sp), SECTOR_SIZE) * SECTOR_SIZE;

  *position = 0;
  if (number > UINT64_MAX - 2)
    *position = end - (UINT64_MAX - number + 1) * sparse_gt_bytes (sp);
  return number < sp->nr_gts ? repair_find_table (sp, copy, number, position)
    : 0;
}

/* Where the table must be by those before and behind; 0: they don't say. */
static int
guess_by_neighbours (struct kdmv *k, unsigned copy, uint64_t number,
                     uint64_t *guess)
{
  const uint64_t size = sparse_gt_bytes (&k->sp);
  uint64_t before[2], behind[2];

  *guess = 0;
  if (find_neighbour (k, copy, number - 1, &before[0]) == -1 ||
      find_neighbour (k, copy, number - 2, &before[1]) == -1 ||
      find_neighbour (k, copy, number + 1, &behind[0]) == -1 ||
      find_neighbour (k, copy, number + 2, &behind[1]) == -1)
    return -1;
  if (before[0] && (behind[0] ? behind[0] - before[0] == 2 * size
                    : before[1] && before[0] - before[1] == size))
    *guess = before[0] + size;
  else if (number == 0 && behind[0] > size && behind[1] - behind[0] == size)
    *guess = behind[0] - size;
  return 0;
}

/* Whether a directory is there, or a table that any other entry names. */
static int
is_taken (const struct kdmv *k, unsigned copy, uint64_t number,
          uint64_t guess, bool *taken)
{
  const struct sparse *const sp = &k->sp;
  const uint64_t end = guess + sparse_gt_bytes (sp);
  uint64_t i, position;
  unsigned c;

  *taken = false;
  for (c = 0; c < 2 && !*taken; c++) {
    *taken = sp->gd[c] && sp->gd[c] < end &&
      guess < sp->gd[c] + sparse_gd_bytes (sp);
    for (i = 0; i < sp->nr_gts && !*taken; i++) {
      if (repair_next_table (sp, c, &i, &position) == -1)
        return -1;
      *taken = position != 0 && (c != copy || i != number) &&
        position < end && guess < position + sparse_gt_bytes (sp);
    }
  }
  return 0;
}

/* The grains of a table. */
static int
load_places (const struct kdmv *k, uint64_t table, uint64_t *places,
             size_t *nr)
{
  const struct sparse *const sp = &k->sp;
  uint8_t *const buf = malloc (sparse_gt_bytes (sp));
  size_t i;
  int r = -1;

  *nr = 0;
  if (buf == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  else
    r = store_pread (sp->tables, buf, sparse_gt_bytes (sp), table);
  for (i = 0; r == 0 && i < sp->gtes_per_gt; i++)
    *nr += sp->format->decode_gte (sp, le32_at (buf + i * 4), &places[*nr]) ==
      ENTRY_PLACE;
  free (buf);
  return r;
}

/* Whether two tables name the same grain, or the second one a grain that is
 * where the first table is.  The places of the first one, a, are sorted.
 */
static bool
contradicts (const struct kdmv *k, uint64_t guess, const uint64_t *a,
             size_t nr_a, const uint64_t *b, size_t nr_b)
{
  size_t i;

  for (i = 0; i < nr_b; i++)
    if ((b[i] < guess + sparse_gt_bytes (&k->sp) &&
         guess < b[i] + k->sp.e.grain_size) ||
        (nr_a > 0 && a[0] <= b[i] && b[i] <= a[nr_a - 1] &&
         bsearch (&b[i], a, nr_a, sizeof a[0], compare_numbers)))
      return true;
  return false;
}

/* An old table that was moved away from there has grains that others have,
 * too; data aren't a table at all.
 */
static int
is_stale (const struct kdmv *k, uint64_t number, uint64_t guess, bool *stale)
{
  const struct sparse *const sp = &k->sp;
  uint64_t *const a = calloc (2 * sp->gtes_per_gt, sizeof *a);
  uint64_t *const b = a ? a + sp->gtes_per_gt : NULL;
  uint64_t i, table;
  size_t nr_a, nr_b;
  unsigned c;
  int r = -1;

  *stale = false;
  if (a == NULL)
    vmdk_error (&sp->e.ctx->log, "%s: %m", sp->e.store->name);
  else
    r = load_places (k, guess, a, &nr_a);
  if (r == 0)
    qsort (a, nr_a, sizeof a[0], compare_numbers);
  for (c = 0; c < 2; c++)
    for (i = 0; r == 0 && i < sp->nr_gts && !*stale; i++) {
      r = repair_next_table (sp, c, &i, &table);
      if (r == -1 || table == 0 || i == number)
        continue;
      r = load_places (k, table, b, &nr_b);
      *stale = r == 0 && contradicts (k, guess, a, nr_a, b, nr_b);
    }
  free (a);
  return r;
}

/* 0: it isn't known, or in doubt: what is wrong would be worse than what is
 * lost.
 */
static int
guess_table (struct kdmv *k, unsigned copy, uint64_t number, uint64_t *guess)
{
  uint64_t at, value;
  bool looks, taken, stale;

  *guess = 0;
  if (guess_by_neighbours (k, copy, number, &at) == -1)
    return -1;
  if (at == 0 || k->sp.format->decode_gde (&k->sp, at / SECTOR_SIZE, &value)
      != ENTRY_PLACE)
    return 0;
  if (looks_like_table (k, at, &looks) == -1 ||
      is_taken (k, copy, number, at, &taken) == -1)
    return -1;
  if (!looks || taken)
    return 0;
  if (is_stale (k, number, at, &stale) == -1)
    return -1;
  if (!stale)
    *guess = at;
  return 0;
}

static const char *
directory_name (unsigned copy)
{
  return copy ? "redundant grain directory" : "grain directory";
}

/* The guest reads by the first directory. */
static void
tell_change (struct repair *r, struct kdmv *k, const struct check_place *p,
             const char *what)
{
  r->result->content_changed = true;
  repair_grains (r, p->code, &k->sp.e, p->number * k->sp.gtes_per_gt,
                 k->sp.gtes_per_gt, what);
}

/* Whether the guest read something else so far than with this table.  Where
 * an entry was invalid, it read nothing.
 */
static int
changes_content (struct kdmv *k, const struct check_place *p, uint64_t table,
                 bool *changes)
{
  bool same = true;

  *changes = false;
  if (p->copy != 0 || p->kind == AT_GDE_INVALID)
    return 0;
  if (p->kind == AT_GDE_ONE_SIDED)
    return k->sp.unclean ? 0 : looks_like_table (k, table, changes);
  if (repair_kdmv_same_table (k, p->position, table, &same) == -1)
    return -1;
  *changes = !same;
  return 0;
}

static const char read_otherwise[] =
  "were read by a table that isn't theirs, and are read by their own now";

static int
use_guess (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  uint64_t guess;
  bool changes;

  if (r->compared >= MAX_COMPARED)
    return 0;
  r->compared += k->sp.nr_gts;
  if (guess_table (k, p->copy, p->number, &guess) == -1)
    return -1;
  if (guess == 0)
    return 0;
  if (changes_content (k, p, guess, &changes) == -1 ||
      repair_set_gde (&k->sp, p->copy, p->number, guess / SECTOR_SIZE) == -1)
    return -1;
  repair_done (r, p->code, k->sp.e.store->name, "entry %" PRIu64 " of the %s "
               "names the table at offset %" PRIu64 " now, between those of "
               "its neighbours", p->number, directory_name (p->copy), guess);
  if (changes)
    tell_change (r, k, p, read_otherwise);
  return 0;
}

static int
use_copy (struct repair *r, struct kdmv *k, const struct check_place *p,
          uint64_t from, const char *of)
{
  bool done, changes = false;

  if ((from != p->position && changes_content (k, p, from, &changes) == -1) ||
      append_table (k, p->copy, p->number, from, &done) == -1)
    return -1;
  if (!done)
    return 0;
  repair_done (r, p->code, k->sp.e.store->name, "entry %" PRIu64 " of the "
               "%s names a new table now, at the end of the file, a copy of "
               "%s", p->number, directory_name (p->copy), of);
  if (changes)
    tell_change (r, k, p, p->kind == AT_GDE_ONE_SIDED ? "read as if they had "
                 "never been written, and have the data of the other "
                 "directory's table now" : read_otherwise);
  return 0;
}

/* Nothing is known of what it said. */
static int
use_nothing (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  bool done;

  if (append_table (k, p->copy, p->number, 0, &done) == -1)
    return -1;
  if (!done)
    return 0;
  repair_done (r, p->code, k->sp.e.store->name, "entry %" PRIu64 " of the %s "
               "names a new, empty table now", p->number,
               directory_name (p->copy));
  if (p->copy == 0)
    tell_change (r, k, p, "were in a grain table that is lost; they read as "
                 "if they had never been written");
  return 0;
}

/* Whether the table that two entries share is all the same for both. */
static int
shares_all (const struct kdmv *k, const struct check_place *p, bool *all)
{
  unsigned copy;
  uint64_t i, position;

  *all = false;
  for (copy = 0; copy < 2; copy++)
    for (i = 0; i < k->sp.nr_gts && !*all; i++) {
      if (repair_next_table (&k->sp, copy, &i, &position) == -1)
        return -1;
      *all = position == p->position &&
        (copy != p->copy || i != p->number);
    }
  return 0;
}

/* The table of the same number that the other directory names; 0: there is
 * none that is in order.
 */
static int
find_mirror (const struct repair *r, const struct kdmv *k,
             const struct check_place *p, uint64_t *mirror)
{
  const unsigned other = !p->copy;

  *mirror = 0;
  if (k->sp.gd[other] == 0 || is_at_fault (r, other, p->number))
    return 0;
  if (repair_find_table (&k->sp, other, p->number, mirror) == -1)
    return -1;
  if (*mirror == p->position)
    *mirror = 0;
  return 0;
}

static const char the_other[] = "the other directory's";

/* Of entries that share a table, the check blames the later one.  If that is
 * its own table by the other directory, the others that aren't are wrong.
 */
static int
fix_sharers (struct repair *r, struct kdmv *k, const struct check_place *p,
             uint64_t mirror, bool *done)
{
  struct check_place q = *p;
  uint64_t position;
  bool same;

  *done = false;
  if (repair_kdmv_same_table (k, p->position, mirror, &same) == -1)
    return -1;
  for (q.number = 0; same && q.number < p->number; q.number++) {
    bool own;

    if (repair_next_table (&k->sp, q.copy, &q.number, &position) == -1)
      return -1;
    if (q.number >= p->number || position != p->position)
      continue;
    if (find_mirror (r, k, &q, &mirror) == -1 ||
        (mirror != 0 && repair_kdmv_same_table (k, p->position, mirror,
                                                &own) == -1))
      return -1;
    if (mirror == 0 || own)
      continue;
    if (use_copy (r, k, &q, mirror, the_other) == -1)
      return -1;
    *done = true;
  }
  return 0;
}

/* By what is known. */
static int
fix_gde (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  bool done = false;
  uint64_t mirror;

  if (find_mirror (r, k, p, &mirror) == -1)
    return -1;
  if (mirror != 0 && p->kind == AT_GT_SHARED &&
      fix_sharers (r, k, p, mirror, &done) == -1)
    return -1;
  if (mirror != 0)
    return done ? 0 : use_copy (r, k, p, mirror, the_other);
  return use_guess (r, k, p);
}

/* When nothing else can be done.  Where both directories are at fault, the
 * first one's entry is given up, and the next round copies that.
 */
static int
give_up_gde (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  bool all = false;

  if (p->copy == 1 && is_at_fault (r, 0, p->number))
    return 0;
  if (p->kind == AT_GT_SHARED && shares_all (k, p, &all) == -1)
    return -1;
  if (all)
    return use_copy (r, k, p, p->position, "what was there");
  return use_nothing (r, k, p);
}

static int
repair_gdes (struct repair *r, struct kdmv *k, enum check_kind kind,
             int (*fn) (struct repair *r, struct kdmv *k,
                        const struct check_place *p))
{
  const uint64_t most = kind == AT_GT_SHARED ? MAX_SHARED_GDES : MAX_GDES;
  const uint64_t before = r->made;
  const struct check_place *p;
  size_t i;

  for (i = 0; r->made - before < most &&
         (p = repair_next (r, &k->sp.e, kind, &i)); )
    if (fn (r, k, p) == -1)
      return -1;
  return 0;
}

static int
add_tables (struct repair *r, struct kdmv *k, const struct check_place *p)
{
  const unsigned copies = k->sp.gd[1] ? 2 : 1;
  uint64_t i;
  unsigned copy;
  bool done = true;

  if (p->position > MAX_NEW_TABLES || p->copy != 0)
    return 0;
  for (i = p->number; done && i < p->number + p->position; i++)
    for (copy = 0; done && copy < copies; copy++) {
      uint64_t table;

      if (repair_find_table (&k->sp, copy, i, &table) == -1 ||
          (table == 0 && append_table (k, copy, i, 0, &done) == -1))
        return -1;
    }
  if (done)
    repair_done (r, p->code, k->sp.e.store->name, "directory entries %" PRIu64
                 " to %" PRIu64 " name new, empty tables now, at the end of "
                 "the file", p->number, p->number + p->position - 1);
  return 0;
}

int
repair_kdmv_directories (struct repair *r, struct kdmv *k)
{
  static const enum check_kind kinds[] = {
    AT_GDE_INVALID, AT_GDE_ONE_SIDED, AT_GT_SHARED,
  };
  const uint64_t before = r->made;
  const struct check_place *p;
  size_t i, j;

  if (repair_has (r, &k->sp.e, "tables-hopeless"))
    return 0;
  if (list_faults (r, &k->sp.e) == -1)
    return -1;
  for (j = 0; j < 3 && r->made == before; j++)
    if (repair_gdes (r, k, kinds[j], fix_gde) == -1 ||
        (r->made == before && repair_gdes (r, k, kinds[j], give_up_gde) == -1))
      return -1;
  for (i = 0; r->made == before &&
         (p = repair_next (r, &k->sp.e, AT_GDE_ZERO, &i)); )
    if (add_tables (r, k, p) == -1)
      return -1;
  return 0;
}

/* Tables of which the two copies differ. */

/* An entry of which both copies can be right. */
struct rivals {
  uint64_t grain;
  uint64_t place[2];
  bool claimed[2]; /* by something else */
};

struct copies {
  struct repair *r;
  struct kdmv *k;
  struct rivals *rivals;
  size_t nr_rivals;
  uint8_t *table[2];
};

static enum entry_kind
kind_of (const struct copies *c, unsigned copy, size_t i, uint64_t *place)
{
  const struct sparse *const sp = &c->k->sp;

  return sp->format->decode_gte (sp, le32_at (c->table[copy] + i), place);
}

static int
add_rivals (struct copies *c, uint64_t grain, const uint64_t place[2])
{
  const size_t n = c->nr_rivals;

  if (n >= REPAIR_MAX_PLACES)
    return 0;
  if ((n & (n - 1)) == 0) {
    struct rivals *const more =
      realloc (c->rivals, (n ? 2 * n : 1) * sizeof *more);

    if (more == NULL) {
      vmdk_error (&c->r->log, "%s: %m", c->k->sp.e.store->name);
      return -1;
    }
    c->rivals = more;
  }
  c->rivals[c->nr_rivals++] = (struct rivals) {
    .grain = grain, .place = { place[0], place[1] } };
  return 0;
}

/* Makes entry i of both tables the same, or leaves it for the second pass. */
static int
settle_entry (struct copies *c, uint64_t grain, size_t i)
{
  uint64_t place[2] = { 0, 0 };
  const enum entry_kind a = kind_of (c, 0, i, &place[0]);
  const enum entry_kind b = kind_of (c, 1, i, &place[1]);
  const bool take_b = b != ENTRY_BAD &&
    (a == ENTRY_BAD || (a == ENTRY_ABSENT && b != ENTRY_ABSENT));

  if (memcmp (c->table[0] + i, c->table[1] + i, 4) == 0)
    return 0;
  if (a == ENTRY_PLACE && b == ENTRY_PLACE)
    return add_rivals (c, grain, place);
  if (take_b) {
    memcpy (c->table[0] + i, c->table[1] + i, 4);
    c->r->result->content_changed |= a != ENTRY_BAD && !c->k->sp.unclean;
  }
  else
    memcpy (c->table[1] + i, c->table[0] + i, 4);
  return 0;
}

static int
load_tables (struct copies *c, uint64_t number, uint64_t place[2])
{
  const size_t size = sparse_gt_bytes (&c->k->sp);
  unsigned copy;

  for (copy = 0; copy < 2; copy++)
    if (repair_find_table (&c->k->sp, copy, number, &place[copy]) == -1 ||
        (place[copy] != 0 && store_pread (c->k->sp.tables, c->table[copy],
                                          size, place[copy]) == -1))
      return -1;
  return 0;
}

static int
settle_table (struct copies *c, const struct check_place *p)
{
  const size_t size = sparse_gt_bytes (&c->k->sp);
  const size_t rivals = c->nr_rivals;
  uint64_t place[2];
  size_t i;

  if (load_tables (c, p->number, place) == -1)
    return -1;
  if (place[0] == 0 || place[1] == 0)
    return 0;
  for (i = 0; i < size; i += 4)
    if (settle_entry (c, p->number * c->k->sp.gtes_per_gt + i / 4, i) == -1)
      return -1;
  if (store_pwrite (c->k->sp.tables, c->table[0], size, place[0]) == -1 ||
      store_pwrite (c->k->sp.tables, c->table[1], size, place[1]) == -1)
    return -1;
  repair_done (c->r, p->code, c->k->sp.e.store->name, "both copies of grain "
               "table %" PRIu64 " are the same now%s", p->number,
               c->nr_rivals > rivals ? ", but for entries that both may be "
               "right" : "");
  return 0;
}

/* Second pass: who else claims the places? */

static int
compare_rivals (const void *a, const void *b)
{
  const struct rivals *const x = a, *const y = b;

  return x->grain < y->grain ? -1 : x->grain > y->grain;
}

static bool
overlaps (const struct copies *c, uint64_t a, uint64_t length, uint64_t b)
{
  return a < b + c->k->sp.e.grain_size && b < a + length;
}

static void
claim (struct copies *c, uint64_t grain, uint64_t start, uint64_t length)
{
  size_t i;

  for (i = 0; i < c->nr_rivals; i++) {
    struct rivals *const v = &c->rivals[i];

    if (v->grain == grain)
      continue;
    v->claimed[0] |= overlaps (c, start, length, v->place[0]);
    v->claimed[1] |= overlaps (c, start, length, v->place[1]);
  }
}

static bool
is_rival (const struct copies *c, uint64_t grain)
{
  const struct rivals key = { .grain = grain };

  return bsearch (&key, c->rivals, c->nr_rivals, sizeof key,
                  compare_rivals) != NULL;
}

static int
claim_table (struct copies *c, uint64_t number)
{
  const struct sparse *const sp = &c->k->sp;
  uint64_t place[2], position;
  size_t i;

  if (load_tables (c, number, place) == -1)
    return -1;
  for (i = 0; i < 2; i++)
    if (place[i] != 0)
      claim (c, UINT64_MAX, place[i], sparse_gt_bytes (sp));
  for (i = 0; place[0] != 0 && i < sparse_gt_bytes (sp); i += 4) {
    const uint64_t grain = number * sp->gtes_per_gt + i / 4;

    if (kind_of (c, 0, i, &position) == ENTRY_PLACE && !is_rival (c, grain))
      claim (c, grain, position, sp->e.grain_size);
  }
  return 0;
}

static int
settle_rivals (struct copies *c)
{
  uint64_t i;
  size_t j;

  for (i = 0; c->nr_rivals > 0 && c->nr_rivals <= MAX_RIVALS &&
         i < c->k->sp.nr_gts; i++)
    if (claim_table (c, i) == -1)
      return -1;
  for (j = 0; j < c->nr_rivals; j++) {
    const struct rivals *const v = &c->rivals[j];
    const unsigned best = v->claimed[0] && !v->claimed[1];

    if (repair_set_gte (&c->k->sp, v->grain,
                        v->place[best] / SECTOR_SIZE) == -1)
      return -1;
    c->r->result->content_changed |= best == 1;
    repair_grains (c->r, "mirror-differs", &c->k->sp.e, v->grain, 1,
                   best ? "had two places; they are read from the other one "
                   "now, since the first is used by something else"
                   : "had two places; they are read from the first, as "
                   "before");
  }
  return 0;
}

int
repair_kdmv_copies (struct repair *r, struct kdmv *k)
{
  struct copies c = { .r = r, .k = k };
  const struct check_place *p;
  size_t i = 0;
  int result = 0;

  if (repair_next (r, &k->sp.e, AT_GT_DIFFERS, &i) == NULL)
    return 0;
  i = 0;
  c.table[0] = malloc (sparse_gt_bytes (&k->sp));
  c.table[1] = malloc (sparse_gt_bytes (&k->sp));
  if (c.table[0] == NULL || c.table[1] == NULL) {
    vmdk_error (&r->log, "%s: %m", k->sp.e.store->name);
    result = -1;
  }
  while (result == 0 && (p = repair_next (r, &k->sp.e, AT_GT_DIFFERS, &i)))
    result = settle_table (&c, p);
  if (result == 0)
    result = settle_rivals (&c);
  free (c.table[0]);
  free (c.table[1]);
  free (c.rivals);
  return result;
}
