/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Drawing a disk.  On top are the guest's bytes, row by row, in cells of
 * a round size; below are the files, each from its first to its last byte.
 * A cell is filled by what is in it, each kind as high as its share.
 *
 * Neighbours that are wholly of one kind are drawn as one, so that most
 * pictures are small.  Colours are such that people can tell apart who
 * don't see all of them, and go with light and dark pages.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "svg.h"

#define WIDTH 1040
#define LEFT 100              /* of grid and strips */
#define CELL 14
#define GRID_WIDTH (PICTURE_COLUMNS * CELL)
#define STRIP_HEIGHT 22
#define LINE 18               /* of text */
#define NR_COLOURS 7
#define NR_LOOKS 21           /* each colour, thrice */
#define LEGEND_LINKS NR_LOOKS
#define LEAST 2.0             /* what is there at all, can be seen */

struct svg {
  FILE *out;
  const struct vmdk_disk *disk;
  const struct picture *p;
  int y;         /* where the next thing goes */
  unsigned gaps; /* what the legend must explain */
};

/* The kinds: a link's number, or one of these. */
enum {
  KIND_ZERO = VMDK_MAX_CHAIN,
  KIND_ABSENT,
  KIND_METADATA,
  KIND_COVERED,
  KIND_UNUSED,
  KIND_HOLE,
};

static const struct {
  const char *class, *name;
} kinds[] = {
  { "zero", "zero" },
  { "absent", "absent" },
  { "metadata", "tables and other metadata" },
  { NULL, "covered by a newer link" },
  { "unused", "unused" },
  { "absent", "hole" },
};

static const char style[] =
"<style>\n"
".page{fill:#fff}.frame{fill:none;stroke:#777}.lines{stroke:#fff}\n"
"text{fill:#222;font-size:13px}.small{font-size:11px;fill:#555}\n"
".end{text-anchor:end}.middle{text-anchor:middle}\n"
".head{font-size:20px;font-weight:600}.bold{font-weight:600}\n"
".absent{fill:#f0f0f0}.zero{fill:#b9b9b9}.metadata{fill:#444}\n"
".unused{fill:url(#unused)}.ub{fill:#fff}.us{stroke:#a00}\n"
".over{stroke:#fff;stroke-width:1.5}\n"
".l0{fill:#0072b2}.l1{fill:#e69f00}.l2{fill:#009e73}.l3{fill:#cc79a7}\n"
".l4{fill:#56b4e9}.l5{fill:#d55e00}.l6{fill:#e0d020}\n"
".covered{opacity:.4}\n"
"@media (prefers-color-scheme:dark){\n"
".page{fill:#16181b}.lines{stroke:#16181b}text{fill:#e6e6e6}\n"
".small{fill:#aaa}.absent{fill:#26292d}.zero{fill:#6a6e74}\n"
".metadata{fill:#d8d8d8}.ub{fill:#16181b}.us{stroke:#f77}\n"
".over{stroke:#16181b}.l0{fill:#2b8fd0}.l6{fill:#f0e442}\n"
"}\n"
"</style>\n"
"<defs>\n"
"<pattern id=\"cells\" width=\"14\" height=\"14\" "
"patternUnits=\"userSpaceOnUse\" x=\"100\" y=\"%d\">"
"<path class=\"lines\" d=\"M0 .5H14M.5 0V14\"/></pattern>\n"
"<pattern id=\"unused\" width=\"5\" height=\"5\" "
"patternUnits=\"userSpaceOnUse\"><path class=\"ub\" d=\"M0 0H5V5H0z\"/>"
"<path class=\"us\" d=\"M0 5L5 0M-1 1L1 -1M4 6L6 4\"/></pattern>\n"
"<pattern id=\"packed\" width=\"4\" height=\"4\" "
"patternUnits=\"userSpaceOnUse\"><path class=\"over\" d=\"M2 0V4\"/>"
"</pattern>\n"
"<pattern id=\"look1\" width=\"7\" height=\"7\" "
"patternUnits=\"userSpaceOnUse\"><path class=\"over\" "
"d=\"M0 0L7 7M-1 6L1 8M6 -1L8 1\"/></pattern>\n"
"<pattern id=\"look2\" width=\"7\" height=\"7\" "
"patternUnits=\"userSpaceOnUse\"><path class=\"over\" "
"d=\"M0 3.5H7M3.5 0V7\"/></pattern>\n"
"</defs>\n";

/* Text. */

