/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes of headers, directories, tables and markers: places that matter
 * get values that matter, so that most images can still be opened.  Some
 * changes keep an image sound: grains change places, or are added.
 */

#include <config.h>

#include <string.h>

#include "fuzz.h"

struct field {
  uint16_t offset, width;
};
static const struct field kdmv_fields[] = {
  { 4, 4 }, { 8, 4 }, { 12, 8 }, { 20, 8 }, { 28, 8 }, { 36, 8 }, { 44, 4 },
  { 48, 8 }, { 56, 8 }, { 64, 8 }, { 72, 1 }, { 73, 4 }, { 77, 2 },
};
static const struct field cowd_fields[] = {
  { 4, 4 }, { 8, 4 }, { 12, 4 }, { 16, 4 }, { 20, 4 }, { 24, 4 }, { 28, 4 },
  { 1060, 4 }, { 1636, 4 }, { 1648, 4 },
};
static const struct field sesparse_fields[] = {
  { 8, 8 }, { 16, 8 }, { 24, 8 }, { 32, 8 }, { 40, 8 }, { 48, 8 },
  { 80, 8 }, { 88, 8 }, { 96, 8 }, { 104, 8 }, { 112, 8 }, { 120, 8 },
  { 128, 8 }, { 136, 8 }, { 144, 8 }, { 152, 8 }, { 160, 8 }, { 168, 8 },
  { 176, 8 }, { 184, 8 }, { 192, 8 }, { 200, 8 },
  { 512, 8 }, { 520, 8 }, { 528, 8 }, { 536, 8 },
};

static uint64_t
get (const struct pages *p, uint64_t offset, unsigned width)
{
  uint8_t b[8] = { 0 };
  uint64_t value = 0;
  unsigned i;

  pages_read (p, b, width, offset);
  for (i = 0; i < width; i++)
    value |= (uint64_t) b[i] << 8 * i;
  return value;
}

/* Only inside of the file. */
static void
set (struct pages *p, uint64_t offset, unsigned width, uint64_t value)
{
  uint8_t b[8];
  unsigned i;

  for (i = 0; i < 8; i++)
    b[i] = (uint8_t) (value >> 8 * i);
  if (offset < p->size && width <= p->size - offset)
    pages_write (p, b, width, offset);
}

/* Values. */

static uint64_t
near (uint64_t value, struct rng *r)
{
  return value + rng_below (r, 5) - 2;
}

static uint64_t
interesting (const struct pages *p, uint64_t old, struct rng *r)
{
  switch (rng_below (r, 12)) {
  case 0: return rng_below (r, 4);
  case 1: return UINT64_C (1) << rng_below (r, 64);
  case 2: return near (UINT64_C (1) << rng_below (r, 64), r);
  case 3: return near (old, r);
  case 4: return old * 2;
  case 5: return old / 2;
  case 6: return near (p->size / SECTOR, r);
  case 7: return rng_below (r, p->size / SECTOR + 1);
  case 8: return old ^ UINT64_C (1) << rng_below (r, 64);
  case 9: return old ^ UINT64_C (1) << rng_below (r, 20);
  case 10: return old + rng_below (r, 256);
  default: return UINT64_MAX - rng_below (r, 3);
  }
}

/* A field gets such a value, or that of another field. */
static void
change_field (struct pages *p, uint64_t header, const struct field *fields,
              size_t n, struct rng *r)
{
  const struct field *const f = &fields[rng_below (r, n)];
  const struct field *const g = &fields[rng_below (r, n)];
  const uint64_t old = get (p, header + f->offset, f->width);

  set (p, header + f->offset, f->width, rng_below (r, 8) > 0 ?
       interesting (p, old, r) : get (p, header + g->offset, g->width));
}

/* Where tables are, of all formats. */
struct tables {
  uint64_t header, gd, mirror; /* bytes; mirror is 0: none */
  uint64_t gts;      /* seSparse: the first table */
  unsigned width;    /* of entries */
  uint64_t entries;  /* of a table */
  uint64_t grains;   /* of the extent */
  uint64_t grain;    /* bytes */
};

/* The place of a table's first entry; 0: there is none. */
static uint64_t
table_place (const struct pages *p, const struct tables *t, uint64_t gd,
             uint64_t number)
{
  const uint64_t e = get (p, gd + number * t->width, t->width);

  if (e == 0)
    return 0;
  return t->gts ? t->gts + (e & 0xffffffff) * t->entries * 8 : e * SECTOR;
}

static uint64_t
entry_place (const struct pages *p, const struct tables *t, uint64_t gd,
             uint64_t grain)
{
  const uint64_t table = table_place (p, t, gd, grain / t->entries);

  return table == 0 ? 0 : table + grain % t->entries * t->width;
}

