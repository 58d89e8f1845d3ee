#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The benchmark; README.md says what it measures and how.
"""Measure nbdkit-vmdk-plugin and vmdk-img beside their peers."""

import argparse
import json
import mmap
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import report
from rows import GRAIN, M, NBD, ROWS

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
GEN = os.path.join(TOP, 'tests', 'vmdkgen.py')
SLOW = 8         # a sample of so many seconds isn't repeated
PATIENCE = 300   # after which a program hangs


class Failure(Exception):
    """What a server or a program did wrong."""


def note(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **more):
    """Run a program; its output, or what it said as a Failure."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE,
                              check=False, **more)
    except subprocess.TimeoutExpired:
        raise Failure('%s hangs' % command[0]) from None
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()
        raise Failure(said[-1][:200] if said else
                      '%s: exit status %d' % (command[0], done.returncode))
    return done.stdout


# Images.  Each is a VMDK and a raw file with the same content.

class Image:
    """An image below BENCH_DIR, which is built once."""

    def __init__(self, bench, name, size, stride, build):
        self.bench, self.name, self.build = bench, name, build
        self.size, self.stride = size, stride
        self.vmdk = os.path.join(bench.images, name + '.vmdk')
        self.raw = os.path.join(bench.images, name + '.raw')

    def get_ready(self):
        stamp = os.path.join(self.bench.images, self.name + '.ready')
        if not os.path.exists(stamp):
            note('making %s' % self.vmdk)
            self.build(self)
            with open(stamp, 'w', encoding='ascii'):
                pass

    def fill(self, path, stride=None, seed=1):
        run(self.bench.load, '--size', self.size, '--seed', seed,
            '--stride', stride or self.stride, 'fill', path)

    def like(self, name):
        """Use the raw file of another image."""
        other = self.bench.image(name)
        if os.path.lexists(self.raw):
            os.unlink(self.raw)
        os.symlink(os.path.basename(other.raw), self.raw)
        return other


def convert(raw, vmdk, subformat='monolithicSparse'):
    run('qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', '-o',
        'subformat=' + subformat, raw, vmdk)


def build_plain(image):
    image.fill(image.raw)
    convert(image.raw, image.vmdk)


def build_as(subformat):
    def build(image):
        image.like('full')
        convert(image.raw, image.vmdk, subformat)
    return build


def build_chain(image):
    """'full' below 8 snapshots, each with a twelfth of the grains, so that
    half of them come from the bottom.  The reference writes them."""
    parent = image.bench.image('full')
    shutil.copyfile(parent.raw, image.raw)
    for i in range(1, 9):
        child = image.vmdk if i == 8 else image.vmdk[:-5] + '-%d.vmdk' % i
        run('qemu-img', 'create', '-f', 'vmdk', '-F', 'vmdk', '-b',
            parent if i > 1 else parent.vmdk, child)
        image.fill(image.raw, 12, 1 + i)
        with Server(image.bench, 'unsafe', child, None, True) as server:
            server.load('run', '--size', image.size, '--stride', 12,
                        '--seed', 1 + i, '--operation', 'write',
                        '--pattern', 'shuffled', '--block', GRAIN,
                        '--count', image.size // GRAIN // 12)
        parent = child


def build_files(image):
    """What compresses as disks do: two times 3/8 of files, and zeroes."""
    with open(image.raw, 'wb') as out:
        files = all_files(os.environ.get('BENCH_SOURCE') or '/usr/lib')
        for half in (0, image.size // 2):
            end = half + image.size * 3 // 8
            out.seek(half)
            for path in files:
                with open(path, 'rb') as f:
                    out.write(f.read(end - out.tell()))
                if out.tell() == end:
                    break
        out.truncate(image.size)
    convert(image.raw, image.vmdk, 'streamOptimized')
    convert(image.raw, image.vmdk[:-5] + '-sparse.vmdk')


def all_files(top):
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and \
                    os.access(path, os.R_OK):
                yield path


def build_cowd(image):
    """qemu-img reads these, but can't make them."""
    run(sys.executable, GEN, 'cowd', 'size=%d' % (image.size // 512),
        'alloc=all', image.vmdk, image.raw)


def build_tables(image):
    """All tables in use, no data: for check."""
    run(image.bench.vmdk_img, 'create', '--force', '--preallocate=metadata',
        image.size, image.vmdk)


BUILD = {'full': build_plain, 'flat': build_as('monolithicFlat'),
         'split': build_as('twoGbMaxExtentSparse'), 'scatter': build_plain,
         'chain': build_chain, 'files': build_files, 'cowd': build_cowd,
         'sparse1t': build_plain, 'sparse2t': build_plain,
         'sparse16t': build_plain, 'tables': build_tables}


def data_ranges(path):
    """Where a file isn't a hole: (start, end)."""
    with open(path, 'rb') as f:
        size, end = os.fstat(f.fileno()).st_size, 0
        while end < size:
            try:
                start = os.lseek(f.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(f.fileno(), start, os.SEEK_HOLE)
            yield start, end


def warm(path):
    with open(path, 'rb') as f:
        for start, end in data_ranges(path):
            f.seek(start)
            while start < end:
                start += len(f.read(min(4 * M, end - start)))


def cool(path):
    """Take a file out of the page cache."""
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# Servers.

class Server:
    """A server in the foreground, which ends with the block."""

    def __init__(self, bench, name, vmdk, raw, write):
        self.bench = bench
        self.folder = tempfile.mkdtemp()
        self.socket = os.path.join(self.folder, 's')
        nbdkit = ['nbdkit', '-f', '-U', self.socket]
        qemu = ['qemu-nbd', '-t', '-f', 'vmdk', '-e', '16', '-k', self.socket]
        if not write:
            nbdkit.append('-r')
            qemu.append('-r')
        self.command = {
            'ours': nbdkit + [bench.plugin, 'file=%s' % vmdk,
                              'trusted-dir=' + bench.images],
            'raw': nbdkit + ['file', str(raw)],
            'qemu': qemu + [str(vmdk)],
            'uring': qemu + ['--aio=io_uring', str(vmdk)],
            # To make images: doesn't sync each grain.
            'unsafe': qemu + ['--cache=unsafe', str(vmdk)]}[name]
        self.process = self.cpu = self.memory = None

    def __enter__(self):
        with open(os.path.join(self.folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        end = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(log.name, encoding='utf-8') as f:
                    said = f.read().strip().splitlines()
                self.__exit__()
                raise Failure(said[-1][:200] if said else 'no server')
            time.sleep(0.002)
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.memory = peak_memory(self.process.pid)
            self.process.terminate()
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu = usage.ru_utime + usage.ru_stime
        shutil.rmtree(self.folder)

    def load(self, command, *options):
        result = run(self.bench.load, *options, command, self.socket)
        result = json.loads(result) if result else {}
        if result.get('errors'):
            raise Failure('%d requests failed: %s' %
                          (result['errors'], result['error']))
        return result

    def uri(self):
        return 'nbd+unix:///?socket=' + self.socket


# Samples.

class Bench:
    def __init__(self, args):
        self.args = args
        self.plugin = os.path.abspath(args.plugin)
        self.load, self.vmdk_img = args.load, args.vmdk_img
        top = os.environ.get('BENCH_DIR') or os.path.join(
            tempfile.gettempdir(), 'nbdkit-vmdk-bench')
        self.folder = os.path.abspath(top)
        self.images = os.path.join(
            self.folder, 'images' if args.scale == 1
            else 'images-%d' % args.scale)
        os.makedirs(self.images, exist_ok=True)
        self.memory = self.folder
        shm = os.statvfs('/dev/shm') if os.path.isdir('/dev/shm') else None
        if shm and shm.f_bavail * shm.f_frsize > 4096 * M // args.scale:
            self.memory = '/dev/shm'
        self.seconds = args.seconds or (0.3 if args.quick else 1)

    def image(self, name):
        size, stride = {'scatter': (16 << 30, 16), 'sparse1t': (1 << 40, 4096),
                        'cowd': (256 * M, 1), 'files': (512 * M, 1),
                        'tables': (1 << 40, 1), 'sparse2t': (2 << 40, 8192),
                        # ext4 has no files of 16 TiB
                        'sparse16t': ((16 << 40) - (4 << 30), 65536),
                        }.get(name, (1 << 30, 1))
        image = Image(self, name, size // self.args.scale, stride,
                      BUILD[name])
        image.get_ready()
        return image

    def options(self, row, size, stride):
        options = ['--operation', row.operation, '--pattern', row.pattern,
                   '--block', row.block, '--depth', row.depth,
                   '--connections', row.connections, '--size', size,
                   '--stride', stride]
        if row.operation != 'read':
            options += ['--seed', 42]  # not the content that is there
        if row.flush_every:
            options += ['--flush-every', row.flush_every]
        return options

    def amount(self, row):
        return max(1, row.count // self.args.scale //
                   (4 if self.args.quick else 1))

    def measure(self, row, name, check):
        """One sample: a dictionary with 'value' and what else is known."""
        folder = tempfile.mkdtemp(
            prefix='bench-', dir=self.folder if row.disk else self.memory)
        try:
            return getattr(self, 'measure_' + row.kind)(row, name, folder,
                                                        check)
        finally:
            shutil.rmtree(folder)

    def measure_load(self, row, name, folder, check):
        image, write = None, row.operation != 'read'
        if row.image != 'empty':
            image = self.image('full' if write else row.image)
        size = image.size if image else row.size // self.args.scale
        stride = image.stride if image else 1
        vmdk, raw = image and image.vmdk, image and image.raw
        if write:
            vmdk, raw = self.copy_image(row, name, folder, image, size)
        options = self.options(row, size, stride)
        if row.count:
            bound = ['--count', self.amount(row), '--flush']
        else:
            seconds = self.seconds / (2 if row.plot else 1)
            bound = ['--seconds', seconds, '--warmup', seconds / 5]
        with Server(self, name, vmdk, raw, write) as server:
            sample = server.load('run', *options, *bound)
        sample.update(server_cpu=server.cpu, memory=server.memory)
        if check:
            options += ['--count', sample['issued']]
            if image:
                options += ['--base', image.raw]
            if not write:
                options += ['--sample', 256]
            # What was written must also be right for others.
            for reader in (name, 'qemu') if write and name == 'ours' \
                    else (name,):
                with Server(self, reader, vmdk, raw, False) as server:
                    server.load('check', *options)
        rate = sample['requests'] / sample['seconds']
        sample['value'] = rate if row.unit == 'IOPS' else rate * row.block / M
        return sample

    def copy_image(self, row, name, folder, image, size):
        """The image that one sample writes."""
        vmdk = os.path.join(folder, 'w.vmdk')
        raw = os.path.join(folder, 'w.raw')
        touch_memory(1280 * M // self.args.scale)
        if name == 'raw' and image:
            shutil.copyfile(image.raw, raw)
        elif name == 'raw':
            with open(raw, 'wb') as f:
                f.truncate(size)
        elif row.image == 'copy':
            shutil.copyfile(image.vmdk, vmdk)
        elif row.image == 'child':
            run('qemu-img', 'create', '-f', 'vmdk', '-F', 'vmdk', '-b',
                image.vmdk, vmdk)
        else:
            run('qemu-img', 'create', '-f', 'vmdk', vmdk, size)
        if row.disk:
            os.sync()
        return vmdk, raw

    def measure_copy(self, row, name, _folder, _check):
        image = self.image(row.image)
        with Server(self, name, image.vmdk, image.raw, False) as server:
            start = time.monotonic()
            run('nbdcopy', server.uri(), 'null:')
            seconds = time.monotonic() - start
        return {'value': image.size / M / seconds, 'seconds': seconds}

    def measure_map(self, row, name, _folder, check):
        image = self.image(row.image)
        with Server(self, name, image.vmdk, image.raw, False) as server:
            start = time.monotonic()
            text = run('nbdinfo', '--map', server.uri())
            seconds = time.monotonic() - start
        if check:
            ranges = [(int(f[0]), int(f[0]) + int(f[1])) for f in
                      map(str.split, text.splitlines()) if f[2] == '0']
            if ranges != list(data_ranges(image.raw)):
                raise Failure('wrong block status')
        return {'value': seconds * 1000, 'seconds': seconds}

    def measure_open(self, row, name, _folder, _check):
        image = self.image(row.image)
        server = Server(self, name, image.vmdk, image.raw, False)
        try:
            sample = json.loads(run(
                self.load, '--offset', image.size - GRAIN, 'first',
                server.socket, *server.command))
        finally:
            shutil.rmtree(server.folder)
        sample['value'] = sample['seconds'] * 1000
        return sample

    def measure_convert(self, row, name, folder, check):
        image = self.image(row.image)
        source = {'stream': image.vmdk, 'raw': image.raw,
                  'sparse': image.vmdk[:-5] + '-sparse.vmdk'}[row.source]
        result = os.path.join(folder, 'result')
        kind = {'raw': 'raw', 'stream': 'streamOptimized',
                'sparse': 'monolithicSparse'}[row.target]
        form = 'raw' if row.source == 'raw' else 'vmdk'
        target = 'raw' if row.target == 'raw' else 'vmdk'
        touch_memory(1280 * M // self.args.scale)
        if name == 'ours':
            command = [self.vmdk_img, 'convert', '-f', form, '-t', kind]
        else:
            command = ['qemu-img', 'convert', '-f', form, '-O', target]
            if target == 'vmdk':
                command += ['-o', 'subformat=' + kind]
        start = time.monotonic()
        run(*command, source, result)
        seconds = time.monotonic() - start
        if check:
            run('qemu-img', 'compare', '-f', target, '-F', 'raw', result,
                image.raw)
        return {'value': seconds, 'seconds': seconds,
                'file': os.stat(result).st_size}

    def measure_check(self, row, name, _folder, check):
        image = self.image(row.image)
        *_, (_, end) = data_ranges(image.vmdk)
        if row.cold:
            cool(image.vmdk)
        command = [self.vmdk_img, 'check', image.vmdk]
        if name == 'raw':
            command = ['dd', 'if=' + image.vmdk, 'of=/dev/null', 'bs=1M',
                       'count=%d' % (end // M)]
        start = time.monotonic()
        run(*command)
        seconds = time.monotonic() - start
        sample = {'value': seconds * 1000, 'seconds': seconds, 'bytes': end}
        if check:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            while process.poll() is None:
                sample['memory'] = peak_memory(process.pid) or \
                    sample.get('memory', 0)
        return sample

    def warm(self, row):
        """Everything that will be read is in the page cache."""
        if row.kind == 'check' and row.cold or row.image == 'empty':
            return
        name = 'full' if row.image in ('copy', 'child') else row.image
        self.image(name)
        for path in os.listdir(self.images):
            if path.startswith(name) or name == 'chain' and \
                    path.startswith('full'):
                warm(os.path.join(self.images, path))

    def run_row(self, row):
        """All samples of a row, by turns."""
        result = dict(vars(row), samples={}, failed={})
        done = set()
        self.warm(row)
        times = self.args.reps or (1 if self.args.quick else 3)
        for i in range(times * (3 if row.kind == 'open' else 1)):
            turn = i % len(row.servers)
            for name in row.servers[turn:] + row.servers[:turn]:
                if name in done or name not in self.args.servers.split(','):
                    continue
                busy = busy_time()
                start = time.monotonic()
                try:
                    sample = self.measure(row, name, i == 0)
                except Failure as failure:
                    result['failed'][name] = str(failure)
                    done.add(name)
                    continue
                # Of others, in processors.
                sample['foreign'] = (busy_time() - busy) / (
                    time.monotonic() - start)
                result['samples'].setdefault(name, []).append(sample)
                if sample['seconds'] > SLOW:
                    done.add(name)
        note(report.line(result))
        return result


def touch_memory(size):
    """Where memory of a virtual machine is first used, it is slow."""
    with mmap.mmap(-1, size) as memory:
        memory[::4096] = bytes(len(memory[::4096]))


def peak_memory(pid):
    """MiB; 0 of what has ended."""
    with open('/proc/%d/status' % pid, encoding='utf-8') as f:
        found = re.search(r'VmHWM:\s*(\d+)', f.read())
    return int(found[1]) / 1024 if found else 0


def busy_time():
    """Seconds that processors spent for others than us."""
    with open('/proc/stat', encoding='ascii') as f:
        words = f.readline().split()
    used = sum(int(words[i]) for i in (1, 2, 3, 6, 7))
    return used / os.sysconf('SC_CLK_TCK') - sum(os.times()[:4])


def first_line(*command):
    return run(*command).splitlines()[0]


def command_line(args):
    """What gives the same results, as one may type it."""
    if set(args) & set('"$`\\'):
        return 'make bench ' + shlex.quote(
            'BENCH_ARGS=' + args.replace('$', '$$'))
    return 'make bench BENCH_ARGS="%s"' % args


def describe(args):
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        model = re.search(r'model name\s*: (.*)', f.read())
    with open('/proc/meminfo', encoding='ascii') as f:
        memory = int(f.readline().split()[1]) / M
    return {
        'machine': '%d x %s, %.0f GiB, Linux %s' % (
            os.cpu_count(), model[1] if model else platform.machine(),
            memory, platform.release().split('-', maxsplit=1)[0]),
        'programs': ', '.join((first_line('nbdkit', '--version'),
                               first_line('qemu-nbd', '--version'),
                               first_line('nbdinfo', '--version'))),
        'command': command_line(shlex.join(args)),
        'date': time.strftime('%Y-%m-%d'),
    }


def missing(args):
    names = [c for c in ('nbdkit', 'nbdinfo', 'nbdcopy', 'qemu-img',
                         'qemu-nbd') if not shutil.which(c)]
    return names + [p for p in (args.plugin, args.load, args.vmdk_img)
                    if not os.path.exists(p)]


def parse_arguments():
    build = os.environ.get('BENCH_BUILD') or TOP
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--quick', action='store_true',
                   help='short samples, each once')
    p.add_argument('--only', metavar='REGEX', default='',
                   help='rows with such names')
    p.add_argument('--servers', metavar='LIST', default=','.join(NBD),
                   help='only these (default: %(default)s)')
    p.add_argument('--reps', type=int, help='samples of each (default: 3)')
    p.add_argument('--seconds', type=float,
                   help='of samples that have no end (default: 1)')
    p.add_argument('--one-cpu', action='store_true',
                   help='everything, the client too, on one processor')
    p.add_argument('--scale', type=int, default=1, metavar='N',
                   help='make images N times as small, to try the benchmark')
    p.add_argument('--list', action='store_true', help='list the rows')
    p.add_argument('--out', help='write OUT.json, OUT.md and OUT.svg '
                   '(default: in BENCH_DIR)')
    p.set_defaults(
        load=os.path.join(build, 'bench', 'load'),
        vmdk_img=os.path.join(build, 'tools', 'vmdk-img'),
        plugin=os.environ.get('PLUGIN') or os.path.join(
            build, 'plugin', '.libs', 'nbdkit-vmdk-plugin.so'))
    return p.parse_args()


def main():
    args = parse_arguments()
    rows = [row for row in ROWS if re.search(args.only, row.name)]
    if args.list:
        for row in rows:
            print('%-24s %s' % (row.name, row.title))
        return 0
    absent = missing(args)
    if absent:
        note('the benchmark needs: %s (Debian: apt-get install nbdkit '
             'libnbd-bin libnbd-dev qemu-utils, then ./configure)' %
             ', '.join(absent))
        return 77
    bench = Bench(args)
    for row in rows:
        bench.warm(row)
    if args.one_cpu:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = sys.argv[1:]
    if '--out' in words:  # whose place says nothing
        del words[words.index('--out'):words.index('--out') + 2]
    results = {'about': describe(words), 'one_cpu': args.one_cpu, 'rows': []}
    out = args.out or os.path.join(bench.folder,
                                   time.strftime('%Y%m%d-%H%M%S'))
    try:
        for row in rows:
            results['rows'].append(bench.run_row(row))
    finally:  # ^C leaves what there is
        with open(out + '.json', 'w', encoding='utf-8') as f:
            json.dump(results, f, indent=1)
        report.write(results, out)
    failed = [row for row in results['rows'] if row['failed']]
    for row in failed:
        for name, why in row['failed'].items():
            note('FAILED: %s, %s: %s' % (row['name'], name, why))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.dont_write_bytecode = True
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
