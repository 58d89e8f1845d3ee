#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# From a trace of system calls to a log of the crash simulator.
"""Turn what strace saw of a server into a crash simulator's log.

  strace-log.py TRACE MARKS BEFORE AFTER > LOG

TRACE is the output of one strace -f -y -xx -s 1000000000 -e trace=CALLS of
crash-client.py and the server, where CALLS are what --calls prints.
BEFORE is a folder with the image's files as they were, AFTER the folder in
which the server wrote to them.  MARKS is the file that crash-client.py
was given.

The order of the log is that of the trace: strace stops a thread before it
enters a system call and after it has left one, so what did not overlap is
in the right order, and what the log says to overlap might have done so.

In the end the log is done to the files of BEFORE, and must give those of
AFTER: then nothing has escaped strace, such as a mapped file or a ring.
"""

import os
import re
import sys

CALLS = ('pwrite64', 'pwritev', '?pwritev2', 'fallocate', 'ftruncate',
         'fdatasync', 'fsync', '?rename', '?renameat', 'renameat2')
FALLOC_MODES = {'0': 'extend',
                'FALLOC_FL_KEEP_SIZE': None,
                'FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE': 'punch',
                'FALLOC_FL_KEEP_SIZE|FALLOC_FL_ZERO_RANGE': 'zero',
                'FALLOC_FL_ZERO_RANGE': 'zero-extend'}

LINE = re.compile(r'(\d+) +(?:[\d.]+ +)?(.*)', re.S)
RESUMED = re.compile(r'<\.\.\. (\w+) resumed>(.*)', re.S)
CALL = re.compile(r'(\w+)\((.*)\) += (-?\d+)(?: .*)?$', re.S)
CUT = re.compile(r'(\w+)\((.*)$', re.S)
FILE = re.compile(r'(?:\d+|AT_FDCWD)<([^>]*)>')


def unhex(text):
    """The bytes of a string as -xx prints them."""
    return bytes.fromhex(text.replace('\\x', ''))


class Call:
    """A system call, and the lines where it began and ended."""

    def __init__(self, text, start):
        self.start, self.end = start, None
        self.text = text

    def finish(self, text, line):
        """What comes after the call was resumed."""
        self.text += text
        self.end = line

    def parse(self):
        """Sets name, path, strings, numbers and result (None: no end)."""
        pieces = self.text.split('"')   # there are none within a string
        found = (CALL if self.end is not None else CUT).match(
            ''.join(pieces[0::2]))
        if not found:
            sys.exit('line %d: not understood: %.200s'
                     % (self.start + 1, self.text))
        self.name, args = found.group(1), found.group(2)
        self.result = int(found.group(3)) if self.end is not None else None
        self.strings = [unhex(s) for s in pieces[1::2]]
        self.paths = [os.fsdecode(unhex(p)) if p.startswith('\\x') else p
                      for p in FILE.findall(args)]
        self.words = [w.strip() for w in FILE.sub('', args).split(',')]


def read_trace(path):
    """The calls, as they began."""
    calls, unfinished = [], {}
    with open(path, encoding='ascii') as trace:
        for number, line in enumerate(trace):
            thread, text = LINE.match(line.rstrip('\n')).groups()
            resumed = RESUMED.match(text)
            if text.startswith(('+++', '---')):
                continue
            if resumed:
                unfinished.pop(thread).finish(resumed.group(2), number)
                continue
            cut = text.endswith('<unfinished ...>')
            call = Call(text[:-len('<unfinished ...>')].rstrip()
                        if cut else text, number)
            if cut:
                unfinished[thread] = call
            else:
                call.end = number
            calls.append(call)
    return calls


class File:
    """A file as it is after what was done so far."""

    def __init__(self, data=b''):
        self.data = bytearray(data)
        self.synced = True

    def put(self, offset, data):
        """Write."""
        self.resize(max(len(self.data), offset + len(data)))
        self.data[offset:offset + len(data)] = data
        self.synced = False

    def resize(self, size):
        """To a new length."""
        self.data += bytes(max(0, size - len(self.data)))
        del self.data[size:]
        self.synced = False