/* Fit for XML: it knows no control characters, nor U+FFFE and U+FFFF. */
static void
put_text (FILE *out, const char *text)
{
  while (*text) {
    const size_t n = utf8_length (text);

    if (n == 0 || strncmp (text, "\xef\xbf\xbe", 3) == 0 ||
        strncmp (text, "\xef\xbf\xbf", 3) == 0)
      fputs ("\xef\xbf\xbd", out);
    else if ((unsigned char) *text < 0x20 || *text == 0x7f)
      putc ('?', out);
    else if (*text == '&')
      fputs ("&amp;", out);
    else if (*text == '<')
      fputs ("&lt;", out);
    else if (*text == '>')
      fputs ("&gt;", out);
    else
      fwrite (text, 1, n, out);
    text += n == 0 ? 1 : n;
  }
}

static size_t
nr_characters (const char *text)
{
  size_t n;

  for (n = 0; *text; n++)
    text += utf8_length (text) ? utf8_length (text) : 1;
  return n;
}

/* Its end alone, if it is too long. */
static void
put_name (FILE *out, const char *name, size_t most)
{
  size_t n = nr_characters (name);

  if (n > most)
    fputs ("\xe2\x80\xa6", out);
  for (; n > most; n--)
    name += utf8_length (name) ? utf8_length (name) : 1;
  put_text (out, name);
}

static const char *
base_name (const char *file)
{
  const char *const slash = strrchr (file, '/');

  return slash ? slash + 1 : file;
}

/* "12.5 %" */
static void
put_share (FILE *out, uint64_t part, uint64_t whole)
{
  const double share =
    whole == 0 ? 0 : (double) part * 100 / (double) whole;

  if (part == 0 || part == whole)
    fprintf (out, "%.0f %%", share);
  else if (share < 0.01)
    fputs ("&lt; 0.01 %", out);
  else if (share > 99.9)
    fputs ("&gt; 99.9 %", out);
  else
    fprintf (out, "%.*f %%", share < 1 ? 2 : 1, share);
}

static void
put_size (FILE *out, uint64_t bytes)
{
  char buf[SIZE_TEXT];

  fputs (bytes == 0 ? "0" : size_text (buf, bytes), out);
}

static void
put_figure (FILE *out, uint64_t part, uint64_t whole)
{
  put_size (out, part);
  fputs (" (", out);
  put_share (out, part, whole);
  putc (')', out);
}

/* Kinds. */

static const char *
kind_class (unsigned kind, unsigned link, char buf[16])
{
  if (kind >= VMDK_MAX_CHAIN && kinds[kind - VMDK_MAX_CHAIN].class)
    return kinds[kind - VMDK_MAX_CHAIN].class;
  snprintf (buf, 16, "l%u%s",
            (kind < VMDK_MAX_CHAIN ? kind : link) % NR_COLOURS,
            kind == KIND_COVERED ? " covered" : "");
  return buf;
}

static void
put_kind (FILE *out, unsigned kind)
{
  if (kind < VMDK_MAX_CHAIN)
    fprintf (out, "link %u", kind);
  else
    fputs (kinds[kind - VMDK_MAX_CHAIN].name, out);
}

static void
put_rect (FILE *out, const char *attributes, double x, double y, double w,
          double h)
{
  fprintf (out, "<rect %s x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\"/>",
           attributes, x, y, w, h);
}

/* A rectangle that looks like its kind. */
static void
put_kind_rect (FILE *out, unsigned kind, unsigned link, bool packed,
               double x, double y, double w, double h)
{
  char class[16], attributes[48];
  const unsigned look =
    (kind < VMDK_MAX_CHAIN ? kind : link) / NR_COLOURS % 3;

  snprintf (attributes, sizeof attributes, "class=\"%s\"",
            kind_class (kind, link, class));
  put_rect (out, attributes, x, y, w, h);
  if ((kind < VMDK_MAX_CHAIN || kind == KIND_COVERED) && look > 0) {
    snprintf (attributes, sizeof attributes, "fill=\"url(#look%u)\"", look);
    put_rect (out, attributes, x, y, w, h);
  }
  if (packed)
    put_rect (out, "fill=\"url(#packed)\"", x, y, w, h);
}

/* A cell of the grid, or a piece of a strip: what is in it, from the bottom
 * upwards.
 */
#define MAX_SHARES 8

struct cell {
  struct share {
    unsigned kind;
    uint64_t bytes;
    double height;
  } shares[MAX_SHARES];
  unsigned n;
  unsigned link;  /* KIND_COVERED: whose colour */
  bool packed;    /* most of what is stored */
  uint64_t bytes; /* of all of it */
};

