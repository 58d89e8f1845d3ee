#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# From a fresh clone to a VMware disk that is served over NBD:
#
#   examples/quickstart.sh [--check] [DISK.vmdk]
#
# Installs what is missing (as root on Debian), builds the plugin if that
# isn't done, serves the disk read-only on a Unix socket, shows it, and
# says how to use it.  Without a disk it makes a small one.  Ends with ^C;
# with --check it looks at the disk itself and ends.
#
# Environment: PLUGIN=FILE.so   a plugin that is built already

set -eu -o pipefail
export LC_ALL=C.UTF-8

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
plugin=${PLUGIN:-$top/plugin/.libs/nbdkit-vmdk-plugin.so}
work=
server=

say () { printf '\n==> %s\n' "$*"; }
die () { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
usage () { echo "usage: quickstart.sh [--check] [DISK.vmdk]" >&2; exit 2; }

clean_up ()
{
  trap - EXIT
  [ -z "$server" ] || kill "$server" 2>/dev/null || :
  [ -z "$server" ] || wait "$server" 2>/dev/null || :
  [ -z "$work" ] || rm -rf "$work"
}
trap clean_up EXIT
# Ending a server that is served by hand is how it is meant to end.
trap '[ -z "${check:-}" ] && exit 0 || exit 130' INT TERM

check=
disk=
for arg; do
  case $arg in
    --check) check=yes ;;
    -*) usage ;;
    *) [ -z "$disk" ] || usage; disk=$arg ;;
  esac
done
# First of all, so that a slip costs no time.
if [ -n "$disk" ]; then
  [ -e "$disk" ] || die "$disk: there is no such file"
  [ -f "$disk" ] && [ -r "$disk" ] || die "$disk: not a file that can be read"
  disk=$(realpath "$disk")
fi

#----------------------------------------------------------------------
# 1. Packages.

have_module () { pkg-config --exists "$1" 2>/dev/null; }
have () { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# need TEST NAME DEBIAN FEDORA: notes the package unless TEST NAME is true.
debian=()
fedora=()
need ()
{
  "$1" "$2" || { debian+=("$3"); fedora+=("$4"); }
}

need have nbdkit nbdkit nbdkit
need have nbdinfo libnbd-bin libnbd
if [ -z "$disk" ] || [ -n "$check" ]; then
  need have qemu-img qemu-utils qemu-img
fi
if [ -z "$disk" ]; then
  need have mke2fs e2fsprogs e2fsprogs
fi
if [ ! -e "$plugin" ]; then
  need have gcc gcc gcc
  need have make make make
  need have autoreconf autoconf autoconf
  need have automake automake automake
  need have libtoolize libtool libtool
  need have pkg-config pkg-config pkgconf-pkg-config
  need have pod2man perl perl-podlators
  need have_module nbdkit nbdkit-plugin-dev nbdkit-devel
  need have_module zlib zlib1g-dev zlib-devel
  need have_module libdeflate libdeflate-dev libdeflate-devel
fi

if [ ${#debian[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    die "please install what is missing: dnf install ${fedora[*]}"
  elif [ "$(id -u)" -ne 0 ]; then
    die "please install what is missing: sudo apt-get install ${debian[*]}"
  fi
  # gcc alone comes without the C library's headers.
  [[ " ${debian[*]} " != *" gcc "* ]] || debian+=(libc6-dev)
  say "Installing ${debian[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -q update &&
      apt-get -q -y --no-install-recommends install "${debian[@]}"
  } >/dev/null || die "apt-get failed, see above"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/vmdk-quickstart.XXXXXX")

#----------------------------------------------------------------------
# 2. The plugin.

# build COMMAND...: shows what it prints only when it fails.
build ()
{
  echo "    $*"
  (cd "$top" && "$@") >"$work/build.log" 2>&1 </dev/null && return
  tail -n 40 "$work/build.log" >&2
  die "$1 failed, see above"
}

if [ ! -e "$plugin" ]; then
  [ -z "${PLUGIN:-}" ] || die "$plugin: there is no such file"
  say "Building the plugin in $top"
  [ -e "$top/configure" ] || build autoreconf -i
  [ -e "$top/Makefile" ] || build ./configure
  build make -j"$(nproc 2>/dev/null || echo 2)"
fi

#----------------------------------------------------------------------
# 3. A disk.

if [ -z "$disk" ]; then
  say "Making a small disk with a file system in it"
  mkdir "$work/files"
  echo "Hello from inside of a VMDK." > "$work/files/hello.txt"
  truncate -s 64M "$work/sample.raw"
  PATH=$PATH:/usr/sbin:/sbin \
    mke2fs -q -t ext4 -L sample -d "$work/files" "$work/sample.raw"
  disk=$work/sample.vmdk
  qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse \
    "$work/sample.raw" "$disk"
fi
ls -lh "$disk"

#----------------------------------------------------------------------
# 4. Serving it.

sock=$work/nbd.sock
uri="nbd+unix:///?socket=$sock"
say "nbdkit -r -f -U $sock $plugin file=$disk"
nbdkit -r -f --exit-with-parent -U "$sock" -P "$work/pid" \
  "$plugin" file="$disk" </dev/null &
server=$!
for ((i = 0; i < 500; i++)); do
  [ ! -s "$work/pid" ] || break
  # What is wrong with the disk has been said by nbdkit.
  kill -0 "$server" 2>/dev/null || { server=; exit 1; }
  sleep 0.02
done
[ -s "$work/pid" ] || die "nbdkit did not start within ten seconds"

say "nbdinfo '$uri'"
nbdinfo "$uri"

if [ -n "$check" ]; then
  say "Comparing what is served with what qemu-img reads"
  if [ -e "$work/sample.raw" ]; then
    from=$work/sample.raw format=raw
  else
    from=$disk format=vmdk
  fi
  qemu-img compare -f "$format" -F raw "$from" "$uri" ||
    die "the bytes differ"
  exit 0
fi

cat <<END

==> The disk is served until you press ^C.  In another terminal:

  Copy it to a raw file, skipping what is empty:
    nbdcopy '$uri' disk.raw

  Give it to a virtual machine (changes go to a temporary file):
    qemu-system-x86_64 -m 1024 -snapshot \\
      -drive 'file=$uri,format=raw,if=virtio'

  Make it a block device of this machine, as root (package nbd-client):
    modprobe nbd
    nbd-client -readonly -unix $sock /dev/nbd0
    mount -o ro /dev/nbd0 /mnt          # or /dev/nbd0p1
    umount /mnt; nbd-client -d /dev/nbd0

END
wait "$server"
