/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Writing an OVA.  VMware's products want the OVF to come first, and it has
 * the disk's size in it; the manifest has the SHA-256 of both.  Both texts
 * have the same length whatever the numbers are, so room for them is left,
 * and the stream is built at its place in the file:
 *
 *   header of X.ovf         512 bytes, as all headers; POSIX ustar
 *   X.ovf                   padded to 512 bytes, as all members
 *   header of X.mf
 *   X.mf
 *   header of X-disk1.vmdk
 *   X-disk1.vmdk
 *   two blocks of zeroes
 *
 * Only then what is in front is written.  The file has no name before
 * that, so nobody sees it half done.  Times and owners are fixed: the same
 * disk becomes the same OVA.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef HAVE_NETTLE
#include <nettle/sha2.h>
#include <nettle/version.h>
#endif

#include "context.h"
#include "le.h"
#include "new-file.h"
#include "ova-write.h"
#include "ovf-write.h"
#include "store-part.h"

#define BLOCK 512
#define END_BLOCKS 2

/* What fits into a header's name with the longest of our suffixes. */
#define MAX_ID 88

/* 1980-01-01, since tar complains of files of 1970. */
#define MTIME 315532800

#define HASH_SIZE 32
#define READ_SIZE ((size_t) 1 << 20)

struct ova {
  const struct vmdk_new *n;
  struct new_file *file;
  struct store *disk;      /* the part of the file from disk_start on */
  char *id;                /* X */
  char *name;              /* the machine's: like id, with all characters */
  char *ovf_name, *mf_name, *disk_name;
  uint64_t size;           /* guest bytes */
  size_t ovf_length, mf_length;
  size_t mf_start, disk_start; /* of the members' data */
};

static int
out_of_memory (const struct ova *ova)
{
  vmdk_error (&ova->n->log, "%s: %m", ova->n->file);
  return -1;
}

/* SHA-256. */

static void
to_hex (const uint8_t digest[HASH_SIZE], char hex[2 * HASH_SIZE + 1])
{
  size_t i;

  for (i = 0; i < HASH_SIZE; i++)
    sprintf (hex + 2 * i, "%02x", digest[i]);
}

#ifdef HAVE_NETTLE

static void
hash_end (struct sha256_ctx *sha, char hex[2 * HASH_SIZE + 1])
{
  uint8_t digest[HASH_SIZE];

#if NETTLE_VERSION_MAJOR >= 4
  sha256_digest (sha, digest);
#else
  sha256_digest (sha, sizeof digest, digest);
#endif
  to_hex (digest, hex);
}

static void
hash_text (const char *text, char hex[2 * HASH_SIZE + 1])
{
  struct sha256_ctx sha;

  sha256_init (&sha);
  sha256_update (&sha, strlen (text), (const uint8_t *) text);
  hash_end (&sha, hex);
}

/* The user may stop it. */
static int
go_on (const struct ova *ova)
{
  const struct vmdk_progress *const p = &ova->n->progress;

  if (p->fn == NULL || p->fn (p->opaque, ova->size, ova->size) == 0)
    return 0;
  errno = ECANCELED;
  return -1;
}

static int
hash_pieces (const struct ova *ova, uint8_t *buf, struct sha256_ctx *sha)
{
  const uint64_t size = ova->disk->size;
  uint64_t at;
  size_t n;

  for (at = 0; at < size; at += n) {
    n = size - at < READ_SIZE ? (size_t) (size - at) : READ_SIZE;
    if (go_on (ova) == -1 || store_pread (ova->disk, buf, n, at) == -1)
      return -1;
    sha256_update (sha, n, buf);
  }
  return 0;
}

/* The head of a stream is written when its content is known, so that the
 * hash can't be had along the way.
 */
static int
hash_disk (const struct ova *ova, char hex[2 * HASH_SIZE + 1])
{
  uint8_t *const buf = malloc (READ_SIZE);
  struct sha256_ctx sha;
  int r;

  if (buf == NULL)
    return out_of_memory (ova);
  sha256_init (&sha);
  r = hash_pieces (ova, buf, &sha);
  free (buf);
  if (r == 0)
    hash_end (&sha, hex);
  return r;
}

static bool
can_hash (const struct vmdk_log *log, const char *file)
{
  (void) log;
  (void) file;
  return true;
}

#else /* not HAVE_NETTLE: nothing comes after can_hash */

static void
hash_text (const char *text, char hex[2 * HASH_SIZE + 1])
{
  static const uint8_t none[HASH_SIZE];

  (void) text;
  to_hex (none, hex);
}

static int
hash_disk (const struct ova *ova, char hex[2 * HASH_SIZE + 1])
{
  (void) ova;
  hash_text ("", hex);
  errno = ENOTSUP;
  return -1;
}