/* Both copies, mostly. */
static void
set_entry (struct pages *p, const struct tables *t, uint64_t grain,
           uint64_t value, struct rng *r)
{
  const uint64_t a = entry_place (p, t, t->gd, grain);
  const uint64_t b = t->mirror ? entry_place (p, t, t->mirror, grain) : 0;
  const uint64_t which = rng_below (r, 8);

  if (a && which != 0)
    set (p, a, t->width, value);
  if (b && which != 1)
    set (p, b, t->width, value);
}

static uint64_t
entry_of (const struct pages *p, const struct tables *t, uint64_t grain)
{
  const uint64_t place = entry_place (p, t, t->gd, grain);

  return place ? get (p, place, t->width) : 0;
}

/* A grain, rather one that is allocated. */
static uint64_t
choose_grain (const struct pages *p, const struct tables *t, struct rng *r)
{
  const uint64_t first = rng_below (r, t->grains);
  uint64_t i;

  for (i = 0; i < 64 && rng_below (r, 16) > 0; i++) {
    const uint64_t grain = (rng_below (r, 4) > 0 ? i : first + i) % t->grains;

    if (entry_of (p, t, grain) && rng_below (r, 3) == 0)
      return grain;
  }
  return first;
}

static uint64_t
interesting_entry (const struct pages *p, const struct tables *t,
                   uint64_t old, struct rng *r)
{
  switch (rng_below (r, 7)) {
  case 0: return rng_below (r, 3);
  case 1: return entry_of (p, t, choose_grain (p, t, r));
  case 2: return old + t->grain / SECTOR;
  case 3: return old - t->grain / SECTOR;
  case 4: return rng_below (r, t->gd / SECTOR + 1);
  case 5: return t->gts ? rng_below (r, 4) << 60 | (old & UINT64_MAX >> 4)
                 : near (old, r);
  default: return interesting (p, old, r);
  }
}

static void
swap_grains (struct pages *p, const struct tables *t, struct rng *r)
{
  const uint64_t a = choose_grain (p, t, r), b = choose_grain (p, t, r);
  const uint64_t in_a = entry_of (p, t, a), in_b = entry_of (p, t, b);

  set_entry (p, t, a, in_b, r);
  set_entry (p, t, b, in_a, r);
}

/* A new grain at the end of the file. */
static void
add_grain (struct pages *p, const struct tables *t, struct rng *r)
{
  const uint64_t place = (p->size + t->grain - 1) / t->grain * t->grain;
  const uint64_t grain = rng_below (r, 4) ? rng_below (r, t->grains)
    : rng_below (r, 64) % t->grains;
  uint8_t data[16];

  if (place > MAX_FILE_SIZE - t->grain || t->gts)
    return;
  pages_resize (p, place + t->grain);
  memset (data, (int) rng_below (r, 256), sizeof data);
  pages_write (p, data, sizeof data, place);
  set_entry (p, t, grain, place / SECTOR, r);
}

static void
change_directory (struct pages *p, const struct tables *t, struct rng *r)
{
  const uint64_t n = (t->grains + t->entries - 1) / t->entries;
  const uint64_t i = rng_below (r, 2) ? 0 : rng_below (r, n);
  const uint64_t gd = t->mirror && rng_below (r, 2) ? t->mirror : t->gd;
  const uint64_t old = get (p, gd + i * t->width, t->width);
  uint64_t new = interesting (p, old, r);

  if (rng_below (r, 4) == 0)
    new = get (p, gd + rng_below (r, n) * t->width, t->width);
  else if (t->gts && rng_below (r, 2))
    new = UINT64_C (0x1000000000000000) | rng_below (r, 8);
  set (p, gd + i * t->width, t->width, new);
}

static bool
change_tables (struct pages *p, const struct tables *t, struct rng *r)
{
  uint64_t grain;

  if (t->grains == 0 || t->entries == 0 || t->grain == 0 ||
      t->grain > (16 << 20) || t->grains > UINT64_C (1) << 40)
    return false;
  switch (rng_below (r, 8)) {
  case 0:
    change_directory (p, t, r);
    return true;
  case 1: case 2:
    swap_grains (p, t, r);
    return true;
  case 3: case 4:
    add_grain (p, t, r);
    return true;
  }
  grain = choose_grain (p, t, r);
  set_entry (p, t, grain,
             interesting_entry (p, t, entry_of (p, t, grain), r), r);
  return true;
}

/* Hosted sparse. */

static uint64_t
kdmv_header (const struct pages *p)
{
  return get (p, 56, 8) == UINT64_MAX && p->size >= 1024 &&
    get (p, p->size - 1024, 4) == get (p, 0, 4) ? p->size - 1024 : 0;
}

