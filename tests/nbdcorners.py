#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Requests at places and of lengths where something may be off by one.
"""Make requests of an NBD server, and compare its answers with a model.

  nbdcorners.py edges SOCKET RAW [HOW...] EDGE...
      all kinds of requests that begin, end or are near each of these offsets,
      and at both ends of the disk
  nbdcorners.py large SOCKET RAW [HOW...]
      requests of many MiB, up to more than a server takes
  nbdcorners.py talk SOCKET RAW [HOW...]
      commands and flags that there are, and that there aren't; then many
      requests at a time, of which some are errors

RAW is what the disk has; it is brought up to date.  HOW: simple (no
structured replies, and so no block status), export-name (without NBD_OPT_GO),
contexts (several are asked for), read-only (all changes must be refused with
EPERM).

Nothing is printed when all answers are right.
"""

import random
import sys
import threading

sys.dont_write_bytecode = True

from nbdclient import (  # noqa: E402
    CMD_BLOCK_STATUS, CMD_CACHE, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE,
    CMD_WRITE_ZEROES, FLAG_FAST_ZERO, FLAG_FUA, FLAG_NO_HOLE, FLAG_REQ_ONE,
    FLAG_DF, Client, ServerError, join)

EPERM, ENOMEM, EINVAL, ENOSPC, ENOTSUP = 1, 12, 22, 28, 95
HOLE, ZERO = 1, 2
CHANGES = CMD_WRITE, CMD_WRITE_ZEROES, CMD_TRIM
MiB = 1 << 20
MOST = 64 * MiB         # of a read or write, in nbdkit
# Commands, and flags that nbdkit takes.
KNOWN = {CMD_READ: FLAG_FUA | FLAG_DF, CMD_WRITE: FLAG_FUA,
         CMD_FLUSH: FLAG_FUA, CMD_TRIM: FLAG_FUA, CMD_CACHE: FLAG_FUA,
         CMD_WRITE_ZEROES: FLAG_FUA | FLAG_NO_HOLE | FLAG_FAST_ZERO,
         CMD_BLOCK_STATUS: FLAG_FUA | FLAG_REQ_ONE}
# What the server must have said when the disk was opened.
OFFERS = {FLAG_FUA: 1 << 3, FLAG_DF: 1 << 7, FLAG_FAST_ZERO: 1 << 11}
MOST_CASES = 250        # of one run
WORDS = ('simple', 'export-name', 'contexts', 'read-only')
CONTEXTS = {False: ['base:allocation'],
            True: ['x:none', 'base:allocation', 'qemu:dirty-bitmap:x']}


def connect(path, how):
    """A connection of that kind."""
    client = Client(path, structured='simple' not in how,
                    contexts=CONTEXTS['contexts' in how],
                    go='export-name' not in how)
    assert 'simple' in how or \
        list(client.contexts.values()) == ['base:allocation'], client.contexts
    return client


