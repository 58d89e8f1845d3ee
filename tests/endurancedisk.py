# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What endurance.py does with a chain of disks.
"""A chain of disks, all that can be done with it, and what it must be."""

import json
import math
import os
import re
import shutil
import sys

from enduranceserver import Server, require, run

HOSTED = ('monolithicSparse', 'twoGbMaxExtentSparse')
FLAT = ('monolithicFlat', 'twoGbMaxExtentFlat', 'vmfs')
READ_ONLY = ('streamOptimized', 'seSparse')
SPARSE = (*HOSTED, 'vmfsSparse')
WRITABLE = (*SPARSE, *FLAT)
MIB = 1 << 20
LONGEST_CHAIN = 6
# What the caches of a server may take (see CACHES), and itself.
CACHES = ('table-cache=1M', 'grain-cache=4M')
MOST_IDLE_KIB = (5 + 8) << 10


class Counters(dict):
    """How often what was done."""

    def add(self, name, number=1):
        """Count something."""
        self[name] = self.get(name, 0) + number


class Place:
    """A folder, the tools, the clock and the log."""

    def __init__(self, args, folder, log):
        self.args, self.folder, self.log = args, folder, log
        self.counters, self.servers = Counters(), 0
        self.vmdk_img = os.path.join(args.build, 'tools', 'vmdk-img')
        self.peak = 0  # of vmdk-img, KiB
        self.most_idle = self.most_rss = self.most_fds = 0  # of servers
        self.state, self.raw = self.path('state'), self.path('d.raw')
        os.makedirs(self.path('disk'))

    def path(self, name):
        """The path of a file here."""
        return os.path.join(self.folder, name)

    def tool(self, name):
        """The path of a program of the tests."""
        return os.path.join(self.args.build, 'tests', name)

    def img(self, *words, status=(0,)):
        """Run vmdk-img in the folder of the disk."""
        result = run([self.vmdk_img, *words], self.path('disk'))
        self.peak = max(self.peak, result.peak)
        require(result.status in status, f'vmdk-img {" ".join(words)}: '
                f'status {result.status}: {result.text}')
        return result

    def generate(self, *words):
        """Build a disk with vmdkgen.py, and the model of it."""
        result = run([sys.executable,
                      os.path.join(self.args.source, 'vmdkgen.py'), *words,
                      self.raw], self.path('disk'))
        require(result.status == 0, f'vmdkgen.py: {result.text}')

    def info(self, name, *options):
        """The links of a chain, its last one first."""
        words = 'info', '--json', '--cid-check=off', *options, name
        return json.loads(self.img(*words).output)['links']

    def serve(self, name, *words, threads=16, read_only=False):
        """A server of that disk."""
        self.servers += 1
        server = Server(self.args.command, self.path(f'server{self.servers}'),
                        self.path('disk'),
                        (['-t', str(threads), *(['-r'] * read_only)],
                         ['file=' + name, *CACHES, *words]))
        self.args.watch.servers.append(server)
        return server

    def forget(self, server):
        """It has ended, and was as it must be."""
        self.args.watch.servers.remove(server)
        idle = max(server.idle_kib, default=0)
        require(self.args.sanitized or idle < MOST_IDLE_KIB,
                f'without clients the server kept {idle} KiB')
        self.most_idle = max(self.most_idle, idle)
        self.most_rss = max(self.most_rss, server.peak)
        self.most_fds = max(self.most_fds, server.most_fds)
        self.counters.add('servers')
        for suffix in '.log', '.pid', '.sock':
            if os.path.exists(server.base + suffix):
                os.unlink(server.base + suffix)

    def overlap(self, server, rng, milliseconds, window, kill=False,
                largest=512):
        """Load by requests that overlap; see overlap-io.c."""
        words = [self.tool('overlap-io'), '-c', str(rng.randint(1, 6)),
                 '-t', str(milliseconds), '-w', str(window),
                 '-l', str(largest), '-s', str(rng.randrange(1 << 32)),
                 *(['-k', str(server.pid)] * kill),
                 self.state, self.raw, server.sock]
        result = run(words)
        require(result.status == 0, f'{" ".join(words)}: {result.text}: '
                f'{server.messages()}')
        done = re.search(r'(\d+) requests, (\d+) bytes', result.output)
        self.counters.add('requests', int(done[1]))
        self.counters.add('bytes', int(done[2]))

    def compare(self, copy):
        """The copy is what the model allows, and becomes the model."""
        self.counters.add('comparisons of all')
        if os.path.exists(self.state):
            words = [self.tool('overlap-io'), '-V', self.state, self.raw, copy]
        else:
            words = ['cmp', self.raw, copy]
        result = run(words)
        require(result.status == 0, f'{" ".join(words)}: {result.text}')
        os.replace(copy, self.raw)
        if os.path.exists(self.state):
            os.unlink(self.state)

    def request(self, server, *words):
        """Requests that nbdclient.py makes, and that all succeed."""
        result = run([sys.executable,
                      os.path.join(self.args.source, 'nbdclient.py'),
                      server.sock, *words])
        require(result.status == 0 and set(result.output.split()) == {'ok'},
                f'{" ".join(words)}: {result.text}: {server.messages()}')

    def compare_served(self, server, rng):
        """What a server has, with or without asking for the block status.

        It becomes the model, so it must be durable: the server may be killed.
        """
        copy = self.path('copy.raw')
        self.request(server, 'flush')
        words = ['nbdcopy', *(['--no-extents'] * (rng.random() < 0.3)),
                 'nbd+unix:///?socket=' + server.sock, copy]
        result = run(words)
        require(result.status == 0,
                f'nbdcopy: {result.text}: {server.messages()}')
        self.compare(copy)

    def file_sizes(self, links):
        """The length of the extents of the last link, and what they take."""
        files = [self.path(os.path.join('disk', extent['file']))
                 for extent in links[0]['extents'] if extent.get('file')]
        stats = [os.stat(name) for name in set(files)]
        return (sum(s.st_size for s in stats),
                sum(s.st_blocks * 512 for s in stats))


