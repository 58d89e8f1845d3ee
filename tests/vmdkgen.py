#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Build VMDK images, and say what a guest must find in them, for the tests.
"""Build VMDK images, and say what a guest must find in them.

  vmdkgen.py BUILDER [KEY=VALUE...] OUT.vmdk [RAW]
  vmdkgen.py peek|where FILE NAME
  vmdkgen.py poke FILE NAME VALUE
  vmdkgen.py patch FILE OFFSET u8|u16|u32|u64|hex VALUE
  vmdkgen.py truncate FILE LENGTH

This is the model that the C code is checked against, so it knows the formats
and nothing of that code.  RAW gets the guest's view.  Sizes and offsets in
options are sectors of 512 bytes, in `map` files and below `patch` bytes.

BUILDER   what is made
  sparse    monolithicSparse             extent    the same without descriptor
  stream    streamOptimized              cowd      vmfsSparse
  sesparse  seSparse                     flat      monolithicFlat
  vmfs      vmfs                         split     piece=N kind=sparse|flat
  custom    extents="RW 10 flat offset=63; RW 5 zero; RDONLY 77 sparse grain=8"
            (NAME=VALUE after the kind: the options of that kind, and file=,
            offset=, type= for the extent line)
  chain     layers="BUILDER KEY=VALUE...; ..." base first, or depth=N

Options of all: size= seed= map=FILE linkmap=FILE (JSON), descriptor options
(arguments of `descriptor`; desc.KEY= and ddb.KEY= add lines), extent options
(arguments of the write_... functions), extname= (what an embedded extent line
says), access=, and anything that `poke` can name, done to the first extent's
file at the end: kdmv.flags=0x10003 'gte[7]=1'.

alloc=ITEM[/STATE],...  says which grains have which state; later items win.
  ITEM   all, none, N, N-M, every:N, random:PERCENT, scatter:COUNT, or
         mixed:PERCENT, which draws the states as well
  STATE  d data that tells its address (default), n the same incompressible,
         b stored zeroes, z zero entry, u unmapped entry (seSparse)

NAME is kdmv.FIELD, footer.FIELD, cowd.FIELD, sesparse.FIELD (both headers),
gde[TABLE], gte[GRAIN], their mirrors rgde[] and rgte[], or grain[GRAIN], the
place of its data (of its marker in a stream).  OFFSET and LENGTH are numbers
or NAME[+N]; a negative LENGTH counts from the end of the file.
"""

import inspect
import os
import random
import re
import shlex
import struct
import sys
import zlib
from typing import NamedTuple

# The source tree stays as it was unpacked.
sys.dont_write_bytecode = not sys.pycache_prefix

from vmdkformat import (  # noqa: E402
    COMMANDS, COWD, COWD_MAGIC, Error, GD_AT_END, KDMV, KDMV_MAGIC, MARKER,
    SECTOR, SESPARSE, SESPARSE_MAGIC, VOLATILE, VOLATILE_MAGIC, by_table, ceil,
    poke, put, put_entries, roundup, value_of)
from vmdkview import (  # noqa: E402
    JUNK, STORED, Guest, Run, arrange, compose, merge, parse_alloc, write_map,
    write_raw)

NO_PARENT = 0xffffffff


# ---------------------------------------------------------------------------
# Hosted sparse extents
# ---------------------------------------------------------------------------

