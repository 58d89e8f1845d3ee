#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What a disk must be after it was written: the model of its content, and
# the rules that its tables have to keep.
"""Say what a disk must be after it was written.

  vmdkwritten.py change SOCKET RAW REQUEST...
                                        send nbdclient.py's requests, and do
                                        the same to a raw file; nothing is
                                        printed when all succeed
  vmdkwritten.py model RAW REQUEST...   do them only to the raw file
  vmdkwritten.py sound FILE...          look at the tables of each file that
                                        is a sparse extent: nothing is
                                        printed when all is well
  vmdkwritten.py places FILE            GRAIN:SECTOR of every entry

It knows the formats from vmdkformat.py, and nothing of the code that wrote
the disk.  A trim is taken to zero its whole range: ask only for whole grains.
"""

import os
import sys

sys.dont_write_bytecode = not sys.pycache_prefix

from nbdclient import (  # noqa: E402
    Client, ServerError, content, next_request, run)
from vmdkformat import (  # noqa: E402
    COWD, COWD_MAGIC, KDMV, KDMV_MAGIC, SECTOR, ceil, read_int)


def apply(raw, name, args):
    """Do a request to a raw file."""
    if name == 'flush':
        return
    offset, length = int(args[0]), int(args[1])
    raw.seek(offset)
    if name == 'write':
        raw.write(content(args[2], offset, length))
    else:
        assert name in ('zero', 'trim'), name
        raw.write(bytes(length))


def model(raw_path, words):
    """Do requests to a raw file."""
    with open(raw_path, 'r+b') as raw:
        while words:
            name, args, _ = next_request(words)
            apply(raw, name, args)


def change(path, raw_path, words):
    """Do requests to a disk and to a raw file."""
    client = Client(path)
    with open(raw_path, 'r+b') as raw:
        while words:
            name, args, flags = next_request(words)
            try:
                run(client, name, args, flags)
            except ServerError as error:
                print('%s %s: error %d' % (name, ' '.join(args),
                                           error.args[0]))
                return 1
            apply(raw, name, args)
    client.close()
    return 0


class Extent:
    """Header and tables of a sparse extent."""

    def __init__(self, path):
        self.path = path
        self.f = open(path, 'rb')
        self.size = os.path.getsize(path)
        magic = read_int(self.f, 0, '<I') if self.size >= 4 else 0
        self.sparse = magic in (KDMV_MAGIC, COWD_MAGIC)
        if magic == KDMV_MAGIC:
            self.read_kdmv()
        elif magic == COWD_MAGIC:
            self.read_cowd()

    def read_kdmv(self):
        """Hosted sparse: one directory or two."""
        get = lambda name: KDMV.get(self.f, 0, name)  # noqa: E731
        self.grain, self.entries = get('grainSize'), get('numGTEsPerGT')
        self.capacity = get('capacity')
        self.directories = [get('gdOffset')]
        if get('flags') & 2:
            self.directories.append(get('rgdOffset'))
        self.first, self.free = get('overHead'), None
        self.unclean = get('uncleanShutdown')
        self.compressed = get('flags') & 0x10000

    def read_cowd(self):
        """COWD: one directory, and a header that says what is free."""
        get = lambda name: COWD.get(self.f, 0, name)  # noqa: E731
        self.grain, self.entries = get('grainSize'), 4096
        self.capacity = get('numSectors')
        self.directories = [get('gdOffset')]
        self.first, self.free = get('gdOffset'), get('freeSector')
        self.unclean = get('uncleanShutdown')
        self.compressed = 0

    def words(self, sector, count):
        """32-bit numbers."""
        self.f.seek(sector * SECTOR)
        data = self.f.read(count * 4).ljust(count * 4, b'\0')
        return [int.from_bytes(data[i:i + 4], 'little')
                for i in range(0, len(data), 4)]

    def tables(self):
        """(number, [sector in each directory])"""
        count = ceil(self.capacity, self.grain * self.entries)
        return enumerate(zip(*(self.words(d, count)
                               for d in self.directories)))

    def places(self):
        """(grain, sector) of each entry in the primary tables."""
        for number, sectors in self.tables():
            if sectors[0] == 0:
                continue
            for i, place in enumerate(self.words(sectors[0], self.entries)):
                if place:
                    yield number * self.entries + i, place


def differing_tables(extent):
    """Complaints about what isn't the same in both directories."""
    for number, sectors in extent.tables():
        if 0 < sectors.count(0) < len(sectors):
            yield 'table %d is in one directory only' % number
        elif sectors[0] and len(sectors) == 2:
            ours, theirs = (extent.words(s, extent.entries) for s in sectors)
            if ours != theirs:
                yield 'the copies of table %d differ' % number


def used(extent):
    """(start, end, what) of everything that an entry places, in sectors."""
    table_sectors = ceil(extent.entries * 4, SECTOR)
    for number, sectors in extent.tables():
        for sector in set(sectors) - {0}:
            yield sector, sector + table_sectors, 'table %d' % number
    for grain, place in extent.places():
        if place != 1:
            valid = min(extent.grain, extent.capacity - grain * extent.grain)
            yield place, place + valid, 'grain %d' % grain


def misplaced(extent):
    """Complaints about places, each of which belongs to one thing."""
    last, whose = extent.first, 'the metadata in front'
    if extent.free is None and extent.directories:
        last = 1        # tables stand before the first grain, or anywhere
    for start, end, what in sorted(used(extent)):
        if start < last:
            yield '%s at sector %d overlaps %s' % (what, start, whose)
        last, whose = max(last, end), what
    if ceil(extent.size, SECTOR) < last:
        yield '%s reaches past the end of the file' % whose
    if extent.free is not None and extent.free < last:
        yield 'freeSector is %d, but %s ends at %d' % (extent.free, whose,
                                                       last)
    if extent.free is not None and extent.free * SECTOR > extent.size:
        yield 'freeSector is %d, behind the end' % extent.free


def sound(paths):
    """Print what is wrong."""
    wrong = []
    for path in paths:
        extent = Extent(path)
        if not extent.sparse or extent.compressed:
            continue
        found = ['uncleanShutdown is set'] if extent.unclean else []
        found += differing_tables(extent)
        found += misplaced(extent)
        wrong += ['%s: %s' % (path, text) for text in found]
    print('\n'.join(wrong[:20]), end='\n' if wrong else '')
    return 1 if wrong else 0


def main(argv):
    """Do what the usage says."""
    if len(argv) < 3:
        print(__doc__)
        return 2
    if argv[1] == 'change':
        return change(argv[2], argv[3], argv[4:])
    if argv[1] == 'model':
        model(argv[2], argv[3:])
    elif argv[1] == 'sound':
        return sound(argv[2:])
    elif argv[1] == 'places':
        print(' '.join('%d:%d' % p for p in Extent(argv[2]).places()))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
