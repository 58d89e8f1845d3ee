/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The types of disks that can be made, and what each allows.  Names and
 * splits are those of VMware's tools; see docs/formats.md.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cowd-format.h"
#include "image-plan.h"
#include "kdmv-format.h"
#include "le.h"

#define KIB UINT32_C (1024)
#define TIB (UINT64_C (1) << 40)

/* 2047 MiB: with its tables, a full sparse extent is below 2 GiB. */
#define SPLIT_SIZE (UINT64_C (4192256) * SECTOR_SIZE)
#define FLAT_GRAIN_SIZE (64 * KIB)

/* Of 8 sectors only some readers take them. */
#define KDMV_GRAINS 64 * KIB, 8 * KIB, 1024 * KIB
#define STREAM_GRAINS 64 * KIB, 64 * KIB, 64 * KIB
#define COWD_GRAINS 512, 512, 1024 * KIB
#define SESPARSE_GRAINS 4 * KIB, 4 * KIB, 4 * KIB

static const struct image_kind kinds[VMDK_NR_TYPES] = {
  [VMDK_TYPE_RAW] = {
    "raw", TYPE_FLAT, NULL, false, false, false, false, build_flat_new,
    0, 0, 0, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_MONOLITHIC_SPARSE] = {
    "monolithicSparse", TYPE_SPARSE, NULL, false, true, true, true,
    build_kdmv_new, KDMV_GRAINS, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_MONOLITHIC_FLAT] = {
    "monolithicFlat", TYPE_FLAT, "-flat", false, true, false, false,
    build_flat_new, 0, 0, 0, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_SPLIT_SPARSE] = {
    "twoGbMaxExtentSparse", TYPE_SPARSE, "-s", true, true, false, true,
    build_kdmv_new, KDMV_GRAINS, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_SPLIT_FLAT] = {
    "twoGbMaxExtentFlat", TYPE_FLAT, "-f", true, true, false, false,
    build_flat_new, 0, 0, 0, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_VMFS] = {
    "vmfs", TYPE_VMFS, "-flat", false, false, false, false, build_flat_new,
    0, 0, 0, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_VMFS_SPARSE] = {
    "vmfsSparse", TYPE_VMFSSPARSE, "-delta", false, false, false, true,
    build_cowd_new, COWD_GRAINS, VMDK_MAX_SIZE,
  },
  [VMDK_TYPE_SESPARSE] = {
    "seSparse", TYPE_SESPARSE, "-sesparse", false, false, false, true,
    build_sesparse_new, SESPARSE_GRAINS, 64 * TIB,
  },
  [VMDK_TYPE_STREAM] = {
    "streamOptimized", TYPE_SPARSE, NULL, false, true, true, false,
    build_stream_new, STREAM_GRAINS, 64 * TIB,
  },
};

const struct image_kind *
image_kind_of (enum vmdk_type type)
{
  return &kinds[type];
}

const char *
vmdk_type_name (enum vmdk_type type)
{
  return kinds[type].name;
}

bool
vmdk_find_type (const char *name, enum vmdk_type *type)
{
  static const struct {
    const char *name;
    enum vmdk_type type;
  } others[] = {
    { "2GbMaxExtentSparse", VMDK_TYPE_SPLIT_SPARSE },
    { "2GbMaxExtentFlat", VMDK_TYPE_SPLIT_FLAT },
    { "vmfsPreallocated", VMDK_TYPE_VMFS },
    { "vmfsEagerZeroedThick", VMDK_TYPE_VMFS },
    { "vmfsThick", VMDK_TYPE_VMFS },
    { "vmfsThin", VMDK_TYPE_VMFS },
    { "vmfsSeSparse", VMDK_TYPE_SESPARSE },
  };
  size_t i;

  for (i = 0; i < VMDK_NR_TYPES; i++)
    if (strcasecmp (kinds[i].name, name) == 0) {
      *type = (enum vmdk_type) i;
      return true;
    }
  for (i = 0; i < sizeof others / sizeof others[0]; i++)
    if (strcasecmp (others[i].name, name) == 0) {
      *type = others[i].type;
      return true;
    }
  return false;
}