static void
add_share (struct cell *c, unsigned kind, uint64_t bytes)
{
  if (bytes > 0 && c->n < MAX_SHARES)
    c->shares[c->n++] = (struct share) { .kind = kind, .bytes = bytes };
}

/* Looks the same as the next, so that both can be drawn as one? */
static bool
is_plain (const struct cell *c)
{
  return c->n <= 1;
}

static bool
are_alike (const struct cell *a, const struct cell *b)
{
  return is_plain (a) && is_plain (b) && a->n == b->n &&
    (a->n == 0 || a->shares[0].kind == b->shares[0].kind) &&
    a->packed == b->packed;
}

/* What is tiny is made visible at the cost of what is largest. */
static void
find_heights (struct cell *c, double height)
{
  double sum = 0;
  unsigned largest = 0, i;

  for (i = 0; i < c->n; i++) {
    struct share *const s = &c->shares[i];

    s->height = height * (double) s->bytes / (double) c->bytes;
    if (s->height < LEAST)
      s->height = LEAST;
    if (s->bytes > c->shares[largest].bytes)
      largest = i;
    sum += s->height;
  }
  if (c->n > 0)
    c->shares[largest].height += height - sum;
}

static void
put_cell_title (const struct svg *g, const struct cell *c, uint64_t start)
{
  unsigned i;

  fprintf (g->out, "<title>bytes %" PRIu64 "-%" PRIu64 " (", start,
           start + c->bytes);
  put_size (g->out, c->bytes);
  fputs (" from ", g->out);
  put_size (g->out, start);
  fputs (" on)", g->out);
  for (i = c->n; i-- > 0; ) {
    const struct share *const s = &c->shares[i];

    putc ('\n', g->out);
    put_kind (g->out, s->kind);
    if (s->kind < VMDK_MAX_CHAIN && c->packed)
      fputs (", compressed", g->out);
    fprintf (g->out, ": %" PRIu64 " bytes, ", s->bytes);
    put_share (g->out, s->bytes, c->bytes);
  }
  fputs ("</title>", g->out);
}

static void
put_cell (const struct svg *g, struct cell *c, uint64_t start, double x,
          double y, double width, double height)
{
  double bottom = y + height;
  unsigned i;

  find_heights (c, height);
  fputs ("<g>", g->out);
  put_cell_title (g, c, start);
  for (i = 0; i < c->n; i++) {
    const struct share *const s = &c->shares[i];

    bottom -= s->height;
    put_kind_rect (g->out, s->kind, c->link,
                   c->packed && (s->kind < VMDK_MAX_CHAIN ||
                                 s->kind == KIND_COVERED),
                   x, bottom, width, s->height);
  }
  fputs ("</g>\n", g->out);
}

/* The guest's disk. */

#define MAX_LINKS_OF_CELL 3

/* The links that have most of a cell, the base at the bottom; those that
 * find no room are counted to the one before.
 */
static void
add_links (const struct picture *p, struct cell *c, const uint64_t *stored)
{
  size_t i, j, n = 0, most[MAX_LINKS_OF_CELL];
  uint64_t sum = 0, others;

  for (i = p->nr_links; i-- > 0; ) {
    sum += stored[i];
    if (stored[i] == 0)
      continue;
    if (n == MAX_LINKS_OF_CELL) {
      size_t least = 0;

      for (j = 1; j < n; j++)
        if (stored[most[j]] < stored[most[least]])
          least = j;
      if (stored[most[least]] >= stored[i])
        continue;
      memmove (most + least, most + least + 1,
               (n - least - 1) * sizeof most[0]);
      n--;
    }
    most[n++] = i;
  }
  others = sum;
  for (j = 0; j < n; j++)
    others -= stored[most[j]];
  for (j = 0; j < n; j++)
    add_share (c, (unsigned) most[j],
               stored[most[j]] + (j == n - 1 ? others : 0));
}

static struct cell
guest_cell (const struct picture *p, unsigned i)
{
  const uint64_t *const stored = &p->stored[i * p->nr_links];
  struct cell c = { .bytes = picture_cell_bytes (p, i) };
  uint64_t sum = p->zero[i];
  size_t j;

  for (j = 0; j < p->nr_links; j++)
    sum += stored[j];
  add_links (p, &c, stored);
  c.packed = p->packed[i] > (sum - p->zero[i]) / 2;
  add_share (&c, KIND_ZERO, p->zero[i]);
  add_share (&c, KIND_ABSENT, c.bytes - sum);
  return c;
}