static struct tables
kdmv_tables (const struct pages *p)
{
  const uint64_t h = kdmv_header (p);
  const uint64_t grain = get (p, h + 20, 8);

  return (struct tables) {
    .header = h, .gd = get (p, h + 56, 8) * SECTOR,
    .mirror = get (p, h + 8, 4) & 2 ? get (p, h + 48, 8) * SECTOR : 0,
    .width = 4, .entries = get (p, h + 44, 4), .grain = grain * SECTOR,
    .grains = grain ? (get (p, h + 12, 8) + grain - 1) / grain : 0,
  };
}

/* The markers, from the first one on; up to 64. */
static uint64_t
choose_marker (const struct pages *p, struct rng *r)
{
  uint64_t o = get (p, 64, 8) * SECTOR;
  uint64_t n = rng_below (r, 64);

  while (n-- > 0 && o < p->size) {
    const uint64_t value = get (p, o, 8), size = get (p, o + 8, 4);
    const uint64_t next = o + (size ? (12 + size + SECTOR - 1) / SECTOR
                               : 1 + value % (1 << 20)) * SECTOR;

    if (next >= p->size)
      break;
    o = next;
  }
  return o;
}

static void
change_marker (struct pages *p, struct rng *r)
{
  const uint64_t o = choose_marker (p, r);
  uint8_t sector[SECTOR];

  switch (rng_below (r, 6)) {
  case 0:
    set (p, o, 8, interesting (p, get (p, o, 8), r));
    break;
  case 1:
    set (p, o + 8, 4, interesting (p, get (p, o + 8, 4), r));
    break;
  case 2:
    set (p, o + 12, 4, rng_below (r, 6));
    break;
  case 3:
    set (p, o, 8, near (get (p, o, 8), r));
    break;
  case 4: /* twice */
    pages_read (p, sector, sizeof sector, o);
    if (o + 2 * SECTOR <= p->size)
      pages_write (p, sector, sizeof sector, o + SECTOR);
    break;
  default: /* the data */
    set (p, o + 12 + rng_below (r, 64), 1, rng_next (r));
    break;
  }
}

static bool
mutate_kdmv (struct pages *p, struct rng *r)
{
  const struct tables t = kdmv_tables (p);
  const bool markers = get (p, 8, 4) & 0x20000;
  const uint64_t n = rng_below (r, 8);

  if (n < 2) {
    change_field (p, rng_below (r, 2) ? t.header : 0, kdmv_fields,
                  sizeof kdmv_fields / sizeof kdmv_fields[0], r);
    return true;
  }
  if (n < 5 && markers) {
    change_marker (p, r);
    return true;
  }
  return change_tables (p, &t, r);
}

/* COWD. */

static bool
mutate_cowd (struct pages *p, struct rng *r)
{
  const uint64_t grain = get (p, 16, 4);
  const struct tables t = {
    .gd = get (p, 20, 4) * SECTOR, .width = 4, .entries = 4096,
    .grain = grain * SECTOR,
    .grains = grain ? (get (p, 12, 4) + grain - 1) / grain : 0,
  };

  if (rng_below (r, 4) == 0) {
    change_field (p, 0, cowd_fields,
                  sizeof cowd_fields / sizeof cowd_fields[0], r);
    return true;
  }
  return change_tables (p, &t, r);
}

/* seSparse. */

/* An entry of the free bitmap or the back map. */
static void
change_map (struct pages *p, struct rng *r)
{
  const bool back = rng_below (r, 2);
  const uint64_t start = get (p, back ? 176 : 160, 8) * SECTOR;
  const uint64_t place = start + rng_below (r, 64) * 8;
  const uint64_t old = get (p, place, 8);

  if (back && rng_below (r, 2))
    set (p, place, 8, get (p, start + rng_below (r, 64) * 8, 8));
  else
    set (p, place, 8, rng_below (r, 2) ? near (old, r)
         : old ^ UINT64_C (1) << rng_below (r, 64));
}

static bool
mutate_sesparse (struct pages *p, struct rng *r)
{
  const uint64_t capacity = get (p, 16, 8);
  const struct tables t = {
    .gd = get (p, 128, 8) * SECTOR, .gts = get (p, 144, 8) * SECTOR,
    .width = 8, .entries = 4096, .grain = 4096, .grains = (capacity + 7) / 8,
  };

  switch (rng_below (r, 8)) {
  case 0: case 1:
    change_field (p, 0, sesparse_fields,
                  sizeof sesparse_fields / sizeof sesparse_fields[0], r);
    return true;
  case 2: case 3:
    change_map (p, r);
    return true;
  }
  return t.gts > 0 && change_tables (p, &t, r);
}

bool
mutate_format (struct pages *p, struct rng *r)
{
  const uint64_t magic = get (p, 0, 4);

  switch (magic) {
  case 0x564d444b: case 0x766d646b:
    return mutate_kdmv (p, r);
  case 0x44574f43:
    return mutate_cowd (p, r);
  case 0xcafebabe:
    return mutate_sesparse (p, r);
  }
  return false;
}
