/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Gives inputs to a target, one after the other, without a fuzzer.
 *
 *   replay TARGET FILE|FOLDER...
 *
 * Prints how many there were.  What must not be ends the program; its last
 * words are the name of the input.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_LIMIT (1 << 20)

static const struct {
  const char *name;
  void (*run) (const uint8_t *data, size_t size);
} targets[] = {
  { "read", fuzz_read },
  { "write", fuzz_write },
  { "repair", fuzz_repair },
  { "change", fuzz_change },
  { "descriptor", fuzz_descriptor },
};

static void (*run) (const uint8_t *data, size_t size);
static char current[4096];
static unsigned count;

static void
say_which (int sig)
{
  static const char words[] = "\nreplay: this input: ";

  (void) !write (STDERR_FILENO, words, sizeof words - 1);
  (void) !write (STDERR_FILENO, current, strlen (current));
  (void) !write (STDERR_FILENO, "\n", 1);
  signal (sig, SIG_DFL);
  raise (sig);
}

static void
die (const char *name)
{
  fprintf (stderr, "replay: %s: %s\n", name, strerror (errno));
  exit (1);
}

static void
replay_file (const char *name)
{
  FILE *const f = fopen (name, "rb");
  uint8_t *const data = malloc (INPUT_LIMIT);
  uint8_t *exact;
  size_t n;

  if (f == NULL || data == NULL)
    die (name);
  n = fread (data, 1, INPUT_LIMIT, f);
  fclose (f);
  exact = realloc (data, n ? n : 1); /* so that its end is noticed */
  if (exact == NULL)
    die (name);
  snprintf (current, sizeof current, "%s", name);
  run (exact, n);
  free (exact);
  count++;
}

static void
replay (const char *name)
{
  struct dirent **list;
  struct stat st;
  int i, n;

  if (stat (name, &st) == -1)
    die (name);
  if (!S_ISDIR (st.st_mode)) {
    replay_file (name);
    return;
  }
  n = scandir (name, &list, NULL, alphasort);
  if (n == -1)
    die (name);
  for (i = 0; i < n; i++) {
    char path[8192];

    snprintf (path, sizeof path, "%s/%s", name, list[i]->d_name);
    if (list[i]->d_name[0] != '.')
      replay_file (path);
    free (list[i]);
  }
  free (list);
}

int
main (int argc, char **argv)
{
  size_t i;
  int j;

  for (i = 0; i < sizeof targets / sizeof targets[0] && argc > 2; i++)
    if (strcmp (argv[1], targets[i].name) == 0)
      run = targets[i].run;
  if (run == NULL) {
    fputs ("usage: replay read|write|repair|change|descriptor FILE|FOLDER...\n",
           stderr);
    return 2;
  }
  signal (SIGABRT, say_which);
  signal (SIGSEGV, say_which);
  signal (SIGALRM, say_which);
  for (j = 2; j < argc; j++)
    replay (argv[j]);
  printf ("%s: %u inputs\n", argv[1], count);
  return 0;
}
