# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Sourced by tests that make each system call of vmdk-img fail, and each
# allocation of memory, once from every place in the program: fail-shim.c.
#
# What such a test says by functions, which are run in a folder that was a
# copy of orig before the command:
#
#   unharmed    the command has failed
#   completed   it has not, be it that the failure didn't matter
#
# One of $every places is tried, others in each run.  VMDK_FAILURES=N makes it
# one of N, VMDK_SLOW=1 all.

shim=$top_builddir/tests/.libs/fail-shim.so
[ -e "$shim" ] || skip "there is no $shim"
requires python3
[ "$sanitizers" != valgrind ] || skip "valgrind starts by another program"
cd "$scratch"
every=${VMDK_FAILURES:-${VMDK_SLOW:-15}}
[ -z "$sanitizers" ] || every=$((every * 3))

# with_shim VARIABLE=VALUE... COMMAND...
with_shim ()
{
  env LD_PRELOAD="${preload:-}$shim" "$@"
}

# The sanitizers have their own malloc.
kinds=(io memory)
[ -z "$sanitizers" ] || kinds=(io)

# disk BUILDER [KEY=VALUE...]: d.vmdk in orig, and d.raw here.
disk ()
{
  rm -rf orig
  mkdir orig
  (cd orig; $vmdkgen "$@" d.vmdk ../d.raw) || fail "vmdkgen $*"
}

fresh ()
{
  rm -rf work
  cp -r orig work
  cd work
}

# reads FILE: it is a disk with the content of d.raw.
reads ()
{
  "$vmdk_img" convert -q --cid-check=off -t raw --force "$1" ../read.raw &&
    cmp ../read.raw ../d.raw >&2 || fail "$what: $1 reads otherwise"
}

# as_before: no file has changed, there is none more and none less.
as_before ()
{
  diff -r ../orig . >&2 || fail "$what: this is left"
}

# sound FILE: no errors.
sound ()
{
  "$vmdk_img" check "$1" > ../check.out || [ $? -eq 3 ] ||
    fail "$what: $(cat ../check.out)"
}

# What a file system or kernel may not know, so that there is another way.
unsupported='^(open|openat|openat2|linkat|renameat2|fallocate|lseek|getrandom)'

# fail_once HOW HASH COMMAND...: what is said has a reason, and a file unless it
# is memory.
fail_once ()
{
  local status=0 how=(FAIL_KIND=io)

  case $1 in
    memory) how=(FAIL_KIND=memory) ;;
    unsupported) how+=(FAIL_ERRNO=95) ;;
  esac
  fresh
  with_shim "${how[@]}" FAIL_HASH="$2" timeout 60 "${@:3}" \
    > ../out 2> ../err || status=$?
  ! grep -q -E 'Sanitizer|runtime error:' ../err || fail "$what: $(cat ../err)"
  if [ $status = 0 ]; then
    completed
    return
  fi
  echo >> ../failures
  [ $status -lt 124 ] || fail "$what: status $status: $(cat ../err)"
  grep -E ': .*[a-z]' ../err | grep -q -v -e Success -e ': ;' ||
    fail "$what: status $status, said: $(cat ../err)"
  if [ "$1" != memory ]; then
    grep -q -E '[a-z./]+: ' ../err || fail "$what: names no file"
  fi
  unharmed
}

# everywhere COMMAND [ARGS...]: of vmdk-img.  What goes wrong is shown, and
# counted for all_well at the end.
bad=0
: > failures
everywhere ()
{
  local kind places i name hash

  set -- "$vmdk_img" "$@"
  for kind in "${kinds[@]}"; do
    what="without a failure: ${*:2}"
    (
      rm -f log
      fresh
      with_shim FAIL_KIND="$kind" FAIL_LOG=../log "$@" > ../out 2> ../err ||
        fail "$what: $(cat ../err)"
      completed
    )
    mapfile -t places < <(sort -u log)
    for ((i = RANDOM % every; i < ${#places[@]}; i += every)); do
      read -r name hash _ <<< "${places[i]}"
      what="FAIL_KIND=$kind FAIL_HASH=$hash ($name) ${*:2}"
      (fail_once "$kind" "$hash" "$@") || bad=$((bad + 1))
      if [[ $name =~ $unsupported ]]; then
        what="FAIL_ERRNO=95 $what"
        (fail_once unsupported "$hash" "$@") || bad=$((bad + 1))
      fi
    done
    echo "${*:2}: ${#places[@]} places of $kind"
  done
}

all_well ()
{
  [ $bad -eq 0 ] || fail "$bad failures had results that they should not have"
  echo "$(wc -l < failures) failures"
  # With sanitizers only a few places are tried.
  [ -n "$sanitizers" ] || [ -s failures ] || fail "nothing has ever failed"
}
