/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Changes a disk as a whole: resize, compact, commit, pull, fix-cid; or makes
 * another one of it: convert, snapshot, create, rebuild-descriptor; as the
 * input says.  If it was sound before, the guest finds the
 * same afterwards, whether that went well or not, and as long as no write
 * has failed, a check finds no errors.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MAX_SAMPLES 48
#define SAMPLE 4096

enum operation {
  RESIZE,
  COMPACT,
  PUNCH,
  COMMIT,
  COMMIT_DELETE,
  PULL,
  FIX_CID,
  CONVERT,
  SNAPSHOT,
  CREATE,
  REBUILD,
  NR_OPERATIONS
};
static const char *const names[NR_OPERATIONS] = {
  "resize", "compact", "compact by punching", "commit", "commit and delete",
  "pull", "fix-cid", "convert", "snapshot", "create", "rebuild-descriptor",
};

/* A part of what the guest finds. */
struct sample {
  uint64_t offset;
  size_t length;
  bool known;
  uint8_t bytes[SAMPLE];
};
static struct sample samples[MAX_SAMPLES];
static size_t nr_samples;

static void
take_sample (struct vmdk_disk *disk, uint64_t offset)
{
  const uint64_t size = vmdk_size (disk);
  struct sample *const s = &samples[nr_samples];

  if (nr_samples == MAX_SAMPLES || offset >= size)
    return;
  nr_samples++;
  s->offset = offset;
  s->length = size - offset < SAMPLE ? (size_t) (size - offset) : SAMPLE;
  s->known = vmdk_pread (disk, s->bytes, s->length, offset) == 0;
}

static int
sample_range (void *opaque, const struct vmdk_range *r)
{
  take_sample (opaque, r->offset);
  return nr_samples >= MAX_SAMPLES / 2;
}

static void
take_samples (struct vmdk_disk *disk, struct requests *r)
{
  nr_samples = 0;
  vmdk_map (disk, 0, vmdk_size (disk), true, sample_range, disk);
  while (r->next < r->end && nr_samples < MAX_SAMPLES)
    take_sample (disk, take (r, 3) * SECTOR);
}

static void
compare_samples (struct vmdk_disk *disk, const char *what)
{
  uint8_t is[SAMPLE];
  size_t i;

  for (i = 0; i < nr_samples; i++) {
    const struct sample *const s = &samples[i];

    if (!s->known)
      continue;
    if (vmdk_pread (disk, is, s->length, s->offset) == -1)
      complain ("%s: can't be read any more at %llu: %s", what,
                (unsigned long long) s->offset, last_error);
    if (memcmp (is, s->bytes, s->length) != 0)
      complain ("%s: the guest finds something else at %llu", what,
                (unsigned long long) s->offset);
  }
}

/* What is made is out.vmdk. */
static int
make (struct vmdk_disk *disk, enum operation o, const struct input *in,
      const struct vmdk_options *options)
{
  const unsigned how = in->options[5];
  char *const path = strdup (world_path (o == REBUILD ? "d.vmdk"
                                         : "out.vmdk"));
  char *file = NULL;
  struct vmdk_new n;
  int r, err;

  vmdk_new_init (&n);
  n.log = watching_log (0);
  n.file = path;
  n.type = (enum vmdk_type) (how % VMDK_NR_TYPES);
  n.threads = 1;
  n.ova = o == CONVERT && n.type == VMDK_TYPE_STREAM && how >= 128;
  n.force = o == REBUILD;
  if (o == CONVERT)
    r = vmdk_convert (disk, &n);
  else if (o == SNAPSHOT)
    r = vmdk_snapshot (&n, how & 128, options, &file);
  else if (o == REBUILD)
    r = vmdk_rebuild_descriptor (&n, NULL, NULL, 0);
  else {
    n.size = how & 128 ? 0 : vmdk_size (disk);
    r = vmdk_create (&n, how & 128 ? options : NULL);
  }
  err = errno;
  free (file);
  free (path);
  errno = err;
  return r;
}

static void
ignore_cid (void *opaque, const char *child, const char *parent, uint32_t was,
            uint32_t now)
{
  (void) opaque;
  (void) child;
  (void) parent;
  (void) was;
  (void) now;
}

