/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * The nbdkit plugin: parameters and callbacks become calls of the
 * library, and the library's messages become nbdkit's.  Nothing here
 * knows what a VMDK is.
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "log.h"
#include "vmdkio.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define MIN_PREFERRED_BLOCK 4096
#define MAX_BLOCK (32 << 20)

/* -D vmdk.descriptor=1 and so on. */
NBDKIT_DLL_PUBLIC int vmdk_debug_descriptor;
NBDKIT_DLL_PUBLIC int vmdk_debug_chain;
NBDKIT_DLL_PUBLIC int vmdk_debug_extents;
NBDKIT_DLL_PUBLIC int vmdk_debug_tables;
NBDKIT_DLL_PUBLIC int vmdk_debug_stats;

/* Set by parameters, constant from .get_ready on. */
static struct vmdk_options options;
static char **trusted_dirs; /* NULL-terminated */
static size_t nr_trusted_dirs;
static struct vmdk_extent_path *extents;

/* One disk serves all connections. */
static struct vmdk_disk *disk;

/* nbdkit has forked. */
static bool serving;

/* Of one connection. */
struct handle {
  bool writable;
};

/* Messages. */

/* Names of files, too, may be somebody else's choice: without control
 * characters.  NULL: no memory.
 */
static char *
compose (const char *fmt, va_list args)
{
  char *text;

  if (vasprintf (&text, fmt, args) == -1)
    return NULL;
  vmdk_excerpt (text, strlen (text) + 1, text);
  return text;
}

static void
log_error (void *opaque, const char *fmt, va_list args)
{
  char *const text = compose (fmt, args);

  (void) opaque;
  if (text)
    nbdkit_error ("%s", text);
  free (text);
}

/* nbdkit has no level for it.  While the user can see standard error it is
 * written there, as nbdkit does with its own warnings; later it has to go
 * where errors go.
 */
static void
log_warning (void *opaque, const char *fmt, va_list args)
{
  char *const text = compose (fmt, args);

  (void) opaque;
  if (text == NULL)
    return;
  if (serving)
    nbdkit_error ("warning: %s", text);
  else
    fprintf (stderr, "nbdkit: vmdk: warning: %s\n", text);
  free (text);
}

static void
log_debug (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  nbdkit_vdebug (fmt, args);
}

static unsigned
debug_topics (void)
{
  return (vmdk_debug_descriptor ? 1u << VMDK_TOPIC_DESCRIPTOR : 0) |
    (vmdk_debug_chain ? 1u << VMDK_TOPIC_CHAIN : 0) |
    (vmdk_debug_extents ? 1u << VMDK_TOPIC_EXTENTS : 0) |
    (vmdk_debug_tables ? 1u << VMDK_TOPIC_TABLES : 0) |
    (vmdk_debug_stats ? 1u << VMDK_TOPIC_STATS : 0);
}

/* Parameters. */

static void
vmdk_load (void)
{
  vmdk_options_init (&options);
}

static void
vmdk_unload (void)
{
  size_t i;

  vmdk_close (disk);
  for (i = 0; i < options.nr_extents; i++)
    free ((char *) extents[i].name);
  free (extents);
  for (i = 0; i < nr_trusted_dirs; i++)
    free (trusted_dirs[i]);
  free (trusted_dirs);
}

static int
add_trusted_dir (const char *dir)
{
  char **const list =
    realloc (trusted_dirs, (nr_trusted_dirs + 2) * sizeof *list);

  if (list == NULL) {
    nbdkit_error ("realloc: %m");
    return -1;
  }
  trusted_dirs = list;
  options.trusted_dirs = (const char *const *) list;
  list[nr_trusted_dirs] = nbdkit_absolute_path (dir);
  list[nr_trusted_dirs + 1] = NULL;
  return list[nr_trusted_dirs++] ? 0 : -1;
}

