# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# For tests with a virtual machine; after functions.sh.  It runs under
# emulation, the same everywhere, with a Debian kernel and an initramfs of
# installed programs.  It has no disks but those of the test, and no network
# but qemu's own, where 10.0.2.2 is our 127.0.0.1.
#
# Environment: VMDK_KERNEL=FILE          kernel to be used
#              VMDK_KERNEL_MODULES=DIR   its /lib/modules/VERSION

vm_dir=$top_srcdir/tests/interop
vm_cache=$top_builddir/tests/interop/kernel
vm_programs=(mke2fs e2fsck nbd-client)
vm_modules=(virtio_pci virtio_blk virtio_net nbd ext4 crc32c_generic)
PATH=$PATH:/usr/sbin:/sbin
cd "$scratch"

requires nbdcopy --version
requires qemu-img --version
requires qemu-system-x86_64 --version
requires busybox true
requires cpio --version
requires depmod --version
requires debugfs -V
for vm_program in "${vm_programs[@]}"; do
  requires "$vm_program"
done
[ "$(uname -m)" = x86_64 ] ||
  skip "the virtual machine gets programs of this one, which isn't x86_64"

#----------------------------------------------------------------------
# What is started.

# vm_kernel: sets kernel and modules: those named by the environment, those
# installed, or a package that is downloaded once.
vm_kernel ()
{
  kernel=${VMDK_KERNEL:-} modules=${VMDK_KERNEL_MODULES:-}
  if [ -n "$kernel" ]; then
    [ -r "$kernel" ] || skip "VMDK_KERNEL=$kernel can't be read"
    [ -e "$modules/modules.dep" ] ||
      skip "VMDK_KERNEL_MODULES=$modules has no modules.dep"
    return
  fi
  for modules in /lib/modules/*-cloud-amd64 /lib/modules/*-amd64; do
    kernel=/boot/vmlinuz-${modules##*/}
    if [ -r "$kernel" ] && [ -e "$modules/modules.dep" ]; then
      return
    fi
  done
  [ -e "$vm_cache/vmlinuz" ] || vm_download_once ||
    skip "there is no kernel: neither VMDK_KERNEL=FILE, nor installed, nor" \
         "could linux-image-cloud-amd64 be downloaded"
  kernel=$vm_cache/vmlinuz modules=$(echo "$vm_cache"/lib/modules/*)
}

vm_download_once ()
{
  mkdir -p "$vm_cache"
  (
    flock 9
    [ -e "$vm_cache/vmlinuz" ] || vm_download
  ) 9> "$vm_cache/lock"
}

# The package only names the one that has the kernel.
vm_download ()
{
  local package

  package=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null |
              sed -n 's/^ *Depends: //p')
  [ -n "$package" ] || return 1
  echo "downloading $package"
  rm -rf deb
  mkdir deb
  (cd deb && timeout 120 apt-get -q download "$package") &&
    dpkg-deb --fsys-tarfile deb/*.deb |
      tar x -C deb --wildcards './boot/vmlinuz*' './lib/modules' || return 1
  depmod -b "$PWD/deb" "$(ls deb/lib/modules)" || return 1
  rm -rf "${vm_cache:?}/lib"
  mv deb/lib "$vm_cache/"
  mv deb/boot/vmlinuz* "$vm_cache/vmlinuz"
}

# vm_initramfs: makes it: our init, its programs with their libraries, and
# the modules in the order in which they must be loaded.
vm_initramfs ()
{
  local file

  mkdir -p root/bin root/sbin root/modules
  cp "$vm_dir/vm-init.sh" root/init
  chmod +x root/init
  cp -L "$(command -v busybox)" root/bin/
  ln -s busybox root/bin/sh
  for file in "${vm_programs[@]}"; do
    cp -L "$(command -v "$file")" root/sbin/
    vm_libraries "$(command -v "$file")"
  done
  vm_add_modules
  (cd root && find . | cpio -o -H newc --quiet) > initramfs
  rm -rf root
}

vm_libraries ()
{
  local library

  for library in $(ldd "$1" | grep -o ' */[^ ]*'); do
    mkdir -p "root${library%/*}"
    cp -L "$library" "root$library"
  done
}

# Modules that are part of the kernel are "builtin" here.
vm_add_modules ()
{
  local version=${modules##*/} module file name

  # modprobe wants them in a place called lib/modules.
  mkdir -p tree/lib/modules
  ln -s "$modules" "tree/lib/modules/$version"
  for module in "${vm_modules[@]}"; do
    modprobe -C /dev/null -d "$PWD/tree" -S "$version" --show-depends \
             "$module" || skip "this kernel has no module $module"
  done | awk '$1 == "insmod" && ! seen[$2]++ { print $2 }' > files
  while read -r file; do
    name=$(basename "$file" .xz)
    case $file in
      *.xz) xz -dc "$file" > "root/modules/$name" ;;
      *) cp "$file" root/modules/ ;;
    esac
    echo "$name" >> root/modules/list
  done < files
}

#----------------------------------------------------------------------
# Running it.

# On a busy computer the kernel finds that the timer doesn't work, and gives
# up, unless it is told not to look.  All its processors are one thread of
# ours, which leaves the rest to other tests.
vm_cpus=1

# vm_add_disk DISK SOCKET [OPTIONS OF THE BLOCK DEVICE [OF THE DISK]]: what is
# started will have a disk /dev/DISK.
vm_disks=()
vm_add_disk ()
{
  vm_disks+=(
    -blockdev "driver=nbd,node-name=$1,server.type=unix,server.path=$2${3:-}"
    -device "virtio-blk-pci,drive=$1,serial=$1${4:-}"
  )
}