static void
put_grid_row (const struct svg *g, unsigned row)
{
  const unsigned first = row * PICTURE_COLUMNS;
  unsigned end = first + PICTURE_COLUMNS, i, n;

  if (end > g->p->nr_cells)
    end = g->p->nr_cells;
  for (i = first; i < end; i += n) {
    struct cell c = guest_cell (g->p, i);

    for (n = 1; i + n < end; n++) {
      const struct cell next = guest_cell (g->p, i + n);

      if (!are_alike (&c, &next))
        break;
      c.bytes += next.bytes;
      if (c.n > 0)
        c.shares[0].bytes += next.bytes;
    }
    put_cell (g, &c, i * g->p->cell_size, LEFT + (i - first) * CELL,
              g->y + (int) row * CELL, n * CELL, CELL);
  }
}

static void
put_row_label (const struct svg *g, unsigned row)
{
  fprintf (g->out, "<text class=\"small end\" x=\"%d\" y=\"%d\">", LEFT - 8,
           g->y + (int) row * CELL + CELL - 3);
  put_size (g->out, (uint64_t) row * PICTURE_COLUMNS * g->p->cell_size);
  fputs ("</text>\n", g->out);
}

static void
put_column_labels (const struct svg *g)
{
  unsigned i;

  for (i = 0; i <= 4; i++) {
    fprintf (g->out, "<text class=\"small middle\" x=\"%d\" y=\"%d\">+",
             LEFT + (int) i * GRID_WIDTH / 4, g->y - 6);
    put_size (g->out, i * (g->p->cell_size * PICTURE_COLUMNS / 4));
    fputs ("</text>\n", g->out);
  }
}

static void
put_grid (struct svg *g)
{
  const struct picture *const p = g->p;
  const unsigned rows =
    (p->nr_cells + PICTURE_COLUMNS - 1) / PICTURE_COLUMNS;
  unsigned row;

  fprintf (g->out, "<text class=\"bold\" x=\"%d\" y=\"%d\">The guest's disk: ",
           LEFT, g->y);
  put_size (g->out, p->size);
  fputs ("; a cell is ", g->out);
  put_size (g->out, p->cell_size);
  fputs (", a row ", g->out);
  put_size (g->out, p->cell_size * PICTURE_COLUMNS);
  fputs ("</text>\n", g->out);
  g->y += 26;
  put_column_labels (g);
  for (row = 0; row < rows; row++) {
    put_row_label (g, row);
    put_grid_row (g, row);
  }
  fprintf (g->out, "<rect fill=\"url(#cells)\" pointer-events=\"none\" "
           "x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", LEFT, g->y,
           GRID_WIDTH, (int) rows * CELL);
  g->y += (int) rows * CELL + 14;
  fprintf (g->out, "<text class=\"small end\" x=\"%d\" y=\"%d\">end: ",
           LEFT + GRID_WIDTH, g->y);
  put_size (g->out, p->size);
  fprintf (g->out, " = %" PRIu64 " bytes</text>\n", p->size);
  g->y += 30;
}

/* Files. */

static struct cell
file_cell (const struct picture_file *f, unsigned i)
{
  const struct file_use *const use = &f->pieces[i];
  struct cell c = {
    .bytes = picture_piece_bytes (f, i), .link = (unsigned) f->link,
    .packed = use->packed > use->stored / 2,
  };

  add_share (&c, KIND_METADATA, use->metadata);
  add_share (&c, (unsigned) f->link, use->shown);
  add_share (&c, KIND_COVERED, use->stored - use->shown);
  add_share (&c, KIND_UNUSED, picture_unused (use, c.bytes));
  add_share (&c, KIND_HOLE, use->hole);
  return c;
}

static double
place_in_strip (const struct picture_file *f, uint64_t offset)
{
  return LEFT + GRID_WIDTH * ((double) offset / (double) f->size);
}

static void
put_strip (const struct svg *g, const struct picture_file *f)
{
  unsigned i, n;

  for (i = 0; i < f->nr_pieces; i += n) {
    struct cell c = file_cell (f, i);
    const uint64_t start = i * f->piece_size;

    for (n = 1; i + n < f->nr_pieces; n++) {
      const struct cell next = file_cell (f, i + n);

      if (!are_alike (&c, &next))
        break;
      c.bytes += next.bytes;
      if (c.n > 0)
        c.shares[0].bytes += next.bytes;
    }
    put_cell (g, &c, start, place_in_strip (f, start), g->y,
              place_in_strip (f, start + c.bytes) - place_in_strip (f, start),
              STRIP_HEIGHT);
  }
  fprintf (g->out, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" "
           "height=\"%d\"/>\n", LEFT, g->y, GRID_WIDTH, STRIP_HEIGHT);
}

