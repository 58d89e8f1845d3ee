# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# hostilenbd.py SOCKET HOW: an NBD server that means ill, in the way that HOW
# says; with "none" it serves 4 MiB of data.  It ends after a minute.

import os
import signal
import socket
import struct
import sys
import threading
import time

path, how = sys.argv[1:3]
SIZES = {
  'size-max': (1 << 63) - 512, 'size-negative': (1 << 64) - 1, 'size-0': 0,
}
SIZE = SIZES.get (how, 4 << 20)
EVIL = b'evil\x1b[31m\nerror: evil'
ERROR = 1 << 31
INFO, GO, STRUCTURED, META, ABORT = 6, 7, 8, 10, 2

def get (c, n):
    data = b''
    while len (data) < n:
        more = c.recv (n - len (data))
        if not more:
            raise EOFError
        data += more
    return data

def negotiate (c):
    c.sendall (b'NBDMAGICIHAVEOPT' + struct.pack ('>H', 3))
    get (c, 4)
    while True:
        _, option, length = struct.unpack ('>QII', get (c, 16))
        get (c, length)
        def reply (kind, data=b''):
            c.sendall (struct.pack ('>QIII', 0x3e889045565a9, option, kind,
                                    len (data)) + data)
        if option == STRUCTURED:
            reply (1)
        elif option == META:
            reply (4, struct.pack ('>I', 1) + b'base:allocation')
            reply (1)
        elif option in (INFO, GO) and how == 'refusal':
            reply (ERROR + 2, EVIL)
        elif option in (INFO, GO):
            if how == 'blocks':
                reply (3, struct.pack ('>HIII', 3, 1 << 30, 1 << 30, 1 << 31))
            reply (3, struct.pack ('>HQH', 0, SIZE, 1 | 1 << 8))
            reply (1)
            if option == GO:
                return
        elif option == ABORT:
            raise EOFError
        else:
            reply (ERROR + 1)

# How block status is answered: (context, list of (length, flags)).
STATUS = {
  'status-0': (1, [(0, 0)] * 3),
  'status-past-end': (1, [(0xffffffff, 3)] * 9),
  'status-other': (77, [(512, 3)]),
  'status-many': (1, [(512, 0), (512, 3)] * 200000),
  'status-empty': (1, []),
  'size-max': (1, [(0xfffffe00, 3)]),
}

def answer (c, command, cookie, offset, length):
    def chunk (kind, data, flags=1):
        c.sendall (struct.pack ('>IHHQI', 0x668e33ef, flags, kind, cookie,
                                len (data)) + data)
    if command == 7:
        context, extents = STATUS.get (how, (1, [(length, 0)]))
        chunk (5, struct.pack ('>I', context) +
               b''.join (struct.pack ('>II', *e) for e in extents))
    elif how == 'read-hang':
        time.sleep (60)
    elif how == 'read-leave' and offset > 0:
        raise EOFError
    elif how == 'read-short':
        chunk (1, struct.pack ('>Q', offset) + bytes (length // 2))
    elif how == 'read-past':
        chunk (1, struct.pack ('>Q', offset + length) + bytes (length))
    elif how == 'read-long':
        chunk (1, struct.pack ('>Q', offset) + bytes (length + 4096))
    elif how == 'read-hole':
        chunk (2, struct.pack ('>QI', offset, 0xffffffff))
    elif how == 'read-error':
        chunk (1 << 15 | 1, struct.pack ('>IH', 5, len (EVIL)) + EVIL)
    elif how == 'read-garbage':
        c.sendall (b'garbage!' * 512)
    elif how == 'read-length':
        c.sendall (struct.pack ('>IHHQI', 0x668e33ef, 1, 1, cookie,
                                0xffffffff))
    else:
        chunk (1, struct.pack ('>Q', offset) + b'x' * length)

def serve (c):
    try:
        negotiate (c)
        while True:
            _, _, command, cookie, offset, length = \
                struct.unpack ('>IHHQQI', get (c, 28))
            if command == 2:
                break
            answer (c, command, cookie, offset, length)
    except (EOFError, OSError):
        pass
    c.close ()

signal.alarm (60)
listener = socket.socket (socket.AF_UNIX)
listener.bind (path + '.new')
listener.listen (20)
os.rename (path + '.new', path)
while True:
    connection, _ = listener.accept ()
    threading.Thread (target=serve, args=(connection,), daemon=True).start ()
