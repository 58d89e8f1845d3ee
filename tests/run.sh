#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Installs what building and testing need, builds, and runs all tests:
#
#   tests/run.sh [--quick] [--no-install]
#
#   --quick       only make check, not the tarball and the sanitizers
#   --no-install  don't install packages
#
# Works in this source tree, with the configuration that it has if it is
# configured already, and for the rest in the folder build-sanitizers.
# The last line says "N passed, N failed, N skipped"; the exit status is 0
# when none failed.
#
# Environment: VMDK_IMAGES=DIR   images that other programs wrote
#              VMDK_SANITIZERS   which (default: address,undefined)

set -eu -o pipefail

# The system's programs, not wrappers that take longer to start than to run.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

[ -z "${VMDK_IMAGES:-}" ] || VMDK_IMAGES=$(realpath -m "$VMDK_IMAGES")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
top=$PWD
sanitizers=${VMDK_SANITIZERS:-address,undefined}
install=yes
quick=

for arg; do
  case $arg in
    --quick) quick=yes ;;
    --no-install) install= ;;
    *) echo "usage: tests/run.sh [--quick] [--no-install]" >&2; exit 2 ;;
  esac
done

# The second build is made elsewhere, where the default wouldn't be found.
if [ -z "${VMDK_IMAGES:-}" ] && [ -d ../shared/images ]; then
  VMDK_IMAGES=$(realpath ../shared/images)
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

  for trs in "$1"/tests/*.trs; do
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

# run_tests NAME DIR
run_tests ()
{
  local name=$1 dir=$2 start=$SECONDS log status=0 before=$failed

  headline "$name"
  rm -f "$dir"/tests/*.trs "$dir"/tests/*.log
  log=$(mktemp "${TMPDIR:-/tmp}/vmdk-step.XXXXXX")
  make -C "$dir" -j"$jobs" -k check >"$log" 2>&1 </dev/null || status=$?
  count "$dir"
  # Failed with all tests well: a test wasn't even built.
  if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then
    tail -n 60 "$log"
    echo "FAILED: make check"
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
  strace
  zlib1g-dev
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
  [ -e configure ] || step "autoreconf -i" autoreconf -i || return 1
  [ -e config.status ] ||
    step "configure" ./configure --enable-gcc-warnings || return 1
  step "make" make -j"$jobs"
}

# From the tarball, which so proves to be whole.
build_sanitized ()
{
  local dir=$top/build-sanitizers tarball

  tarball=$(echo nbdkit-vmdk-*.tar.gz)
  # Tests may leave read-only folders behind.
  chmod -R u+w "$dir" 2>/dev/null || :
  rm -rf "$dir"
  mkdir "$dir"
  tar xzf "$tarball" -C "$dir" --strip-components=1 || return 1
  mkdir "$dir/build"
  cd "$dir/build"
  ../configure --enable-gcc-warnings --enable-sanitizers="$sanitizers" \
    CFLAGS='-O1 -g' || return 1
  make -j"$jobs"
}

if [ -n "$install" ]; then
  install_packages || finish
fi
build_here || finish
run_tests "make check" .
[ -z "$quick" ] || finish

rm -f nbdkit-vmdk-*.tar.gz
if [ -e .git ] && command -v git >/dev/null; then
  step "make maintainer-check-dist" make maintainer-check-dist &&
    passed=$((passed + 1)) || :
fi
if step "make dist" make dist-gzip &&
   step "build with $sanitizers" build_sanitized
then
  run_tests "make check with $sanitizers" build-sanitizers/build
fi
headline "all took $SECONDS s"
finish
