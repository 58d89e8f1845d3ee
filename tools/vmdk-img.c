/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img: VMware virtual disks.  Here are its options and what
 * all its commands share; each command has a file of its own.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "vmdk-img.h"

static const struct command *const commands[] = {
  &check_command,
  &commit_command,
  &compact_command,
  &convert_command,
  &create_command,
  &fix_cid_command,
  &info_command,
  &map_command,
  &pull_command,
  &rebuild_descriptor_command,
  &repair_command,
  &resize_command,
  &snapshot_command,
};
#define NR_COMMANDS (sizeof commands / sizeof commands[0])

/* Options that all commands have.  Each has a long form; those that have a
 * short form too are numbered by it.
 */
enum {
  OPT_ALLOW_DEVICES = 256,
  OPT_ALLOW_PARENT_WRITE,
  OPT_CID_CHECK,
  OPT_DEBUG,
  OPT_DROP_CBT,
  OPT_EXTENT,
  OPT_GRAIN_CACHE,
  OPT_JSON,
  OPT_MEMBER,
  OPT_PARENT,
  OPT_RECOVER,
  OPT_SINGLE_LINK,
  OPT_TABLE_CACHE,
  OPT_TRUSTED_DIR,
  OPT_FORCE_SHARE = 'U',
  OPT_FORMAT = 'f',
  OPT_HELP = 'h',
  OPT_PROGRESS = 'p',
  OPT_QUIET = 'q',
  OPT_VERSION = 'V',
};

static const struct option common_options[] = {
  { "allow-devices", no_argument, NULL, OPT_ALLOW_DEVICES },
  { "cid-check", required_argument, NULL, OPT_CID_CHECK },
  { "debug", required_argument, NULL, OPT_DEBUG },
  { "extent", required_argument, NULL, OPT_EXTENT },
  { "force-share", no_argument, NULL, OPT_FORCE_SHARE },
  { "grain-cache", required_argument, NULL, OPT_GRAIN_CACHE },
  { "help", no_argument, NULL, OPT_HELP },
  { "json", no_argument, NULL, OPT_JSON },
  { "member", required_argument, NULL, OPT_MEMBER },
  { "parent", required_argument, NULL, OPT_PARENT },
  { "progress", no_argument, NULL, OPT_PROGRESS },
  { "quiet", no_argument, NULL, OPT_QUIET },
  { "recover", no_argument, NULL, OPT_RECOVER },
  { "single-link", no_argument, NULL, OPT_SINGLE_LINK },
  { "table-cache", required_argument, NULL, OPT_TABLE_CACHE },
  { "trusted-dir", required_argument, NULL, OPT_TRUSTED_DIR },
  { "version", no_argument, NULL, OPT_VERSION },
};
#define NR_COMMON (sizeof common_options / sizeof common_options[0])

/* Those of commands that read other things than files, */
static const struct option source_options[] = {
  { "format", required_argument, NULL, OPT_FORMAT },
};
#define NR_SOURCE (sizeof source_options / sizeof source_options[0])

static const char source_help[] =
"  -f, --format=raw|vmdk   raw: FILE has the guest's bytes as they are; vmdk:\n"
"                          so has not an NBD export, but a VMDK file\n";

/* ... of those that change a disk, and of those by which the guest sees
 * another content.
 */
static const struct option write_options[] = {
  { "drop-cbt", no_argument, NULL, OPT_DROP_CBT },
};
#define NR_WRITE (sizeof write_options / sizeof write_options[0])

static const char write_help[] =
"  --drop-cbt              end VMware's change tracking: the next backup must\n"
"                          be a full one\n";

static const struct option content_options[] = {
  { "allow-parent-write", no_argument, NULL, OPT_ALLOW_PARENT_WRITE },
};
#define NR_CONTENT (sizeof content_options / sizeof content_options[0])

static const char content_help[] =
"  --allow-parent-write    also if that destroys disks that were made over it\n";

#define MAX_OWN 24