# vm_start ARGS...: starts the machine with these arguments of qemu, too.
# It ends with the test, when it has run for too long, or by vm_stop.
vm_start ()
{
  vm_kernel
  vm_initramfs
  mkfifo agent.in agent.out
  timeout -k 5 500 qemu-system-x86_64 -accel tcg,thread=single -M pc \
    -cpu max -smp "$vm_cpus" -m 512M -nodefaults -no-user-config -no-reboot \
    -display none -kernel "$kernel" -initrd initramfs \
    -append 'console=ttyS0 panic=-1 quiet no_timer_check' \
    -serial file:console.log -serial pipe:agent "${vm_disks[@]}" "$@" \
    < /dev/null > qemu.log 2>&1 &
  vm_pid=$!
  cleanup_fn vm_kill
  exec {vm_in}<> agent.in {vm_out}<> agent.out
  vm_answer > /dev/null
  echo "the machine is up after $SECONDS s"
}

# Its number may be that of another process when it has ended.
vm_kill ()
{
  grep -q -s -F agent "/proc/$vm_pid/cmdline" || return 0
  kill "$vm_pid" 2> /dev/null || return 0
  wait "$vm_pid" 2> /dev/null || :
}

# next_server ARGS...: serves while the machine runs, and so must not be
# waited for before it has ended: nbdkit stays as long as its clients.
next_server ()
{
  serve "$@"
  cleanup_fn vm_kill
}

# kill_server PID
kill_server ()
{
  kill -9 "$1"
  wait "$1" 2> /dev/null || :
}

# The last words of the machine.
vm_fail ()
{
  {
    echo "qemu:"
    tail -n 20 "$scratch/qemu.log"
    echo "console:"
    tail -n 60 "$scratch/console.log"
  } >&2
  fail "$@"
}

# vm_line: reads a line from the machine to $line.
vm_line ()
{
  local status=0

  while ! IFS= read -r -t 2 -u "$vm_out" line; do
    kill -0 "$vm_pid" 2> /dev/null || {
      wait "$vm_pid" || status=$?
      vm_fail "the virtual machine ended (status $status)"
    }
  done
}

# vm_answer: prints what the machine says until the end of its command, and
# returns the command's status.
vm_answer ()
{
  local line

  while vm_line; do
    case $line in
      '=exit '*) return "${line#=exit }" ;;
    esac
    printf '%s\n' "$line"
  done
}

# guest_begin COMMAND: doesn't wait for its end, which is for vm_answer.
guest_begin ()
{
  printf '%s\n' "$1" >&"$vm_in"
}

# guest COMMAND: runs it in the machine, prints what it says; it must succeed.
guest ()
{
  guest_begin "$1"
  vm_answer > answer || vm_fail "in the machine: $1: $(cat answer)"
  cat answer
}

# vm_stop: the orderly way.
vm_stop ()
{
  guest_begin 'sync; poweroff -f'
  wait "$vm_pid" || vm_fail "qemu failed"
  rm agent.in agent.out
}

#----------------------------------------------------------------------
# What the machine has written.

# kept DEV LOG: what files should be there after that load, as sorted sums.
kept ()
{
  awk -v dir="/mnt/$1/" '
    index ($2, dir) != 1 { next }
    { name = substr ($2, length (dir) + 1) }
    $1 == "gone" { delete sum[name]; next }
    length ($1) == 64 { sum[name] = $1 }
    END { for (name in sum) print sum[name] "  " name }' "${@:2}" | sort
}

# all_kept DEV LOG FOUND [some]: the machine found the files of the log with
# their sums, and no others but as those that may be there.
all_kept ()
{
  kept "$1" "$2" > expected
  kept "$1" "$3" > found
  files_kept=$(wc -l < expected)
  [ "$files_kept" -gt 0 ] || fail "$1: no file was written"
  comm -23 expected found > lost
  [ ! -s lost ] || fail "$1: lost or changed: $(cat lost)"
  [ -n "${4:-}" ] || same_bytes expected found
}

# files_of RAW DEV: prints what sums of the machine would.
files_of ()
{
  rm -rf tree
  mkdir tree
  debugfs -R 'rdump / tree' "$1" > /dev/null 2>&1
  (cd tree && sha256sum -- *[0-9] | sed "s,  ,  /mnt/$2/,")
  rm -rf tree
}

# sound IMAGE: our check and qemu's find nothing but perhaps unused space.
sound ()
{
  "$vmdk_img" check "$1" > check.out 2>&1 ||
    grep -q '^Found no errors, no warnings' check.out ||
    fail "$1: $(cat check.out)"
  qemu-img check -f vmdk "$1" > check.out 2>&1 ||
    fail "$1: qemu-img: $(cat check.out)"
}

# sound_disk IMAGE DEV LOG [some]: as above, and its file system is sound and
# has what was loaded.  Leaves it in raw.
sound_disk ()
{
  sound "$1"
  qemu-img convert -f vmdk -O raw "$1" raw
  serve "$1" -r
  nbdcopy "$uri" - | cmp - raw || fail "qemu and we read different bytes"
  stop_server
  e2fsck -f -n raw > e2fsck.out 2>&1 || fail "$1: $(cat e2fsck.out)"
  files_of raw "$2" > files.out
  all_kept "$2" "$3" files.out "${@:4}"
}

# kib IMAGE...: what they take on the file system.
kib ()
{
  du -k -c "$@" | tail -n 1 | cut -f 1
}
