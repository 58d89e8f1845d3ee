/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Giving a link a new content ID, or a new descriptor.  One in a file of
 * its own is replaced as a whole.  Where that can't be done, and inside of
 * an extent, a new content ID is written sector by sector, which the edit
 * allows.  For all else inside of an extent see change_by_copy, in a file
 * of its own is_safe_in_place.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor-edit.h"
#include "in-use.h"
#include "kdmv.h"
#include "le.h"
#include "relabel.h"

/* Inside of an extent. */

/* A place for a descriptor, and of it the part that text is in, or will
 * be: whole sectors.  Behind the text there are zeroes.
 */
struct area {
  struct store *store;
  uint64_t offset;
  size_t length, room;
  char *old, *new; /* room bytes each */
};

static void
free_area (struct area *a)
{
  free (a->old);
  free (a->new);
}

static int
no_memory (const struct link *l)
{
  vmdk_error (&l->ctx->log, "%s: %m", l->store->name);
  return -1;
}

static int
no_room (const struct link *l, uint64_t room, size_t length)
{
  vmdk_error (&l->ctx->log, "%s: its descriptor can't be changed: the new one "
              "has %zu bytes, but there is room for %" PRIu64 " only, which "
              "must do for two, lest a crash leaves none; convert the disk",
              l->store->name, length, room);
  errno = EFBIG;
  return -1;
}