void
vmdk_new_init (struct vmdk_new *n)
{
  *n = (struct vmdk_new) { .type = VMDK_TYPE_MONOLITHIC_SPARSE };
}

const char *
image_base_name (const char *path)
{
  const char *const slash = strrchr (path, '/');

  return slash ? slash + 1 : path;
}

size_t
image_stem_length (const char *path)
{
  const size_t n = strlen (image_base_name (path)), m = strlen (".vmdk");
  const size_t length = strlen (path);

  return n > m && strcasecmp (path + length - m, ".vmdk") == 0 ? length - m
    : length;
}

/* Sizes. */

#define MAX_FILE_SECTORS (UINT64_C (1) << 32)

static uint64_t
round_up (uint64_t a, uint64_t b)
{
  return div_round_up (a, b) * b;
}

/* Tables come first, twice; see docs/formats.md. */
static bool
kdmv_fits (uint64_t sectors, uint64_t grain)
{
  const uint64_t gts = div_round_up (sectors, grain * 512);
  const uint64_t tables = div_round_up (gts * 4, SECTOR_SIZE) + gts * 4;

  return round_up (1 + 20 + 2 * tables, grain) + round_up (sectors, grain) <=
    MAX_FILE_SECTORS;
}

/* The next free sector must have a number, too. */
static bool
cowd_fits (uint64_t sectors, uint64_t grain)
{
  const uint64_t gts = div_round_up (sectors, grain * COWD_GTES_PER_GT);

  return COWD_HEADER_SECTORS + div_round_up (gts * 4, SECTOR_SIZE) +
    gts * COWD_GTES_PER_GT * 4 / SECTOR_SIZE + round_up (sectors, grain) <
    MAX_FILE_SECTORS;
}

bool
image_kind_fits (const struct image_kind *kind, uint32_t grain_size,
                 uint64_t size)
{
  const uint64_t sectors = size / SECTOR_SIZE;
  const uint64_t grain = grain_size / SECTOR_SIZE;

  if (size > kind->max_size)
    return false;
  if (kind->new_build == build_kdmv_new)
    return sectors <= MAX_FILE_SECTORS && kdmv_fits (sectors, grain);
  if (kind->new_build == build_cowd_new)
    return sectors <= MAX_FILE_SECTORS && cowd_fits (sectors, grain);
  return true;
}

static int
refuse (const struct image_options *o, const char *what)
{
  vmdk_error (&o->n->log, "%s: %s", o->n->file, what);
  errno = EINVAL;
  return -1;
}

static int
check_size (const struct image_options *o)
{
  if (o->size == 0)
    return refuse (o, "a disk can't be empty: it has at least 512 bytes");
  if (o->size > VMDK_MAX_SIZE || o->size % SECTOR_SIZE != 0)
    return refuse (o, "no disk can have such a size");
  return 0;
}

static int
check_extent_sizes (const struct image_plan *plan)
{
  const struct image_options *const o = plan->o;
  const struct image_kind *const kind = plan->kind;
  size_t i;

  for (i = 0; i < plan->nr_extents; i++)
    if (!image_kind_fits (kind, plan->grain_size, plan->extents[i].size))
      break;
  if (i == plan->nr_extents)
    return 0;
  if (o->size > kind->max_size)
    vmdk_error (&o->n->log, "%s: a %s disk can't have %" PRIu64 " bytes, but "
                "at most %" PRIu64 "; use type monolithicFlat or vmfs",
                o->n->file, kind->name, o->size, kind->max_size);
  else
    vmdk_error (&o->n->log, "%s: a %s disk can't have %" PRIu64 " bytes, "
                "since its file can't be larger than 2 TiB; use type %s",
                o->n->file, kind->name, o->size,
                kind->hosted ? "twoGbMaxExtentSparse" : "seSparse");
  errno = EINVAL;
  return -1;
}

