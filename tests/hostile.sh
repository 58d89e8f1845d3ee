# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests that spoil an image and want to be told; after functions.sh.

requires nbdkit --version
requires python3
cd "$scratch"

# good_image BUILDER [KEY=VALUE...]: makes good.vmdk and good.raw.  $target is
# the file that cases spoil: the extent, where that is a file of its own.
good_image ()
{
  rm -f good* case-*
  $vmdkgen "$@" good.vmdk good.raw
  target=$(echo good-*.vmdk)
  [ -e "$target" ] || target=good.vmdk
}

# How the plugin is told of the spoiled file.
case_args ()
{
  args=("$1")
  [ "$target" = good.vmdk ] || args=(good.vmdk "extent=$target=$1")
}

# client REQUEST...: one line for each request, see nbdclient.py.
client ()
{
  python3 "$srcdir/nbdclient.py" "$sock" "$@"
}

# served_right ARGS...: the plugin opens it, and every byte is as in good.raw.
served_right ()
{
  serve "$@"
  found=$(client compare 0 "$(stat -c %s good.raw)" good.raw)
  [ "$found" = same ] || fail "$*: $found; $(cat "$server_log")"
  stop_server
}

# fails_request PATTERN ARGS...: the plugin opens it, but reading all of it is
# an I/O error whose message matches, and the server goes on.
fails_request ()
{
  local pattern=$1 size

  size=$(stat -c %s good.raw)
  shift
  serve "$@"
  found=$(client compare 0 "$size" good.raw read 0 1)
  [[ $found = "error 5"$'\n'* ]] || fail "$*: $found, expected error 5"
  server_errors | grep -q -E -e "$pattern" || {
    cat "$server_log" >&2
    fail "$*: no error matches: $pattern"
  }
  kill -0 "$server_pid" || fail "$*: the server is gone"
  stop_server
}

# peak_memory [PID]: most that the server ever had in memory, KiB.
peak_memory ()
{
  awk '/^VmHWM:/ { print $2 }' "/proc/${1:-$server_pid}/status"
}

# print_descriptor LINE...: a descriptor with these lines at its end.
print_descriptor ()
{
  printf '%s\n' '# Disk DescriptorFile' version=1 CID=12345678 \
    parentCID=ffffffff 'createType="custom"' "$@"
}

# write_descriptor FILE LINE...
write_descriptor ()
{
  print_descriptor "${@:2}" > "$1"
}

# try_cases [ARGS...]: standard input is a table, "SPOIL | EXPECTED", where
# SPOIL is as spoil.py takes it, and EXPECTED is one of
#   ! PATTERN   refused with one line that matches
#   ? PATTERN   opened, but reading is an error that matches
#   =           opened, with the right bytes
try_cases ()
{
  local table number=0 spoil expected args

  table=$(grep -v -e '^ *#' -e '^ *$')
  cut -d '|' -f 1 <<< "$table" | python3 "$srcdir/spoil.py" "$target"
  while IFS='|' read -r spoil expected; do
    number=$((number + 1))
    echo "${spoil:0:60}|$expected"
    case_args "case-$number"
    args+=("$@")
    expected=${expected# }
    case $expected in
      "! "*) expect_error "${expected#! }" run_plugin "${args[@]}" ;;
      "? "*) fails_request "${expected#\? }" "${args[@]}" ;;
      =) served_right "${args[@]}" ;;
      *) fail "what does $expected mean?" ;;
    esac
    rm "case-$number"
  done <<< "$table"
}
