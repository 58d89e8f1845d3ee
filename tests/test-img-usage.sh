#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img, all its commands: wrong options, files that aren't there, help,
# and output that can't be written.

. ./functions.sh
requires python3

cd "$scratch"
$vmdkgen sparse size=2048 disk.vmdk

commands=$("$vmdk_img" --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p')
[ "$(wc -w <<< "$commands")" -ge 13 ] || fail "hardly any commands: $commands"

# refuses PATTERN ARGS...: exit status 1, one line that also says where
# help is, and no output.
refuses ()
{
  expect_error "^vmdk-img: $1\.  Try 'vmdk-img ([a-z-]+ )?--help'\$" \
    exits_with_1 "${@:2}"
  [ ! -s expect_error.out ] || fail "it prints something: ${*:2}"
}
exits_with_1 ()
{
  local status=0

  "$vmdk_img" "$@" || status=$?
  [ $status = 1 ] || echo "exit status $status" >&2
  return $status
}

refuses 'no command was named'
refuses 'frob: no such command' frob disk.vmdk
refuses '--frob: no such option.*' --frob
refuses '-x: no such option' -x
for command in $commands; do
  refuses "$command: no file was named" $command
  refuses "$command: no file was named" $command --json -q --
  refuses '--frob: no such option.*' $command --frob disk.vmdk
  refuses '-x: no such option' $command -x disk.vmdk
  refuses '--cid-check=: not fail, warn or off' $command --cid-check= x y
  [ $command = rebuild-descriptor ] ||
    refuses "$command: (one file is enough|too many words): '[bc]'.*" \
            $command a b c
done
refuses 'convert: too few words; .*' convert disk.vmdk
refuses 'resize: too few words; .*' resize disk.vmdk
refuses "compact: one file is enough: 'b'" compact disk.vmdk b
refuses "check: one file is enough: 'b'" check disk.vmdk b
refuses '--frob: no such option.*' info --frob disk.vmdk
refuses '--offset=1: no such option.*' info --offset=1 disk.vmdk
refuses '-x: no such option' map --json -qx disk.vmdk
refuses '--json=yes: this option has no value' map --json=yes disk.vmdk
refuses '--force-share=yes: this option has no value' \
  map --force-share=yes disk.vmdk
refuses '--parent: a value is missing' map disk.vmdk --parent
for size in '' x -1 ' 1' +1 1Q 1KB 1KiB 0x 0x1K 1.5K; do
  refuses "--offset=${size/+/[+]}: not a size" map --offset="$size" disk.vmdk
done
for size in 18446744073709551616 16E 99999999999999999999999; do
  refuses "--table-cache=$size: too large" info --table-cache=$size disk.vmdk
done
for value in x =x x= =; do
  refuses "--extent=$value: expected NAME=PATH" info --extent=$value disk.vmdk
done
refuses '--cid-check=no: not fail, warn or off' info --cid-check=no disk.vmdk
refuses "--debug: 'frob' is no topic" info --debug=chain,frob disk.vmdk
refuses "--debug: '' is no topic" info --debug=chain, disk.vmdk

#----------------------------------------------------------------------
# Files.  The reason comes from the library, once.

# with FILE COMMAND: sets $args to what the command needs to have it as the
# disk that it looks at.
with ()
{
  case $2 in
    create) args=(create --parent="$1" new.vmdk) ;;
    convert) args=(convert "$1" new.vmdk) ;;
    resize) args=(resize "$1" 1G) ;;
    *) args=("$2" "$1") ;;
  esac
}

mkdir dir
echo hello > text.vmdk
ln -s loop.vmdk loop.vmdk
mkfifo fifo.vmdk
before=$(ls -A)
for command in $commands; do
  with none.vmdk $command
  # Of that one it is the extents that are missing.
  [ $command = rebuild-descriptor ] ||
    expect_error '^vmdk-img: none.vmdk: No such file or directory$' \
      "$vmdk_img" "${args[@]}"
  for file in dir text.vmdk fifo.vmdk ''; do
    with "$file" $command
    expect_error '^vmdk-img: ' timeout 20 "$vmdk_img" "${args[@]}"
  done
