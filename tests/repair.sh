# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests of vmdk-img repair, after functions.sh: cases are what is spoiled
# in copies of one image.  Each is found, repaired, sound, what the guest
# should see, and taken back.

requires python3
requires jq --version
requires qemu-img --version
cd "$scratch"

specs=()

# spoiled CODES CONTENT SPOIL...: adds a case.  CODES are what is found, with
# blanks between; CONTENT is same, or zero:GRAIN[-GRAIN] for grains that are
# lost, or lost:GRAIN[-GRAIN] if that must be said and the CID must change, or
# told for what the guest saw otherwise, or GRAIN=GRAIN for one that has the
# data of another, or - for what isn't compared; SPOIL is as spoil.py takes it.
spoiled ()
{
  specs+=("$1;$2;${*:3}")
}

# grains RAW FROM TO N SOURCE: the grains [FROM, FROM+N) of RAW become those of
# SOURCE from TO on.
grains ()
{
  dd if="$5" of="$1" bs="$grain" seek="$2" skip="$3" count="$4" \
     conv=notrunc status=none
}

# expect_content CONTENT: expected.raw is what the guest should see.
expect_content ()
{
  local first last

  cp --reflink=auto base.raw expected.raw
  case $1 in
    zero:*|lost:*)
      first=${1#*:} last=${1#*-}
      [ "$last" != "$1" ] || last=$first
      first=${first%-*}
      grains expected.raw "$first" 0 $((last - first + 1)) /dev/zero
      truncate -r base.raw expected.raw ;;
    *=*)
      grains expected.raw "${1%=*}" "${1#*=}" 1 base.raw ;;
  esac
}

# one JSON object of all that a case says.
summary='{
  found: (.[0].found | map (select (.severity != "leak") | .code) | unique |
          join (" ")),
  same: (.[0].found == .[1].found and
         ([.[0,1].repairs | map (select (.code != "content-changed"))] |
          .[0] == .[1])),
  left: ([.[1].left[], .[2].defects[]] |
         map (select (.severity != "leak") | .code) | unique | join (" ")),
  dry: (.[0]."dry-run" and (.[0] | has ("undo-file") | not)),
  undo: .[1]."undo-file", complete: .[2].complete }'

# What is lost, or what else the guest sees, is told once, and in the CID.
tells='[.repairs[] | select (.code == "content-changed" or
                             (.text | test ("guest bytes .* '
tells_end='")))] | length == 2'

expect_told ()
{
  local what

  case $1 in
    lost:*) what='(lost|missing)' ;;
    told) what='now$' ;;
    *) return 0 ;;
  esac
  jq -e '."content-changed" and ('"$tells$what$tells_end"')' done >/dev/null ||
    { cat done >&2; fail "$2: not told what is lost, or changed"; }
}

# repair_case CODES CONTENT WHAT: the disk $disk, whose damaged file is $part.
repair_case ()
{
  local status=0 expected

  cp --reflink=auto "$part" before
  "$vmdk_img" repair --dry-run --json "$disk" >dry 2>err ||
    { cat err dry >&2; fail "$3: dry run: status $?"; }
  cmp before "$part" >&2 || fail "$3: the dry run changed something"
  "$vmdk_img" repair --json "$disk" >done 2>err ||
    { cat err done >&2; fail "$3: status $?"; }
  "$vmdk_img" check --json "$disk" >after 2>err || status=$?
  expected='{"found":"'$1'","same":true,"left":"","dry":true,"undo":"'
  expected+=$disk'.undo","complete":true}'
  [ "$(jq -s -c "$summary" dry done after)" = "$expected" ] || {
    jq -s -c "$summary" dry done after >&2
    cat done after >&2
    fail "$3: expected $expected"
  }
  expect_told "$2" "$3"
  expect_content "$2"
  [ "$2" = - ] ||
    qemu-img compare -f vmdk -F raw "$disk" expected.raw >qemu 2>&1 ||
    fail "$3: $2: qemu: $(cat qemu)"
  "$vmdk_img" repair --quiet --undo "$disk" || fail "$3: undo"
  cmp before "$part" >&2 || fail "$3: not what it was before"
  [ ! -e "$disk.undo" ] || fail "$3: the undo file is still there"
}

# repair_cases PART: base.vmdk's file PART is spoiled, for each of the cases.
repair_cases ()
{
  local i codes content what

  part=$1
  disk=base.vmdk
  for i in "${specs[@]}"; do
    echo "${i##*;}"
  done | python3 "$srcdir/spoil.py" "$part"
  for ((i = 0; i < ${#specs[@]}; i++)); do
    IFS=';' read -r codes content what <<<"${specs[i]}"
    mv "case-$((i + 1))" "$part"
    repair_case "$codes" "$content" "$what"
  done
  specs=()
}