static void
put_ticks (const struct svg *g, uint64_t size)
{
  unsigned i;

  for (i = 0; i <= 4; i++) {
    fprintf (g->out, "<text class=\"small middle\" x=\"%d\" y=\"%d\">",
             LEFT + (int) i * GRID_WIDTH / 4, g->y + STRIP_HEIGHT + 13);
    put_size (g->out, size / 4 * i + size % 4 * i / 4);
    fputs ("</text>\n", g->out);
  }
}

static void
put_use (const struct svg *g, const struct file_use *use, uint64_t size)
{
  FILE *const out = g->out;
  const uint64_t unused = picture_unused (use, size);

  put_size (out, size);
  fputs (": guest data ", out);
  put_figure (out, use->stored, size);
  if (use->packed > 0)
    fputs (" compressed", out);
  if (use->shown < use->stored) {
    fputs (", of these covered ", out);
    put_figure (out, use->stored - use->shown, size);
  }
  if (use->metadata > 0) {
    fputs ("; metadata ", out);
    put_figure (out, use->metadata, size);
  }
  if (unused > 0) {
    fputs ("; unused ", out);
    put_figure (out, unused, size);
  }
  if (use->hole > 0) {
    fputs ("; holes ", out);
    put_figure (out, use->hole, size);
  }
}

static void
put_file (struct svg *g, const struct picture_file *f)
{
  FILE *const out = g->out;

  fprintf (out, "<text x=\"%d\" y=\"%d\"><title>", LEFT, g->y);
  put_text (out, f->name);
  fprintf (out, "</title><tspan class=\"bold\">link %zu: ", f->link);
  put_name (out, base_name (f->name), 90);
  fputs ("</tspan></text>\n", out);
  g->y += 16;
  fprintf (out, "<text class=\"small\" x=\"%d\" y=\"%d\">", LEFT, g->y);
  put_use (g, &f->total, f->size);
  fputs ("</text>\n", out);
  g->y += 6;
  if (f->nr_pieces > 0) {
    put_strip (g, f);
    put_ticks (g, f->size);
  }
  g->y += STRIP_HEIGHT + 40;
}

static void
add_use (struct file_use *sum, const struct file_use *use)
{
  sum->shown += use->shown;
  sum->stored += use->stored;
  sum->packed += use->packed;
  sum->metadata += use->metadata;
  sum->hole += use->hole;
}

static void
put_other_files (struct svg *g, size_t first)
{
  const struct picture *const p = g->p;
  struct file_use sum = { .shown = 0 };
  uint64_t size = 0;
  size_t i;

  for (i = first; i < p->nr_files; i++) {
    add_use (&sum, &p->files[i]->total);
    size += p->files[i]->size;
  }
  fprintf (g->out, "<text class=\"bold\" x=\"%d\" y=\"%d\">and %zu more "
           "files</text>\n", LEFT, g->y, p->nr_files - first);
  g->y += 16;
  fprintf (g->out, "<text class=\"small\" x=\"%d\" y=\"%d\">", LEFT, g->y);
  put_use (g, &sum, size);
  fputs ("</text>\n", g->out);
  g->y += 24;
}

static void
put_files (struct svg *g)
{
  size_t i;

  for (i = 0; i < g->p->nr_files && i < PICTURE_STRIPS; i++)
    put_file (g, g->p->files[i]);
  if (i < g->p->nr_files)
    put_other_files (g, i);
}

/* What is above. */

static void
put_legend_item (const struct svg *g, int x, int y, unsigned kind,
                 bool packed)
{
  put_kind_rect (g->out, kind, 0, packed, x, y - 11, 24, 13);
  fprintf (g->out, "<text x=\"%d\" y=\"%d\">", x + 32, y);
}

static void
put_legend_link (const struct svg *g, int y, size_t link)
{
  struct vmdk_link_info info;

  vmdk_get_link (g->disk, link, &info);
  put_legend_item (g, LEFT, y, (unsigned) link, false);
  fputs ("<title>", g->out);
  put_text (g->out, info.file);
  fprintf (g->out, "</title>link %zu: ", link);
  put_name (g->out, base_name (info.file), 34);
  fputs (", ", g->out);
  put_figure (g->out, g->p->link_stored[link], g->p->size);
  fputs ("</text>\n", g->out);
}