static const char common_help[] =
"  --allow-devices         descriptors may name block devices\n"
"  --cid-check=fail|warn|off\n"
"                          when a parent has changed since its child was\n"
"                          made (default: fail; off with check, commit,\n"
"                          fix-cid and repair)\n"
"  --debug=TOPIC[,TOPIC]   print debug messages about: descriptor, chain,\n"
"                          extents, tables, stats\n"
"  --extent=NAME=PATH      the extent that the descriptor calls NAME is PATH;\n"
"                          may be repeated\n"
"  -U, --force-share       look at it although another program writes to it\n"
"  --grain-cache=SIZE      memory for inflated grains (default: 32M)\n"
"  --json                  print JSON\n"
"  --member=NAME           the disk that is meant, if FILE is an OVA\n"
"  --parent=FILE           the parent of FILE\n"
"  -p, --progress          show how far long work is, also where that is no\n"
"                          terminal\n"
"  -q, --quiet             print no warnings (check: and no text report)\n"
"  --recover               rebuild the tables of a truncated stream\n"
"  --single-link           open this link alone, without its parents\n"
"  --table-cache=SIZE      memory for grain tables (default: 64M)\n"
"  --trusted-dir=DIR       descriptors may also name files in and below DIR;\n"
"                          may be repeated\n"
"  -h, --help              print this help\n"
"  -V, --version           print the version\n"
"\n"
"SIZE is a number of bytes, or has one of the suffixes K, M, G, T, P, E;\n"
"it may be hexadecimal (0x10000) and then has none.\n"
"The manual is vmdk-img(1).\n";

/* Messages. */

/* The library's advice names parameters as nbdkit has them. */
static void
print_advice (const char *text)
{
  static const struct {
    const char *parameter, *option;
  } names[] = {
    { "recover=true", "--recover" },
    { "single-link=true", "--single-link" },
    { "allow-devices=true", "--allow-devices" },
    { "trusted-dir=DIR", "--trusted-dir=DIR" },
    { "parent=FILE", "--parent=FILE" },
    { "extent=NAME=PATH", "--extent=NAME=PATH" },
    { "cid-check=warn", "--cid-check=warn" },
    { "cid-check=off", "--cid-check=off" },
    { "lock=off", "--force-share" },
    { "drop-cbt=true", "--drop-cbt" },
    { "allow-parent-write=true", "--allow-parent-write" },
    { "member=NAME", "--member=NAME" },
    { "raw=true", "--format=raw" },
  };
  const size_t nr_names = sizeof names / sizeof names[0];

  while (*text) {
    size_t i = 0;

    while (i < nr_names && strncmp (text, names[i].parameter,
                                    strlen (names[i].parameter)) != 0)
      i++;
    if (i == nr_names)
      putc (*text++, stderr);
    else {
      fputs (names[i].option, stderr);
      text += strlen (names[i].parameter);
    }
  }
}

static void
print_message (const char *kind, const char *fmt, va_list args)
{
  char *text;

  if (vasprintf (&text, fmt, args) == -1)
    return;
  /* Names of files, too, may be somebody else's choice. */
  vmdk_excerpt (text, strlen (text) + 1, text);
  progress_end_line ();
  fprintf (stderr, "vmdk-img: %s", kind);
  print_advice (text);
  putc ('\n', stderr);
  free (text);
}

static void
sink_error (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  print_message ("", fmt, args);
}

static void
sink_warning (void *opaque, const char *fmt, va_list args)
{
  const struct settings *const s = opaque;

  if (!s->quiet)
    print_message ("warning: ", fmt, args);
}

static void
sink_debug (void *opaque, const char *fmt, va_list args)
{
  (void) opaque;
  print_message ("debug: ", fmt, args);
}

void
error_message (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  print_message ("", fmt, args);
  va_end (args);
}

