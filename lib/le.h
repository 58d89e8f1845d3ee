/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Integers as they lie on disk: little-endian, at any alignment.  They
 * are structs, so that using one without a conversion doesn't compile.
 */

#ifndef VMDK_LE_H
#define VMDK_LE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <endian.h>

#define SECTOR_SIZE UINT64_C (512)

typedef struct {
  uint8_t b[2];
} le16;

typedef struct {
  uint8_t b[4];
} le32;

typedef struct {
  uint8_t b[8];
} le64;

static inline uint16_t
le16_get (le16 v)
{
  uint16_t r;

  memcpy (&r, v.b, sizeof r);
  return le16toh (r);
}

static inline uint32_t
le32_get (le32 v)
{
  uint32_t r;

  memcpy (&r, v.b, sizeof r);
  return le32toh (r);
}

static inline le16
to_le16 (uint16_t v)
{
  le16 r;

  v = htole16 (v);
  memcpy (r.b, &v, sizeof v);
  return r;
}

static inline le32
to_le32 (uint32_t v)
{
  le32 r;

  v = htole32 (v);
  memcpy (r.b, &v, sizeof v);
  return r;
}

static inline le64
to_le64 (uint64_t v)
{
  le64 r;

  v = htole64 (v);
  memcpy (r.b, &v, sizeof v);
  return r;
}

static inline uint64_t
le64_get (le64 v)
{
  uint64_t r;

  memcpy (&r, v.b, sizeof r);
  return le64toh (r);
}

static inline uint32_t
le32_at (const void *p)
{
  uint32_t r;

  memcpy (&r, p, sizeof r);
  return le32toh (r);
}

static inline uint64_t
le64_at (const void *p)
{
  uint64_t r;

  memcpy (&r, p, sizeof r);
  return le64toh (r);
}

/* Sectors to bytes; false when that doesn't fit. */
static inline bool
sectors_to_bytes (uint64_t sectors, uint64_t *bytes)
{
  return !__builtin_mul_overflow (sectors, SECTOR_SIZE, bytes);
}

static inline uint64_t
div_round_up (uint64_t a, uint64_t b)
{
  return a / b + (a % b != 0);
}

static inline bool
is_power_of_2 (uint64_t v)
{
  return v != 0 && (v & (v - 1)) == 0;
}

#endif /* VMDK_LE_H */
