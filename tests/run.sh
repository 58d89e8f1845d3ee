#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Installs what building and testing need, builds, and runs all tests:
#
#   tests/run.sh [--quick] [--no-install] [STEP...]
#
#   --quick       only the step "check"
#   --no-install  don't install packages
#
#   check              make check
#   static             make check-static, with what takes seconds
#   dist               the tarball has all that git has
#   address,undefined  make check, of the tarball, with these sanitizers
#   thread             the same with that one
#   interop            make check-interop
#
# The first four if none is named.  Works in the folder where it is started
# if that is configured, else in this source tree; what is made from the
# tarball is in the folders build-SANITIZERS.  The last line says "N passed,
# N failed, N skipped"; the exit status is 0 when none failed.
#
# Environment: VMDK_IMAGES=DIR   images that other programs wrote

set -eu -o pipefail

# The system's programs, not wrappers that take longer to start than to run.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

[ -z "${VMDK_IMAGES:-}" ] || VMDK_IMAGES=$(realpath -m "$VMDK_IMAGES")
top=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
[ -e config.status ] || cd "$top"
build=$PWD
install=yes
steps=()

for arg; do
  case $arg in
    --quick) steps+=(check) ;;
    --no-install) install= ;;
    check | static | dist | interop | address* | undefined* | thread)
      steps+=("$arg") ;;
    *) sed -n 's/^#   \(tests\/run\.sh\)/usage: \1/p' "$top/tests/run.sh" >&2
       exit 2 ;;
  esac
done
[ ${#steps[@]} -gt 0 ] || steps=(check static dist address,undefined)

# Some builds are made elsewhere, where the default wouldn't be found.
if [ -z "${VMDK_IMAGES:-}" ] && [ -d "$top/../shared/images" ]; then
  VMDK_IMAGES=$(realpath "$top/../shared/images")
fi
[ -z "${VMDK_IMAGES:-}" ] || export VMDK_IMAGES
jobs=$(nproc 2>/dev/null || echo 2)

#----------------------------------------------------------------------
# Counting.  A step that fails counts as a test that failed.

passed=0
failed=0
skipped=0

finish ()
{
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}

headline ()
{
  printf '\n=== %s\n' "$*"
}

# step NAME COMMAND...: its output is shown only when it fails.
step ()
{
  local name=$1 log start=$SECONDS

  shift
  log=$(mktemp "${TMPDIR:-/tmp}/vmdk-step.XXXXXX")
  headline "$name"
  if ("$@") >"$log" 2>&1 </dev/null; then
    echo "done in $((SECONDS - start)) s"
    rm -f "$log"
  else
    tail -n 100 "$log"
    echo "FAILED: $name: $*"
    rm -f "$log"
    failed=$((failed + 1))
    return 1
  fi
}

# count DIR: adds up what the tests of that build directory say, and shows
# the logs of those that failed and the reasons of those skipped.
count ()
{
  local trs result p=0 f=0 s=0

  for trs in "$1"/*.trs; do
    [ -e "$trs" ] || continue
    result=$(sed -n 's/^:test-result: *\([A-Z]*\).*/\1/p' "$trs")
    case $result in
      PASS | XFAIL) p=$((p + 1)) ;;
      SKIP) s=$((s + 1)); grep -h 'skipped: ' "${trs%.trs}.log" || : ;;
      *)
        f=$((f + 1))
        printf '\n--- FAILED: %s\n' "$(basename "$trs" .trs)"
        tail -n 60 "${trs%.trs}.log" || :
        ;;
    esac
  done
  if [ $((p + f + s)) -eq 0 ]; then
    echo "FAILED: no test was run"
    f=1
  fi
  echo "of these: $p passed, $f failed, $s skipped"
  passed=$((passed + p))
  failed=$((failed + f))
  skipped=$((skipped + s))
}