void
usage_error (const struct command *command, const char *fmt, ...)
{
  va_list args;

  fputs ("vmdk-img: ", stderr);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fprintf (stderr, ".  Try 'vmdk-img %s%s--help'\n",
           command ? command->name : "", command ? " " : "");
  exit (STATUS_FAILED);
}

/* Texts. */

const char *
size_text (char buf[SIZE_TEXT], uint64_t bytes)
{
  static const char units[] = "KMGTPE";
  uint64_t unit = 1024;
  size_t i = 0;

  if (bytes < 1024) {
    snprintf (buf, SIZE_TEXT, "%" PRIu64 " bytes", bytes);
    return buf;
  }
  while (bytes / unit >= 1024) {
    unit *= 1024;
    i++;
  }
  if (bytes % unit == 0)
    snprintf (buf, SIZE_TEXT, "%" PRIu64 " %ciB", bytes / unit, units[i]);
  else
    snprintf (buf, SIZE_TEXT, "%.4g %ciB", (double) bytes / (double) unit,
              units[i]);
  return buf;
}

/* U+0080 to U+009F are control characters as well. */
static bool
is_control (const char *text, size_t length)
{
  const unsigned char *const u = (const unsigned char *) text;

  return u[0] < 0x20 || u[0] == 0x7f ||
    (length == 2 && u[0] == 0xc2 && u[1] < 0xa0);
}

void
print_text (const char *text)
{
  while (*text != '\0') {
    const size_t n = utf8_length (text);

    if (n == 0 || is_control (text, n))
      putchar ('?');
    else
      fwrite (text, 1, n, stdout);
    text += n == 0 ? 1 : n;
  }
}

/* Options. */

/* what: "--offset=" or "SIZE: ". */
static uint64_t
parse_size_of (const struct settings *s, const char *what, const char *equal,
               const char *value)
{
  static const char suffixes[] = "bkmgtpe";
  const bool hexadecimal = strncasecmp (value, "0x", 2) == 0;
  uint64_t size, unit = 1;
  char *end;

  if (!isdigit ((unsigned char) value[0]))
    usage_error (s->command, "%s%s%s: not a size", what, equal, value);
  errno = 0;
  size = strtoumax (value, &end, hexadecimal ? 16 : 10);
  if (errno != 0)
    usage_error (s->command, "%s%s%s: too large", what, equal, value);
  if (*end != '\0' && !hexadecimal) {
    const char *const suffix =
      strchr (suffixes, tolower ((unsigned char) *end));

    if (suffix)
      unit <<= 10 * (suffix - suffixes);
    else if (*end == 's' || *end == 'S')
      unit = 512;
    else
      unit = 0;
    end++;
  }
  if (*end != '\0' || unit == 0)
    usage_error (s->command, "%s%s%s: not a size", what, equal, value);
  if (__builtin_mul_overflow (size, unit, &size))
    usage_error (s->command, "%s%s%s: too large", what, equal, value);
  return size;
}

uint64_t
parse_size (const struct settings *s, const char *option, const char *value)
{
  char what[64];

  snprintf (what, sizeof what, "--%s", option);
  return parse_size_of (s, what, "=", value);
}

uint64_t
parse_size_word (const struct settings *s, const char *what,
                 const char *word)
{
  return parse_size_of (s, what, " ", word);
}

static enum vmdk_cid_check
parse_cid_check (const struct settings *s, const char *value)
{
  if (strcmp (value, "fail") == 0)
    return VMDK_CID_FAIL;
  if (strcmp (value, "warn") == 0)
    return VMDK_CID_WARN;
  if (strcmp (value, "off") == 0)
    return VMDK_CID_OFF;
  usage_error (s->command, "--cid-check=%s: not fail, warn or off", value);
}

