#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Compare the extents that a server reports with those of the model.
"""Compare extents.

  nbdinfo --map --json URI | comparemap.py MODEL RAW [single-link]

MODEL is what vmdkgen.py writes with map=, RAW the guest's disk.  Data must be
allocated, but where the bytes are zero the file may have a hole; everything
else must be a hole that reads as zero.  With single-link what the layer
doesn't say must be a hole of unknown content.
"""

import json
import sys

HOLE, ZERO = 1, 2
PIECE = 1 << 20


def is_zero(raw, offset, length):
    """Is that range of the file zero?"""
    raw.seek(offset)
    while length > 0:
        data = raw.read(min(length, PIECE))
        if not data or data.count(0) != len(data):
            return False
        length -= len(data)
    return True


def explain(model, found, start, end, single_link, raw):
    """What is wrong with a range that is one of the model's and one found,
    or None."""
    status, kind = model['status'], found['type']
    if status in ('data', 'packed'):
        # The bytes of the hole, not those of the pages around it.
        right = kind == 0 or (kind == HOLE | ZERO and status == 'data'
                              and is_zero(raw, start, end - start))
    elif status == 'noaccess':
        right = kind == 0
    elif status == 'absent' and single_link:
        right = kind == HOLE
    else:
        right = kind == HOLE | ZERO
    if right:
        return None
    return '%d+%d is %s but was reported as type %d' % (
        start, end - start, status, kind)


def main(argv):
    """Print the first difference, and fail."""
    with open(argv[1], encoding='utf-8') as f:
        models = json.load(f)
    found = json.load(sys.stdin)
    single_link = 'single-link' in argv[3:]
    at = 0
    for f in found:
        if f['offset'] != at:
            print('the extents have a gap at %d' % at)
            return 1
        at += f['length']
    end = models[-1]['offset'] + models[-1]['length']
    if at != end:
        print('the extents end at %d, the disk at %d' % (at, end))
        return 1
    with open(argv[2], 'rb') as raw:
        i = 0
        for m in models:
            stop = m['offset'] + m['length']
            while True:
                f = found[i]
                f_stop = f['offset'] + f['length']
                wrong = explain(m, f, max(m['offset'], f['offset']),
                                min(stop, f_stop), single_link, raw)
                if wrong:
                    print(wrong)
                    return 1
                if f_stop > stop:
                    break
                i += 1
                if f_stop == stop:
                    break
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