static size_t
whole_sectors (size_t n)
{
  return (n + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
}

/* room: of the place at offset. */
static int
prepare_area (const struct link *l, uint64_t offset, uint64_t room,
              const char *text, size_t length, struct area *a)
{
  const size_t most = room < VMDK_MAX_DESCRIPTOR ? (size_t) room :
    VMDK_MAX_DESCRIPTOR;
  size_t used;

  *a = (struct area) { .store = l->store, .offset = offset, .room = most };
  if (length > most)
    return no_room (l, room, length);
  a->old = malloc (most);
  a->new = calloc (1, most);
  if (a->old == NULL || a->new == NULL)
    return no_memory (l);
  if (store_pread (l->store, a->old, most, offset) == -1)
    return -1;
  used = strnlen (a->old, most);
  a->length = whole_sectors (used > length ? used : length);
  memcpy (a->new, text, length);
  return 0;
}

static size_t
count_changes (const struct area *a)
{
  size_t i, n = 0;

  for (i = 0; i < a->length; i += SECTOR_SIZE)
    n += memcmp (a->old + i, a->new + i, SECTOR_SIZE) != 0;
  return n;
}

static int
write_sectors (struct store *s, uint64_t offset, const char *old,
               const char *new, size_t length)
{
  size_t i;

  for (i = 0; i < length; i += SECTOR_SIZE) {
    const size_t n =
      length - i < SECTOR_SIZE ? length - i : (size_t) SECTOR_SIZE;

    if (memcmp (old + i, new + i, n) != 0 &&
        store_pwrite (s, new + i, n, offset + i) == -1)
      return -1;
  }
  return store_sync (s);
}

static int
write_area (const struct area *a)
{
  return write_sectors (a->store, a->offset, a->old, a->new, a->length);
}

/* What an interrupted change left behind the text, where nobody looks. */
static int
clean_rest (const struct area *a)
{
  return write_sectors (a->store, a->offset + a->length, a->old + a->length,
                        a->new + a->length, a->room - a->length);
}

static int
move_descriptor (struct store *s, uint64_t offset, uint64_t size)
{
  struct kdmv_header_disk h;

  if (store_pread (s, &h, sizeof h, 0) == -1)
    return -1;
  h.descriptor_offset = to_le64 (offset / SECTOR_SIZE);
  h.descriptor_size = to_le64 (size / SECTOR_SIZE);
  if (store_pwrite (s, &h, sizeof h, 0) == -1)
    return -1;
  return store_sync (s);
}

/* Sees that there is room. */
static int
check_room (const struct link *l, const struct area *home, size_t length)
{
  if (count_changes (home) <= 1 ||
      whole_sectors (length) <= home->room - home->length)
    return 0;
  return no_room (l, home->room, length);
}

/* A new text, that changes more than one sector, goes to the end of the
 * descriptor's place first, behind the old one:
 *
 *   1. it is written there and made durable: nobody looks there;
 *   2. the header, one sector, is made to say that the descriptor is there,
 *      and only there;
 *   3. it is written in front, too;
 *   4. the header says again what it said before;
 *   5. the copy is overwritten with zeroes.
 *
 * Each step is durable before the next one.  So the header always names a
 * place whose text is whole: the old one up to 2, the new one from there
 * on, and readers follow it.  Those that always look at sector 1 see the
 * old or the new one but for the time of 3.  A place ends where it ended
 * before, which is why nothing else in the file need be looked at, and why
 * settle finds out how large it was.
 */
static int
change_by_copy (struct link *l, const struct kdmv_header *h,
                const struct area *home, const char *text, size_t length)
{
  const size_t size = whole_sectors (length);
  const uint64_t place = h->descriptor_offset + h->descriptor_size - size;
  struct area copy;
  int r = -1;

  if (prepare_area (l, place, size, text, length, &copy) == 0 &&
      write_area (&copy) == 0 &&
      move_descriptor (l->store, place, size) == 0 &&
      write_area (home) == 0 &&
      move_descriptor (l->store, h->descriptor_offset,
                       h->descriptor_size) == 0 &&
      store_zero (l->store, size, place, false) == 0)
    r = store_sync (l->store);
  free_area (&copy);
  return r;
}

/* dry_run: only sees that it can be done. */
static int
change_embedded (struct link *l, const struct kdmv_header *h,
                 const char *text, size_t length, bool dry_run)
{
  struct area home;
  int r = prepare_area (l, h->descriptor_offset, h->descriptor_size, text,
                        length, &home);

  if (r == 0)
    r = check_room (l, &home, length);
  if (r == 0 && !dry_run)
    r = clean_rest (&home);
  if (r == 0 && !dry_run)
    r = count_changes (&home) <= 1 ? write_area (&home) :
      change_by_copy (l, h, &home, text, length);
  free_area (&home);
  return r;
}

/* Whether a change was interrupted between its steps 2 and 4: the
 * descriptor lies somewhere behind another one in sector 1, and no
 * directory between or below them.
 */
static int
is_interrupted (struct store *s, const struct kdmv_header *h)
{
  const uint64_t end = h->descriptor_offset + h->descriptor_size;
  char text[SECTOR_SIZE];

  if (h->descriptor_offset <= SECTOR_SIZE ||
      h->descriptor_size > h->descriptor_offset - SECTOR_SIZE ||
      (h->gd_offset != KDMV_GD_AT_END && h->gd_offset < end) ||
      (h->rgd_offset != 0 && h->rgd_offset < end))
    return 0;
  if (store_pread (s, text, sizeof text, SECTOR_SIZE) == -1)
    return -1;
  return descriptor_probe (text, sizeof text);
}

/* Goes on with step 3. */
static int
finish_change (struct link *l, const struct kdmv_header *h)
{
  const uint64_t room = h->descriptor_offset + h->descriptor_size -
    SECTOR_SIZE;
  const size_t size = (size_t) h->descriptor_size;
  char *const text = malloc (size + 1);
  struct area home = { .old = NULL };
  int r = -1;

  if (text == NULL)
    return no_memory (l);
  text[size] = '\0';
  if (store_pread (l->store, text, size, h->descriptor_offset) == 0 &&
      prepare_area (l, SECTOR_SIZE, h->descriptor_offset - SECTOR_SIZE, text,
                    strlen (text), &home) == 0 &&
      write_area (&home) == 0 &&
      move_descriptor (l->store, SECTOR_SIZE, room) == 0 &&
      store_zero (l->store, size, h->descriptor_offset, false) == 0)
    r = store_sync (l->store);
  free_area (&home);
  free (text);
  return r;
}

/* Finds the header, when no change of the descriptor is under way. */
static int
settle (struct link *l, struct kdmv_header *h)
{
  const struct vmdk_log *const log = &l->ctx->log;
  int r;

  if (kdmv_read_header (log, l->store, h) == -1)
    return -1;
  r = is_interrupted (l->store, h);
  if (r <= 0)
    return r;
  if (h->descriptor_size > VMDK_MAX_DESCRIPTOR)
    return no_room (l, VMDK_MAX_DESCRIPTOR, (size_t) h->descriptor_size);
  if (finish_change (l, h) == -1 ||
      kdmv_read_header (log, l->store, h) == -1)
    return -1;
  l->desc_offset = h->descriptor_offset;
  l->desc_length = h->descriptor_size > VMDK_MAX_DESCRIPTOR ?
    VMDK_MAX_DESCRIPTOR + 1 : (size_t) h->descriptor_size;
  return 0;
}

/* In a file of its own. */

/* The file, and what it will be; whichever is shorter ends with zeroes. */
static int
prepare_file (const struct link *l, const char *text, size_t length,
              struct area *a)
{
  const size_t old_length = (size_t) l->store->size;
  const size_t most =
    whole_sectors (old_length > length ? old_length : length);

  *a = (struct area) {
    .store = l->store, .length = most, .room = most, .old = calloc (1, most),
    .new = calloc (1, most),
  };
  if (a->old == NULL || a->new == NULL)
    return no_memory (l);
  memcpy (a->new, text, length);
  return store_pread (l->store, a->old, old_length, 0);
}

/* Whether it is an ID that changes in one step.  The long one may be behind
 * the CID, and so may some of its digits.
 */
static bool
is_safe_line (const struct area *a, const struct descriptor_line *line)
{
  if (line->kind == LINE_CID || line->kind == LINE_PARENT_CID)
    return line->value &&
      (size_t) (line->value - a->old) / SECTOR_SIZE ==
      (size_t) (line->value_end - 1 - a->old) / SECTOR_SIZE;
  return line->kind == LINE_LONG_CONTENT_ID;
}

/* Whether no line moves, and only content IDs change. */
static bool
only_ids_change (const struct area *a)
{
  struct descriptor_lines old = descriptor_lines (a->old, a->length);
  struct descriptor_lines new = descriptor_lines (a->new, a->length);
  struct descriptor_line x, y;

  while (descriptor_next_line (&old, &x)) {
    const size_t n = (size_t) (x.end - x.start);

    if (!descriptor_next_line (&new, &y) || x.kind != y.kind ||
        x.start - a->old != y.start - a->new ||
        n != (size_t) (y.end - y.start) ||
        (memcmp (x.start, y.start, n) != 0 && !is_safe_line (a, &x)))
      return false;
  }
  return !descriptor_next_line (&new, &y);
}

/* Whether any mixture of old and new sectors is a sound descriptor: after
 * a crash nobody should find lines of two texts, of which some are there
 * twice, and others not at all.
 */
static bool
is_safe_in_place (const struct area *a)
{
  return count_changes (a) <= 1 || only_ids_change (a);
}

static int
report_unsafe (const struct link *l)
{
  const char *const why = l->store->not_replaced;

  vmdk_error (&l->ctx->log, "%s: its descriptor can't be changed: the file "
              "can't be replaced as a whole (%s), and a crash while it is "
              "changed in place could leave a mixture of two descriptors; "
              "change what is in the way, and try again", l->store->name,
              why[0] ? why : "its folder isn't known");
  errno = ENOTSUP;
  return -1;
}

static int
set_length (struct link *l, size_t length)
{
  if (store_resize (l->store, length) == -1) {
    vmdk_error (&l->ctx->log, "%s: ftruncate: %m", l->store->name);
    return -1;
  }
  return store_sync (l->store);
}

/* Where a file can't be replaced.  It is long enough for both texts as long
 * as it isn't known which of them it has: readers stop at a NUL byte.
 */
static int
rewrite_file (struct link *l, const struct area *a, size_t length)
{
  const size_t old_length = (size_t) l->store->size;

  if (length > old_length && set_length (l, length) == -1)
    return -1;
  if (write_sectors (a->store, 0, a->old, a->new,
                     length > old_length ? length : old_length) == -1)
    return -1;
  return length < old_length ? set_length (l, length) : 0;
}

/* 1: it can't be. */
static int
replace_file (struct link *l, const char *text, size_t length)
{
  struct store *const s = l->store;
  int r;

  if (l->folder == NULL || s->ops->replace == NULL)
    return 1;
  r = s->ops->replace (s, l->folder, text, length);
  return r == -1 && errno == EOPNOTSUPP ? 1 : r;
}

static int
change_separate (struct link *l, const char *text, size_t length)
{
  struct area a = { .old = NULL };
  int r;

  if (length > VMDK_MAX_DESCRIPTOR)
    return no_room (l, VMDK_MAX_DESCRIPTOR, length);
  r = replace_file (l, text, length);
  if (r <= 0)
    return r;
  r = prepare_file (l, text, length, &a);
  if (r == 0)
    r = is_safe_in_place (&a) ? rewrite_file (l, &a, length)
      : report_unsafe (l);
  free_area (&a);
  return r;
}

/* Sees that it can be done.  Where a change in place isn't safe, the file is
 * replaced by one with the same content: there is no better test.
 */
static int
check_separate (struct link *l, const char *text, size_t length)
{
  struct area a = { .old = NULL };
  int r;

  if (length > VMDK_MAX_DESCRIPTOR)
    return no_room (l, VMDK_MAX_DESCRIPTOR, length);
  r = prepare_file (l, text, length, &a);
  if (r == 0 && !is_safe_in_place (&a)) {
    r = replace_file (l, a.old, (size_t) l->store->size);
    if (r == 1)
      r = report_unsafe (l);
  }
  free_area (&a);
  return r;
}

/* Any change. */

static char *
read_descriptor (struct link *l, size_t *length)
{
  char *text;

  if (!l->embedded) /* it may have been replaced, and something failed */
    l->desc_length = (size_t) l->store->size;
  *length = l->desc_length;
  text = malloc (l->desc_length + 1);
  if (text == NULL)
    no_memory (l);
  else if (store_pread (l->store, text, l->desc_length, l->desc_offset) ==
           -1) {
    free (text);
    text = NULL;
  }
  return text;
}

/* Extents that lie behind what the new one lists remain as they are. */
static void
adopt (struct link *l, struct descriptor *desc)
{
  size_t i;

  for (i = 0; i < l->nr_extents; i++)
    l->extents[i]->line = i < desc->nr_extents ? &desc->extents[i] : NULL;
  descriptor_free (l->desc);
  l->desc = desc;
  if (!l->embedded)
    l->desc_length = (size_t) l->store->size;
}

int
link_replace_descriptor (struct link *l, const char *text, size_t length)
{
  struct descriptor *const desc =
    descriptor_parse (&l->ctx->log, l->store->name, text, length);
  struct kdmv_header h;
  int r;

  if (desc == NULL)
    return -1;
  if (l->embedded)
    r = settle (l, &h) == -1 ? -1
      : change_embedded (l, &h, text, length, false);
  else
    r = change_separate (l, text, length);
  if (r == 0)
    adopt (l, desc);
  else
    descriptor_free (desc);
  return r;
}

static int
report_none (const struct link *l)
{
  vmdk_error (&l->ctx->log, "%s: there is no descriptor that could be changed",
              l->store->name);
  errno = EINVAL;
  return -1;
}

char *
link_edit_descriptor (struct link *l,
                      const struct descriptor_changes *changes,
                      size_t *length)
{
  char *text, *new = NULL;
  size_t old_length;

  if (l->desc == NULL) {
    report_none (l);
    return NULL;
  }
  text = read_descriptor (l, &old_length);
  if (text)
    new = descriptor_edit (&l->ctx->log, l->store->name, text, old_length,
                           changes, length);
  free (text);
  return new;
}

int
link_change_descriptor (struct link *l,
                        const struct descriptor_changes *changes)
{
  struct kdmv_header h;
  size_t length;
  char *text;
  int r = -1;

  if (l->embedded && settle (l, &h) == -1)
    return -1;
  text = link_edit_descriptor (l, changes, &length);
  if (text)
    r = link_replace_descriptor (l, text, length);
  free (text);
  return r;
}

int
link_check_change (struct link *l, const struct descriptor_changes *changes)
{
  struct kdmv_header h;
  size_t length;
  char *text;
  int r;

  if (l->embedded && settle (l, &h) == -1)
    return -1;
  text = link_edit_descriptor (l, changes, &length);
  if (text == NULL)
    return -1;
  r = l->embedded ? change_embedded (l, &h, text, length, true)
    : check_separate (l, text, length);
  free (text);
  return r;
}

int
link_start_change (struct link *l)
{
  if (l->store->read_only) {
    vmdk_error (&l->ctx->log, "%s: can't be changed: %s", l->store->name,
                l->store->read_only);
    errno = EPERM;
    return -1;
  }
  if (in_use_by_vmware (l, true) == -1)
    return -1;
  if (store_make_writable (l->store) == -1) {
    if (errno == EACCES || errno == EPERM || errno == EROFS)
      vmdk_error (&l->ctx->log, "%s: can't be opened for writing: %m",
                  l->store->name);
    return -1;
  }
  return l->ctx->lock ? store_lock (l->store, true) : 0;
}

/* A new content ID. */

static int
change_in_place (struct link *l, const char *text, size_t length,
                 uint32_t *cid)
{
  const struct descriptor_edit edit = {
    .drop_change_track = l->ctx->drop_cbt, .in_place = true,
  };
  size_t new_length;
  char *const new = descriptor_change (&l->ctx->log, l->store->name, text,
                                       length, &edit, &new_length, cid);
  int r;

  if (new == NULL)
    return -1;
  r = write_sectors (l->store, l->desc_offset, text, new, length);
  free (new);
  return r;
}

/* 1: the file can't be replaced. */
static int
replace (struct link *l, const char *text, size_t length, uint32_t *cid)
{
  const struct descriptor_edit edit = {
    .drop_change_track = l->ctx->drop_cbt,
  };
  size_t new_length;
  char *new;
  int r;

  if (l->embedded || l->folder == NULL || l->store->ops->replace == NULL)
    return 1;
  new = descriptor_change (&l->ctx->log, l->store->name, text, length, &edit,
                           &new_length, cid);
  if (new == NULL)
    return -1;
  r = l->store->ops->replace (l->store, l->folder, new, new_length);
  if (r == -1 && errno == EOPNOTSUPP)
    r = 1;
  free (new);
  return r;
}

int
relabel (struct link *l)
{
  struct kdmv_header h;
  size_t length;
  uint32_t cid;
  char *text;
  int r;

  if (l->desc == NULL)
    return 0;
  if (l->embedded && settle (l, &h) == -1)
    return -1;
  text = read_descriptor (l, &length);
  if (text == NULL)
    return -1;
  r = replace (l, text, length, &cid);
  if (r == 1)
    r = change_in_place (l, text, length, &cid);
  if (r == 0)
    __atomic_store_n (&l->desc->cid, cid, __ATOMIC_RELAXED);
  if (r == 0 && l->ctx->drop_cbt && l->desc->change_track)
    vmdk_warning (&l->ctx->log, "%s: VMware's change tracking was ended: the "
                  "next backup must be a full one, and %s can be deleted",
                  l->store->name, l->desc->change_track);
  free (text);
  return r;
}
