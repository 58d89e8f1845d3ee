#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What files must look like that were made from their first byte to their
# last: streams, seSparse extents, OVAs.
"""Say whether a new file is laid out as VMware's programs do it.

  vmdkbuilt.py stream FILE RAW...       walk over streams as a program does
                                        that reads them from a pipe
  vmdkbuilt.py sesparse FILE RAW...
  vmdkbuilt.py same-sesparse FILE HOST  the same tables and maps as an extent
                                        of a host, of the same size
  vmdkbuilt.py ova FILE DISK            DISK gets the disk in it

RAW has the content of the disk.  In a child, which is meant by child-stream
and child-sesparse, grains may say that they are zero, and only those that are
not in the file may be anything.  Something is printed about each file when
all is well; otherwise the exit status is 1.
"""

import hashlib
import io
import os
import re
import struct
import sys
import tarfile
import xml.etree.ElementTree
import zlib

sys.dont_write_bytecode = not sys.pycache_prefix

from vmdkformat import (  # noqa: E402
    GD_AT_END, KDMV, KDMV_MAGIC, MARKER, SECTOR, SESPARSE, SESPARSE_MAGIC,
    VOLATILE, VOLATILE_MAGIC, ceil, roundup)

GRAIN = 65536
MAX_PACKED = 66036


class Wrong(Exception):
    """The file isn't as it must be."""


def must(condition, text, *args):
    """Complain."""
    if not condition:
        raise Wrong(text % args if args else text)


def fields(layout, block):
    """All fields of a structure; what is outside of them must be zero."""
    f = io.BytesIO(block)
    found = {name: layout.get(f, 0, name) for name in layout.fields}
    must(layout.pack(**found) == block, 'the padding of a structure')
    return found


def sectors_at(f, sector, count=1):
    """Read whole sectors."""
    f.seek(sector * SECTOR)
    data = f.read(count * SECTOR)
    must(len(data) == count * SECTOR, 'the file ends at sector %d', sector)
    return data


def size_of(f):
    """Length of a file in bytes."""
    return f.seek(0, os.SEEK_END)


def content_of(raw, offset, length):
    """Bytes of the raw file, and zeroes behind its end."""
    raw.seek(offset)
    return raw.read(length).ljust(length, b'\0')


def next_data(raw, offset):
    """Where the raw file has something that isn't a hole."""
    try:
        return os.lseek(raw.fileno(), offset, os.SEEK_DATA)
    except OSError:
        return sys.maxsize


# ---------------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------------