class Converter:
    """Calls, one after the other, to a log."""

    def __init__(self, marks, before, after):
        self.marks, self.folder = marks, os.path.realpath(after)
        self.numbers, self.files, self.temporary = {}, {}, {}
        self.lines = []         # (line of the trace, order, text)
        self.nr_ids = 0
        self.requests = {}      # their IDs in the marks: in the log
        self.waiting = None     # a rename whose folder isn't synced yet
        for name in sorted(os.listdir(before)):
            self.numbers[name] = len(self.numbers)
            with open(os.path.join(before, name), 'rb') as f:
                self.files[name] = File(f.read())

    def emit(self, call, text):
        """An operation with a beginning and perhaps an end."""
        number = self.nr_ids
        self.nr_ids += 1
        self.lines.append((call.start, 0, 'begin %d %s' % (number, text)))
        if call.end is not None:
            self.lines.append((call.end, 1, 'end %d' % number))

    def mark(self, call):
        """Of crash-client.py: a request begins or ends."""
        words = call.strings[0].decode().split()
        if words[0] == 'begin':
            self.requests[words[1]] = number = self.nr_ids
            self.nr_ids += 1
        else:
            number = self.requests.pop(words[1])
        words[1] = str(number)
        self.lines.append((call.start, 0, ' '.join(words)))

    def write(self, call, name):
        """pwrite64 and pwritev."""
        data = b''.join(call.strings)
        if call.name == 'pwritev2' and call.words[-1] != '0':
            self.refuse(call)
        offset = int(call.words[-2 if call.name == 'pwritev2' else -1])
        if call.result is not None:
            data = data[:call.result]
        if name in self.temporary:
            self.temporary[name].put(offset, data)
            return
        self.files[name].put(offset, data)
        text = data.hex() if any(data) else 'zero:%d' % len(data)
        self.emit(call, 'write %d %d %s' % (self.numbers[name], offset, text))

    def allocate(self, call, name):
        """fallocate."""
        mode = '|'.join(sorted(call.words[1].split('|')))
        offset, length = int(call.words[2]), int(call.words[3])
        if mode not in FALLOC_MODES:
            self.refuse(call)
        mode, data = FALLOC_MODES[mode], self.files[name].data
        if mode and mode.endswith('extend') and offset + length > len(data):
            self.files[name].resize(offset + length)
            self.emit(call, 'resize %d %d' % (self.numbers[name],
                                              offset + length))
        if mode and mode != 'extend':
            end = min(offset + length, len(data))
            data[offset:end] = bytes(max(0, end - offset))
            self.emit(call, '%s %d %d %d' % (mode.split('-')[0],
                                             self.numbers[name], offset,
                                             length))

    def replace(self, call):
        """A rename: it lasts until the folder is synced."""
        old, new = (os.fsdecode(s) for s in call.strings)
        if new not in self.files or not self.temporary[old].synced:
            self.refuse(call)
        self.files[new] = File(self.temporary.pop(old).data)
        call.replaced, call.end = new, None
        self.waiting = call

    def sync_folder(self, call):
        """What was renamed is there to stay."""
        if self.waiting:
            self.waiting.end = call.end
            self.emit_replace()

    def emit_replace(self):
        """After its end has been found, or there is none."""
        call, self.waiting = self.waiting, None
        if call:
            name = call.replaced
            self.emit(call, 'replace %d %s' % (self.numbers[name],
                                               self.files[name].data.hex()))

    def refuse(self, call):
        """The log has nothing for it."""
        sys.exit('line %d: this has no place in a log: %.200s'
                 % (call.start + 1, call.text))

    def change(self, call, name):
        """Something is done to a file."""
        if name not in self.files:
            self.temporary.setdefault(name, File())
        elif self.waiting and name == self.waiting.replaced:
            self.emit_replace()
        if call.name.startswith('pwrite'):
            self.write(call, name)
        elif call.name in ('fdatasync', 'fsync') and name in self.temporary:
            self.temporary[name].synced = True
        elif call.name in ('fdatasync', 'fsync'):
            self.emit(call, 'sync %d' % self.numbers[name])
        elif name in self.temporary:
            self.refuse(call)
        elif call.name == 'ftruncate':
            self.files[name].resize(int(call.words[1]))
            self.emit(call, 'resize %d %s' % (self.numbers[name],
                                              call.words[1]))
        else:
            self.allocate(call, name)

    def convert(self, call):
        """One call."""
        call.parse()
        if call.result is not None and call.result < 0:
            return              # it had no effect
        if call.name.startswith('rename'):
            if self.folder in (call.paths or [self.folder]):
                self.replace(call)
            return
        path = call.paths[0]
        if path == self.marks:
            self.mark(call)
        elif path == self.folder:
            self.sync_folder(call)
        elif os.path.dirname(path) == self.folder:
            self.change(call, os.path.basename(path))

    def compare(self):
        """The files must be what the log makes of them."""
        for name, file in self.files.items():
            with open(os.path.join(self.folder, name), 'rb') as f:
                if f.read() != file.data:
                    sys.exit('%s: there is something else in it than what '
                             'strace has seen' % name)

    def save(self, out):
        """Everything in its order."""
        for name, number in self.numbers.items():
            out.write('file %d %s\n' % (number, name))
        for _, _, text in sorted(self.lines, key=lambda line: line[:2]):
            out.write(text + '\n')


def main(argv):
    """Do what the usage says."""
    if argv[1:] == ['--calls']:
        print(','.join(CALLS))
        return 0
    if len(argv) != 5:
        print(__doc__)
        return 2
    converter = Converter(os.path.realpath(argv[2]), argv[3], argv[4])
    for call in read_trace(argv[1]):
        converter.convert(call)
    converter.emit_replace()
    converter.compare()
    converter.save(sys.stdout)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