/* extent=NAME=PATH */
static int
add_extent (const char *value)
{
  struct vmdk_extent_path *list;
  const char *const equals = strchr (value, '=');
  char *name;

  if (equals == NULL || equals == value || equals[1] == '\0') {
    nbdkit_error ("extent=%s: expected extent=NAME=PATH, where NAME is as in "
                  "the descriptor", value);
    return -1;
  }
  list = realloc (extents, (options.nr_extents + 1) * sizeof *list);
  name = strdup (value);
  if (list)
    options.extents = extents = list;
  if (list == NULL || name == NULL) {
    nbdkit_error ("extent=%s: %m", value);
    free (name);
    return -1;
  }
  name[equals - value] = '\0';
  extents[options.nr_extents].name = name;
  extents[options.nr_extents++].path = name + (equals - value) + 1;
  return 0;
}

/* names ends with NULL.  -1: said what is wrong. */
static int
find_name (const char *key, const char *value, const char *const *names,
           const char *expected)
{
  int i;

  for (i = 0; names[i]; i++)
    if (strcmp (value, names[i]) == 0)
      return i;
  nbdkit_error ("%s=%s: expected %s", key, value, expected);
  return -1;
}

static int
set_cid_check (const char *value)
{
  static const char *const names[] = {
    [VMDK_CID_FAIL] = "fail", [VMDK_CID_WARN] = "warn", [VMDK_CID_OFF] = "off",
    NULL
  };
  const int i = find_name ("cid-check", value, names, "fail, warn or off");

  if (i == -1)
    return -1;
  options.cid_check = (enum vmdk_cid_check) i;
  return 0;
}

static int
set_zeroed_grains (const char *value)
{
  static const char *const names[] = {
    [VMDK_ZEROED_AUTO] = "auto", [VMDK_ZEROED_ALWAYS] = "always",
    [VMDK_ZEROED_NEVER] = "never", NULL
  };
  const int i =
    find_name ("zeroed-grains", value, names, "auto, always or never");

  if (i == -1)
    return -1;
  options.zeroed_grains = (enum vmdk_zeroed_grains) i;
  return 0;
}

/* lock=off, and what else switches something off. */
static int
set_lock (const char *value)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1)
    return -1;
  options.no_lock = !r;
  return 0;
}

/* nbdkit says what is wrong. */
static int
set_bool (const char *value, bool *result)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1)
    return -1;
  *result = r;
  return 0;
}

static int
set_size (const char *value, uint64_t *result)
{
  const int64_t r = nbdkit_parse_size (value);

  if (r == -1)
    return -1;
  *result = (uint64_t) r;
  return 0;
}

static int
set_fd (const char *value)
{
  if (nbdkit_parse_int ("fd", value, &options.fd) == -1)
    return -1;
  if (options.fd >= 0)
    return 0;
  nbdkit_error ("fd=%s: expected the number of an open file", value);
  return -1;
}

static int
vmdk_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0) {
    options.file = value;
    return 0;
  }
  if (strcmp (key, "fd") == 0)
    return set_fd (value);
  if (strcmp (key, "parent") == 0) {
    options.parent = value;
    return 0;
  }
  if (strcmp (key, "member") == 0) {
    options.member = value;
    return 0;
  }
  if (strcmp (key, "trusted-dir") == 0)
    return add_trusted_dir (value);
  if (strcmp (key, "extent") == 0)
    return add_extent (value);
  if (strcmp (key, "allow-devices") == 0)
    return set_bool (value, &options.allow_devices);
  if (strcmp (key, "single-link") == 0)
    return set_bool (value, &options.single_link);
  if (strcmp (key, "recover") == 0)
    return set_bool (value, &options.recover);
  if (strcmp (key, "cid-check") == 0)
    return set_cid_check (value);
  if (strcmp (key, "lock") == 0)
    return set_lock (value);
  if (strcmp (key, "drop-cbt") == 0)
    return set_bool (value, &options.drop_cbt);
  if (strcmp (key, "allow-parent-write") == 0)
    return set_bool (value, &options.allow_parent_write);
  if (strcmp (key, "zeroed-grains") == 0)
    return set_zeroed_grains (value);
  if (strcmp (key, "table-cache") == 0)
    return set_size (value, &options.table_cache);
  if (strcmp (key, "grain-cache") == 0)
    return set_size (value, &options.grain_cache);
  nbdkit_error ("unknown parameter '%s'; see nbdkit-vmdk-plugin(1)", key);
  return -1;
}

