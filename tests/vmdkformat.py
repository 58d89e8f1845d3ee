# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Structures of VMDK files: their fields, where they stand, how to spoil them.
"""Structures of VMDK files: their fields, where they stand, how to spoil them.

vmdkgen.py builds images from these, and finds entries of a finished image by
them for tests that damage it.
"""

import os
import re
import struct

SECTOR = 512
GD_AT_END = 0xffffffffffffffff
CODES = {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}


class Error(Exception):
    """The caller asked for something that can't be built or found."""


def ceil(a, b):
    """a / b, rounded up."""
    return -(-a // b)


def roundup(a, b):
    """The first multiple of b that is not below a."""
    return ceil(a, b) * b


class Layout:
    """A packed little-endian structure: "name:code ..." as struct has them."""

    def __init__(self, size, text):
        self.size = size
        self.fields = {}
        at = 0
        for item in text.split():
            name, code = item.split(':')
            self.fields[name] = (at, '<' + code)
            at += struct.calcsize('<' + code)

    def pack(self, **values):
        """The whole structure; what isn't named is zero."""
        block = bytearray(self.size)
        for name, value in values.items():
            at, code = self.fields[name]
            struct.pack_into(code, block, at, value)
        return bytes(block)

    def get(self, f, at, name):
        """Read one field of the structure that stands at a byte offset."""
        offset, code = self.fields[name]
        return read_int(f, at + offset, code)


KDMV = Layout(512, '''
    magic:I version:I flags:I capacity:Q grainSize:Q descriptorOffset:Q
    descriptorSize:Q numGTEsPerGT:I rgdOffset:Q gdOffset:Q overHead:Q
    uncleanShutdown:B singleEndLineChar:B nonEndLineChar:B
    doubleEndLineChar1:B doubleEndLineChar2:B compressAlgorithm:H''')

MARKER = Layout(512, 'val:Q size:I type:I')

COWD = Layout(2048, '''
    magic:I version:I flags:I numSectors:I grainSize:I gdOffset:I
    numGDEntries:I freeSector:I parentFileName:1024s parentGeneration:I
    generation:I name:60s description:512s savedGeneration:I reserved:8s
    uncleanShutdown:I''')

SESPARSE = Layout(512, '''
    magic:Q version:Q capacity:Q grainSize:Q grainTableSize:Q flags:Q
    reserved1:Q reserved2:Q reserved3:Q reserved4:Q
    volatileHeaderOffset:Q volatileHeaderSize:Q
    journalHeaderOffset:Q journalHeaderSize:Q journalOffset:Q journalSize:Q
    grainDirectoryOffset:Q grainDirectorySize:Q
    grainTablesOffset:Q grainTablesSize:Q freeBitmapOffset:Q freeBitmapSize:Q
    backMapOffset:Q backMapSize:Q grainsOffset:Q grainsSize:Q''')

VOLATILE = Layout(512, '''
    volatileMagic:Q freeGTNumber:Q nextTxnSeqNumber:Q replayJournal:Q''')

KDMV_MAGIC, COWD_MAGIC = 0x564d444b, 0x44574f43
SESPARSE_MAGIC, VOLATILE_MAGIC = 0xcafebabe, 0xcafecafe


def read_int(f, at, code):
    """Read one integer from a byte offset."""
    f.seek(at)
    data = f.read(struct.calcsize(code))
    if len(data) < struct.calcsize(code):
        raise Error('nothing at byte %d: the file ends before' % at)
    return struct.unpack(code, data)[0]


def put(f, sector, data):
    """Write at a sector of the file."""
    f.seek(sector * SECTOR)
    f.write(data)


def put_entries(f, sector, entries, width):
    """Write {index: value} into a table.

    Neighbours go out together, and nothing between them is touched: a table
    of a huge disk that is mostly empty stays a hole.
    """
    block, first = [], 0
    for index in sorted(entries):
        if block and index != first + len(block):
            put_block(f, sector * SECTOR + first * width, block, width)
            block = []
        first = first if block else index
        block.append(entries[index])
    put_block(f, sector * SECTOR + first * width, block, width)


def put_block(f, at, values, width):
    """Write neighbouring integers at a byte offset."""
    f.seek(at)
    f.write(struct.pack('<%d%s' % (len(values), CODES[width]), *values))


def by_table(entries, per_table):
    """Split {grain: entry} into {table: {index in the table: entry}}."""
    tables = {}
    for g, entry in entries.items():
        tables.setdefault(g // per_table, {})[g % per_table] = entry
    return tables


# ---------------------------------------------------------------------------
# Finding and damaging structures
# ---------------------------------------------------------------------------

def kdmv_header(f):
    """Byte offset of the header that counts: the footer's if there is one."""
    if KDMV.get(f, 0, 'gdOffset') == GD_AT_END:
        return f.seek(0, os.SEEK_END) - 1024
    return 0


def locate_kdmv(f, what, index):
    """Place of an entry or grain in a hosted sparse extent."""
    at = kdmv_header(f)
    gtes = KDMV.get(f, at, 'numGTEsPerGT')
    directory = KDMV.get(f, at, 'rgdOffset' if what[0] == 'r' else 'gdOffset')
    if what.endswith('gde'):
        return directory * SECTOR + index * 4, '<I'
    table = read_int(f, directory * SECTOR + index // gtes * 4, '<I')
    return entry_place(f, what, table, index % gtes, 4)


def locate_cowd(f, what, index):
    """Place of an entry or grain in a COWD extent."""
    directory = COWD.get(f, 0, 'gdOffset')
    if what == 'gde':
        return directory * SECTOR + index * 4, '<I'
    table = read_int(f, directory * SECTOR + index // 4096 * 4, '<I')
    return entry_place(f, what, table, index % 4096, 4)


def locate_sesparse(f, what, index):
    """Place of an entry or grain in a seSparse extent."""
    directory = SESPARSE.get(f, 0, 'grainDirectoryOffset')
    if what == 'gde':
        return directory * SECTOR + index * 8, '<Q'
    gde = read_int(f, directory * SECTOR + index // 4096 * 8, '<Q')
    table = gde and SESPARSE.get(f, 0, 'grainTablesOffset') \
        + (gde & 0xffffffff) * 64
    at, code = entry_place(f, 'gte', table, index % 4096, 8)
    if what == 'gte':
        return at, code
    entry = read_int(f, at, code)
    number = entry >> 48 & 0xfff | (entry & 0xffffffffffff) << 12
    return (SESPARSE.get(f, 0, 'grainsOffset') + number * 8) * SECTOR, '<Q'


def entry_place(f, what, table, index, width):
    """Place of an entry in a table, or of the grain that it names."""
    if table == 0:
        raise Error('%s: there is no table for this grain' % what)
    at, code = table * SECTOR + index * width, '<' + CODES[width]
    if what != 'grain':
        return at, code
    return read_int(f, at, code) * SECTOR, '<Q'


def locate(f, name):
    """Byte offset and struct code of what the usage calls NAME."""
    magic = read_int(f, 0, '<I')
    entry = re.fullmatch(r'(r?gde|r?gte|grain)\[(\w+)\]', name)
    if entry:
        finders = {KDMV_MAGIC: locate_kdmv, COWD_MAGIC: locate_cowd,
                   SESPARSE_MAGIC: locate_sesparse}
        if magic not in finders:
            raise Error('%s: not a sparse extent' % name)
        return finders[magic](f, entry[1], int(entry[2], 0))
    structure, _, field = name.partition('.')
    if structure == 'sesparse' and field in VOLATILE.fields:
        base = SESPARSE.get(f, 0, 'volatileHeaderOffset') * SECTOR
        layout = VOLATILE
    else:
        base = 0
        layout = {'kdmv': KDMV, 'footer': KDMV, 'cowd': COWD,
                  'sesparse': SESPARSE}.get(structure)
    if structure == 'footer':
        base = f.seek(0, os.SEEK_END) - 1024
    if layout is None or field not in layout.fields:
        raise Error('%s: no such field' % name)
    at, code = layout.fields[field]
    return base + at, code


def value_of(text):
    """An option's value: a number when it looks like one."""
    try:
        return int(text, 0)
    except ValueError:
        return text


def offset_of(f, text):
    """A byte offset from a number or NAME[+N]."""
    if isinstance(value_of(text), int):
        return value_of(text)
    name, _, more = text.partition('+')
    return locate(f, name)[0] + int(more or '0', 0)


def put_int(f, at, code, value):
    """Write an integer, negative ones as their two's complement."""
    f.seek(at)
    mask = (1 << 8 * struct.calcsize(code)) - 1
    f.write(struct.pack(code, int(str(value), 0) & mask))


def where(path, name):
    """Byte offset of what the usage calls NAME[+N]."""
    with open(path, 'rb') as f:
        return offset_of(f, name)


def peek(path, name):
    """Read the integer that the usage calls NAME."""
    with open(path, 'rb') as f:
        return read_int(f, *locate(f, name))


def poke(path, name, value):
    """Overwrite the integer that the usage calls NAME."""
    with open(path, 'r+b') as f:
        at, code = locate(f, name)
        put_int(f, at, code, value)


def patch(path, offset, kind, value):
    """Overwrite bytes: an integer of a size, or hexadecimal digits."""
    with open(path, 'r+b') as f:
        at = offset_of(f, offset)
        if kind == 'hex':
            f.seek(at)
            f.write(bytes.fromhex(value))
        else:
            put_int(f, at, '<' + CODES[int(kind[1:]) // 8], value)


def truncate(path, length):
    """Set a file's length; negative: remove so many bytes."""
    with open(path, 'r+b') as f:
        n = offset_of(f, length)
        f.truncate(n if n >= 0 else f.seek(0, os.SEEK_END) + n)


COMMANDS = {'peek': peek, 'where': where, 'poke': poke, 'patch': patch,
            'truncate': truncate}