static unsigned
parse_topics (const struct settings *s, const char *value)
{
  static const char *const names[] = {
    [VMDK_TOPIC_DESCRIPTOR] = "descriptor", [VMDK_TOPIC_CHAIN] = "chain",
    [VMDK_TOPIC_EXTENTS] = "extents", [VMDK_TOPIC_TABLES] = "tables",
    [VMDK_TOPIC_STATS] = "stats",
  };
  const size_t nr_names = sizeof names / sizeof names[0];
  unsigned topics = 0;

  for (;;) {
    const size_t n = strcspn (value, ",");
    size_t i;

    for (i = 0; i < nr_names; i++)
      if (strlen (names[i]) == n && strncmp (names[i], value, n) == 0)
        break;
    if (i == nr_names)
      usage_error (s->command, "--debug: '%.*s' is no topic", (int) n, value);
    topics |= 1u << i;
    if (value[n] == '\0')
      return topics;
    value += n + 1;
  }
}

static void *
grow (void *list, size_t n, size_t item)
{
  void *const longer = reallocarray (list, n, item);

  if (longer == NULL) {
    error_message ("%m");
    exit (STATUS_FAILED);
  }
  return longer;
}

static void
add_trusted_dir (struct settings *s, const char *dir)
{
  s->trusted_dirs = grow (s->trusted_dirs, s->nr_trusted_dirs + 2,
                          sizeof s->trusted_dirs[0]);
  s->trusted_dirs[s->nr_trusted_dirs++] = dir;
  s->trusted_dirs[s->nr_trusted_dirs] = NULL;
  s->open.trusted_dirs = s->trusted_dirs;
}

/* NAME=PATH.  It is PATH that may contain an "=".  value is a string of
 * argv, which may be changed.
 */
static void
add_extent (struct settings *s, char *value)
{
  char *const equal = strchr (value, '=');

  if (equal == NULL || equal == value || equal[1] == '\0')
    usage_error (s->command, "--extent=%s: expected NAME=PATH", value);
  *equal = '\0';
  s->extents = grow (s->extents, s->open.nr_extents + 1,
                     sizeof s->extents[0]);
  s->extents[s->open.nr_extents++] =
    (struct vmdk_extent_path) { .name = value, .path = equal + 1 };
  s->open.extents = s->extents;
}

/* What isn't said to be a VMDK file must not be taken for one: a guest
 * could have written a descriptor to its disk.
 */
static void
set_format (struct settings *s, const char *value)
{
  if (strcmp (value, "raw") == 0)
    s->open.raw = true;
  else if (strcmp (value, "vmdk") == 0)
    s->open.probe_nbd = true;
  else
    usage_error (s->command, "--format=%s: not raw or vmdk", value);
}

static void
print_version (void)
{
  printf ("vmdk-img (nbdkit-vmdk) %s\nInflates with %s.\n", PACKAGE_VERSION,
          vmdk_inflate_library ());
}

static void
print_help (const struct command *command)
{
  size_t i;

  if (command) {
    printf ("usage: vmdk-img %s [OPTIONS] %s\n\n%s.\n\n%s",
            command->name, command->usage ? command->usage : "FILE",
            command->summary, command->help);
    if (command->takes_uri)
      fputs (source_help, stdout);
    if (command->changes_content)
      fputs (content_help, stdout);
    if (command->writes)
      fputs (write_help, stdout);
    fputs (common_help, stdout);
    return;
  }
  fputs ("usage: vmdk-img COMMAND [OPTIONS] FILE...\n"
         "\nMakes, inspects, changes and repairs VMware virtual disks (VMDK)."
         "  The\ncommands are:\n\n", stdout);
  for (i = 0; i < NR_COMMANDS; i++)
    printf ("  %-20s%s\n", commands[i]->name, commands[i]->summary);
  fputs ("\nvmdk-img COMMAND --help lists the options of a command.\n"
         "The manual is vmdk-img(1).\n"
         "\n"
         "  -h, --help     print this help\n"
         "  -V, --version  print the version\n", stdout);
}

/* What was said is only done once it has reached the file.  A reader who
 * has seen enough is no error worth a message.
 */
