# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What the benchmark measures, and which ratios are wanted.

K, M, G = 1 << 10, 1 << 20, 1 << 30
GRAIN = 64 * K
NBD = ['ours', 'raw', 'qemu', 'uring']


class Row:
    """raw, qemu: how many times as fast as these we want to be.  one_cpu:
    that of qemu if everything shares one processor."""

    def __init__(self, name, title, kind='load', image='full', unit='IOPS',
                 operation='read', pattern='random', block=4 * K, depth=16,
                 connections=1, size=G, count=0, flush_every=0, disk=False,
                 source=None, target=None, cold=False, servers=None,
                 raw=None, qemu=None, one_cpu=None, plot=None):
        self.name, self.title, self.kind = name, title, kind
        self.image, self.unit = image, unit
        self.operation, self.pattern, self.block = operation, pattern, block
        self.depth, self.connections, self.size = depth, connections, size
        self.count, self.flush_every, self.disk = count, flush_every, disk
        self.source, self.target, self.cold = source, target, cold
        self.servers = list(servers or NBD)
        self.raw, self.qemu, self.one_cpu = raw, qemu, one_cpu
        self.plot = plot


def random_read(name, title, **more):
    return Row('read-' + name, 'random read, 4 KiB, ' + title, raw=0.95,
               **more)


def write(name, title, **more):
    return Row(name, title, operation='write', **more)


def stream(name, title, **more):
    return Row('stream-' + name, 'streamOptimized, ' + title, image='files',
               unit='MiB/s', **more)


def convert(source, target, **more):
    return Row('convert-%s-%s' % (source, target), 'convert %s to %s' %
               (source, target), kind='convert', image='files', unit='s',
               source=source, target=target, servers=['ours', 'qemu'], **more)


ROWS = [
    Row('read-sequential', 'sequential read, 256 KiB', unit='MiB/s',
        pattern='sequential', block=256 * K, raw=0.95),
    Row('read-1', 'random read, 4 KiB, 1 at a time', depth=1, raw=0.97),
    Row('read-16g-1', 'random read, 4 KiB, 1 at a time, 16 GiB',
        image='scatter', depth=1, raw=0.97),
    random_read('16', '16 at a time', qemu=1.2),
    random_read('64', '64 at a time', depth=64, qemu=1.2),
    random_read('16x4', '16 at a time, 4 connections', connections=4),
    random_read('64x4', '64 at a time, 4 connections', depth=64,
                connections=4),
    random_read('16g-16', '16 at a time, 16 GiB', image='scatter', qemu=1.2),
    random_read('16g-64x4', '64 at a time, 4 connections, 16 GiB',
                image='scatter', depth=64, connections=4),
    random_read('flat', '16 at a time, monolithicFlat', image='flat',
                qemu=1.2),
    random_read('split', '16 at a time, twoGbMaxExtentSparse', image='split',
                qemu=1.2),
    Row('read-cowd', 'random read, 4 KiB, 16 at a time, COWD with 512-byte '
        'grains', image='cowd', raw=0.9, qemu=20,
        servers=['ours', 'raw', 'qemu']),  # io_uring hangs
    Row('read-chain', 'random read, 4 KiB, 16 at a time, through 8 snapshots',
        image='chain', raw=0.85, qemu=2),
    stream('sequential', 'sequential read, 256 KiB', pattern='sequential',
           block=256 * K, qemu=2.5),
    stream('random', 'random read, 64 KiB, 16 at a time', block=GRAIN,
           qemu=2),
    stream('copy', 'whole disk by nbdcopy', kind='copy', qemu=2.5),
    Row('map-1t', 'block status of a sparse disk of 1 TiB', kind='map',
        image='sparse1t', unit='ms', raw=0.5, qemu=10),
    Row('map-16t', 'block status of a sparse disk of 16 TiB', kind='map',
        image='sparse16t', unit='ms', raw=0.5, qemu=40),
    Row('open-2t', 'open a sparse disk of 2 TiB until the first answer',
        kind='open', image='sparse2t', unit='ms', raw=0.85, qemu=1.4),

    write('overwrite', 'random overwrite, 4 KiB, 16 at a time', image='copy',
          raw=0.95, qemu=5, one_cpu=1.8),
    write('allocate-64k', 'allocating sequential write, 64 KiB, then a flush',
          image='empty', unit='MiB/s', pattern='sequential', block=64 * K,
          size=4 * G, count=16384, raw=0.8, qemu=3, one_cpu=1.1),
    write('allocate-1m', 'allocating sequential write, 1 MiB, then a flush',
          image='empty', unit='MiB/s', pattern='sequential', block=M,
          size=4 * G, count=1024, raw=0.8, qemu=3, one_cpu=1.1),
    write('allocate-random', 'allocating random write, 4 KiB, one in each '
          'grain, then a flush', image='empty', pattern='grains',
          count=16384, raw=0.5, qemu=15, one_cpu=5),
    write('flush-32', '... with a flush after every 32, on the disk',
          image='empty', pattern='grains', count=4096, flush_every=32,
          disk=True, raw=0.35, qemu=3.5),
    write('copy-on-write', 'copy-on-write, 4 KiB, over a full parent, then a '
          'flush', image='child', pattern='grains', count=8192, qemu=4,
          one_cpu=1.4),
    Row('zero', 'zero 1 MiB of allocated grains', image='copy', unit='MiB/s',
        operation='zero', pattern='sequential', block=M, count=1024,
        raw=0.85, qemu=3.5),
    Row('trim', 'trim 1 MiB of allocated grains', image='copy', unit='MiB/s',
        operation='trim', pattern='sequential', block=M, count=1024,
        raw=0.85, servers=['ours', 'raw']),  # qemu gives nothing back

    convert('raw', 'stream', qemu=2.5),
    convert('stream', 'raw', qemu=2),
    convert('sparse', 'sparse', qemu=1),
    convert('raw', 'sparse'),
    Row('check-cold', 'check the tables of a full disk of 1 TiB, not cached '
        '(raw: dd of the same bytes)', kind='check', image='tables',
        unit='ms', cold=True, servers=['ours', 'raw'], raw=1),
    Row('check-cached', '... cached', kind='check', image='tables',
        unit='ms', servers=['ours', 'raw'], raw=None),
]
ROWS += [Row('plot-depth-%d' % n, '%d at a time' % n, depth=n,
             plot=['requests at a time', n])
         for n in (1, 2, 4, 8, 16, 32, 64)]
ROWS += [Row('plot-connections-%d' % n, '%d connections' % n, connections=n,
             plot=['connections, 16 requests each', n])
         for n in (1, 2, 3, 4, 6, 8)]