static int
put_legend_links (const struct svg *g)
{
  const size_t n = g->p->nr_links;
  int y = g->y;
  size_t i;

  for (i = 0; i < n && i < LEGEND_LINKS; i++, y += LINE)
    put_legend_link (g, y, i);
  if (i < n) {
    fprintf (g->out, "<text x=\"%d\" y=\"%d\">links %zu to %zu look like "
             "those from 0 on</text>\n", LEFT, y, i, n - 1);
    y += LINE;
  }
  return y;
}

static int
put_legend_kinds (const struct svg *g)
{
  const struct picture *const p = g->p;
  const int x = LEFT + GRID_WIDTH / 2 + 48;
  int y = g->y;

  put_legend_item (g, x, y, KIND_ZERO, false);
  fputs ("reads as zero: ", g->out);
  put_figure (g->out, p->all_zero, p->size);
  fputs ("</text>\n", g->out);
  put_legend_item (g, x, y += LINE, KIND_ABSENT, false);
  fputs ("absent: in no link, zero: ", g->out);
  put_figure (g->out, p->all_absent, p->size);
  fputs ("</text>\n", g->out);
  if (p->all_packed > 0) {
    put_legend_item (g, x, y += LINE, 0, true);
    fputs ("compressed: ", g->out);
    put_figure (g->out, p->all_packed, p->size);
    fputs ("</text>\n", g->out);
  }
  put_legend_item (g, x, y += LINE, KIND_METADATA, false);
  fputs ("files: tables and other metadata</text>\n", g->out);
  if (p->nr_links > 1) {
    put_legend_item (g, x, y += LINE, KIND_COVERED, false);
    fputs ("files: covered by a newer link</text>\n", g->out);
  }
  put_legend_item (g, x, y += LINE, KIND_UNUSED, false);
  fputs ("files: space that nothing uses</text>\n", g->out);
  put_legend_item (g, x, y += LINE, KIND_HOLE, false);
  fputs ("files: hole, takes no space</text>\n", g->out);
  return y + LINE;
}

static void
put_head (struct svg *g, const char *file)
{
  char *const description = vmdk_describe (g->disk);
  int y;

  fprintf (g->out, "<text class=\"head\" x=\"%d\" y=\"40\">", LEFT);
  put_name (g->out, file, 80);
  fprintf (g->out, "</text>\n<text x=\"%d\" y=\"62\">", LEFT);
  put_text (g->out, description ? description : "");
  fputs ("</text>\n", g->out);
  free (description);
  g->y = 96;
  y = put_legend_kinds (g);
  g->y = put_legend_links (g);
  if (y > g->y)
    g->y = y;
  g->y += 22;
}

/* How high it will be, and where the cells begin, is known beforehand. */
static int
legend_lines (const struct picture *p)
{
  const size_t links =
    p->nr_links > LEGEND_LINKS ? LEGEND_LINKS + 1 : p->nr_links;
  const size_t other = 5 + (p->all_packed > 0) + (p->nr_links > 1);

  return (int) (links > other ? links : other);
}

static int
grid_top (const struct picture *p)
{
  return 96 + legend_lines (p) * LINE + 22 + 26;
}

static int
total_height (const struct picture *p)
{
  const int rows =
    (int) ((p->nr_cells + PICTURE_COLUMNS - 1) / PICTURE_COLUMNS);
  const bool more = p->nr_files > PICTURE_STRIPS;
  const int strips = (int) (more ? PICTURE_STRIPS : p->nr_files);

  return grid_top (p) + rows * CELL + 44 + strips * (STRIP_HEIGHT + 62) +
    (more ? 40 : 0);
}

void
svg_write (FILE *out, const struct vmdk_disk *disk, const char *file,
           const struct picture *p)
{
  struct svg g = { .out = out, .disk = disk, .p = p };
  const int height = total_height (p);

  fprintf (out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
           "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
           "width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
           "font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n<title>",
           WIDTH, height, WIDTH, height);
  put_text (out, file);
  fputs ("</title>\n", out);
  fprintf (out, style, grid_top (p));
  fprintf (out, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", WIDTH,
           height);
  put_head (&g, file);
  put_grid (&g);
  put_files (&g);
  fputs ("</svg>\n", out);
}
