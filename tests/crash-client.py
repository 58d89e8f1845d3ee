#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# The guest whose server is traced: see strace-log.py.
"""Start an NBD server, make requests of it, and say when.

  crash-client.py SOCKET MARKS "REQUEST..." SERVER [ARGUMENT...]

  write OFFSET LENGTH       other bytes each time, the same in each run
  zero OFFSET LENGTH
  flush
  random COUNT EVERY SIZE   writes of 1 to 16 sectors in the first SIZE bytes,
                            a flush after EVERY of them
  storm COUNT SIZE          so many requests of that kind and zeroes, some with
                            FUA, and flushes that wait for nothing
  depth N                   from here on up to N requests are under way

Each request may be followed by fua.  A flush waits for what was sent before,
but those of a storm.  Offsets and lengths are bytes, in whole sectors.

When the server, this program and nothing else are run by one strace, the
lines that are written to MARKS are a part of the trace, in the right place:
before a request is sent, and after its answer has come.  They are lines of
a crash simulator's log (crash-log.c).

Once it is done it closes the connection and sends SIGTERM to the server,
and its exit status is the server's.
"""

import os
import random
import signal
import struct
import subprocess
import sys
import time

import nbdclient

WORDS = {'write': 2, 'zero': 2, 'flush': 0, 'random': 3, 'storm': 2,
         'depth': 1}
COMMANDS = {'write': nbdclient.CMD_WRITE, 'flush': nbdclient.CMD_FLUSH,
            'zero': nbdclient.CMD_WRITE_ZEROES}
SECTOR = 512


class Client(nbdclient.Client):
    """Several requests at a time, none of which reads, with marks."""

    def __init__(self, path, marks):
        super().__init__(path)
        self.marks = os.open(marks, os.O_WRONLY | os.O_CREAT)
        self.under_way = {}     # cookie: (start, end)
        self.depth = 1
        self.rng = random.Random(1)

    def mark(self, text):
        """One system call for each line, of a kind that few others make."""
        line = (text + '\n').encode()
        assert os.pwrite(self.marks, line, 0) == len(line)

    def send(self, name, offset, length, fua):
        """Send a request; wait while there are too many, or one that
        overlaps: nobody could tell which of them was done first."""
        end = offset + length
        if any(offset < e and s < end for s, e in self.under_way.values()):
            self.wait(0)
        self.wait(self.depth - 1)
        self.cookie += 1
        data, text = b'', ''
        if name == 'write':
            data = self.rng.randbytes(length)
            text = ' %d %s' % (offset, data.hex())
        elif name == 'zero':
            text = ' %d %d' % (offset, length)
        self.mark('begin %d guest-%s%s%s' % (self.cookie, name, text,
                                             ' fua' if fua else ''))
        self.under_way[self.cookie] = offset, end
        self.sock.sendall(struct.pack('>IHHQQI', 0x25609513, fua,
                                      COMMANDS[name], self.cookie, offset,
                                      length) + data)

    def wait(self, most):
        """Wait until only so many requests are under way."""
        while len(self.under_way) > most:
            magic, = self.get('>I')
            if magic == 0x67446698:
                error, cookie = self.get('>IQ')
            else:
                done, kind, cookie, size = self.get('>HHQI')
                payload = self.stream.read(size)
                error = payload.hex() if kind & 0x8000 else 0
                assert done & 1
            if error:
                sys.exit('request %d: error %s' % (cookie, error))
            self.mark('end %d' % cookie)
            del self.under_way[cookie]

    def send_random(self, count, every, size):
        """Writes with flushes between them."""
        for i in range(1, count + 1):
            sectors = self.rng.randrange(1, 17)
            offset = self.rng.randrange(size // SECTOR - sectors + 1)
            self.send('write', offset * SECTOR, sectors * SECTOR, False)
            if i % every == 0:
                self.flush(False)

    def send_storm(self, count, size):
        """Writes, zeroes and flushes at the same time."""
        rng = self.rng
        for _ in range(count):
            if rng.randrange(3) == 0:
                self.send('flush', 0, 0, False)
                continue
            sectors = rng.randrange(1, 17)
            offset = rng.randrange(size // SECTOR - sectors + 1)
            self.send(rng.choice(['write', 'write', 'zero']), offset * SECTOR,
                      sectors * SECTOR, rng.randrange(4) == 0)

    def flush(self, fua):
        """Of all that has been sent."""
        self.wait(0)
        self.send('flush', 0, 0, fua)
        self.wait(0)

    def run(self, words):
        """Make the requests."""
        while words:
            name = words.pop(0)
            args = [int(words.pop(0)) for _ in range(WORDS[name])]
            fua = words[:1] == ['fua']
            del words[:fua]
            if name == 'depth':
                self.depth, = args
            elif name == 'random':
                self.send_random(*args)
            elif name == 'storm':
                self.send_storm(*args)
            elif name == 'flush':
                self.flush(fua)
            else:
                self.send(name, *args, fua)
        self.wait(0)
        self.close()


def connect(path, marks, server):
    """As soon as the server listens."""
    while server.poll() is None:
        try:
            return Client(path, marks)
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
    sys.exit('the server did not start')


def main(argv):
    """Do what the usage says."""
    if len(argv) < 5:
        print(__doc__)
        return 2
    with subprocess.Popen(argv[4:], stdin=subprocess.DEVNULL) as server:
        try:
            client = connect(argv[1], argv[2], server)
            client.run(argv[3].split())
        finally:
            server.send_signal(signal.SIGTERM)
    return server.returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv))