static bool
can_hash (const struct vmdk_log *log, const char *file)
{
  vmdk_error (log, "%s: OVA files can't be written, because this program was "
              "built without nettle, which makes the hashes of their "
              "manifests; write the stream alone, or build with nettle",
              file);
  errno = ENOTSUP;
  return false;
}

#endif

/* Names. */

static size_t
length_without_suffix (const char *base)
{
  const size_t n = strlen (base);

  return n >= 4 && strcasecmp (base + n - 4, ".ova") == 0 ? n - 4 : n;
}

/* Members have names that mean the same in a tar header, a manifest and a
 * URI, for every program, whatever the OVA's name is.
 */
static char
harmless (char c)
{
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "abcdefghijklmnopqrstuvwxyz0123456789._-";

  return (char) (c != '\0' && strchr (allowed, c) ? c : '_');
}

static int
make_id (struct ova *ova, const char *base)
{
  const size_t n = length_without_suffix (base);
  char *p;

  ova->name = n > 0 ? strndup (base, n) : strdup ("disk");
  ova->id = ova->name ? strndup (ova->name, MAX_ID) : NULL;
  if (ova->id == NULL)
    return out_of_memory (ova);
  for (p = ova->id; *p; p++)
    *p = harmless (*p);
  if (ova->id[0] == '-' || ova->id[0] == '.')
    ova->id[0] = '_';
  return 0;
}

static int
make_names (struct ova *ova)
{
  const char *const slash = strrchr (ova->n->file, '/');

  if (make_id (ova, slash ? slash + 1 : ova->n->file) == -1)
    return -1;
  if (asprintf (&ova->ovf_name, "%s.ovf", ova->id) == -1)
    ova->ovf_name = NULL;
  if (asprintf (&ova->mf_name, "%s.mf", ova->id) == -1)
    ova->mf_name = NULL;
  if (asprintf (&ova->disk_name, "%s-disk1.vmdk", ova->id) == -1)
    ova->disk_name = NULL;
  return ova->ovf_name && ova->mf_name && ova->disk_name ? 0 :
    out_of_memory (ova);
}

/* Texts. */

static char *
make_ovf (const struct ova *ova, uint64_t populated)
{
  const struct vmdk_new *const n = ova->n;
  const struct new_ovf o = {
    .id = ova->id,
    .name = ova->name,
    .disk_name = ova->disk_name,
    .adapter = n->adapter ? n->adapter : "lsilogic",
    .hw_version = n->hw_version,
    .capacity = ova->size,
    .file_size = ova->disk ? ova->disk->size : 0,
    .populated = populated,
  };
  char *const text = ovf_compose (&o);

  if (text == NULL)
    out_of_memory (ova);
  return text;
}

static char *
make_manifest (const struct ova *ova, const char *ovf_hash,
               const char *disk_hash)
{
  char *text;

  if (asprintf (&text, "SHA256(%s)= %s\nSHA256(%s)= %s\n", ova->ovf_name,
                ovf_hash, ova->disk_name, disk_hash) != -1)
    return text;
  out_of_memory (ova);
  return NULL;
}

/* The texts' lengths are known before what they say is. */
static int
measure (struct ova *ova)
{
  static const uint8_t none[HASH_SIZE];
  char hex[2 * HASH_SIZE + 1], *ovf, *mf;

  to_hex (none, hex);
  ovf = make_ovf (ova, 0);
  mf = make_manifest (ova, hex, hex);
  if (ovf && mf) {
    ova->ovf_length = strlen (ovf);
    ova->mf_length = strlen (mf);
    ova->mf_start = (2 + div_round_up (ova->ovf_length, BLOCK)) * BLOCK;
    ova->disk_start = ova->mf_start +
      (div_round_up (ova->mf_length, BLOCK) + 1) * BLOCK;
  }
  free (mf);
  free (ovf);
  return ova->disk_start > 0 ? 0 : -1;
}

/* Tar headers. */

struct tar_header {
  char name[100];     /*   0 */
  char mode[8];       /* 100  numbers are octal, and end with NUL */
  char uid[8];        /* 108 */
  char gid[8];        /* 116 */
  char size[12];      /* 124  or binary, with the highest bit set */
  char mtime[12];     /* 136 */
  char checksum[8];   /* 148  the sum of all bytes, with blanks here */
  char type;          /* 156  '0': a file */
  char link_name[100]; /* 157 */
  char magic[6];      /* 257 */
  char version[2];    /* 263 */
  char user[32];      /* 265 */
  char group[32];     /* 297 */
  char major[8];      /* 329 */
  char minor[8];      /* 337 */
  char prefix[155];   /* 345  of name */
  char pad[12];       /* 500 */
};

static_assert (sizeof (struct tar_header) == BLOCK, "layout");

#define MAX_OCTAL_SIZE ((UINT64_C (1) << 33) - 1) /* 11 digits */

