#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Names of extents in the encoding that the descriptor declares: the file is
# found by its name in UTF-8, or by the bytes as they are.

. ./functions.sh

cd "$scratch"

# named ENCODING NAME
named ()
{
  check_built vmfs size=200 "encoding=$1" "file=$2"
  cd "$scratch/disk"
  bytes=$(printf %s "$2" | iconv -f UTF-8 -t "$1")
  [ "$bytes" = "$2" ] || mv "$2" "$bytes"
  check_guest d.vmdk d.raw m
  cd "$scratch"
}

requires iconv --version
named UTF-8 'naïve ☃.vmdk'
named windows-1252 'Größe €.vmdk'
named windows-1252 plain.vmdk
named Shift_JIS '仮想ディスク.vmdk'
named GBK '虚拟磁盘.vmdk'
# An encoding that nobody knows: the bytes as they are.
check_built vmfs size=200 file=x.vmdk
sed -i 's/^CID/encoding="x-nothing"\nCID/' "$scratch/disk/d.vmdk"
serve file="$scratch/disk/d.vmdk"
check_server "$scratch/disk/d.raw" "$scratch/disk/m"