class Stream:
    """A walk over the markers."""

    def __init__(self, f, raw, child):
        self.f, self.raw, self.child = f, raw, child
        self.at = 128
        self.last = -1              # grain
        self.gt = {}                # of the region that is walked over
        self.gd = {}
        self.grains = 0

    def header(self):
        """Check what comes before the grains."""
        h = fields(KDMV, sectors_at(self.f, 0))
        capacity = ceil(size_of(self.raw), SECTOR)
        must(h == dict(
            magic=KDMV_MAGIC, version=3, flags=0x30001, capacity=capacity,
            grainSize=128, descriptorOffset=1,
            descriptorSize=h['descriptorSize'], numGTEsPerGT=512,
            rgdOffset=0, gdOffset=GD_AT_END, overHead=128,
            uncleanShutdown=0, singleEndLineChar=10, nonEndLineChar=32,
            doubleEndLineChar1=13, doubleEndLineChar2=10,
            compressAlgorithm=1), 'header: %s', h)
        text, _, rest = sectors_at(self.f, 1, 127).partition(b'\0')
        must(text.startswith(b'# Disk DescriptorFile\n'), 'no descriptor')
        must(re.search(rb'^RDONLY %d SPARSE "|^RW %d SPARSE "'
                       % (capacity, capacity), text, re.M), 'extent line')
        must(not rest.strip(b'\0'), 'something before the first grain')
        must(len(text) <= h['descriptorSize'] * SECTOR, 'descriptor of %d '
             'bytes', len(text))
        return h

    def grain(self, lba, size):
        """Check one grain, and step over it."""
        count = ceil(12 + size, SECTOR)
        block = sectors_at(self.f, self.at, count)
        number = lba * SECTOR // GRAIN
        must(lba % 128 == 0, 'LBA %d is inside of a grain', lba)
        must(number > self.last, 'grain %d comes late', number)
        must(size <= MAX_PACKED, 'grain %d: %d bytes', number, size)
        must(not self.gt or min(self.gt) // 512 == number // 512,
             'no table before grain %d', number)
        must(not block[12 + size:].strip(b'\0'), 'padding of grain %d',
             number)
        data = zlib.decompress(block[12:12 + size])     # checks Adler-32
        must(data == content_of(self.raw, number * GRAIN, GRAIN),
             'content of grain %d', number)
        must(self.child or data.strip(b'\0'), 'grain %d is zero', number)
        self.gt[number] = self.at
        self.zeroes(self.last + 1, number)
        self.last = number
        self.grains += 1
        self.at += count

    def zeroes(self, first, end):
        """These aren't in the file."""
        first, end = first * GRAIN, end * GRAIN
        while not self.child:
            first = next_data(self.raw, first)
            if first >= end:
                break
            length = min(end - first, 1 << 20)
            must(not content_of(self.raw, first, length).strip(b'\0'),
                 'grain %d or one of the next is missing', first // GRAIN)
            first += length

    def entries(self, count):
        """Payload of a marker."""
        data = sectors_at(self.f, self.at + 1, count)
        return struct.unpack('<%dI' % (len(data) // 4), data)

    def table(self, value):
        """Check a grain table."""
        must(value == 4, 'grain table: %d sectors', value)
        must(self.gt, 'empty grain table at sector %d', self.at)
        first = min(self.gt) // 512 * 512
        must(list(self.entries(4)) == [self.gt.get(first + i, 0)
                                       for i in range(512)],
             'grain table at sector %d', self.at)
        self.gd[first // 512] = self.at + 1
        self.gt = {}
        self.at += 5

    def directory(self, value, capacity):
        """Check the grain directory."""
        count = ceil(capacity, 65536)
        must(not self.gt, 'the last grain table is missing')
        must(value == ceil(count * 4, SECTOR), 'directory: %d sectors', value)
        must(list(self.entries(value)) == [self.gd.get(i, 0)
                                           for i in range(value * 128)],
             'directory')
        self.at += 1 + value

    def marker(self):
        """Value, size and type of what comes next."""
        block = sectors_at(self.f, self.at)
        m = fields(MARKER, block[:16] + bytes(496))
        if m['size'] == 0:
            must(not block[16:].strip(b'\0'), 'padding of a marker')
        return m['val'], m['size'], m['type']

    def expect(self, kind, what):
        """Check that a marker comes next, and return its value."""
        value, size, found = self.marker()
        must(size == 0 and found == kind, 'sector %d: no %s', self.at, what)
        return value

    def walk(self):
        """Check everything."""
        header = self.header()
        value, size, kind = self.marker()
        while size or kind == 1:
            if size:
                self.grain(value, size)
            else:
                self.table(value)
            value, size, kind = self.marker()
        self.zeroes(self.last + 1, ceil(header['capacity'], 128))
        header['gdOffset'] = self.at + 1
        self.directory(self.expect(2, 'directory'), header['capacity'])
        must(self.expect(3, 'footer marker') == 1, 'footer marker')
        footer = fields(KDMV, sectors_at(self.f, self.at + 1))
        must(footer == header, 'footer: %s', footer)
        self.at += 2
        must(self.expect(0, 'end of stream') == 0, 'end of stream')
        must(size_of(self.f) == (self.at + 1) * SECTOR, 'bytes after the end')
        print('%s: grains=%d tables=%d' % (self.f.name, self.grains,
                                           len(self.gd)))


def stream(path, raw_path, child=False):
    """Check a stream."""
    with open(path, 'rb') as f, open(raw_path, 'rb') as raw:
        Stream(f, raw, child).walk()


# ---------------------------------------------------------------------------
# seSparse
# ---------------------------------------------------------------------------

def rotated(kind, number):
    """An entry of a table or of the back map."""
    return kind << 60 | (number & 0xfff) << 48 | number >> 12


def sesparse_layout(capacity):
    """The const header that a host writes."""
    tables = ceil(capacity, 32768)
    h = dict.fromkeys(SESPARSE.fields, 0)
    h.update(magic=SESPARSE_MAGIC, version=0x200000001, capacity=capacity,
             grainSize=8, grainTableSize=64, volatileHeaderOffset=1,
             volatileHeaderSize=1, journalHeaderOffset=2, journalHeaderSize=2,
             journalOffset=2048, journalSize=2048)
    at = 4096
    for name, count in (('grainDirectory', ceil(tables * 8, SECTOR)),
                        ('grainTables', tables * 64),
                        ('freeBitmap', ceil(ceil(ceil(capacity, 8), 8),
                                            SECTOR)),
                        ('backMap', tables * 64)):
        h[name + 'Offset'], h[name + 'Size'] = at, roundup(count, 2048)
        at += roundup(count, 2048)
    h['grainsOffset'], h['grainsSize'] = at, capacity
    return h


def words(f, sector, count):
    """Read 64 bit numbers."""
    return struct.unpack('<%dQ' % (count * 64), sectors_at(f, sector, count))


class SeSparse:
    """An extent, and what its maps have to be."""

    def __init__(self, f, raw, child):
        self.f, self.raw, self.child = f, raw, child
        self.h = fields(SESPARSE, sectors_at(f, 0))
        self.owners = []            # guest's grain of each grain

    def entry(self, g, value):
        """Check an entry of a grain table."""
        data = content_of(self.raw, g * 4096, 4096)
        if value >> 60 == 3:
            must(value == rotated(3, len(self.owners)), 'entry of grain %d: '
                 '%#x', g, value)
            must(sectors_at(self.f, self.h['grainsOffset'] +
                            8 * len(self.owners), 8) == data,
                 'content of grain %d', g)
            must(data.strip(b'\0'), 'grain %d is zero', g)
            self.owners.append(g)
        else:
            must(value == 0 or (self.child and value == 2 << 60),
                 'entry of grain %d: %#x', g, value)
            must((value == 0 and self.child) or not data.strip(b'\0'),
                 'grain %d is missing', g)

    def tables(self):
        """Check directory and tables; the number of these."""
        used = 0
        gd = words(self.f, self.h['grainDirectoryOffset'],
                   self.h['grainDirectorySize'])
        for n, gde in enumerate(gd):
            if gde:
                must(gde == 1 << 60 | used, 'directory entry %d: %#x', n, gde)
                table = words(self.f, self.h['grainTablesOffset'] + used * 64,
                              64)
                must(any(table), 'table %d is empty', n)
                used += 1
            elif n * 4096 * 4096 < size_of(self.raw):
                table = [0] * 4096
            else:
                continue
            for i, value in enumerate(table):
                g = n * 4096 + i
                if value or next_data(self.raw, g * 4096) < (g + 1) * 4096:
                    self.entry(g, value)
        return used

    def maps(self):
        """Check bitmap and back map."""
        count = len(self.owners)
        bits = int.from_bytes(sectors_at(self.f, self.h['freeBitmapOffset'],
                                         self.h['freeBitmapSize']), 'little')
        must(bits == (1 << count) - 1, 'free bitmap')
        back = list(words(self.f, self.h['backMapOffset'],
                          self.h['backMapSize']))
        must(back[:count] == [rotated(1, g) for g in self.owners] and
             not any(back[count:]), 'back map')

    def check(self):
        """Check everything."""
        capacity = ceil(size_of(self.raw), SECTOR)
        must(self.h == sesparse_layout(capacity), 'header: %s', self.h)
        used = self.tables()
        self.maps()
        v = fields(VOLATILE, sectors_at(self.f, 1))
        must(v == dict(volatileMagic=VOLATILE_MAGIC, freeGTNumber=used,
                       nextTxnSeqNumber=0, replayJournal=0),
             'volatile header: %s', v)
        must(not sectors_at(self.f, 2, 4094).strip(b'\0'), 'journal')
        groups = ceil(len(self.owners), 4096)
        must(size_of(self.f) == self.h['grainsOffset'] * SECTOR +
             min(groups * 4096 * 4096 + 4096 * (groups > 0),
                 roundup(capacity, 8) * SECTOR), 'size of the file')
        print('%s: grains=%d tables=%d' % (self.f.name, len(self.owners),
                                           used))


def sesparse(path, raw_path, child=False):
    """Check a seSparse extent."""
    with open(path, 'rb') as f, open(raw_path, 'rb') as raw:
        SeSparse(f, raw, child).check()


def same_sesparse(path, host_path):
    """Compare an extent with a host's."""
    with open(path, 'rb') as f, open(host_path, 'rb') as host:
        end = SESPARSE.get(f, 0, 'grainsOffset')
        must(sectors_at(f, 0) == sectors_at(host, 0), 'const header')
        ours, theirs = (fields(VOLATILE, sectors_at(x, 1)) for x in (f, host))
        theirs['nextTxnSeqNumber'] = 0
        must(ours == theirs, 'volatile header: %s', ours)
        for sector in range(4096, end, 2048):
            must(sectors_at(f, sector, 2048) ==
                 sectors_at(host, sector, 2048), 'sector %d', sector)
        must(size_of(f) == size_of(host), 'size of the file')
        print('same')


# ---------------------------------------------------------------------------
# OVAs
# ---------------------------------------------------------------------------

OVF = '{http://schemas.dmtf.org/ovf/envelope/1}'
RASD = ('{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
        'CIM_ResourceAllocationSettingData}')
STREAM_FORMAT = ('http://www.vmware.com/interfaces/specifications/vmdk.html'
                 '#streamOptimized')


def items_of(machine):
    """Items of the hardware by their IDs."""
    items = {}
    for item in machine.iter(OVF + 'Item'):
        names = [e.tag for e in item]
        must(names == sorted(names), 'order of %s', names)
        item = {e.tag.replace(RASD, ''): e.text for e in item}
        must(item['InstanceID'] not in items, 'an ID is there twice')
        items[item['InstanceID']] = item
    return items


def check_ovf(root, disk, size):
    """Check that the parts of an OVF refer to each other."""
    file = root.find('%sReferences/%sFile' % (OVF, OVF))
    must(file.get(OVF + 'href') == disk, 'href %s', file.get(OVF + 'href'))
    must(int(file.get(OVF + 'size')) == size, 'size')
    d = root.find('%sDiskSection/%sDisk' % (OVF, OVF))
    must(d.get(OVF + 'fileRef') == file.get(OVF + 'id'), 'fileRef')
    must(d.get(OVF + 'format') == STREAM_FORMAT, 'format')
    must(d.get(OVF + 'capacityAllocationUnits') == 'byte', 'units')
    items = items_of(root.find(OVF + 'VirtualSystem'))
    drive, = (i for i in items.values() if i['ResourceType'] == '17')
    must(drive['HostResource'] == 'ovf:/disk/' + d.get(OVF + 'diskId'),
         'HostResource')
    controller = items[drive['Parent']]
    return d, controller


def ova(path, disk_path):
    """Check an OVA and take its disk out."""
    with tarfile.open(path, 'r:') as tar:
        members = tar.getmembers()
        names = [m.name for m in members]
        base = names[0][:-4]
        must(names == [base + '.ovf', base + '.mf', base + '-disk1.vmdk'],
             'members: %s', names)
        must(all((m.mode, m.uid, m.gid, m.mtime, m.type) ==
                 (0o644, 0, 0, 315532800, b'0') for m in members), 'modes')
        data = [tar.extractfile(m).read() for m in members]
    end = members[2].offset_data + roundup(members[2].size, SECTOR)
    with open(path, 'rb') as f:
        f.seek(end)
        must(f.read() == bytes(1024), 'end of the archive')
    must(data[1].decode() == ''.join(
        'SHA256(%s)= %s\n' % (names[i], hashlib.sha256(data[i]).hexdigest())
        for i in (0, 2)), 'manifest')
    root = xml.etree.ElementTree.fromstring(data[0])
    d, controller = check_ovf(root, names[2], members[2].size)
    system = root.find(OVF + 'VirtualSystem')
    with open(disk_path, 'wb') as f:
        f.write(data[2])
    print(names[2], system.get(OVF + 'id'), d.get(OVF + 'capacity'),
          d.get(OVF + 'populatedSize'), controller['ResourceType'],
          controller.get('ResourceSubType', '-'),
          next(e.text for e in root.iter() if e.tag.endswith('SystemType')),
          system.find(OVF + 'Name').text)


COMMANDS = {'stream': stream, 'sesparse': sesparse,
            'child-stream': lambda f, raw: stream(f, raw, True),
            'child-sesparse': lambda f, raw: sesparse(f, raw, True),
            'same-sesparse': same_sesparse, 'ova': ova}


def main(argv):
    """Run a command; 0 is returned when the file is right."""
    for i in range(1, len(argv), 2):
        try:
            COMMANDS[argv[0]](argv[i], argv[i + 1])
        except (Wrong, zlib.error, tarfile.TarError) as e:
            print('%s: %s' % (argv[i], e))
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
