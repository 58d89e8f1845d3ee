#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Descriptors as different programs and hands write them.

. ./functions.sh
# For reading alone, nothing keeps others out.
nbdkit_command+=(-r)

# Ends of lines, letters, quotes, blanks, missing parts.
for options in crlf=1 eol=0 'crlf=1 eol=0' case=lower case=upper case=swapcase \
               quote=0 spaces=1 ddb=0 \
               'crlf=1 eol=0 case=upper quote=0 spaces=1 ddb=0'; do
  check_built vmfs size=2000 $options
  check_built sparse size=2000 $options
done
check_built sparse size=2000 crlf=1 descsize=1 ddb=0
check_built sparse size=2000 descoffset=7 descsize=30

# Lines in another order.
check_built split size=2000 piece=600 \
            keys=version,extents,createType,CID,parentCID,ddb
check_built split size=2000 piece=600 keys=ddb,extents,CID,parentCID,version

# Keys that nobody knows.
check_built vmfs size=2000 desc.isNativeSnapshot=no desc.changeTrackPath=x-ctk \
            desc.newThing=1 ddb.longContentID=0 'ddb.comment=a b=c # d'

# What an embedded extent line says of its file doesn't matter.
check_built sparse size=2000 extname=other.vmdk
check_built sparse size=2000 extname=/etc/passwd
check_built stream size=2000 extname=
