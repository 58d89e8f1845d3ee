#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Block status of disks that are larger than its lengths can say.
"""Ask for block status near some offsets, and compare it with a model.

  nbdstatus.py SOCKET MAP OFFSET...

MAP is what vmdkgen.py writes with map=.  Requests begin and end at and around
each of the offsets, and have the lengths around 2 and 4 GiB, and others; all
of them with and without REQ_ONE.  Prints how many that were.
"""

import itertools
import json
import sys

sys.dont_write_bytecode = True

from nbdclient import FLAG_REQ_ONE, Client, ServerError  # noqa: E402

GiB = 1 << 30
EINVAL = 22
HOLE, ZERO = 1, 2
LENGTHS = (1, 511, 512, 513, 65536, GiB - 1, GiB, GiB + 1, 2 * GiB - 1,
           2 * GiB, 2 * GiB + 1, 4 * GiB - 65536, 4 * GiB - 512, 4 * GiB - 1)


class Model:
    """What vmdkgen.py says of the disk."""

    def __init__(self, path):
        with open(path, encoding='utf-8') as f:
            ranges = json.load(f)
        self.size = ranges[-1]['offset'] + ranges[-1]['length']
        self.data = [(r['offset'], r['offset'] + r['length']) for r in ranges
                     if r['status'] in ('data', 'packed')]

    def kinds(self, start, end):
        """Is there data in a range?  And anything else?"""
        inside = sum(max(0, min(end, e) - max(start, s))
                     for s, e in self.data)
        return inside > 0, inside < end - start


def ask(client, model, offset, length, flags):
    """Make a request; what is wrong with the answer, or None."""
    try:
        extents = client.extents(offset, length, flags)
    except ServerError as error:
        return error.args[0] != EINVAL or offset + length <= model.size
    if offset + length > model.size:
        return 'no error'
    if flags and (len(extents) != 1 or extents[0][1] > length):
        return 'not one: %s' % extents
    at = offset
    for start, size, kind in extents:
        if start != at or size == 0 or at >= offset + length:
            return 'gap or too many: %s' % extents
        at += size
        # Where it says data all is data: these disks have nothing else.
        if model.kinds(start, at) != (kind == 0, kind != 0) or \
           kind not in (0, HOLE | ZERO):
            return '%d+%d is not %d' % (start, size, kind)
    return at > model.size


def read(client, model, offset):
    """Is what can be read data or zero, as the model says?"""
    if not 0 <= offset < model.size:
        return None
    return any(client.read(offset, 1)) != model.kinds(offset, offset + 1)[0]


def main(argv):
    """Do what the usage says."""
    if len(argv) < 4:
        print(__doc__)
        return 2
    model, client = Model(argv[2]), Client(argv[1])
    assert client.size == model.size
    places = [int(o) for o in argv[3:]] + [0, model.size]
    places += [s for s, _ in model.data] + [e for _, e in model.data]
    starts = {p + d for p in places for d in (-65536, -512, -1, 0, 1, 512)}
    count = 0
    for start in sorted(starts):
        if start < 0:
            continue
        assert not read(client, model, start), 'read at %d' % start
        ends = [e - start for e in starts if 0 < e - start < 4 * GiB]
        for length, flags in itertools.product(
                {*LENGTHS, *ends}, (0, FLAG_REQ_ONE)):
            wrong = ask(client, model, start, length, flags)
            if wrong:
                sys.exit('%d+%d, flags %d: %s' % (start, length, flags, wrong))
            count += 1
    print(count)
    client.close()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