# run_tests NAME BUILD TARGET TESTS JOBS: make TARGET in the folder BUILD,
# which leaves its results in the folder TESTS there.  Those of make check
# often wait, for a disk or a server: there may be twice as many as processors.
run_tests ()
{
  local name=$1 dir=$2/$4 start=$SECONDS log status=0 before=$failed

  headline "$name"
  rm -f "$dir"/*.trs "$dir"/*.log
  log=$(mktemp "${TMPDIR:-/tmp}/vmdk-step.XXXXXX")
  make -C "$2" -j"$5" -k "$3" >"$log" 2>&1 </dev/null || status=$?
  count "$dir"
  # Failed with all tests well: a test wasn't even built.
  if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then
    tail -n 60 "$log"
    echo "FAILED: make $3"
    failed=$((failed + 1))
  fi
  rm -f "$log"
  echo "took $((SECONDS - start)) s"
}

#----------------------------------------------------------------------
# Packages.

packages=(
  autoconf
  automake
  bash-completion
  cppcheck
  e2fsprogs
  fio
  fuse3
  gcc
  git
  jq
  libc6-dev
  libdeflate-dev
  libnbd-bin
  libnbd-dev
  libtool
  make
  nbdkit
  nbdkit-plugin-dev
  nettle-dev
  perl
  pkg-config
  python3
  qemu-utils
  shellcheck
  strace
  zlib1g-dev
)

for_interop=(
  busybox-static
  cpio
  gnutls-bin
  kmod
  nbd-client
  qemu-system-x86
  xz-utils
)

# pkg-config is a virtual package in some releases, so ask for the file.
is_installed ()
{
  case $1 in
    pkg-config) command -v pkg-config >/dev/null ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = \
         installed ] ;;
  esac
}

install_packages ()
{
  local package missing=()

  command -v apt-get >/dev/null || return 0 # configure says what is missing
  [[ " ${steps[*]} " != *" interop "* ]] || packages+=("${for_interop[@]}")
  for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    headline "packages are missing; some tests will be skipped.  As root:"
    echo "apt-get install ${missing[*]}"
    return 0
  fi
  export DEBIAN_FRONTEND=noninteractive
  step "apt-get update" apt-get -q update || return 1
  step "apt-get install ${missing[*]}" \
    apt-get -q -y --no-install-recommends install "${missing[@]}"
}

#----------------------------------------------------------------------
# Building.

build_here ()
{
  [ -e "$top/configure" ] || step "autoreconf -i" autoreconf -i || return 1
  [ -e config.status ] ||
    step "configure" ./configure --enable-gcc-warnings || return 1
  step "make" make -j"$jobs"
}

check_dist ()
{
  [ -e "$top/.git" ] && command -v git >/dev/null || return 0
  step "make maintainer-check-dist" make maintainer-check-dist || return 1
  passed=$((passed + 1))
}

# Seconds, and no tool is missing that isn't installed above.
check_static ()
{
  step "make check-static" \
    make check-static STATIC='cppcheck shellcheck' || return 1
  passed=$((passed + 1))
}

# build_sanitized SANITIZERS DIR: from the tarball, which so proves to be
# whole.
build_sanitized ()
{
  rm -f nbdkit-vmdk-*.tar.gz
  make dist-gzip || return 1
  # Tests may leave read-only folders behind.
  chmod -R u+w "$2" 2>/dev/null || :
  rm -rf "$2"
  mkdir -p "$2/build"
  tar xzf nbdkit-vmdk-*.tar.gz -C "$2" --strip-components=1 || return 1
  cd "$2/build"
  ../configure --enable-gcc-warnings --enable-sanitizers="$1" \
    CFLAGS='-O1 -g' || return 1
  make -j"$jobs"
}

check_sanitized ()
{
  local dir=$build/build-${1//,/-}

  step "build with $1" build_sanitized "$1" "$dir" || return 1
  run_tests "make check with $1" "$dir/build" check tests $((2 * jobs))
}

if [ -n "$install" ]; then
  install_packages || finish
fi
build_here || finish
for step in "${steps[@]}"; do
  case $step in
    check) run_tests "make check" . check tests $((2 * jobs)) ;;
    static) check_static || : ;;
    dist) check_dist || : ;;
    interop) run_tests "make check-interop" . check-interop tests/interop "$jobs" ;;
    *) check_sanitized "$step" || : ;;
  esac
done
headline "all took $SECONDS s"
finish
