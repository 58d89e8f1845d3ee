#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The long life of a disk: load, snapshots, commits, kills and restarts in
# random order, compared with a model after each step.
"""Use disks for a long time, in all ways, and compare them with a model.

  endurance.py [--seed=N] [--seconds=N] [--size=MIB] [--sanitized] FOLDER
               BUILD SOURCE COMMAND...

Disks have up to so many MiB at first.  BUILD is where the project was built,
SOURCE its folder tests, and COMMAND nbdkit with what it needs and the plugin.
In FOLDER there are afterwards

  log           what was done, and what was measured
  main/disk     the files of the disk
  main/before   the same, before the last command of vmdk-img
  main/d.raw    what the guest must find
  main/state    what overlap-io.c knows of requests since then
  steady        the same for a disk whose server lives as long as this runs

What is done follows from the seed, as far as it doesn't depend on time.
"""

import argparse
import os
import random
import sys
import threading
import time

sys.dont_write_bytecode = True

from endurancedisk import MIB, Disk, Place, most_tables  # noqa: E402
from enduranceserver import Failure, Watch, require  # noqa: E402


class Steady(threading.Thread):
    """One server that lives all the time, mostly under load."""

    def __init__(self, args, log):
        super().__init__(daemon=True)
        self.args, self.failure = args, None
        self.rng = random.Random(f'{args.seed}.steady')
        self.place = Place(args, os.path.join(args.folder, 'steady'), log)
        self.ended = threading.Event()
        self.server, self.lengths = None, []

    def make_disk(self):
        """A child of a disk of compressed grains."""
        place = self.place
        place.generate('stream', f'size={self.args.size * MIB // 512}',
                       'alloc=random:50', 'base.vmdk')
        place.img('snapshot', '-t', 'monolithicSparse', '--grain-size=8K',
                  'base.vmdk', 'd.vmdk')

    def round(self):
        """Some load; from time to time all is compared."""
        place, rng, server = self.place, self.rng, self.server
        for _ in range(rng.randint(1, 6)):
            place.overlap(server, rng, 500, 8, largest=2048)
            server.idle()
            self.ended.wait(0.5)
        place.compare_served(server, rng)
        server.idle()
        links = place.info('d.vmdk', '--force-share')
        length = place.file_sizes(links)[0]
        self.lengths.append(length)
        require(length <= most_tables(links) + (self.args.size + 24) * MIB,
                f'the disk of {self.args.size} MiB takes {length} bytes')

    def run(self):
        try:
            self.make_disk()
            self.server = self.place.serve('d.vmdk', threads=4)
            while not self.ended.is_set():
                self.round()
            self.server.stop()
            self.check_memory()
            self.place.forget(self.server)
            self.place.img('check', 'd.vmdk')
        except (Failure, OSError) as e:
            self.failure = e

    def check_memory(self):
        """Late it took what it had taken early, and little more.

        In a short run the caches aren't filled early.
        """
        early, late = self.memory(0.1, 0.3), self.memory(0.8, 1)
        require(self.args.sanitized or self.args.seconds < 300 or
                late <= early * 1.25 + 1024,
                f'the server had {early} KiB, and at the end {late} KiB')

    def memory(self, begin, end):
        """The median of what it kept without clients in a part of its life."""
        kib = self.server.idle_kib
        part = sorted(kib[int(len(kib) * begin):int(len(kib) * end) + 1])
        return part[len(part) // 2]


class Run:
    """All of it."""

    def __init__(self, args):
        self.args, self.started = args, time.monotonic()
        self.lock = threading.Lock()
        os.makedirs(args.folder, exist_ok=True)
        self.log_file = open(os.path.join(args.folder, 'log'), 'w',
                             encoding='utf-8', buffering=1)
        self.place = Place(args, os.path.join(args.folder, 'main'), self.log)
        self.steady = Steady(args, self.log)
        self.steps = self.disks = 0

    def elapsed(self):
        """Seconds."""
        return time.monotonic() - self.started

    def log(self, text):
        """A line in the log."""
        with self.lock:
            self.log_file.write(f'{self.elapsed():8.2f}  {text}\n')

    def run(self):
        """Until the time is over, or something is wrong."""
        self.steady.start()
        while self.elapsed() < self.args.seconds:
            self.disks += 1
            disk = Disk(self.place,
                        random.Random(f'{self.args.seed}.{self.disks}'))
            for _ in range(disk.rng.randint(5, 40)):
                self.steps += 1
                disk.step()
                if self.steady.failure:
                    raise self.steady.failure
                if self.elapsed() >= self.args.seconds:
                    break
            disk.remove(disk.files_of(self.place.info(disk.top)))
        self.steady.ended.set()
        self.steady.join()
        if self.steady.failure:
            raise self.steady.failure

    def report(self):
        """What was done, and what was measured."""
        main, steady = self.place, self.steady
        yield f'seed {self.args.seed}: {self.elapsed():.0f} s, ' \
            f'{self.disks} disks, {self.steps} steps'
        for name in sorted(main.counters):
            yield f'{name}: {main.counters[name]}'
        yield f'servers: at most {main.most_rss} KiB, of these ' \
            f'{main.most_idle} KiB (anonymous) without clients; ' \
            f'at most {main.most_fds} descriptors'
        yield f'vmdk-img: at most {max(main.peak, steady.place.peak)} KiB'
        for name in sorted(steady.place.counters):
            yield f'long-lived server: {name}: {steady.place.counters[name]}'
        for tenth in range(10):
            yield f'long-lived server: tenth {tenth + 1}: ' \
                f'{steady.memory(tenth / 10, (tenth + 1) / 10)} KiB'
        yield 'long-lived server: ' \
            f'{len(steady.server.idle_fds)} descriptors without clients, ' \
            f'at most {steady.server.most_fds}; files of ' \
            f'{min(steady.lengths)} to {max(steady.lengths)} bytes'


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=3600)
    parser.add_argument('--size', type=int, default=80)
    parser.add_argument('--sanitized', action='store_true')
    parser.add_argument('folder')
    parser.add_argument('build')
    parser.add_argument('source')
    parser.add_argument('command', nargs=argparse.REMAINDER)
    return parser.parse_args()


def main():
    """Print what was done, or what went wrong and how to go on."""
    args = parse()
    args.watch = Watch()
    args.watch.start()
    run = Run(args)
    print(f'seed {args.seed}, {args.seconds:.0f} s, log: {run.log_file.name}',
          flush=True)
    try:
        run.run()
    except Failure as e:
        run.log(f'FAILED: {e}')
        print(f'seed {args.seed}, step {run.steps} after '
              f'{run.elapsed():.1f} s: {e}\n'
              f'The files are in {args.folder}: what was done in log, the '
              'disk in main/disk, and\nas it was before the last command of '
              'vmdk-img in main/before; what the guest must\nfind in '
              'main/d.raw, with main/state, if that is there: overlap-io -V '
              'state d.raw RAW.\nAgain from the beginning: make '
              f'check-endurance ENDURANCE_SEED={args.seed}')
        sys.exit(1)
    for line in run.report():
        run.log(line)
        print(line)


if __name__ == '__main__':
    main()
