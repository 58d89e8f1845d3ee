#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Clients that leave in the midst of a request, or send garbage.
"""Mistreat an NBD server, which must go on to serve others.

  nbdrude.py halves SOCKET RAW
      writes of which only a part arrives, before the client leaves
  nbdrude.py garbage SOCKET RAW
      what is no handshake, no option or no request
  nbdrude.py idle SOCKET RAW COUNT
      clients that say nothing, before, in or after the handshake
  nbdrude.py unread SOCKET COUNT LENGTH
      a client that makes so many reads, and leaves without an answer

Meanwhile, but not in the last case, another client reads and writes all over
the disk, and finds what it must.  RAW is what the disk has; it is brought up
to date.  Nothing is printed when all is well.
"""

import random
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True

from nbdclient import (  # noqa: E402
    CMD_FLUSH, CMD_READ, CMD_WRITE, CMD_WRITE_ZEROES, OPT_GO, Client)

REQUEST = '>IHHQQI'
MAGIC = 0x25609513
LARGEST = 1 << 20


class Polite:
    """The client that does nothing wrong."""

    def __init__(self, path, raw):
        self.client = Client(path)
        self.raw_path = raw
        with open(raw, 'rb') as f:
            self.model = bytearray(f.read())
        self.rng = random.Random(1)

    def work(self):
        """A write or zeroes, and a look at some place."""
        rng, size = self.rng, len(self.model)
        length = rng.randrange(1, 20000)
        offset = rng.randrange(size - length)
        if rng.randrange(3) == 0:
            data = bytes(length)
            self.client.change(CMD_WRITE_ZEROES, offset, length, 0)
        else:
            data = rng.randbytes(length)
            self.client.change(CMD_WRITE, offset, length, 0, data)
        self.model[offset:offset + length] = data
        if rng.randrange(8) == 0:
            self.client.change(CMD_FLUSH, 0, 0, 0)
        length = rng.randrange(1, 200000)
        self.compare(rng.randrange(size - length), length)

    def compare(self, offset, length):
        """The server has what the model has."""
        if self.client.read(offset, length) != \
           self.model[offset:offset + length]:
            sys.exit('%d+%d is wrong' % (offset, length))

    def finish(self):
        """Look at the whole disk."""
        for at in range(0, len(self.model), LARGEST):
            self.compare(at, min(LARGEST, len(self.model) - at))
        self.client.close()
        with open(self.raw_path, 'wb') as f:
            f.write(self.model)


def leave(client, how):
    """In one of several ways."""
    if how == 0:
        client.sock.shutdown(socket.SHUT_WR)
        assert client.stream.read() == b''      # and wait for the server
    elif how == 1:
        client.sock.shutdown(socket.SHUT_RDWR)
    client.stream.close()
    client.sock.close()


def do_halves(path, polite, _):
    """What they write must never be seen, so they aren't in the model."""
    rng, size = random.Random(2), len(polite.model)
    for i in range(150):
        client = Client(path, structured=i % 2 == 0)
        length = rng.randrange(2, 1 << rng.randrange(4, 21))
        offset = rng.randrange(size - length)
        request = struct.pack(REQUEST, MAGIC, i & 1, CMD_WRITE, i, offset,
                              length) + b'half' * (length // 4 + 1)
        end = rng.choice([1, 27, 28, 29, 28 + length // 2, 28 + length - 1,
                          28 + min(length - 1, 512)])
        client.sock.sendall(request[:end])
        polite.work()
        leave(client, i % 3)
        polite.work()
        polite.compare(offset, length)


def greetings(rng):
    """What a client says first; most of it is nonsense."""
    option = b'IHAVEOPT'
    yield b''
    yield rng.randbytes(4)
    yield rng.randbytes(5000)
    yield struct.pack('>I', 3) + rng.randbytes(100)
    for number in (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 999, 0xffffffff):
        for length in 0, 1, 4, 5, 100, 4097, 70000, 0xffffffff:
            yield struct.pack('>I', 3) + option + \
                struct.pack('>II', number, length) + \
                rng.randbytes(min(length, 80000))
    yield struct.pack('>I', 3) + option + \
        struct.pack('>IIIH', OPT_GO, 6, 0xffffffff, 0xffff)


def do_garbage(path, polite, _):
    """Before and after the handshake."""
    rng = random.Random(3)
    for text in greetings(rng):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(path)
        try:
            sock.sendall(text)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if rng.randrange(2):
            polite.work()
        sock.close()
    for i in range(60):
        client = Client(path)
        header = struct.pack(REQUEST, MAGIC ^ (1 << i % 32), 0, CMD_WRITE, 1,
                             0, 4096)
        client.sock.sendall(header + bytes(4096) if i % 2
                            else rng.randbytes(28 + i * 10))
        leave(client, i % 3 if i % 3 else 1)
        polite.work()


def do_idle(path, polite, args):
    """They stay until the end, and the server has to end with them."""
    idle = []
    for i in range(int(args[0])):
        if i % 3 == 0:
            idle.append(Client(path))
            continue
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        if i % 3 == 1:
            sock.sendall(struct.pack('>I8sI', 3, b'IHAVEOPT', OPT_GO))
        idle.append(sock)
        polite.work()
    for _ in range(100):
        polite.work()


def do_unread(path, count, length):
    """The answers fill up what is between the server and the client."""
    try:
        client = Client(path)
        client.sock.settimeout(0.5)     # for that is full as well
        for i in range(count):
            client.submit(CMD_READ, i % 2 * length, length)
        time.sleep(0.1)
    except OSError:
        pass


def main(argv):
    """Do what the usage says."""
    if len(argv) < 4:
        print(__doc__)
        return 2
    what, path, raw, *args = argv[1:]
    if what == 'unread':
        do_unread(path, int(raw), int(args[0]))
        return 0
    polite = Polite(path, raw)
    {'halves': do_halves, 'garbage': do_garbage, 'idle': do_idle}[what](
        path, polite, args)
    polite.finish()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
