/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * What libFuzzer calls.  TARGET is the function that is fuzzed.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);
extern size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max_size);
extern size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size,
                                       size_t max_size, unsigned seed);
extern size_t LLVMFuzzerCustomCrossOver (const uint8_t *data1, size_t size1,
                                         const uint8_t *data2, size_t size2,
                                         uint8_t *out, size_t max_out,
                                         unsigned seed);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  TARGET (data, size);
  return 0;
}

#ifdef IS_descriptor
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size,
                         unsigned seed)
{
  struct rng r = { .x = seed };
  uint8_t *const end = size > 0 ? memchr (data, 0, size) : NULL;
  const uint64_t n = rng_below (&r, 8);

  if (n == 0)
    return LLVMFuzzerMutate (data, size, max_size);
  if (n < 3 && end) /* what is to be changed */
    return (size_t) (end - data) + 1 +
      LLVMFuzzerMutate (end + 1, (size_t) (data + size - end) - 1,
                        (size_t) (data + max_size - end) - 1);
  return mutate_text ((char *) data, size, max_size, &r);
}
#else

/* One input in sixteen is changed without a thought. */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size,
                         unsigned seed)
{
  struct rng r = { .x = seed };
  struct input in;
  size_t n;

  if (rng_below (&r, 16) == 0)
    return LLVMFuzzerMutate (data, size, max_size);
  input_load (&in, data, size);
  do
    mutate_input (&in, &r, LLVMFuzzerMutate);
  while (rng_below (&r, 3) == 0);
  n = input_save (&in, data, max_size);
  input_clear (&in);
  return n > 0 ? n : LLVMFuzzerMutate (data, size, max_size);
}

size_t
LLVMFuzzerCustomCrossOver (const uint8_t *data1, size_t size1,
                           const uint8_t *data2, size_t size2,
                           uint8_t *out, size_t max_out, unsigned seed)
{
  struct rng r = { .x = seed };
  struct input a, b;
  size_t n;

  input_load (&a, data1, size1);
  input_load (&b, data2, size2);
  cross_inputs (&a, &b, &r);
  n = input_save (&a, out, max_out);
  input_clear (&a);
  input_clear (&b);
  return n;
}
#endif