class HostedTables:
    """Grain directory and tables of a hosted sparse extent, and the mirror."""

    def __init__(self, size, grain, gtes, rng):
        self.gtes = gtes
        self.count = ceil(size, grain * gtes)
        self.gd_sectors = ceil(self.count * 4, SECTOR)
        self.gt_sectors = ceil(gtes * 4, SECTOR)
        self.rng = rng
        self.copies = []        # (sector of the directory, {table: sector})

    def place(self, at, copies, tables, order='asc'):
        """Lay out the copies from a sector on; return the sector after."""
        for _ in range(copies):
            directory, where = at, {}
            at += self.gd_sectors
            for table in arrange(tables, order, self.rng):
                where[table] = at
                at += self.gt_sectors
            self.copies.append((directory, where))
        return at

    def write(self, f, entries):
        """Write {grain: entry} into all copies."""
        for directory, where in self.copies:
            put_entries(f, directory, where, 4)
            for table, part in by_table(entries, self.gtes).items():
                put_entries(f, where[table], part, 4)

    def offsets(self):
        """The header's fields for this; the mirror stands before the primary,
        as in every program that writes one."""
        rgd = self.copies[0][0] if len(self.copies) == 2 else 0
        return {'rgdOffset': rgd, 'gdOffset': self.copies[-1][0]}


def hosted_header(guest, text, descoffset, descsize, **values):
    """A KDMV header; values are the fields which differ between layouts."""
    if text is not None:
        values.update(descriptorOffset=descoffset, descriptorSize=descsize)
        if len(text) > descsize * SECTOR:
            raise Error('the descriptor exceeds descsize=%d' % descsize)
    return KDMV.pack(magic=KDMV_MAGIC, capacity=guest.size,
                     singleEndLineChar=0x0a, nonEndLineChar=0x20,
                     doubleEndLineChar1=0x0d, doubleEndLineChar2=0x0a,
                     **values)


def write_kdmv(f, guest, text=None, *, grain=128, gtes=512, alloc='random:30',
               order='asc', version=None, flags=None, rgd=1, tables='asc',
               gdes='all', align=1, short=0, descoffset=1, descsize=20):
    """Plain hosted sparse extent.

    tables  asc, reversed, random: their order after each directory; end: all
            of them behind the grains
    gdes    all: every table exists; used: only those with an entry in use
    align   0: the first grain follows the tables at once
    short   1: the partial last grain is the last thing in the file, and ends
            with the disk
    """
    rng = guest.rng()
    count = ceil(guest.size, grain)
    states = parse_alloc(alloc, count, rng, 'dnbz', 'dnbz')
    stored = arrange([g for g in states if states[g] in STORED], order, rng)
    if short and count - 1 in stored:
        stored.remove(count - 1)
        stored.append(count - 1)
    t = HostedTables(guest.size, grain, gtes, rng)
    present = range(t.count) if gdes == 'all' else by_table(states, gtes)
    end = 1 if text is None else descoffset + descsize
    if tables != 'end':
        end = t.place(end, 1 + rgd, present, tables)
    overhead = roundup(end, grain) if align else end
    end = overhead + len(stored) * grain
    if tables == 'end':
        end = t.place(end, 1 + rgd, present)

    entries = {g: 1 for g in states if states[g] == 'z'}
    entries.update((g, overhead + i * grain) for i, g in enumerate(stored))
    zeroed = 'z' in states.values()
    f.truncate(end * SECTOR)
    put(f, 0, hosted_header(
        guest, text, descoffset, descsize, grainSize=grain, numGTEsPerGT=gtes,
        version=(2 if zeroed else 1) if version is None else version,
        flags=1 | 2 * rgd | 4 * zeroed if flags is None else flags,
        overHead=overhead, **t.offsets()))
    put(f, descoffset, text or b'')
    t.write(f, entries)
    for g in stored:
        put(f, entries[g], guest.data(g, grain, states[g]))
    if short and tables != 'end' and stored:
        f.truncate((entries[stored[-1]] + min(grain, guest.size
                                              - stored[-1] * grain)) * SECTOR)
    return guest.runs(states, grain)


