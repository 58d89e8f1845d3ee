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
  write OFFSET LENGTH WHAT  WHAT is the number of a byte (0x55) to repeat, or
                            a file, of which the same range is written
  zero OFFSET LENGTH        not to become a hole, unless may-trim follows
  trim OFFSET LENGTH
  flush                     these print "ok"

Flags follow the request: fua, may-trim (zero), fast (zero).  Each request
prints one line, or "error N" with the errno that the server answered.  A
server that refuses the connection is an error, with exit status 1.
"""

import random
import socket
import struct
import sys

OPT_EXPORT_NAME, OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT = \
    1, 7, 8, 10
HANDSHAKE_NO_ZEROES = 2
REP_ACK, REP_INFO, REP_META_CONTEXT = 1, 3, 4
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH = 0, 1, 2, 3
CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS = 4, 5, 6, 7
FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO = \
    1, 2, 4, 8, 16
REPLY_DONE, REPLY_DATA, REPLY_HOLE, REPLY_STATUS = 0, 1, 2, 5

# How many words follow each request, and what flags change.
WORDS = {'read': 2, 'compare': 3, 'random': 2, 'cache': 2, 'extents': 2,
         'extent': 2, 'write': 3, 'zero': 2, 'trim': 2, 'flush': 0}
FLAGS = {'fua': FLAG_FUA, 'may-trim': FLAG_NO_HOLE, 'fast': FLAG_FAST_ZERO}


class ServerError(Exception):
    """What the server answered instead."""


def join(offset, length, chunks):
    """The bytes that were asked for, from the chunks of an answer."""
    result = bytearray(length)
    for kind, payload in chunks:
        at = struct.unpack_from('>Q', payload)[0] - offset
        if kind == REPLY_DATA:
            result[at:at + len(payload) - 8] = payload[8:]
    assert len(result) == length
    return bytes(result)


class Client:
    """One connection.

    It is negotiated with NBD_OPT_GO, or as before there was that if go is
    false; with an old server, which asks nothing, it doesn't matter.
    """

    def __init__(self, path, structured=True, contexts=('base:allocation',),
                 go=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(200)
        self.sock.connect(path)
        self.stream = self.sock.makefile('rb')
        self.cookie = 0
        self.sent = {}          # cookie: what an answer must be read with
        self.contexts = {}      # number: name
        magic, option_magic = self.get('>8s8s')
        assert magic == b'NBDMAGIC'
        self.old = option_magic != b'IHAVEOPT'
        if self.old:
            assert option_magic == b'\0\0B\x02\x81\x86\x12S', option_magic
            self.size, _, self.flags, _ = self.get('>QHH124s')
            return
        offered, = self.get('>H')
        self.sock.sendall(struct.pack('>I', offered & 3))
        if structured:
            self.option(OPT_STRUCTURED_REPLY, b'')
            self.option(OPT_SET_META_CONTEXT, struct.pack(
                '>II', 0, len(contexts)) + b''.join(
                    struct.pack('>I', len(c)) + c.encode() for c in contexts))
        if go:
            self.option(OPT_GO, struct.pack('>IH', 0, 0))
        else:
            self.sock.sendall(struct.pack('>8sII', b'IHAVEOPT',
                                          OPT_EXPORT_NAME, 0))
            self.size, self.flags = self.get('>QH')
            if not offered & HANDSHAKE_NO_ZEROES:
                self.get('>124s')

    def get(self, layout):
        """Receive and unpack."""
        size = struct.calcsize(layout)
        return struct.unpack(layout, self.stream.read(size))

    def option(self, number, data):
        """Negotiate one option, and keep what requests depend on."""
        self.sock.sendall(struct.pack('>8sII', b'IHAVEOPT', number, len(data))
                          + data)
        while True:
            _, _, kind, length = self.get('>QIII')
            text = self.stream.read(length)
            if kind >= 1 << 31:
                sys.exit('refused: option %d: error %x' % (number, kind))
            if kind == REP_INFO and text[:2] == b'\0\0':
                self.size, self.flags = struct.unpack_from('>QH', text, 2)
            if kind == REP_META_CONTEXT:
                self.contexts[struct.unpack_from('>I', text)[0]] = \
                    text[4:].decode()
            if kind == REP_ACK:
                return

    def submit(self, command, offset, length, flags=0, data=b''):
        """Send a request, and return its cookie."""
        self.cookie += 1
        self.sent[self.cookie] = command, offset, length
        self.sock.sendall(struct.pack('>IHHQQI', 0x25609513, flags, command,
                                      self.cookie, offset, length) + data)
        return self.cookie

    def answer(self):
        """Receive an answer: its cookie, error, and [(kind, payload)]."""
        chunks, error = [], 0
        while True:
            magic, = self.get('>I')
            if magic == 0x67446698:         # a simple reply
                error, cookie = self.get('>IQ')
                command, offset, length = self.sent.pop(cookie)
                if command == CMD_READ and not error:
                    chunks = [(REPLY_DATA, struct.pack('>Q', offset)
                               + self.stream.read(length))]
                return cookie, error, chunks
            assert magic == 0x668e33ef, hex(magic)
            done, kind, cookie, size = self.get('>HHQI')
            payload = self.stream.read(size)
            if kind & 0x8000:
                error, = struct.unpack_from('>I', payload)
            elif kind != REPLY_DONE:
                chunks.append((kind, payload))
            if done & 1:
                del self.sent[cookie]
                return cookie, error, chunks

    def request(self, command, offset, length, flags=0, data=b''):
        """Send a request, return the chunks of its reply."""
        sent = self.submit(command, offset, length, flags, data)
        cookie, error, chunks = self.answer()
        assert cookie == sent
        if error:
            raise ServerError(error)
        return chunks

    def close(self):
        """Say goodbye, and wait until the server has closed as well."""
        self.sock.sendall(struct.pack('>IHHQQI', 0x25609513, 0, CMD_DISC, 0,
                                      0, 0))
        self.stream.read()

    def read(self, offset, length):
        """The bytes."""
        return join(offset, length, self.request(CMD_READ, offset, length))

    def change(self, command, offset, length, flags, data=b''):
        """Send a request that answers with nothing but success."""
        assert self.request(command, offset, length, flags, data) == []
        return 'ok'

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


def content(what, offset, length):
    """What to write: a byte repeated, or the range of a file."""
    if what[0].isdigit():
        return bytes([int(what, 0)]) * length
    with open(what, 'rb') as raw:
        raw.seek(offset)
        data = raw.read(length)
    assert len(data) == length, what + ' is too short'
    return data


def change(client, name, args, flags):
    """Do one request that writes; return what it found."""
    if name == 'flush':
        return client.change(CMD_FLUSH, 0, 0, flags)
    offset, length = int(args[0]), int(args[1])
    if name == 'write':
        return client.change(CMD_WRITE, offset, length, flags,
                             content(args[2], offset, length))
    if name == 'zero':
        return client.change(CMD_WRITE_ZEROES, offset, length,
                             flags ^ FLAG_NO_HOLE)
    return client.change(CMD_TRIM, offset, length, flags)


def run(client, name, args, flags):
    """Do one request; return what it found."""
    if name in ('write', 'zero', 'trim', 'flush'):
        return change(client, name, args, flags)
    if name == 'random':
        with open(args[1], 'rb') as raw:
            return compare_random(client, raw, int(args[0]))
    offset, length = int(args[0]), int(args[1])
    if name == 'compare':
        with open(args[2], 'rb') as raw:
            return difference(client, raw, offset, length) or 'same'
    if name == 'read':
        return client.read(offset, length).hex()
    if name == 'cache':
        return client.change(CMD_CACHE, offset, length, flags)
    flags |= FLAG_REQ_ONE if name == 'extent' else 0
    return ' '.join('%d:%d:%d' % e
                    for e in client.extents(offset, length, flags))


def next_request(words):
    """Take a request off the words: its name, arguments and flags."""
    name, flags = words.pop(0), 0
    args = words[:WORDS[name]]
    del words[:WORDS[name]]
    while words and words[0] in FLAGS:
        flags |= FLAGS[words.pop(0)]
    return name, args, flags


def main(argv):
    """Do what the usage says."""
    if len(argv) < 3:
        print(__doc__)
        return 2
    client = Client(argv[1])
    words = argv[2:]
    while words:
        request = next_request(words)
        try:
            text = run(client, *request)
        except ServerError as error:
            text = 'error %d' % error.args[0]
        print(text, flush=True)
    client.close()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