class Checker:
    """A server and what its disk must have."""

    def __init__(self, path, raw, how):
        self.raw_path = raw
        with open(raw, 'rb') as f:
            self.model = bytearray(f.read())
        self.client = connect(path, how)
        self.structured = 'simple' not in how
        self.writable = 'read-only' not in how
        self.size = len(self.model)
        self.rng = random.Random(self.size)
        assert self.client.size == self.size, self.client.size
        self.what = None

    def check(self, right, text, *args):
        """Fail unless it is right."""
        if not right:
            sys.exit('%s: %s' % (self.what, text % args))

    def data_for(self, command, offset, length, flags):
        """What goes with a request."""
        self.what = 'command %d, %d+%d, flags %x' % (command, offset, length,
                                                     flags)
        return self.rng.randbytes(length) if command == CMD_WRITE else b''

    def unknown(self, command, flags):
        """Is there no such command, or has the server offered no such
        flag?"""
        return command not in KNOWN or flags & ~KNOWN[command] or \
            command == CMD_BLOCK_STATUS and not self.structured or \
            any(flags & flag and not self.client.flags & offer
                for flag, offer in OFFERS.items())

    def expected(self, command, offset, length, flags):
        """The errors that it may give, or {0}.  If several things are wrong
        it is nbdkit's affair which of them it names, and so is a length of
        0."""
        wrong = set()
        if self.unknown(command, flags):
            wrong.add(EINVAL)
        if command in CHANGES and not self.writable:
            wrong.add(EPERM)
        if command != CMD_FLUSH and (offset + length > self.size or
                                     length == 0):
            writes = command in (CMD_WRITE, CMD_WRITE_ZEROES)
            wrong.add(ENOSPC if writes else EINVAL)
        if command in (CMD_READ, CMD_WRITE) and length > MOST:
            wrong.add(ENOMEM)
        # To these nbdkit 1.32 offers more than it then takes.
        if self.client.old and (flags or command not in (CMD_READ,
                                                         CMD_WRITE)):
            return wrong | {0, EINVAL}
        return wrong or {0}

    def look(self, offset, length):
        """What is there and around it is in the model, and block status
        doesn't say that it were zero if it isn't."""
        offset, end = max(0, offset - 700), min(self.size,
                                                offset + length + 700)
        found = self.client.read(offset, end - offset)
        self.check(found == self.model[offset:end], 'bytes are wrong')
        if not self.structured:
            return
        at = offset
        for start, size, flags in self.client.extents(offset, end - offset, 0):
            self.check(start == at and size > 0, 'extents have a gap')
            at += size
            self.check(flags in (0, HOLE, HOLE | ZERO), 'type %d', flags)
            self.check(not flags & ZERO or not any(self.model[start:at]),
                       'block status says %d-%d is zero', start, at)
        self.check(at >= end and at <= self.size, 'extents end at %d', at)

    def forget(self, offset, length):
        """After a trim each byte is zero, or what it was."""
        end = offset + length
        for at in range(offset, end, MiB):
            found = self.client.read(at, min(MiB, end - at))
            if found == self.model[at:at + len(found)]:
                continue
            for i in range(0, len(found), 512):
                if not any(found[i:i + 512]):
                    size = len(found[i:i + 512])
                    self.model[at + i:at + i + size] = bytes(size)

    def judge(self, request, data, error, chunks):
        """Is that the right answer?  If so it is the disk's as well."""
        command, offset, length, flags = request
        expected = self.expected(*request)
        if flags & FLAG_FAST_ZERO:
            expected.add(ENOTSUP)
        self.check(error in expected, 'error %d, expected %s', error, expected)
        part = slice(offset, offset + length)
        if error:
            return
        if command == CMD_READ:
            self.check(join(offset, length, chunks) == self.model[part],
                       'wrong bytes')
        elif command == CMD_TRIM:
            self.forget(offset, length)
        elif command in CHANGES:
            self.model[part] = data or bytes(length)

    def do(self, command, offset, length, flags=0):
        """Make a request, and see what has become of it."""
        request = command, offset, length, flags
        data = self.data_for(*request)
        try:
            error, chunks = 0, self.client.request(*request, data)
        except ServerError as e:
            error, chunks = e.args[0], []
        self.judge(request, data, error, chunks)

    def do_and_look(self, command, offset, length, flags):
        """The same, and look at what is around it."""
        self.do(command, offset, length, flags)
        if offset < self.size:
            self.look(offset, min(length, self.size - offset))

    def finish(self):
        """Compare all of the disk."""
        self.what = 'in the end'
        for at in range(0, self.size, 32 * MiB):
            self.look(at, min(32 * MiB, self.size - at))
        self.client.close()
        with open(self.raw_path, 'wb') as f:
            f.write(self.model)


def cases(checker, edges):
    """All requests that are made near the edges."""
    lengths = 0, 1, 511, 512, 513, 4097
    kinds = [(CMD_READ, 0), (CMD_CACHE, 0), (CMD_BLOCK_STATUS, 0),
             (CMD_WRITE, 0), (CMD_WRITE, FLAG_FUA), (CMD_TRIM, 0),
             (CMD_WRITE_ZEROES, 0), (CMD_WRITE_ZEROES, FLAG_NO_HOLE),
             (CMD_WRITE_ZEROES, FLAG_FAST_ZERO)]
    for edge in [0, checker.size] + edges:
        starts = edge - 513, edge - 512, edge - 511, edge - 1, edge, edge + 1
        for start in starts:
            for length in lengths:
                for command, flags in kinds:
                    if start >= 0:
                        yield command, start, length, flags