#define vmdk_config_help \
  "[file=]<FILENAME>     (required) The disk: its descriptor (.vmdk).\n" \
  "fd=<FD>               Or the number of an open file.\n" \
  "extent=<NAME>=<PATH>  Where an extent that the descriptor names is.\n" \
  "member=<NAME>         The disk that is meant, if the file is an OVA.\n" \
  "parent=<FILENAME>     Where the parent of a snapshot is.\n" \
  "trusted-dir=<DIR>     Folder in which parents and extents may be.\n" \
  "allow-devices=true    Descriptors may name block devices.\n" \
  "single-link=true      Only this layer of a snapshot chain.\n" \
  "cid-check=fail|warn|off  What to do when a parent was modified.\n" \
  "recover=true          Read a stream whose end is missing.\n" \
  "zeroed-grains=auto|always|never  Mark grains as zero.\n" \
  "drop-cbt=true         Write although VMware tracks changes.\n" \
  "allow-parent-write=true  Write although children depend on it.\n" \
  "lock=off              Don't lock files.\n" \
  "table-cache=<SIZE>    Memory for grain tables (default: 64M).\n" \
  "grain-cache=<SIZE>    Memory for inflated grains (default: 32M)."

static int
vmdk_config_complete (void)
{
  if (options.file == NULL && options.fd == -1) {
    nbdkit_error ("no disk was named: use file=DISK.vmdk");
    return -1;
  }
  if (options.file && options.fd != -1) {
    nbdkit_error ("file= and fd= can't be used together");
    return -1;
  }
  if (options.file && options.file[0] == '\0') {
    nbdkit_error ("file= needs the name of a disk: file=DISK.vmdk");
    return -1;
  }
  if (options.parent && options.single_link) {
    nbdkit_error ("parent= and single-link=true can't be used together: a "
                  "single link is read without its parent");
    return -1;
  }
  return 0;
}

static void
vmdk_dump_plugin (void)
{
  printf ("vmdk_version=%s\n", PACKAGE_VERSION);
  printf ("vmdk_formats=monolithicSparse,monolithicFlat,twoGbMaxExtentSparse,"
          "twoGbMaxExtentFlat,streamOptimized,vmfs,vmfsSparse,seSparse,"
          "custom\n");
  printf ("vmdk_writable=monolithicSparse,monolithicFlat,"
          "twoGbMaxExtentSparse,twoGbMaxExtentFlat,vmfs,vmfsSparse,custom\n");
  printf ("vmdk_inflate=%s\n", vmdk_inflate_library ());
  printf ("vmdk_max_descriptor=%d\n", VMDK_MAX_DESCRIPTOR);
  printf ("vmdk_max_extents=%d\n", VMDK_MAX_EXTENTS);
  printf ("vmdk_max_chain=%d\n", VMDK_MAX_CHAIN);
  printf ("vmdk_table_cache=%d\n", VMDK_DEFAULT_TABLE_CACHE);
  printf ("vmdk_grain_cache=%d\n", VMDK_DEFAULT_GRAIN_CACHE);
}

/* nbdkit forks later: what is wrong with the disk can still be seen. */
static int
vmdk_get_ready (void)
{
  options.log = (struct vmdk_log) {
    .error = log_error,
    .warning = log_warning,
    .debug = log_debug,
    .topics = debug_topics (),
  };
  vmdk_raise_file_limit ();
  disk = vmdk_open (&options);
  return disk ? 0 : -1;
}

static int
vmdk_after_fork (void)
{
  serving = true;
  /* A file that may not grow any more is an error of one request. */
  signal (SIGXFSZ, SIG_IGN);
  return 0;
}

/* Connections. */

/* What can't be written, or may not be, can be read all the same: the
 * client sees that the export is read-only.  But two programs shouldn't
 * use a disk at a time if one of them means to write.  1: it can be
 * written, 0: only read, -1: it is in use.
 */