/* What else is asked for. */

static const char *const adapters[] = {
  "ide", "buslogic", "lsilogic", "legacyESX",
};
#define NR_ADAPTERS (sizeof adapters / sizeof adapters[0])

const char *
adapter_name (const char *adapter)
{
  size_t i;

  for (i = 0; i < NR_ADAPTERS; i++)
    if (strcasecmp (adapters[i], adapter) == 0)
      return adapters[i];
  return NULL;
}

#define DEFAULT_ADAPTER "lsilogic"
#define DEFAULT_HW_VERSION 4
#define MIN_HW_VERSION 3
#define MAX_HW_VERSION 99

bool
image_hw_version_is_valid (unsigned long version)
{
  return version >= MIN_HW_VERSION && version <= MAX_HW_VERSION;
}

int
image_choose_machine (const struct vmdk_new *n, const char **adapter,
                      unsigned *hw_version)
{
  *adapter = adapter_name (n->adapter ? n->adapter : DEFAULT_ADAPTER);
  *hw_version = n->hw_version ? n->hw_version : DEFAULT_HW_VERSION;
  if (*adapter && image_hw_version_is_valid (*hw_version))
    return 0;
  if (*adapter == NULL)
    vmdk_error (&n->log, "%s: there is no adapter type %s: it is ide, "
                "buslogic, lsilogic or legacyESX; disks of pvscsi, SATA and "
                "NVMe controllers are lsilogic", n->file, n->adapter);
  else
    vmdk_error (&n->log, "%s: the hardware version can't be %u, but is from "
                "%d to %d", n->file, *hw_version, MIN_HW_VERSION,
                MAX_HW_VERSION);
  errno = EINVAL;
  return -1;
}

bool
image_allows_grain_size (enum vmdk_type type, uint64_t size)
{
  return is_power_of_2 (size) && size >= kinds[type].min_grain_size &&
    size <= kinds[type].max_grain_size;
}

static int
choose_grain_size (struct image_plan *plan)
{
  const struct vmdk_new *const n = plan->o->n;
  const struct image_kind *const kind = plan->kind;

  plan->grain_size = kind->grain_size ? kind->grain_size : FLAT_GRAIN_SIZE;
  if (n->grain_size == 0)
    return 0;
  if (kind->grain_size == 0)
    vmdk_error (&n->log, "%s: a %s disk has no grains, so they can't have a "
                "size", n->file, kind->name);
  else if (kind->min_grain_size == kind->max_grain_size &&
           n->grain_size != kind->min_grain_size)
    vmdk_error (&n->log, "%s: grains of a %s disk have %" PRIu32 " bytes, and "
                "can't have %" PRIu64, n->file, kind->name,
                kind->min_grain_size, n->grain_size);
  else if (!image_allows_grain_size (n->type, n->grain_size))
    vmdk_error (&n->log, "%s: grains of a %s disk can't have %" PRIu64
                " bytes, but a power of two from %" PRIu32 " to %" PRIu32,
                n->file, kind->name, n->grain_size, kind->min_grain_size,
                kind->max_grain_size);
  else {
    plan->grain_size = (uint32_t) n->grain_size;
    return 0;
  }
  errno = EINVAL;
  return -1;
}

/* Grains that have a place would hide what the parent has. */
static int
check_options (const struct image_plan *plan)
{
  const struct image_options *const o = plan->o;

  if (o->parent && !plan->kind->child)
    return refuse (o, "a disk with a parent must be of type monolithicSparse, "
                   "twoGbMaxExtentSparse, vmfsSparse or seSparse");
  if (o->parent && o->n->preallocate != VMDK_PREALLOCATE_OFF)
    return refuse (o, "a disk with a parent can't be preallocated, since that "
                   "would hide what the parent has");
  return check_size (o);
}

/* Extents. */