def most_tables(links):
    """More than what tables and headers of the last link can take."""
    extents = links[0]['extents']
    entries = sum(4096 + e['size'] // e.get('grain-size', 512)
                  for e in extents)
    return 16 * entries + sum((128 << 10) + 2 * e.get('grain-size', 0)
                              for e in extents)


def log_random(rng, low, high):
    """A number in between, of any magnitude."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


class Disk:
    """A chain of disks, and what can be done with it."""

    def __init__(self, place, rng):
        self.place, self.rng = place, rng
        self.names, self.number = [], 0
        self.leaks_allowed = False  # since something was killed
        self.create()

    # Names, types, files.

    def new_name(self):
        """A file name that wasn't used before."""
        self.number += 1
        return f'd{self.number}.vmdk'

    @property
    def top(self):
        """The last link of the chain."""
        return self.names[-1]

    def grain_option(self, kind):
        """A grain size that disks of this type may have."""
        low = 0 if kind == 'vmfsSparse' else 4
        if kind not in SPARSE or self.rng.random() < 0.3:
            return []
        return [f'--grain-size={512 << self.rng.randint(low, 11)}']

    def files_of(self, links):
        """The names of the files of links."""
        return {name for link in links
                for name in (link['file'],
                             *(e['file'] for e in link['extents']
                               if e.get('file')))}

    def kinds(self):
        """The types of the links, the base first."""
        links = self.place.info(self.top)
        return [link['create-type'] for link in reversed(links)]

    def remove_others(self, killed=False):
        """Nothing is left but the chain's files, or hidden ones by a kill."""
        place = self.place
        links = place.info(self.top)
        extra = (set(os.listdir(place.path('disk'))) -
                 {os.path.basename(name) for name in self.files_of(links)})
        for name in extra:
            require(killed and name.startswith('.'),
                    f'left behind: {name}')
            place.counters.add('hidden files left by kills')
            self.remove([name])

    def remove(self, names):
        """Delete these files of the disk."""
        for name in names:
            os.unlink(self.place.path(os.path.join('disk', name)))

    # A new one.

    def create(self):
        """A disk of any type that can be written."""
        kind = self.rng.choice((*WRITABLE, 'split'))
        most = self.place.args.size * MIB // 512
        sectors = self.rng.randint(most // 5, most)
        name = self.new_name()
        if kind == 'split':
            piece = self.rng.randint(10000, 60000)
            self.place.generate('split', 'kind=sparse', f'piece={piece}',
                                f'size={sectors}', f'grain={8 << piece % 6}',
                                'alloc=random:20', name)
        else:
            self.place.img('create', '-t', kind, *self.grain_option(kind),
                           f'{sectors}s', name)
            with open(self.place.raw, 'wb') as f:
                f.truncate(sectors * 512)
        self.names = [name]
        self.place.log(f'new disk: {kind}, {sectors} sectors')

    # Looking at it.

    def compare(self, *options):
        """What is read is the model."""
        place, copy = self.place, self.place.path('copy.raw')
        if not options and self.rng.random() < 0.5:
            server = place.serve(self.top, read_only=True)
            place.compare_served(server, self.rng)
            server.stop()
            place.forget(server)
        else:
            place.img('convert', '-q', '-t', 'raw', '--force', *options,
                      self.top, copy)
            place.compare(copy)

    def compare_by_qemu(self):
        """qemu reads the same; only where all was closed.

        It doesn't if an extent ends within a grain and others follow.
        """
        extents = [e for link in self.place.info(self.top)
                   for e in link['extents'][:-1]]
        if any(e['size'] % e.get('grain-size', 512) for e in extents):
            return
        copy = self.place.path('copy.raw')
        result = run(['qemu-img', 'convert', '-f', 'vmdk', '-O', 'raw',
                      self.top, copy], self.place.path('disk'))
        if result.status:
            self.place.log('qemu-img: ' + result.text.strip())
            self.place.counters.add('qemu-img: can not read')
        else:
            self.place.compare(copy)
            self.place.counters.add('qemu-img: compared')

    def check(self):
        """No errors; leaks only after kills.  Returns whether it's clean."""
        place = self.place
        found = json.loads(place.img('check', '--json', self.top,
                                     status=(0, 2, 3)).output)
        links = place.info(self.top)
        unclean = {e['file'] for link in links for e in link['extents']
                   if e.get('unclean')}
        require(not unclean or self.leaks_allowed, f'not closed: {unclean}')
        for defect in found['defects']:
            after_kill = (defect['code'] in ('unclean', 'mirror-differs') and
                          os.path.basename(defect['file']) in unclean)
            require(after_kill or defect['severity'] not in
                    ('error', 'warning'), f'check: {defect}')
        require(found['leaked-bytes'] == 0 or self.leaks_allowed,
                f'check: leaked {found["leaked-bytes"]} bytes')
        place.counters.add('checks')
        if not unclean:
            self.check_sizes(links)
        return not unclean

    def check_sizes(self, links):
        """The files have what is allocated, tables, and leaks; no more."""
        if links[0]['create-type'] not in SPARSE:
            return
        found = json.loads(self.place.img(
            'check', '--json', '--single-link', self.top,
            status=(0, 3)).output)
        grain = links[0]['extents'][0]['grain-size']
        length, used = self.place.file_sizes(links)
        most = (most_tables(links) + found['leaked-bytes'] +
                found['allocated-grains'] * grain)
        require(length <= most, f'{self.top} is {length} bytes long; at most '
                f'{most} are accounted for')
        require(used <= length + MIB,
                f'{self.top}: {length} bytes take {used}')

    # Changing it with vmdk-img.

    def save(self):
        """What there is before a command, to repeat it."""
        before = self.place.path('before')
        shutil.rmtree(before, ignore_errors=True)
        result = run(['cp', '-r', '--sparse=always', '--reflink=auto',
                      self.place.path('disk'), before])
        require(result.status == 0, result.text)

    def run_killed(self, words):
        """Run vmdk-img and kill it before some step, or at some time."""
        env, after = {}, None
        if self.rng.random() < 0.5 or self.place.args.sanitized:
            after = log_random(self.rng, 0.002, 0.4)
            how = f'after {after:.3f} s'
        else:
            step = int(log_random(self.rng, 1, 150))
            how = f'before step {step}'
            env = {'STOP_AT': str(step),
                   'LD_PRELOAD': self.place.tool('.libs/stop-shim.so')}
        result = run([self.place.vmdk_img, *words], self.place.path('disk'),
                     after, env)
        require(result.status in (0, 1, -9), f'vmdk-img {" ".join(words)}: '
                f'status {result.status}: {result.text}')
        if result.status == -9:
            self.leaks_allowed = True
            self.place.counters.add('kills of vmdk-img')
            self.place.log(f'  killed {how}: {" ".join(words)}')
        return result

    def repair_unclean(self, message):
        """A command wants extents to be repaired: those that are unclean."""
        links = [link['file'] for link in self.place.info(self.top)
                 if any(e.get('unclean') for e in link['extents'])]
        require(links and 'repair' in message, message)
        for name in links:
            self.repair(name)

    def operate(self, *words, after_kill=None):
        """Run vmdk-img, perhaps killed some times before."""
        name = words[0]
        self.save()
        killed = False
        for _ in range(self.rng.randint(1, 3) * (self.rng.random() < 0.5)):
            result = self.run_killed(words)
            if result.status != -9:
                break
            killed = True
            words = after_kill(words) if after_kill else words
            if words is None:
                return killed
        else:
            result = self.place.img(*words, status=(0, 1))
        if result.status == 1:
            self.repair_unclean(result.text)
            self.place.img(*words)
        self.place.counters.add(name)
        self.place.log('  ' + ' '.join(words))
        return killed

    def still_same(self, words):
        """A command was killed: the chain's content is what it was."""
        self.compare('--cid-check=off')
        return words

    def snapshot(self):
        """A child, in which to go on."""
        kinds = SPARSE if self.rng.random() < 0.8 else (*SPARSE, 'seSparse')
        if self.kinds()[-1] in READ_ONLY:
            kinds = SPARSE
        kind = self.rng.choice(kinds)
        child = self.new_name()
        options = ['-t', kind, *self.grain_option(kind)]
        if self.rng.random() < 0.3:
            result = self.place.img('snapshot', *options, self.top)
            self.place.counters.add('snapshot')
            self.names.append(result.output.strip())
            self.place.log(f'  snapshot {" ".join(options)}')
            return
        killed = self.operate('snapshot', *options, self.top, child,
                              after_kill=self.again_by_force)
        self.names.append(child)
        self.remove_others(killed)

    def again_by_force(self, words):
        """A new disk was to be made; the old one is as it was."""
        self.still_same(words)
        return (words if '--force' in words
                else (words[0], '--force', *words[1:]))

    def commit(self):
        """A link into its parent."""
        kinds = self.kinds()
        possible = [i for i in range(1, len(kinds))
                    if kinds[i - 1] != 'streamOptimized' or i == 1]
        if not possible:
            return False
        i = self.rng.choice(possible)
        child, parent = self.names[i], self.names[i - 1]
        last = i == len(self.names) - 1
        delete = last and self.rng.random() < 0.6
        files = self.files_of(self.place.info(child)[:1])
        killed = self.operate('commit', *(['--delete'] * delete), child,
                              after_kill=self.commit_killed)
        if last and (delete or self.rng.random() < 0.5):
            for name in files:
                path = os.path.join('disk', name)
                if os.path.exists(self.place.path(path)):
                    require(not delete or killed, f'{name} was not deleted')
                    self.remove([name])
            self.names.pop()
            require(self.top == parent, 'the parent is another')
        self.remove_others(killed)
        return True

    def commit_killed(self, words):
        """Either it can go on, or the child is gone since all is done."""
        if os.path.exists(self.place.path(os.path.join('disk', words[-1]))):
            return self.still_same(words)
        return None

    def pull(self):
        """Make a link independent, and delete what was below."""
        if len(self.names) < 2:
            return False
        i = self.rng.randrange(1, len(self.names))
        below = self.files_of(self.place.info(self.names[i - 1]))
        killed = self.operate('pull', self.names[i],
                              after_kill=self.still_same)
        self.remove(below)
        self.names = self.names[i:]
        self.remove_others(killed)
        return True

    def compact(self):
        """Give back what isn't needed, in any link that it can be done in."""
        kinds = self.kinds()
        possible = [i for i, kind in enumerate(kinds) if kind in WRITABLE]
        if not possible:
            return False
        i = self.rng.choice(possible)
        punch = ['--punch'] * (self.rng.random() < 0.3)
        killed = self.operate('compact', *punch, self.names[i],
                              after_kill=self.still_same)
        self.remove_others(killed)
        found = json.loads(self.place.img(
            'check', '--json', '--single-link', self.names[i],
            status=(0, 3)).output)
        require(punch or found['leaked-bytes'] == 0,
                f'{found["leaked-bytes"]} bytes are leaked after compact')
        return True

    def resize(self):
        """Make it larger, if it is a type and a chain that can be."""
        kind, size = self.kinds()[-1], os.stat(self.place.raw).st_size
        if (len(self.names) > 1 or kind not in (*HOSTED, *FLAT) or
                size > 2 * self.place.args.size * MIB):
            return False
        more = self.rng.choice((1, 8, 100, 1000, 30000, 60000))
        more = self.rng.randint(1, more) * 512
        words = 'resize', self.top, str(size + more)
        killed = self.operate(*words, after_kill=lambda words: (
            self.grown(size, more) and words))
        with open(self.place.raw, 'r+b') as f:
            f.truncate(size + more)
        self.remove_others(killed)
        return True

    def grown(self, size, more):
        """A resize was killed: the size is the old or the new one."""
        now = int(self.place.info(self.top)[0]['size'])
        require(now in (size, size + more), f'resize: {now} bytes')
        with open(self.place.raw, 'r+b') as f:
            f.truncate(now)
        self.compare()
        return True

    def convert(self):
        """All of it to a new disk, of another type."""
        kind = self.rng.choice((*WRITABLE, *READ_ONLY))
        files = self.files_of(self.place.info(self.top))
        name = self.new_name()
        killed = self.operate('convert', '-t', kind, *self.grain_option(kind),
                              self.top, name, after_kill=self.again_by_force)
        self.remove(files)
        self.names = [name]
        self.leaks_allowed = False
        self.remove_others(killed)

    def repair(self, name=None):
        """There is nothing to be repaired but what kills have left."""
        name = name or self.rng.choice(self.names)
        self.save()
        result = json.loads(self.place.img('repair', '--json', name).output)
        require(result['errors'] == 0 and not result['content-changed'],
                f'repair: {result}')
        self.remove([result['undo-file']] if result.get('undo-file') else [])
        self.place.counters.add('repair')
        self.place.log(f'  repair {name}: {result["number-of-repairs"]}')
        self.remove_others()

    # Serving it.

    def load(self, server):
        """Some requests of clients, and everything is compared."""
        rng, place = self.rng, self.place
        x = rng.random()
        if x < 0.25:
            words = [place.tool('random-io'), '-c', str(rng.randint(1, 5)),
                     '-n', str(rng.randint(10, 200)),
                     '-s', str(rng.randrange(1 << 32)), server.sock, place.raw]
            result = run(words)
            require(result.status == 0, f'{" ".join(words)}: {result.text}: '
                    f'{server.messages()}')
            place.counters.add('requests', int(words[2]) * int(words[4]))
        elif x < 0.3:
            self.clear(server)
        else:
            place.overlap(server, rng, *self.load_arguments())
        place.compare_served(server, rng)
        server.idle()

    def load_arguments(self):
        """Milliseconds, MiB."""
        return (int(log_random(self.rng, 30, 40 * self.place.args.size)),
                self.rng.choice((0, 1, 4, 16)))

    def clear(self, server):
        """Trim everything, and zero what is left: the space is given back."""
        size = os.stat(self.place.raw).st_size
        requests = [word for request in ('trim', 'zero')
                    for word in (request, '0', str(size))]
        self.place.request(server, *requests, 'may-trim', 'flush')
        with open(self.place.raw, 'wb') as f:
            f.truncate(size)
        links = self.place.info(self.top, '--force-share')
        if not self.leaks_allowed:
            used = self.place.file_sizes(links)[1]
            require(used <= most_tables(links) + MIB,
                    f'all was trimmed, but {used} bytes are used')
        self.place.counters.add('trims of all')

    def live(self):
        """A server, from its start to its end, which may be by kill -9."""
        rng, place = self.rng, self.place
        options = ['zeroed-grains=' + rng.choice(('auto', 'always', 'never'))]
        server = place.serve(self.top, *options,
                             threads=rng.choice((1, 4, 16)))
        for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
            self.load(server)
        how = rng.choice(('stop', 'stop', 'stop', 'kill', 'kill', 'client'))
        place.log(f'  served with {options[0]}, then: {how}')
        getattr(self, 'end_by_' + how)(server)
        place.forget(server)
        self.remove_others(how != 'stop')

    def end_by_stop(self, server):
        """SIGTERM, while nothing is under way."""
        server.stop()

    def end_by_kill(self, server):
        """SIGKILL, while much is."""
        largest = self.rng.choice((512, 512, 512, 65536))
        self.place.overlap(server, self.rng, *self.load_arguments(), kill=True,
                           largest=largest)
        server.was_killed()
        self.leaks_allowed = True
        self.place.counters.add('kills of servers')

    def end_by_client(self, server):
        """The client is killed while it has requests under way."""
        words = [self.place.tool('overlap-io'), '-t', '60000', '-w', '4',
                 '-s', str(self.rng.randrange(1 << 32)), '-l', '8192',
                 self.place.state, self.place.raw, server.sock]
        run(words, kill_after=log_random(self.rng, 0.05, 0.5))
        self.place.counters.add('kills of clients')
        if server.end_after_clients():
            self.leaks_allowed = True
            self.place.counters.add('aborts of nbdkit')

    # One step after the other.

    def step(self):
        """Something; then all must be right."""
        rng = self.rng
        possible = {self.live: 10, self.snapshot: 5, self.commit: 6,
                    self.pull: 2, self.compact: 3, self.resize: 3,
                    self.convert: 1, self.repair: 1}
        if self.kinds()[-1] in READ_ONLY:
            del possible[self.live]
        if len(self.names) >= LONGEST_CHAIN:
            del possible[self.snapshot]
        while True:
            todo, = rng.choices(list(possible), list(possible.values()))
            self.place.log(f'{todo.__name__} {" <- ".join(self.names)}')
            if todo() is not False:
                break
        if self.check() and rng.random() < 0.2:
            self.compare_by_qemu()
        self.compare()