static int
start_writing (void)
{
  const char *why;

  if (!vmdk_can_write (disk, &why)) {
    nbdkit_debug ("the disk is served read-only: %s", why);
    return 0;
  }
  if (vmdk_start_writing (disk) == 0)
    return 1;
  if (errno == EAGAIN)
    return -1;
  nbdkit_debug ("the disk is served read-only");
  return 0;
}

static void *
vmdk_plugin_open (int readonly)
{
  const int writable = readonly ? 0 : start_writing ();
  struct handle *h;

  if (writable == -1)
    return NULL;
  h = calloc (1, sizeof *h);
  if (h == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  h->writable = writable;
  return h;
}

static void
vmdk_plugin_close (void *handle)
{
  free (handle);
}

static int
vmdk_plugin_can_write (void *handle)
{
  return ((const struct handle *) handle)->writable;
}

static int
vmdk_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static const char *
vmdk_export_description (void *handle)
{
  char *const text = vmdk_describe (disk);
  const char *copy = NULL;

  (void) handle;
  if (text)
    copy = nbdkit_strdup_intern (text);
  free (text);
  return copy;
}

static int64_t
vmdk_get_size (void *handle)
{
  (void) handle;
  return (int64_t) vmdk_size (disk);
}

static int
vmdk_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                 uint32_t *maximum)
{
  const uint32_t grain = vmdk_grain_size (disk);

  (void) handle;
  *minimum = 1;
  *preferred = MIN_PREFERRED_BLOCK;
  /* COWD's grains needn't be a power of two, but this must. */
  if (grain > MIN_PREFERRED_BLOCK && (grain & (grain - 1)) == 0)
    *preferred = grain;
  *maximum = MAX_BLOCK;
  return 0;
}

static int
answer_yes (void *handle)
{
  (void) handle;
  return 1;
}

static int
vmdk_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

/* Requests. */

/* What the system says of a file can be any errno, but the protocol has
 * few, and those unknown to it would become EINVAL: the client's fault.
 */
static int
for_client (int r)
{
  if (r == 0)
    return 0;
  switch (errno) {
  case ENOMEM:
  case ENOSPC:
  case EPERM:
    break;
  case EDQUOT:
  case EFBIG:
    errno = ENOSPC;
    break;
  default:
    errno = EIO;
  }
  return -1;
}

static int
vmdk_plugin_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
                   uint32_t flags)
{
  (void) handle;
  (void) flags;
  return for_client (vmdk_pread (disk, buf, count, offset));
}

static unsigned
write_flags (uint32_t flags)
{
  return (flags & NBDKIT_FLAG_FUA ? VMDK_FUA : 0) |
    (flags & NBDKIT_FLAG_MAY_TRIM ? VMDK_MAY_TRIM : 0) |
    (flags & NBDKIT_FLAG_FAST_ZERO ? VMDK_FAST_ZERO : 0);
}

static int
vmdk_plugin_pwrite (void *handle, const void *buf, uint32_t count,
                    uint64_t offset, uint32_t flags)
{
  (void) handle;
  return for_client (vmdk_pwrite (disk, buf, count, offset,
                                  write_flags (flags)));
}

/* ENOTSUP is only for who asked for fast zeroes: nbdkit would write them by
 * itself otherwise.
 */
static int
vmdk_plugin_zero (void *handle, uint32_t count, uint64_t offset,
                  uint32_t flags)
{
  const int r = vmdk_zero (disk, count, offset, write_flags (flags));

  (void) handle;
  if (r == -1 && errno == ENOTSUP && (flags & NBDKIT_FLAG_FAST_ZERO))
    return -1;
  return for_client (r);
}

static int
vmdk_plugin_trim (void *handle, uint32_t count, uint64_t offset,
                  uint32_t flags)
{
  (void) handle;
  return for_client (vmdk_trim (disk, count, offset, write_flags (flags)));
}

static int
vmdk_plugin_flush (void *handle, uint32_t flags)
{
  (void) handle;
  (void) flags;
  return for_client (vmdk_flush (disk));
}