class StreamFile:
    """A file that is written from front to back in blocks of whole sectors."""

    def __init__(self, f, guest, grain, sector):
        self.f = f
        self.guest = guest
        self.grain = grain
        self.at = sector

    def emit(self, data):
        """Append a block; return its sector."""
        start = self.at
        put(self.f, start, data + bytes(-len(data) % SECTOR))
        self.at += ceil(len(data), SECTOR)
        return start

    def marker(self, val, kind):
        """Append a metadata marker."""
        return self.emit(MARKER.pack(val=val, type=kind))

    def grain_block(self, g, state, level, raw, pad, lba):
        """Append a compressed grain; lba: with the 12-byte marker, not 4."""
        data = self.guest.data(g, self.grain, state, bytes(SECTOR))
        if not pad:
            data = data[:(self.guest.size - g * self.grain) * SECTOR]
        deflate = zlib.compressobj(level, zlib.DEFLATED, -15 if raw else 15)
        data = deflate.compress(data) + deflate.flush()
        head = struct.pack('<Q', g * self.grain) if lba else b''
        return self.emit(head + struct.pack('<I', len(data)) + data)


def write_stream(f, guest, text=None, *, layout='vmware', grain=128, gtes=512,
                 alloc='random:30', order='asc', version=3, flags=None,
                 level=6, raw=0, pad=1, progress=0, emptygts=0, trailing=0,
                 descoffset=1, descsize=20):
    """Compressed hosted sparse extent.

    layout    vmware: tables after the grains they name, footer at the end
              front: one directory in front, end-of-stream marker only
              qemu: two copies in front, no marker but the grains'
              nomarker: as front, grains preceded by their 4-byte size only
    raw       1: deflate data without the zlib wrapping
    pad       0: the partial last grain is stored as short as it is
    progress  N: a marker of type 4 before each N-th grain
    emptygts  1: tables without entries exist too
    trailing  sectors of junk after the end
    """
    rng = guest.rng()
    states = parse_alloc(alloc, ceil(guest.size, grain), rng, 'dnbz', STORED)
    stored = [g for g in states if states[g] in STORED]
    entries = {g: 1 for g in states if states[g] == 'z'}
    t = HostedTables(guest.size, grain, gtes, rng)
    used = by_table(states, gtes)
    present = range(t.count) if emptygts else sorted(used)
    front = 1 if text is None else descoffset + descsize
    if layout == 'vmware':
        front = roundup(front, 128)
    else:
        front = t.place(front, 2 if layout == 'qemu' else 1,
                        range(t.count) if layout != 'nomarker' else present)
        front = roundup(front, grain) if layout == 'qemu' else front
    bits = {'vmware': 0x30001, 'front': 0x30001, 'qemu': 0x30003,
            'nomarker': 0x10001}[layout] | 4 * bool(entries)
    header = dict(grainSize=grain, numGTEsPerGT=gtes, version=version,
                  flags=bits if flags is None else flags, overHead=front,
                  compressAlgorithm=1)
    out = StreamFile(f, guest, grain, front)

    def emit_grains(grains):
        for i, g in enumerate(arrange(grains, order, rng)):
            if progress and i % progress == 0:
                out.marker(0, 4)
            entries[g] = out.grain_block(g, states[g], level, raw, pad,
                                         layout != 'nomarker')

    f.truncate(front * SECTOR)
    if layout == 'vmware':
        where = {}
        for table in present:
            emit_grains([g for g in stored if g // gtes == table])
            out.marker(t.gt_sectors, 1)
            where[table] = out.emit(bytes(t.gt_sectors * SECTOR))
        out.marker(t.gd_sectors, 2)
        t.copies = [(out.emit(bytes(t.gd_sectors * SECTOR)), where)]
        out.marker(1, 3)
        out.emit(hosted_header(guest, text, descoffset, descsize,
                               **header, **t.offsets()))
        header['gdOffset'] = GD_AT_END
    else:
        emit_grains(stored)
        header.update(t.offsets())
    t.write(f, entries)
    put(f, 0, hosted_header(guest, text, descoffset, descsize, **header))
    put(f, descoffset, text or b'')
    if layout != 'qemu':
        out.marker(0, 0)
    elif stored:
        # What qemu-img leaves: the last block as long as a grain, or more.
        out.at = max(out.at, max(entries.values()) + grain)
        f.truncate(out.at * SECTOR)
    put(f, out.at, JUNK * trailing)
    return guest.runs(states, grain, packed=True)


# ---------------------------------------------------------------------------
# The formats of ESX
# ---------------------------------------------------------------------------

def write_cowd(f, guest, text=None, *, grain=1, alloc='random:30',
               order='asc', slack=0):
    """COWD extent, tables made when their first grain is written.

    slack: sectors that the file has beyond freeSector, as hosts leave them.
    """
    rng = guest.rng()
    states = parse_alloc(alloc, ceil(guest.size, grain), rng, 'dnbz', 'dnbz')
    count = ceil(guest.size, 4096 * grain)
    free = 4 + ceil(count * 4, SECTOR)
    directory, entries = {}, {}
    for g in arrange(states, order, rng):
        if g // 4096 not in directory:
            directory[g // 4096] = free
            free += 32
        entries[g] = 1
        if states[g] in STORED:
            entries[g] = free
            put(f, free, guest.data(g, grain, states[g]))
            free += grain
    put(f, 0, COWD.pack(magic=COWD_MAGIC, version=1, flags=3,
                        numSectors=guest.size, grainSize=grain, gdOffset=4,
                        numGDEntries=count, freeSector=free))
    put_entries(f, 4, directory, 4)
    for table, part in by_table(entries, 4096).items():
        put_entries(f, directory[table], part, 4)
    f.truncate((free + slack) * SECTOR)
    return guest.runs(states, grain)


def rotate(index):
    """A grain number as seSparse entries hold it, the low 12 bits on top."""
    return (index & 0xfff) << 48 | index >> 12


def sesparse_regions(capacity):
    """The header's fields that place each region, by VMware's rules."""
    count = ceil(capacity, 32768)
    sizes = {'grainDirectory': roundup(ceil(count * 8, SECTOR), 2048),
             'grainTables': roundup(count * 64, 2048),
             'freeBitmap': roundup(ceil(ceil(ceil(capacity, 8), 8), SECTOR),
                                   2048),
             'backMap': roundup(count * 64, 2048),
             'grains': capacity}
    fields = {'volatileHeaderOffset': 1, 'volatileHeaderSize': 1,
              'journalHeaderOffset': 2, 'journalHeaderSize': 2,
              'journalOffset': 2048, 'journalSize': 2048}
    at = 4096
    for name, size in sizes.items():
        fields[name + 'Offset'], fields[name + 'Size'] = at, size
        at += size
    return fields


def parse_indexes(spec):
    """Turn "GRAIN:INDEX,..." into a dict."""
    if isinstance(spec, dict):
        return spec
    return dict(map(int, item.split(':')) for item in spec.split(','))


def write_sesparse(f, guest, text=None, *, alloc='random:30', order='asc',
                   indexes=None, tail='group', txn=0):
    """seSparse extent.

    order    of writing, which numbers the tables and the grains; random draws
             grain numbers from the whole region
    indexes  GRAIN:INDEX,...: the grain numbers themselves, for entries d, u
    tail     group: the file ends after the 16 MiB group of each table;
             full: with the region; cut: with the last thing written
    txn      next transaction number; not 0: a used journal header as well
    """
    rng = guest.rng()
    count = ceil(guest.size, 8)
    states = parse_alloc(alloc, count, rng, 'dnbzu', 'dnbzu')
    where = sesparse_regions(guest.size)
    written = arrange(states, order, rng)
    owners = [g for g in written if states[g] != 'z']
    if indexes is not None:
        index = parse_indexes(indexes)
    elif order == 'random':
        index = dict(zip(owners, rng.sample(range(count), len(owners))))
    else:
        index = {g: i for i, g in enumerate(owners)}

    tables, entries, bitmap, back = {}, {}, {}, {}
    for g in written:
        tables.setdefault(g // 4096, len(tables))
        entries[g] = 2 << 60
        if states[g] == 'z':
            continue
        i = index[g]
        entries[g] = (1 if states[g] == 'u' else 3) << 60 | rotate(i)
        bitmap[i // 8] = bitmap.get(i // 8, 0) | 1 << i % 8
        back[i] = 1 << 60 | rotate(g)
        put(f, where['grainsOffset'] + i * 8,
            JUNK * 8 if states[g] == 'u' else guest.data(g, 8, states[g]))

    put(f, 0, SESPARSE.pack(magic=SESPARSE_MAGIC, version=0x200000001,
                            capacity=guest.size, grainSize=8,
                            grainTableSize=64, **where))
    put(f, 1, VOLATILE.pack(volatileMagic=VOLATILE_MAGIC,
                            freeGTNumber=len(tables), nextTxnSeqNumber=txn))
    if txn:
        # The rest of these two sectors is old memory in what hosts write.
        put(f, 2, struct.pack('<QQQ', 0xdeafc0de, txn, 1).ljust(1024, b'\xee'))
    put_entries(f, where['grainDirectoryOffset'],
                {t: 1 << 60 | n for t, n in tables.items()}, 8)
    for table, part in by_table(entries, 4096).items():
        put_entries(f, where['grainTablesOffset'] + tables[table] * 64, part,
                    8)
    put_entries(f, where['freeBitmapOffset'], bitmap, 1)
    put_entries(f, where['backMapOffset'], back, 8)
    ends = {'group': len(tables) * 32768 + 8 * bool(tables),
            'full': roundup(guest.size, 8), 'cut': 0}
    if tail != 'cut':
        end = where['grainsOffset'] + ends[tail]
        f.truncate(max(f.seek(0, os.SEEK_END), end * SECTOR))
    return guest.runs(states, 8)


def write_flat(f, guest, text=None, *, offset=0, grain=128, alloc='random:30'):
    """Raw extent in a file that others may share; "grains" not in alloc are
    holes of the file, but data all the same."""
    states = parse_alloc(alloc, ceil(guest.size, grain), guest.rng(), STORED,
                         STORED)
    size = f.seek(0, os.SEEK_END)
    f.truncate(max(size, (offset + guest.size) * SECTOR))
    if size == 0:
        put(f, 0, JUNK * min(offset, 64))
    for g in states:
        n = min(grain, guest.size - g * grain)
        put(f, offset + g * grain,
            guest.data(g, grain, states[g])[:n * SECTOR])
    return guest.runs(states, grain, rest='data')


# ---------------------------------------------------------------------------
# Descriptors
# ---------------------------------------------------------------------------

KEYS = ('version encoding CID parentCID isNativeSnapshot createType '
        'parentFileNameHint extents changeTrackPath ddb')


def descriptor(lines, size, *, createtype, cid, parentcid=NO_PARENT, hint=None,
               version=1, encoding=None, keys=KEYS, ddb=1, crlf=0, case=None,
               quote=1, spaces=0, eol=1, header=None, database=None):
    """Descriptor text as bytes.

    keys     the order of header keys, `extents` and `ddb`
    ddb      0: without the disk data base
    case     lower, upper, swapcase: for keywords and keys, not for names
    quote    0: header values without quotes
    spaces   1: blanks around the = of header keys
    eol      0: nothing ends the last line
    header, database: dicts of more lines
    """
    fold = getattr(str, case) if case else str
    mark = '"' if quote else ''
    values = {'encoding': encoding, 'createType': fold(createtype),
              'parentFileNameHint': hint}
    values.update(header or {})
    values = {k: mark + v + mark for k, v in values.items() if v is not None}
    values.update(version=version, CID='%08x' % cid,
                  parentCID='%08x' % parentcid)
    data = {'virtualHWVersion': 4, 'geometry.cylinders': size // 1008,
            'geometry.heads': 16, 'geometry.sectors': 63,
            'adapterType': 'ide', 'toolsVersion': 2147483647}
    data.update(database or {})

    out = ['# Disk DescriptorFile']
    keys = re.split(r'[\s,]+', keys)
    extras = [k for k in header or {} if k not in keys]
    for key in keys:
        if key == 'extents':
            out += [assign(fold(k), values[k], spaces) for k in extras]
            out += ['', '# Extent description']
            out += [extent_line(line, fold) for line in lines] + ['']
        elif key == 'ddb' and ddb:
            out += ['# The Disk Data Base', '#DDB', '']
            out += ['%s = "%s"' % (fold('ddb.' + k), v)
                    for k, v in data.items()]
        elif key in values:
            name = key if key == 'version' else fold(key)
            out.append(assign(name, values[key], spaces))
    end = '\r\n' if crlf else '\n'
    return (end.join(out) + end * eol).encode(encoding or 'utf-8')


def assign(key, value, spaces):
    """One header line; VMware wants no blanks in the version's."""
    return key + (' = ' if spaces and key != 'version' else '=') + str(value)


class Spec(NamedTuple):
    """One extent to be made, and what its line says."""

    access: str
    size: int
    kind: str
    options: dict


def extent_line(line, fold):
    """One extent line from (access, size, type, name, offset)."""
    access, size, kind, name, offset = line
    out = '%s %d %s' % (fold(access), size, fold(kind))
    if name is not None:
        out += ' "%s"' % name
    return out if offset is None else out + ' %d' % offset


# ---------------------------------------------------------------------------
# Links and chains
# ---------------------------------------------------------------------------

# Extent kind: function, type in the extent line, how its file is named.
KINDS = {'sparse': (write_kdmv, 'SPARSE', 's%03d'),
         'stream': (write_stream, 'SPARSE', 's%03d'),
         'cowd': (write_cowd, 'VMFSSPARSE', 'delta'),
         'sesparse': (write_sesparse, 'SESPARSE', 'sesparse'),
         'flat': (write_flat, 'FLAT', 'flat'),
         'vmfs': (write_flat, 'VMFS', 'flat'),
         'zero': (None, 'ZERO', None)}

# Builders of one extent: kind, createType.
SINGLE = {'sparse': ('sparse', 'monolithicSparse'),
          'extent': ('sparse', ''),
          'stream': ('stream', 'streamOptimized'),
          'cowd': ('cowd', 'vmfsSparse'),
          'sesparse': ('sesparse', 'seSparse'),
          'flat': ('flat', 'monolithicFlat'),
          'vmfs': ('vmfs', 'vmfs')}

EMBEDDED = ('sparse', 'stream', 'extent')


def parse_words(words):
    """["KEY=VALUE", ...] as a dict."""
    pairs = [word.partition('=') for word in words]
    return {k: int(v, 16) if k in ('cid', 'parentcid') else value_of(v)
            for k, _, v in pairs}


def parse_specs(text):
    """The extents of a custom disk; see the usage."""
    specs = []
    for item in text.split(';'):
        access, size, kind, *words = shlex.split(item)
        specs.append(Spec(access, int(size), kind, parse_words(words)))
    return specs


def split_specs(size, piece, kind, options):
    """The extents of a disk in equal pieces, and a rest."""
    return [Spec('RW', min(piece, size - at), kind, dict(options))
            for at in range(0, size, piece)]


def extent_name(path, spec, number, count):
    """Name of an extent's file as its producer would choose it."""
    stem = os.path.splitext(os.path.basename(path))[0]
    suffix = KINDS[spec.kind][2]
    if count > 1 and '%' not in suffix:
        suffix = 'f%03d' if suffix == 'flat' else suffix + '%03d'
    suffix = suffix % number if '%' in suffix else suffix
    return '%s-%s.vmdk' % (stem, suffix)


class Link:
    """A disk of one layer: what was written, and what it must read as."""

    def __init__(self, path, seed, cid):
        self.path = path
        self.seed = seed
        self.cid = cid
        self.size = 0
        self.runs = []
        self.files = []         # of the extents

    def add(self, spec, name, text):
        """Write one extent's file, and append what it holds to the map."""
        guest = Guest(self.seed, self.size, spec.size)
        runs = [Run(self.size, spec.size, 'zero', None)]
        if name is not None:
            path = os.path.join(os.path.dirname(self.path), name)
            options = dict(spec.options)
            if 'offset' in options and spec.kind not in ('flat', 'vmfs'):
                raise Error('only a flat extent has an offset')
            with open(path, 'r+b' if path in self.files else 'w+b') as f:
                runs = KINDS[spec.kind][0](f, guest, text, **options)
            self.files.append(path)
            if spec.access == 'NOACCESS':
                runs = [Run(self.size, spec.size, 'noaccess', None)]
        self.runs = merge(self.runs + runs)
        self.size += spec.size


def take(options, names):
    """Move the named options into a dict of their own."""
    return {name: options.pop(name) for name in names if name in options}


def take_prefixed(options, prefix):
    """Move the options prefix.KEY into a dict of their own."""
    keys = [k for k in options if k.startswith(prefix + '.')]
    return {k[len(prefix) + 1:]: str(options.pop(k)) for k in keys}


def plan(builder, size, options):
    """The extents that a builder makes of its options, and the createType."""
    if builder == 'custom':
        specs, createtype = parse_specs(options.pop('extents')), 'custom'
        if options:
            raise Error('custom: options of an extent go into extents=')
    elif builder == 'split':
        piece = options.pop('piece', 4192256)
        kind = options.pop('kind', 'sparse')
        specs = split_specs(size, piece, kind, options)
        createtype = 'twoGbMaxExtent' + kind.capitalize()
    elif builder in SINGLE:
        kind, createtype = SINGLE[builder]
        specs = [Spec(options.pop('access', 'RW'), size, kind, options)]
    else:
        raise Error('no builder %r' % builder)
    if not specs or min(spec.size for spec in specs) < 1:
        raise Error('size: a disk and each extent has at least one sector')
    return specs, createtype


def name_extents(builder, path, shown, specs):
    """Files of the extents, and what the extent lines say of them."""
    names, lines = [], []
    # Flat pieces are numbered even when there is only one.
    count = len(specs) + (builder == 'split')
    for i, spec in enumerate(specs, 1):
        own = take(spec.options, ['file', 'type'])
        name = own.get('file')
        if spec.kind != 'zero' and name is None:
            name = extent_name(path, spec, i, count)
        if builder in EMBEDDED:
            name = os.path.basename(path)
        offset = spec.options.get('offset',
                                  0 if spec.kind == 'flat' else None)
        lines.append((spec.access, spec.size,
                      own.get('type', KINDS[spec.kind][1]),
                      shown if builder in EMBEDDED else name, offset))
        names.append(name)
    return names, lines


def build(builder, path, size=0, seed=1, **options):
    """Build one link at a path; options as on the command line."""
    known = inspect.signature(descriptor).parameters
    desc = take(options, [name for name in known if known[name].kind ==
                          inspect.Parameter.KEYWORD_ONLY])
    desc['header'] = take_prefixed(options, 'desc')
    desc['database'] = take_prefixed(options, 'ddb')
    pokes = take(options, [k for k in options if '.' in k or '[' in k])
    shown = options.pop('extname', os.path.basename(path))
    specs, createtype = plan(builder, size, options)
    desc.setdefault('createtype', createtype)
    desc.setdefault('cid', random.Random(seed).randrange(1, 0xfffffffe))
    names, lines = name_extents(builder, path, shown, specs)
    text = descriptor(lines, sum(spec.size for spec in specs), **desc)

    link = Link(path, seed, desc['cid'])
    embed = builder in EMBEDDED and builder != 'extent'
    for spec, name in zip(specs, names):
        link.add(spec, name, text if embed else None)
    if builder not in EMBEDDED:
        with open(path, 'wb') as f:
            f.write(text)
    for name, value in pokes.items():
        poke(link.files[0], name, value)
    return link


class Chain(NamedTuple):
    """Links, base first, and the composed map."""

    links: list
    runs: list


def build_chain(path, layers, size=0, seed=1):
    """Build [(builder, options), ...], base first; path names the last.

    The others are PATH's name with -0, -1... in it, and each layer's content
    tells which layer it comes from.
    """
    stem, suffix = os.path.splitext(path)
    links, runs = [], []
    for i, (builder, options) in enumerate(layers):
        own = {'size': size, 'seed': seed * 1000 + i, **options}
        if links:
            own.setdefault('parentcid', links[-1].cid)
            own.setdefault('hint', os.path.basename(links[-1].path))
        top = i == len(layers) - 1
        link = build(builder, path if top else '%s-%d%s' % (stem, i, suffix),
                     **own)
        runs = compose(link.runs, runs) if links else link.runs
        links.append(link)
    return Chain(links, runs)


def random_layers(depth, size, seed=1):
    """Layers of a chain that mixes formats, grain sizes and capacities."""
    rng = random.Random(seed)
    grains = {'sparse': (1, 8, 16, 128, 256), 'split': (8, 64, 128),
              'cowd': (1, 2, 8, 128), 'stream': (16, 128)}
    layers = []
    for i in range(depth):
        kinds = ['sparse', 'split', 'cowd', 'sesparse', 'stream']
        builder = rng.choice(kinds if i else kinds + ['flat', 'vmfs'])
        options = {'alloc': 'mixed:%d' % rng.randrange(10, 50),
                   'size': size}
        if i < depth - 1:
            options['size'] = max(1, size + rng.choice((0, -1, 1))
                                  * rng.randrange(1, size // 4 + 2))
        if builder in grains:
            options['grain'] = rng.choice(grains[builder])
        if builder == 'split':
            options['piece'] = options['size'] // 3 + 1
        if builder not in ('flat', 'vmfs'):
            options['order'] = rng.choice(('asc', 'reversed', 'random'))
        layers.append((builder, options))
    return layers


def parse_layers(text):
    """The layers of a chain; see the usage."""
    layers = []
    for item in text.split(';'):
        builder, *words = shlex.split(item)
        layers.append((builder, parse_words(words)))
    return layers


# ---------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------

def run_builder(builder, words):
    """Do BUILDER [KEY=VALUE...] OUT [RAW]."""
    # A file's name may contain =, but not before its first slash.
    files = [w for w in words if not re.match(r'[^/]+=', w)]
    if not 1 <= len(files) <= 2:
        raise Error('name the image to write, and perhaps a raw file')
    options = parse_words(w for w in words if w not in files)
    outputs = take(options, ['map', 'linkmap'])
    if builder == 'chain':
        size = options.get('size', 0)
        seed = options.get('seed', 1)
        if 'layers' in options:
            layers = parse_layers(options['layers'])
        elif 'depth' in options:
            layers = random_layers(options['depth'], size, seed)
        else:
            raise Error('chain: needs layers= or depth=')
        chain = build_chain(files[0], layers, size, seed)
    else:
        link = build(builder, files[0], **options)
        chain = Chain([link], link.runs)
    if len(files) == 2:
        write_raw(files[1], chain.runs)
    if 'map' in outputs:
        write_map(outputs['map'], chain.runs)
    if 'linkmap' in outputs:
        write_map(outputs['linkmap'], chain.links[-1].runs)


def main(argv):
    """Do what the usage says."""
    if len(argv) < 2 or argv[0] in ('-h', '--help'):
        print(__doc__)
        return 0 if argv and argv[0].startswith('-') else 2
    try:
        if argv[0] in COMMANDS:
            result = COMMANDS[argv[0]](*argv[1:])
            if result is not None:
                print(result)
        else:
            run_builder(argv[0], argv[1:])
    except (Error, OSError, AttributeError, KeyError, TypeError,
            ValueError) as error:
        print('vmdkgen.py: %s' % error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