static int
finish (int status)
{
  const bool failed = ferror (stdout);

  if (fclose (stdout) == 0 && !failed)
    return status;
  if (errno != EPIPE)
    error_message ("writing to standard output: %m");
  return STATUS_FAILED;
}

static void
set_common (struct settings *s, int option, char *value)
{
  switch (option) {
  case OPT_ALLOW_DEVICES: s->open.allow_devices = true; break;
  case OPT_ALLOW_PARENT_WRITE: s->open.allow_parent_write = true; break;
  case OPT_CID_CHECK: s->open.cid_check = parse_cid_check (s, value); break;
  case OPT_DEBUG: s->open.log.topics |= parse_topics (s, value); break;
  case OPT_DROP_CBT: s->open.drop_cbt = true; break;
  case OPT_EXTENT: add_extent (s, value); break;
  case OPT_FORCE_SHARE: s->open.no_lock = true; break;
  case OPT_FORMAT: set_format (s, value); break;
  case OPT_GRAIN_CACHE:
    s->open.grain_cache = parse_size (s, "grain-cache", value);
    break;
  case OPT_HELP:
    print_help (s->command);
    exit (finish (STATUS_OK));
  case OPT_JSON: s->json = true; break;
  case OPT_MEMBER: s->open.member = value; break;
  case OPT_PARENT: s->open.parent = value; break;
  case OPT_PROGRESS: s->progress = true; break;
  case OPT_QUIET: s->quiet = true; break;
  case OPT_RECOVER: s->open.recover = true; break;
  case OPT_SINGLE_LINK: s->open.single_link = true; break;
  case OPT_TABLE_CACHE:
    s->open.table_cache = parse_size (s, "table-cache", value);
    break;
  case OPT_TRUSTED_DIR: add_trusted_dir (s, value); break;
  case OPT_VERSION:
    print_version ();
    exit (finish (STATUS_OK));
  }
}

/* --all must not become --allow-devices where there is no --all. */
static void
refuse_abbreviation (const struct command *command, char **argv,
                     const char *name)
{
  const char *const last = argv[optind - 1];
  const char *const word = optarg == last ? argv[optind - 2] : last;

  if (strncmp (word, "--", 2) == 0 &&
      strcspn (word + 2, "=") != strlen (name))
    usage_error (command, "%s: no such option; did you mean --%s?", word,
                 name);
}

/* getopt_long's own messages would name the program by its path. */
static void
bad_option (const struct command *command, int c, const char *word)
{
  if (c == ':')
    usage_error (command, "%s: a value is missing", word);
  else if (optopt == 0)
    usage_error (command, "%s: no such option, or ambiguous", word);
  else if (optopt >= OPT_ALLOW_DEVICES || strchr ("hpqUV", optopt))
    usage_error (command, "%s: this option has no value", word);
  else
    usage_error (command, "-%c: no such option", optopt);
}

/* All options of the command, and the letters among them. */
struct option_list {
  struct option list[NR_COMMON + NR_SOURCE + NR_WRITE + NR_CONTENT + MAX_OWN +
                     1];
  char letters[64];
  size_t n;
};

static void
add_options (struct option_list *o, const struct option *options, size_t n)
{
  memcpy (o->list + o->n, options, n * sizeof options[0]);
  o->n += n;
}

static void
collect_options (const struct command *command, struct option_list *o)
{
  size_t n = 0;

  memset (o, 0, sizeof *o);
  add_options (o, common_options, NR_COMMON);
  if (command->takes_uri)
    add_options (o, source_options, NR_SOURCE);
  if (command->writes)
    add_options (o, write_options, NR_WRITE);
  if (command->changes_content)
    add_options (o, content_options, NR_CONTENT);
  while (command->options[n].name)
    n++;
  add_options (o, command->options, n);
  snprintf (o->letters, sizeof o->letters, ":hpqUV%s%s",
            command->takes_uri ? "f:" : "",
            command->letters ? command->letters : "");
}

static bool
is_own (const struct command *command, int c)
{
  const struct option *o;

  for (o = command->options; o->name; o++)
    if (o->val == c)
      return true;
  return false;
}