done
for file in none/x.vmdk dir/ /dev/null text.vmdk/x loop.vmdk; do
  expect_error '^vmdk-img: ' timeout 20 "$vmdk_img" repair "$file"
done
[ "$(ls -A)" = "$before" ] || fail "something was made: $(ls -A)"
[ "$(cat text.vmdk)" = hello ] || fail "text.vmdk was changed"
for command in info map check; do
  expect_error '^vmdk-img: .*\.: .*directory' "$vmdk_img" $command .
done
# A file that is called like an option.
cp disk.vmdk ./--json
"$vmdk_img" map -- --json | head -n 1 | grep -q ^Offset || fail "not --json"

#----------------------------------------------------------------------
# Warnings and debug messages.

"$vmdk_img" info --extent=foo=a=b disk.vmdk 2>err >/dev/null
grep -q '^vmdk-img: warning: extent=foo=a=b: no descriptor ' err ||
  fail "no warning: $(cat err)"
"$vmdk_img" info -q --extent=foo=a=b disk.vmdk 2>err >/dev/null
[ ! -s err ] || fail "a warning in spite of -q: $(cat err)"
"$vmdk_img" map --debug=extents,stats disk.vmdk 2>err >/dev/null
grep -q '^vmdk-img: debug: .*cache' err || fail "no debug messages"
if grep -v '^vmdk-img: debug: ' err; then
  fail "other messages than debug messages"
fi

#----------------------------------------------------------------------
# Help and version: on standard output, and complete.

"$vmdk_img" --help > help 2>err
[ ! -s err ] || fail "--help prints on stderr"
for command in $commands; do
  "$vmdk_img" $command --help > $command.help
  "$vmdk_img" $command -h | diff $command.help - >&2 || fail "-h is not --help"
  grep -q "^usage: vmdk-img $command " $command.help || fail "$command --help"
done
"$vmdk_img" --version | grep -q -E '^vmdk-img .* [0-9]+\.[0-9]+\.[0-9]+$' ||
  fail "no version"

# Each command has its section in the man page, and its synopsis.
for command in $commands; do
  pod=$top_srcdir/tools/vmdk-img.pod
  grep -q -x "=head2 $command" "$pod" || fail "no section about $command"
  [ "$(grep -c "^ vmdk-img $command " "$pod")" -ge 2 ] ||
    fail "no synopsis of $command"
done

# Each option is in the man page, and back.
cat ./*.help | grep -o -E -e '--[a-z][a-z-]+' | sort -u > in-help
sed -n -E 's/^=item B<(--[a-z-]+).*/\1/p' "$top_srcdir/tools/vmdk-img.pod" |
  sort -u > in-pod
diff -u in-help in-pod >&2 || fail "--help and the man page differ"

#----------------------------------------------------------------------
# Output that gets lost is an error.

if [ -e /dev/full ]; then
  full ()
  {
    "$vmdk_img" "$@" >/dev/full
  }
  for command in 'info' 'info --json' 'map' 'map --json' 'check' \
                 'check --json'; do
    expect_error '^vmdk-img: writing to standard output: No space left' \
      full $command disk.vmdk
  done
  expect_error '^vmdk-img: writing to standard output: No space left' \
    full --help
  # More than fits into a buffer.
  $vmdkgen sparse size=80000 grain=8 alloc=every:2 large.vmdk
  expect_error '^vmdk-img: writing to standard output: No space left' \
    full map large.vmdk
fi
closed ()
{
  "$vmdk_img" "$@" >&-
}
# expect_error sets standard output, so the function closes it.
expect_error '^vmdk-img: writing to standard output: Bad file desc' \
  closed info disk.vmdk

# A disk that is split into more files than a shell allows by default.
if [ "$(ulimit -H -n)" = unlimited ] || [ "$(ulimit -H -n)" -gt 200 ]; then
  $vmdkgen split size=600 piece=4 many.vmdk
  (ulimit -S -n 50 && "$vmdk_img" map many.vmdk > out) ||
    fail "the limit of open files is not raised"
fi
