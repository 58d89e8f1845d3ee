#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# A small NBD client, for requests that no command sends on demand.
"""Send single requests to an NBD server.

  nbdclient.py SOCKET REQUEST...

  read OFFSET LENGTH        prints the bytes in hexadecimal
  compare OFFSET LENGTH RAW prints "same", or where the bytes differ from RAW
  random COUNT RAW          COUNT requests of odd places and lengths, likewise
  cache OFFSET LENGTH       prints "ok"
  extents OFFSET LENGTH     prints OFFSET:LENGTH:FLAGS of each, FLAGS as in
                            base:allocation: 1 hole, 2 reads as zero
  extent OFFSET LENGTH      the same with the flag REQ_ONE

Each prints one line, or "error N" with the errno that the server answered.
"""

import random
import socket
import struct
import sys

OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT = 7, 8, 10
CMD_READ, CMD_DISC, CMD_CACHE, CMD_BLOCK_STATUS = 0, 2, 5, 7
FLAG_REQ_ONE = 8
REPLY_DONE, REPLY_DATA, REPLY_HOLE, REPLY_STATUS = 0, 1, 2, 5


class ServerError(Exception):
    """What the server answered instead."""


class Client:
    """One connection, one request at a time."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.stream = self.sock.makefile('rb')
        self.cookie = 0
        magic, option_magic, _ = self.get('>8s8sH')
        assert (magic, option_magic) == (b'NBDMAGIC', b'IHAVEOPT')
        self.sock.sendall(struct.pack('>I', 3))
        self.option(OPT_STRUCTURED_REPLY, b'')
        name = b'base:allocation'
        self.option(OPT_SET_META_CONTEXT,
                    struct.pack('>III', 0, 1, len(name)) + name)
        self.option(OPT_GO, struct.pack('>IH', 0, 0))

    def get(self, layout):
        """Receive and unpack."""
        size = struct.calcsize(layout)
        return struct.unpack(layout, self.stream.read(size))

    def option(self, number, data):
        """Negotiate one option, and pass over what it answers."""
        self.sock.sendall(struct.pack('>8sII', b'IHAVEOPT', number, len(data))
                          + data)
        while True:
            _, _, kind, length = self.get('>QIII')
            self.stream.read(length)
            assert kind < 1 << 31, 'option %d: error %x' % (number, kind)
            if kind == 1:
                return

    def request(self, command, offset, length, flags=0):
        """Send a request, yield the chunks of its reply."""
        self.cookie += 1
        self.sock.sendall(struct.pack('>IHHQQI', 0x25609513, flags, command,
                                      self.cookie, offset, length))
        error = None
        while True:
            magic, = self.get('>I')
            if magic == 0x67446698:         # a simple reply
                number, _ = self.get('>IQ')
                assert command != CMD_READ
                if number:
                    raise ServerError(number)
                return
            assert magic == 0x668e33ef, hex(magic)
            done, kind, cookie, size = self.get('>HHQI')
            assert cookie == self.cookie
            payload = self.stream.read(size)
            if kind & 0x8000:
                error, = struct.unpack_from('>I', payload)
            elif kind != REPLY_DONE:
                yield kind, payload
            if done & 1:
                if error is not None:
                    raise ServerError(error)
                return

    def close(self):
        """Say goodbye, and wait until the server has closed as well."""
        self.sock.sendall(struct.pack('>IHHQQI', 0x25609513, 0, CMD_DISC, 0,
                                      0, 0))
        self.stream.read()

    def read(self, offset, length):
        """The bytes."""
        result = bytearray(length)
        for kind, payload in self.request(CMD_READ, offset, length):
            at = struct.unpack_from('>Q', payload)[0] - offset
            if kind == REPLY_DATA:
                result[at:at + len(payload) - 8] = payload[8:]
        assert len(result) == length
        return bytes(result)

    def extents(self, offset, length, flags):
        """[(offset, length, flags)]"""
        result = []
        for kind, payload in self.request(CMD_BLOCK_STATUS, offset, length,
                                          flags):
            assert kind == REPLY_STATUS
            for size, what in struct.iter_unpack('>II', payload[4:]):
                result.append((offset, size, what))
                offset += size
        return result


def difference(client, raw, offset, length):
    """Where the server's bytes differ from a file's, or None."""
    raw.seek(offset)
    expected = raw.read(length)
    found = client.read(offset, length)
    if found == expected:
        return None
    at = next(i for i in range(length) if found[i:i + 1] != expected[i:i + 1])
    return 'request %d+%d differs at %d' % (offset, length, offset + at)


def compare_random(client, raw, count):
    """Requests anywhere, many of them near each other and at odd places."""
    rng = random.Random(count)
    size = raw.seek(0, 2)
    for _ in range(count):
        length = min(size, rng.randrange(1, 1 << rng.randrange(1, 20)))
        offset = rng.randrange(size - length + 1)
        if rng.randrange(8) == 0:
            offset = size - length
        found = difference(client, raw, offset, length)
        if found:
            return found
    return 'same'


def run(client, words):
    """Do the first request of words; return how many words it took, and
    what it found."""
    name = words[0]
    if name == 'random':
        with open(words[2], 'rb') as raw:
            return 3, compare_random(client, raw, int(words[1]))
    offset, length = int(words[1]), int(words[2])
    if name == 'compare':
        with open(words[3], 'rb') as raw:
            return 4, difference(client, raw, offset, length) or 'same'
    if name == 'read':
        return 3, client.read(offset, length).hex()
    if name == 'cache':
        list(client.request(CMD_CACHE, offset, length))
        return 3, 'ok'
    flags = {'extents': 0, 'extent': FLAG_REQ_ONE}[name]
    return 3, ' '.join('%d:%d:%d' % e
                       for e in client.extents(offset, length, flags))


def main(argv):
    """Do what the usage says."""
    if len(argv) < 3:
        print(__doc__)
        return 2
    client = Client(argv[1])
    words = argv[2:]
    took = {'compare': 4}
    while words:
        try:
            used, text = run(client, words)
        except ServerError as error:
            used, text = took.get(words[0], 3), 'error %d' % error.args[0]
        print(text)
        words = words[used:]
    client.close()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
