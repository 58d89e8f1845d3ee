# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What a guest finds on a disk: the model that images are checked against.
"""What a guest finds on a disk: the model that images are checked against.

A disk is a list of runs of sectors, each with a status and with content that
follows from its address.  Nothing here knows how images are stored.
"""

import bisect
import hashlib
import json
import random
import re
from typing import NamedTuple, Optional

from vmdkformat import SECTOR, Error

# What no guest may ever see: it fills the part of a last grain that lies past
# the end of the extent, grains that an entry has given up, and the sectors of
# a flat file which belong to nobody.
JUNK = b'\xee' * SECTOR

# States of a grain whose content is stored in the file.
STORED = 'dnb'


def sectors(fill, first, count):
    """Content of guest sectors: fill is None (zeroes) or (seed, noise).

    Each sector names itself, so that one that is served at a wrong address
    can't go unnoticed, and a person can read what came instead.
    """
    if fill is None:
        return bytes(count * SECTOR)
    seed, noise = fill
    if noise:
        return b''.join(hashlib.shake_128(b'%x %x' % (seed, s)).digest(SECTOR)
                        for s in range(first, first + count))
    return b''.join(b's%08x @%020x\n' % (seed, s) * 16
                    for s in range(first, first + count))


class Run(NamedTuple):
    """Sectors of a disk which have one status and one kind of content."""

    start: int
    length: int
    status: str                 # data, packed, zero, absent, noaccess
    fill: Optional[tuple]       # as for sectors()


def merge(runs):
    """Join neighbouring runs that differ in nothing but their place."""
    out = []
    for run in runs:
        if out and out[-1][2:] == run[2:]:
            out[-1] = out[-1]._replace(length=out[-1].length + run.length)
        elif run.length:
            out.append(run)
    return out


def compose(child, parent, past_end='zero'):
    """Lay a child's runs over those of its parent, which may be a chain.

    Where the parent is shorter than the child, its end is followed by zeroes;
    where it is longer, it is cut.
    """
    starts = [run.start for run in parent]
    end = parent[-1].start + parent[-1].length if parent else 0
    out = []
    for run in child:
        if run.status != 'absent':
            out.append(run)
            continue
        at, stop = run.start, run.start + run.length
        while at < min(stop, end):
            below = parent[bisect.bisect_right(starts, at) - 1]
            n = min(below.start + below.length, stop) - at
            out.append(below._replace(start=at, length=n))
            at += n
        out.append(Run(at, stop - at, past_end, None))
    return merge(out)


def write_raw(path, runs):
    """Write the guest's view; what isn't stored data stays a hole."""
    with open(path, 'wb') as f:
        f.truncate(sum(run.length for run in runs) * SECTOR)
        for run in runs:
            for at in range(run.start, run.start + run.length, 2048):
                n = min(2048, run.start + run.length - at)
                if run.fill:
                    f.seek(at * SECTOR)
                    f.write(sectors(run.fill, at, n))


def write_map(path, runs):
    """Write the list of (offset, length, status) in bytes, merged, as JSON."""
    plain = merge(run._replace(fill=None) for run in runs)
    with open(path, 'w') as f:
        json.dump([{'offset': run.start * SECTOR,
                    'length': run.length * SECTOR,
                    'status': run.status} for run in plain], f, indent=1)
        f.write('\n')


class Guest(NamedTuple):
    """The range of guest sectors that one extent serves."""

    seed: int
    base: int                   # its first sector in the disk
    size: int

    def rng(self):
        """Random choices which differ between the extents of a disk."""
        return random.Random('%d:%d' % (self.seed, self.base))

    def fill(self, state):
        """What a grain in a state holds, as for sectors()."""
        return (self.seed, state == 'n') if state in 'dn' else None

    def data(self, g, grain, state, pad=JUNK):
        """Bytes to store for grain g, padded to a whole grain."""
        n = min(grain, self.size - g * grain)
        return sectors(self.fill(state), self.base + g * grain, n) \
            + pad * (grain - n)

    def runs(self, states, grain, packed=False, rest='absent'):
        """The map of this extent, in sectors of the disk."""
        out, at = [], 0
        for g in sorted(states):
            start, end = g * grain, min((g + 1) * grain, self.size)
            status = 'zero'
            if states[g] in STORED:
                status = 'packed' if packed else 'data'
            out.append(Run(self.base + at, start - at, rest, None))
            out.append(Run(self.base + start, end - start, status,
                           self.fill(states[g])))
            at = end
        out.append(Run(self.base + at, self.size - at, rest, None))
        return merge(out)


def parse_alloc(spec, count, rng, legal, mix):
    """Turn an allocation pattern for count grains into {grain: state}.

    legal are the states that the format has, mix those that `mixed` draws.
    """
    if isinstance(spec, dict):
        return dict(sorted(spec.items()))
    states = {}
    for item in str(spec).split(','):
        name, _, state = item.partition('/')
        if state and state not in legal:
            raise Error('alloc: no state %r in this format' % state)
        kind, _, arg = name.partition(':')
        span = re.fullmatch(r'(\d+)(?:-(\d+))?', name)
        if span:
            chosen = range(int(span[1]), int(span[2] or span[1]) + 1)
        elif kind == 'all':
            chosen = range(count)
        elif kind == 'none':
            chosen = ()
        elif kind == 'every':
            chosen = range(0, count, int(arg))
        elif kind in ('random', 'mixed'):
            chosen = [g for g in range(count) if rng.random() * 100 < int(arg)]
        elif kind == 'scatter':
            chosen = rng.sample(range(count), int(arg))
        else:
            raise Error('alloc: cannot understand %r' % item)
        for g in chosen:
            states[g] = rng.choice(mix) if kind == 'mixed' else state or 'd'
    if states and max(states) >= count:
        raise Error('alloc: the last grain is %d' % (count - 1))
    return dict(sorted(states.items()))


def arrange(items, order, rng):
    """The order in which grains (or tables) take their place in a file."""
    items = sorted(items, reverse=order == 'reversed')
    if order == 'random':
        rng.shuffle(items)
    elif order not in ('asc', 'reversed'):
        raise Error('order: asc, reversed or random, not %r' % order)
    return items