static char *
extent_path (const struct image_plan *plan, size_t i)
{
  const char *const file = plan->o->n->file;
  const int stem = (int) image_stem_length (file);
  char *path;
  int r;

  if (plan->kind->suffix == NULL)
    return strdup (file);
  if (plan->kind->split)
    r = asprintf (&path, "%.*s%s%03zu.vmdk", stem, file, plan->kind->suffix,
                  i + 1);
  else
    r = asprintf (&path, "%.*s%s.vmdk", stem, file, plan->kind->suffix);
  return r == -1 ? NULL : path;
}

/* size is that of all; done: of those before. */
static uint64_t
extent_size (const struct image_plan *plan, size_t i, uint64_t done)
{
  const uint64_t left = plan->o->size - done;

  if (!plan->kind->split)
    return left;
  if (plan->o->extent_sizes == NULL)
    return left > SPLIT_SIZE ? SPLIT_SIZE : left;
  if (i + 1 < plan->o->nr_extents && plan->o->extent_sizes[i] < left)
    return plan->o->extent_sizes[i];
  return left;
}

static size_t
max_extents (const struct image_plan *plan)
{
  if (!plan->kind->split)
    return 1;
  if (plan->o->extent_sizes)
    return plan->o->nr_extents;
  return (size_t) div_round_up (plan->o->size, SPLIT_SIZE);
}

static int
refuse_number (const struct image_plan *plan)
{
  vmdk_error (&plan->o->n->log, "%s: a %s disk can't have %" PRIu64 " bytes, "
              "since it may have at most %d extents (of 2047 MiB); use "
              "monolithicFlat", plan->o->n->file, plan->kind->name,
              plan->o->size, VMDK_MAX_EXTENTS);
  errno = EINVAL;
  return -1;
}

static int
plan_extents (struct image_plan *plan)
{
  const size_t max = max_extents (plan);
  uint64_t done = 0;

  if (max > VMDK_MAX_EXTENTS)
    return refuse_number (plan);
  plan->extents = calloc (max, sizeof plan->extents[0]);
  while (plan->extents && done < plan->o->size && plan->nr_extents < max) {
    struct planned_extent *const e = &plan->extents[plan->nr_extents];

    e->size = extent_size (plan, plan->nr_extents, done);
    e->path = extent_path (plan, plan->nr_extents);
    if (e->path == NULL)
      break;
    done += e->size;
    plan->nr_extents++;
  }
  if (plan->extents && done == plan->o->size)
    return 0;
  vmdk_error (&plan->o->n->log, "%s: %m", plan->o->n->file);
  return -1;
}

/* That a name can't be in a descriptor should be known early. */
static int
check_extent_name (const struct image_plan *plan)
{
  const struct new_extent_line line = {
    .type = plan->kind->type, .size = SECTOR_SIZE,
    .name = plan->o->name ? plan->o->name
      : image_base_name (plan->extents[0].path),
  };
  char *text;

  if (plan->kind == &kinds[VMDK_TYPE_RAW])
    return 0;
  text = descriptor_compose_line (&plan->o->n->log, &line);
  free (text);
  return text ? 0 : -1;
}

struct image_plan *
image_plan (const struct image_options *o)
{
  struct image_plan *const plan = calloc (1, sizeof *plan);
  int err;

  if (plan == NULL) {
    vmdk_error (&o->n->log, "%s: %m", o->n->file);
    return NULL;
  }
  plan->o = o;
  plan->kind = image_kind_of (o->n->type);
  if (check_options (plan) == 0 &&
      image_choose_machine (o->n, &plan->adapter, &plan->hw_version) == 0 &&
      choose_grain_size (plan) == 0 && plan_extents (plan) == 0 &&
      check_extent_sizes (plan) == 0 && check_extent_name (plan) == 0)
    return plan;
  err = errno;
  image_plan_free (plan);
  errno = err;
  return NULL;
}

void
image_plan_free (struct image_plan *plan)
{
  size_t i;

  if (plan == NULL)
    return;
  for (i = 0; i < plan->nr_extents; i++)
    free (plan->extents[i].path);
  free (plan->extents);
  free (plan);
}
