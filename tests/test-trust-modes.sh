#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What nobody else may read of a disk, nobody may read of what is made of it:
# other disks, children, undo files.  What is changed keeps its owner and mode.

. ./functions.sh
requires python3
cd "$scratch"
umask 022
mkdir made disk

# modes FILE...: of all of them, which must be the same.
modes ()
{
  stat -c %a "$@" | sort -u
}

# expect_modes MODE FILE...
expect_modes ()
{
  [ "$(modes "${@:2}")" = "$1" ] ||
    fail "expected mode $1: $(stat -c '%a %n' "${@:2}" | tr '\n' ' ')"
}

# New files.
$vmdkgen sparse size=400 s.vmdk s.raw
$vmdkgen flat size=400 f.vmdk
for mode in 600 640 644; do
  chmod $mode s.vmdk f-flat.vmdk
  rm -rf disk/*
  "$vmdk_img" convert -q s.vmdk disk/1.vmdk
  "$vmdk_img" convert -q -t twoGbMaxExtentFlat s.vmdk disk/2.vmdk
  "$vmdk_img" convert -q s.vmdk disk/3.raw
  "$vmdk_img" convert -q s.vmdk disk/4.ova
  "$vmdk_img" convert -q disk/4.ova disk/5.vmdk
  "$vmdk_img" convert -q f.vmdk disk/6.vmdk
  "$vmdk_img" convert -q -f raw f-flat.vmdk disk/7.vmdk
  expect_modes $mode disk/*
  rm -f s-0* f-0*
  "$vmdk_img" snapshot -q s.vmdk >/dev/null
  "$vmdk_img" snapshot -q f.vmdk >/dev/null
  "$vmdk_img" create -q --parent=s.vmdk s-02.vmdk
  expect_modes $mode s-0* f-0*
done
chmod 444 s.vmdk
rm disk/1.vmdk
"$vmdk_img" convert -q s.vmdk disk/1.vmdk
expect_modes 644 disk/1.vmdk
chmod 600 s.vmdk

# What is replaced says what its successor has.
chmod 664 disk/1.vmdk
"$vmdk_img" convert -q --force s.vmdk disk/1.vmdk
expect_modes 664 disk/1.vmdk
chmod 600 disk/3.raw
chmod 644 s.vmdk
"$vmdk_img" convert -q --force s.vmdk disk/3.raw
expect_modes 600 disk/3.raw

# changed COMMAND [ARGS...]: the files of disk/ keep their owner and mode;
# others that it makes are no more open.
user=$(id -u):$(id -g)
[ "$(id -u)" -ne 0 ] || user=65534:65534
changed ()
{
  local name

  rm -rf disk
  cp -r made disk
  chown "$user" disk/*
  for mode in 640 600; do
    chmod $mode disk/*
    "$vmdk_img" "$@" > out 2>&1 || fail "$*: $(cat out)"
    for name in disk/*; do
      if [ -e "made/${name#disk/}" ]; then
        [ "$(stat -c %a:%u:%g "$name")" = "$mode:$user" ] ||
          fail "$*: $name has $(stat -c %a:%u:%g "$name")"
      else
        [[ $(stat -c %a "$name") =~ ^6[04]0$ ]] ||
          fail "$*: $name has mode $(stat -c %a "$name")"
        rm "$name"
      fi
    done
    cp made/* disk # what they are, not their modes
  done
}

$vmdkgen sparse size=400 alloc=all made/d.vmdk 'rgte[1]=0'
changed repair disk/d.vmdk
[ ! -e disk/d.vmdk.undo ] && grep -q 'repaired' out || fail "$(cat out)"
$vmdkgen sparse size=400 made/d.vmdk
changed compact disk/d.vmdk
changed resize disk/d.vmdk +1M
changed rebuild-descriptor --force disk/d.vmdk
rm made/*
"$vmdk_img" create -q -t twoGbMaxExtentSparse 1G made/d.vmdk
changed resize disk/d.vmdk 5G
changed rebuild-descriptor --force disk/d.vmdk
rm made/*
$vmdkgen chain size=400 layers='flat; sparse grain=8 alloc=1-5' made/d.vmdk
changed commit disk/d.vmdk
changed pull disk/d.vmdk
sed -i 's/^CID=.*/CID=87654321/' made/d-0.vmdk
changed fix-cid disk/d.vmdk
rm made/*
$vmdkgen chain size=400 layers='stream; sparse alloc=1-2' made/d.vmdk
changed commit disk/d.vmdk
rm made/*
$vmdkgen chain size=400 layers='sparse; sesparse alloc=30-40' made/d.vmdk
changed pull disk/d.vmdk

# A file that another user has put where an extent is to be.
if [ "$(id -u)" -eq 0 ]; then
  rm -rf disk
  mkdir disk
  "$vmdk_img" create -q -t twoGbMaxExtentFlat 1G disk/d.vmdk
  touch disk/d-f002.vmdk
  chown 65532 disk/d-f002.vmdk
  expect_error "d-f002.vmdk, and there is such a file already, .* another" \
    "$vmdk_img" resize disk/d.vmdk 3G
  chown 0 disk/d-f002.vmdk
  "$vmdk_img" resize -q disk/d.vmdk 3G
fi

# Another one's file, in a folder that both may write: his group may read the
# new one, or nobody.
[ "$(id -u)" -eq 0 ] || exit 0
rm -rf disk
cp -r made disk
cp "$vmdk_img" .
chmod 755 .
chmod 777 disk
chown 65532:65533 disk/*
chmod 664 disk/*
chmod 640 disk/*-sesparse.vmdk
as ()
{
  setpriv --reuid=65534 --regid=65534 "$@"
}
as --clear-groups ./vmdk-img --version >/dev/null ||
  skip "another user can't run vmdk-img here"
expect_error 'Permission denied' as --clear-groups ./vmdk-img pull disk/d.vmdk
chmod 664 disk/*-sesparse.vmdk
as --groups=65533 ./vmdk-img pull -q disk/d.vmdk
[ "$(stat -c %u:%g:%a disk/d-sesparse.vmdk)" = 65534:65533:664 ] ||
  fail "its member: $(stat -c %u:%g:%a disk/d-sesparse.vmdk)"
cp -p made/* disk
chown 65532:65533 disk/*
chmod 666 disk/*
chmod 646 disk/d-sesparse.vmdk
as --clear-groups ./vmdk-img pull -q disk/d.vmdk
[ "$(stat -c %u:%g:%a disk/d-sesparse.vmdk)" = 65534:65534:606 ] ||
  fail "another one: $(stat -c %u:%g:%a disk/d-sesparse.vmdk)"