def do_edges(checker, args):
    """Some of all these small requests, other ones of each disk."""
    work = list(cases(checker, [int(e) for e in args]))
    checker.rng.shuffle(work)
    for case in work[:MOST_CASES]:
        checker.do_and_look(*case)
    for command in CMD_READ, CMD_BLOCK_STATUS, CMD_CACHE, *CHANGES:
        for offset in (checker.size + 1, 1 << 32, (1 << 63) - 1, 1 << 63,
                       (1 << 64) - 512, (1 << 64) - 1):
            for length in 1, 512, 4096:
                checker.do(command, offset, length)


def do_large(checker, _):
    """32 MiB and more, at odd places and at the end."""
    size, half = checker.size, 32 * MiB
    assert size > MOST + MiB
    for command in CMD_WRITE, CMD_READ, CMD_WRITE_ZEROES, CMD_TRIM, \
            CMD_CACHE, CMD_BLOCK_STATUS:
        copies = command in (CMD_READ, CMD_WRITE)
        for offset, length in (
                (size - half, half), (size - half + 1, half),
                (size - 1, (1 << 32) - 1), (0, (1 << 32) - 1),
                (12345, MOST if copies else half), (0, MOST + 1)):
            if command != CMD_WRITE or length <= MOST + 1:
                checker.do(command, offset, length)
    checker.do(CMD_WRITE, 1000000, half + 1, FLAG_FUA)
    checker.do_and_look(CMD_WRITE_ZEROES, 1000000, half, FLAG_NO_HOLE)


def do_flags(checker):
    """Each flag with each command, and commands that there aren't."""
    for command in [*range(2), *range(3, 12), 255, 65535]:
        where = (0, 0) if command == CMD_FLUSH else (70000, 512)
        for flag in [0] + [1 << bit for bit in range(16)]:
            checker.do_and_look(command, *where, flag)


def queue_request(rng, i, disk_size):
    """One for the part of the disk that is dealt out to it, or an error."""
    command, flags = rng.choice(
        [(CMD_READ, 0)] * 3 + [(CMD_WRITE, 0)] * 2 +
        [(CMD_WRITE, FLAG_FUA), (CMD_WRITE_ZEROES, 0), (CMD_FLUSH, 0),
         (CMD_CACHE, 0), (CMD_BLOCK_STATUS, 0), (CMD_READ, 1 << 9),
         (CMD_WRITE, 1 << 9), (77, 0)])
    if command == CMD_FLUSH:
        return command, 0, 0, flags
    length = rng.randrange(1, 4000)
    if rng.randrange(8) == 0:
        return command, disk_size - length + 1, length, flags
    return command, i * 5000 + rng.randrange(1000), length, flags


def do_queue(checker):
    """All are sent before the first answer is waited for."""
    client = checker.client
    first = client.cookie + 1
    requests = [queue_request(checker.rng, i, checker.size)
                for i in range(400)]
    data = [checker.data_for(*r) for r in requests]
    assert checker.size > len(requests) * 5000

    def send():
        for (command, offset, length, flags), d in zip(requests, data):
            client.submit(command, offset, length, flags, d)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for _ in requests:
        cookie, error, chunks = client.answer()
        i = cookie - first
        checker.what = 'request %d of the queue, %s' % (i, requests[i])
        checker.judge(requests[i], data[i], error, chunks)
    sender.join()


def do_talk(checker, _):
    """One by one, and then many."""
    do_flags(checker)
    do_queue(checker)


def main(argv):
    """Do what the usage says."""
    if len(argv) < 4:
        print(__doc__)
        return 2
    what, path, raw, *rest = argv[1:]
    how = [word for word in rest if word in WORDS]
    args = rest[len(how):]
    checker = Checker(path, raw, how)
    {'edges': do_edges, 'large': do_large, 'talk': do_talk}[what](checker,
                                                                  args)
    checker.finish()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