static int
vmdk_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  (void) flags;
  return for_client (vmdk_prefetch (disk, count, offset));
}

/* Of a single link, what it doesn't say is a hole, but nobody knows how
 * it reads: so clients can tell a delta's own zeroes from its gaps.
 */
static uint32_t
extent_type (enum vmdk_status status)
{
  switch (status) {
  case VMDK_DATA:
  case VMDK_PACKED:
    return 0;
  case VMDK_ABSENT:
    if (options.single_link)
      return NBDKIT_EXTENT_HOLE;
    break;
  case VMDK_ZERO:
    break;
  }
  return NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
}

struct listing {
  struct nbdkit_extents *extents;
  uint64_t end; /* of the request */
  bool one;
  uint64_t run; /* where nbdkit's last extent starts, which coalesces them */
  uint32_t type;
};

/* Who asks for so much at once walks over the whole disk: a hole that
 * ends behind the request then spares the next one.
 */
#define LONG_REQUEST (UINT32_C (1) << 30)

/* An answer has 32 bits for a length, and nbdkit aborts when an extent is
 * longer and the client asked for as much as it can.
 */
#define LONGEST_EXTENT (UINT32_MAX & ~UINT32_C (0xffff))

static int
add_range (void *opaque, const struct vmdk_range *range)
{
  struct listing *const l = opaque;
  const uint32_t type = extent_type (range->status);
  uint64_t length = range->length, left;
  int r;

  if (range->offset >= l->end)
    return 1;
  if (type != l->type) {
    if (l->one && range->offset != l->run)
      return 1;
    l->type = type;
    l->run = range->offset;
  }
  left = LONGEST_EXTENT - (range->offset - l->run);
  if (length > left)
    length = left;
  r = nbdkit_add_extent (l->extents, range->offset, length, type);
  return r == 0 && length == left ? 1 : r;
}

static int
vmdk_plugin_extents (void *handle, uint32_t count, uint64_t offset,
                     uint32_t flags, struct nbdkit_extents *list)
{
  struct listing l = {
    .extents = list, .end = offset + count,
    .one = (flags & NBDKIT_FLAG_REQ_ONE) != 0, .run = offset,
    .type = UINT32_MAX,
  };
  const uint64_t left = vmdk_size (disk) - offset;
  uint64_t length = count;

  (void) handle;
  if (count >= LONG_REQUEST)
    length = left < UINT32_MAX ? left : UINT32_MAX;
  return for_client (vmdk_map (disk, offset, length, false, add_range, &l));
}

static struct nbdkit_plugin plugin = {
  .name = "vmdk",
  .longname = "nbdkit VMDK plugin",
  .description = "VMware virtual disks, without VMware",
  .version = PACKAGE_VERSION,
  .magic_config_key = "file",
  .load = vmdk_load,
  .unload = vmdk_unload,
  .dump_plugin = vmdk_dump_plugin,
  .config = vmdk_config,
  .config_complete = vmdk_config_complete,
  .config_help = vmdk_config_help,
  .get_ready = vmdk_get_ready,
  .after_fork = vmdk_after_fork,
  .open = vmdk_plugin_open,
  .close = vmdk_plugin_close,
  .export_description = vmdk_export_description,
  .get_size = vmdk_get_size,
  .block_size = vmdk_block_size,
  .can_write = vmdk_plugin_can_write,
  .can_flush = answer_yes,
  .can_fua = vmdk_can_fua,
  .can_trim = answer_yes,
  .can_zero = answer_yes,
  .can_fast_zero = answer_yes,
  .can_multi_conn = answer_yes,
  .can_cache = vmdk_can_cache,
  .pread = vmdk_plugin_pread,
  .pwrite = vmdk_plugin_pwrite,
  .zero = vmdk_plugin_zero,
  .trim = vmdk_plugin_trim,
  .flush = vmdk_plugin_flush,
  .extents = vmdk_plugin_extents,
  .cache = vmdk_cache,
  .errno_is_preserved = 1,
};

struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