static void
put_size (struct tar_header *h, uint64_t size)
{
  int i;

  if (size <= MAX_OCTAL_SIZE) {
    sprintf (h->size, "%011" PRIo64, size);
    return;
  }
  h->size[0] = (char) 0x80;
  for (i = 0; i < 8; i++)
    h->size[4 + i] = (char) (size >> 8 * (7 - i));
}

static void
put_header (void *block, const char *name, uint64_t size)
{
  const uint8_t *const bytes = block;
  struct tar_header *const h = block;
  unsigned sum = 0;
  size_t i;

  memset (h, 0, sizeof *h);
  memcpy (h->name, name, strlen (name));
  strcpy (h->mode, "0000644");
  strcpy (h->uid, "0000000");
  strcpy (h->gid, "0000000");
  put_size (h, size);
  sprintf (h->mtime, "%011o", MTIME);
  h->type = '0';
  memcpy (h->magic, "ustar", sizeof h->magic);
  memcpy (h->version, "00", sizeof h->version);
  strcpy (h->major, "0000000");
  strcpy (h->minor, "0000000");
  memset (h->checksum, ' ', sizeof h->checksum);
  for (i = 0; i < sizeof *h; i++)
    sum += bytes[i];
  sprintf (h->checksum, "%06o", sum); /* a NUL and a blank follow */
}

/* Beginning. */

static int
begin (struct ova *ova, const struct context *source)
{
  const struct vmdk_log *const log = &ova->n->log;
  char *name;

  if (make_names (ova) == -1 || measure (ova) == -1)
    return -1;
  ova->file = new_file_begin (log, ova->n->file, ova->n->force);
  if (ova->file == NULL)
    return -1;
  new_file_limit_mode (ova->file, source->stores, source->nr_stores);
  if (asprintf (&name, "%s: %s", ova->n->file, ova->disk_name) == -1)
    return out_of_memory (ova);
  ova->disk = store_tail_new (log, store_ref (ova->file->store), name,
                              ova->disk_start);
  free (name);
  return ova->disk ? 0 : -1;
}

struct ova *
ova_begin (const struct vmdk_new *n, uint64_t size,
           const struct context *source)
{
  struct ova *ova;
  int err;

  if (!can_hash (&n->log, n->file))
    return NULL;
  ova = calloc (1, sizeof *ova);
  if (ova == NULL) {
    vmdk_error (&n->log, "%s: %m", n->file);
    return NULL;
  }
  ova->n = n;
  ova->size = size;
  if (begin (ova, source) == 0)
    return ova;
  err = errno;
  ova_writer_free (ova);
  errno = err;
  return NULL;
}

struct store *
ova_store (struct ova *ova)
{
  return ova->disk;
}

const char *
ova_disk_name (const struct ova *ova)
{
  return ova->disk_name;
}

/* Finishing. */

static int
write_front (const struct ova *ova, const char *ovf, const char *mf)
{
  uint8_t *const front = calloc (1, ova->disk_start);
  int r;

  if (front == NULL)
    return out_of_memory (ova);
  put_header (front, ova->ovf_name, ova->ovf_length);
  memcpy (front + BLOCK, ovf, ova->ovf_length);
  put_header (front + ova->mf_start - BLOCK, ova->mf_name, ova->mf_length);
  memcpy (front + ova->mf_start, mf, ova->mf_length);
  put_header (front + ova->disk_start - BLOCK, ova->disk_name,
              ova->disk->size);
  r = store_pwrite (ova->file->store, front, ova->disk_start, 0);
  free (front);
  return r;
}

static int
write_end (const struct ova *ova)
{
  const uint64_t size = ova->disk_start +
    (div_round_up (ova->disk->size, BLOCK) + END_BLOCKS) * BLOCK;

  if (store_resize (ova->file->store, size) == 0)
    return 0;
  vmdk_error (&ova->n->log, "%s: making it %" PRIu64 " bytes long: %m",
              ova->n->file, size);
  return -1;
}

static int
write_texts (const struct ova *ova, uint64_t populated, const char *disk_hash)
{
  char *const ovf = make_ovf (ova, populated);
  char hash[2 * HASH_SIZE + 1], *mf;
  int r;

  if (ovf == NULL)
    return -1;
  hash_text (ovf, hash);
  mf = make_manifest (ova, hash, disk_hash);
  r = mf ? write_front (ova, ovf, mf) : -1;
  free (mf);
  free (ovf);
  return r;
}

int
ova_finish (struct ova *ova, uint64_t populated)
{
  char hash[2 * HASH_SIZE + 1];

  if (hash_disk (ova, hash) == -1 ||
      write_texts (ova, populated, hash) == -1 || write_end (ova) == -1)
    return -1;
  return new_files_publish (&ova->file, 1);
}

void
ova_writer_free (struct ova *ova)
{
  if (ova == NULL)
    return;
  store_unref (ova->disk);
  new_file_free (ova->file);
  free (ova->disk_name);
  free (ova->mf_name);
  free (ova->ovf_name);
  free (ova->name);
  free (ova->id);
  free (ova);
}