static int
change (struct vmdk_disk *disk, enum operation o, const struct input *in,
        const struct vmdk_options *options)
{
  const struct vmdk_progress p = { .fn = NULL };
  uint64_t freed;

  switch (o) {
  case RESIZE:
    return vmdk_resize (disk, vmdk_size (disk) + in->options[5] *
                        (uint64_t) (in->options[4] & 64 ? 64 << 20 : 4096),
                        &p);
  case COMPACT: case PUNCH:
    return vmdk_compact (disk, o == PUNCH, &p, &freed);
  case COMMIT: case COMMIT_DELETE:
    return vmdk_commit (disk, o == COMMIT_DELETE, &p);
  case PULL:
    return vmdk_pull (disk, &p);
  case FIX_CID:
    return vmdk_fix_cid (disk, in->options[5] & 1, ignore_cid,
                         NULL);
  default:
    return make (disk, o, in, options);
  }
}

static void
look_again (struct vmdk_options *options, const char *name, const char *what)
{
  struct vmdk_disk *disk;
  struct findings f;

  options->file = name;
  disk = open_disk (options);
  if (disk == NULL)
    complain ("%s: can't be opened any more: %s", what, last_error);
  compare_samples (disk, what);
  if (!world.failed) {
    inspect (disk, &f);
    if (f.complete && f.result.errors > 0)
      complain ("%s: a check finds errors afterwards", what);
  }
  vmdk_close (disk);
}

/* What the result is called. */
static const char *
result_name (enum operation o, const struct input *in, int r)
{
  if (o == REBUILD) /* where something has to be assumed */
    return NULL;
  if (o >= CONVERT && r == 0)
    return in->options[5] % VMDK_NR_TYPES == VMDK_TYPE_RAW ? NULL
      : "out.vmdk";
  return o == COMMIT_DELETE && !world_has ("d.vmdk") ? "p.vmdk" : "d.vmdk";
}

static void
change_disk (const struct input *in, struct vmdk_options *options,
             struct vmdk_disk *disk)
{
  const unsigned what = in->options[4] & 15;
  const enum operation o = (enum operation) (what < NR_OPERATIONS ? what
                                             : what & 7);
  struct requests r = input_requests (in);
  const char *name;
  struct findings f;
  bool sound;
  int result;

  inspect (disk, &f);
  sound = f.complete && f.result.errors == 0;
  take_samples (disk, &r);
  clear_messages ();
  if (in->options[2])
    world.writes_left = in->options[2];
  result = change (disk, o, in, options);
  if (is_verbose ())
    fprintf (stderr, "%s: %s\n", names[o],
             result == 0 ? "done" : strerror (errno));
  if (result == -1 && nr_errors == 0)
    complain ("%s fails without an error: %s", names[o], strerror (errno));
  vmdk_close (disk);
  world.writes_left = UINT32_MAX;
  name = result_name (o, in, result);
  if (result == 0 && (o >= CONVERT || o == PULL || o == COMMIT_DELETE))
    options->parent = NULL; /* it has none any more */
  if (o == CREATE && result == 0 && !(in->options[5] & 128))
    nr_samples = 0; /* it is empty */
  if (sound && name) {
    char *const path = strdup (world_path (name));

    look_again (options, path, names[o]);
    free (path);
  }
}

void
fuzz_change (const uint8_t *data, size_t size)
{
  struct vmdk_options options;
  struct vmdk_disk *disk;
  struct input in;

  input_load (&in, data, size);
  world_begin (&in);
  world.no_punch = in.options[3] & 1;
  world.no_replace = in.options[3] & 2;
  read_options (&in, &options);
  options.raw = options.single_link = options.recover = false;
  options.cid_check = VMDK_CID_OFF;
  options.member = NULL;
  disk = are_files_small () ? open_disk (&options) : NULL;
  if (disk && is_small (disk) && vmdk_size (disk) <= UINT64_C (1) << 32)
    change_disk (&in, &options, disk);
  else
    vmdk_close (disk);
  world_clean ();
  world_end ();
  input_clear (&in);
}