static void
take_words (struct settings *s, int argc, char **argv)
{
  const struct command *const command = s->command;
  const bool one = command->max_words == 0;
  const size_t min = one ? 1 : command->min_words;
  const size_t max = one ? 1 : command->max_words;

  s->words = (const char *const *) argv + optind;
  s->nr_words = (size_t) (argc - optind);
  if (s->nr_words == 0 && min > 0)
    usage_error (command, "%s: no file was named", command->name);
  if (s->nr_words < min)
    usage_error (command, "%s: too few words; expected %s", command->name,
                 command->usage);
  if (s->nr_words > max && one)
    usage_error (command, "%s: one file is enough: '%s'", command->name,
                 s->words[1]);
  if (s->nr_words > max)
    usage_error (command, "%s: too many words: '%s'; expected %s",
                 command->name, s->words[max], command->usage);
  if (command->file_word <= s->nr_words)
    s->open.file = s->words[command->file_word ? command->file_word - 1 : 0];
}

static void
parse_options (struct settings *s, int argc, char **argv)
{
  struct option_list o;
  int c, which = -1;

  collect_options (s->command, &o);
  optind = 0; /* begin anew */
  opterr = 0;
  while ((c = getopt_long (argc, argv, o.letters, o.list, &which)) != -1) {
    if (which >= 0)
      refuse_abbreviation (s->command, argv, o.list[which].name);
    which = -1;
    if (c == '?' || c == ':')
      bad_option (s->command, c, argv[optind - 1]);
    else if (is_own (s->command, c))
      s->command->set (s, c, optarg);
    else
      set_common (s, c, optarg);
  }
  take_words (s, argc, argv);
}

struct vmdk_disk *
open_disk (const struct settings *s)
{
  return vmdk_open (&s->open);
}

/* Starting. */

/* No image may become file descriptor 0, 1 or 2.  One that was closed
 * gets a file for the wrong direction, so that using it still fails.
 */
static void
occupy_standard_files (void)
{
  int fd;

  for (fd = 0; fd <= 2; fd++)
    if (fcntl (fd, F_GETFD) == -1 &&
        open ("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == -1)
      exit (STATUS_FAILED);
}

static const struct command *
find_command (const char *name)
{
  size_t i;

  for (i = 0; i < NR_COMMANDS; i++)
    if (strcmp (commands[i]->name, name) == 0)
      return commands[i];
  usage_error (NULL, "%s: no such command", name);
}

static void
parse_leading_options (struct settings *s, int argc, char **argv)
{
  static const struct option options[] = {
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 },
  };
  int c;

  opterr = 0;
  while ((c = getopt_long (argc, argv, "+:hV", options, NULL)) != -1) {
    if (c == '?' || c == ':')
      bad_option (NULL, c, argv[optind - 1]);
    set_common (s, c, optarg);
  }
}

int
main (int argc, char **argv)
{
  struct settings s = { .command = NULL };
  int status;

  occupy_standard_files ();
  setvbuf (stderr, NULL, _IOLBF, BUFSIZ); /* a message is one write */
  vmdk_raise_file_limit ();
  signal (SIGXFSZ, SIG_IGN); /* it is an error like a full disk */
  progress_init ();

  parse_leading_options (&s, argc, argv);
  if (optind >= argc)
    usage_error (NULL, "no command was named");
  argc -= optind;
  argv += optind;
  s.command = find_command (argv[0]);

  vmdk_options_init (&s.open);
  s.open.cid_check = s.command->cid_check;
  s.open.allow_nbd = s.command->takes_uri;
  s.open.log.error = sink_error;
  s.open.log.warning = sink_warning;
  s.open.log.debug = sink_debug;
  s.open.log.opaque = &s;
  parse_options (&s, argc, argv);

  status = s.command->run (&s);
  free (s.trusted_dirs);
  free (s.extents);
  return finish (status);
}
