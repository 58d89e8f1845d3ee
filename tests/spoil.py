#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Many spoiled copies of one image, at the price of one start of Python.
"""Copy a file once for each line of standard input, and spoil the copy.

  spoil.py FILE

Line N has NAME=VALUE as vmdkgen.py's poke takes them, length=BYTES, and
@OFFSET=HEX for bytes anywhere, blanks between; the copy is case-N.
"""

import os
import re
import sys

sys.dont_write_bytecode = True

from vmdkformat import offset_of, poke  # noqa: E402

BLOCK = 4096


def blocks(path):
    """(offset, bytes) of those blocks of a file that aren't zero."""
    with open(path, 'rb') as f:
        at = 0
        while block := f.read(BLOCK):
            if block.strip(b'\0'):
                yield at, block
            at += len(block)


def write(path, good, length):
    """Write such blocks."""
    with open(path, 'wb') as f:
        for at, block in good:
            f.seek(at)
            f.write(block)
        f.truncate(length)


def spoil(path, name, value):
    """Do one NAME=VALUE."""
    if name == 'length':
        os.truncate(path, int(value, 0))
    elif name.startswith('@'):
        with open(path, 'r+b') as f:
            f.seek(offset_of(f, name[1:]))
            f.write(bytes.fromhex(value))
    else:
        poke(path, name, value)


def main(argv):
    """Do what the usage says."""
    if len(argv) != 2:
        print(__doc__)
        return 2
    good, length = list(blocks(argv[1])), os.path.getsize(argv[1])
    for number, line in enumerate(sys.stdin, 1):
        path = 'case-%d' % number
        write(path, good, length)
        for name, value in re.findall(r'(\S+)=(\S+)', line):
            spoil(path, name, value)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
