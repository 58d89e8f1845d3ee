# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What endurance.py needs to run programs and to watch servers.
"""Programs, servers, and what they take of the machine."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time

# Messages of a server that are as they should be after a kill: of a writer,
# and of resize, which changes an extent before the descriptor.
HARMLESS = re.compile(r'warning: .* (behind the end|'
                      r'capacity is .* extent line says .*, which is used)')

# The C library gives large buffers back when they are freed, so that what a
# server has without clients is its own.
MALLOC = {'MALLOC_MMAP_THRESHOLD_': '131072'}


class Failure(Exception):
    """Something isn't as it must be."""


def require(condition, message):
    """Fail with the message, unless that is so."""
    if not condition:
        raise Failure(message)


class Result:
    """What a program left: its status, its output, and its peak memory."""

    def __init__(self, status, output, errors, peak):
        self.status, self.output, self.peak = status, output, peak
        self.text = output + errors


def run(words, folder=None, kill_after=None, env=None, limit=300):
    """Run a program to its end, or kill it after so many seconds."""
    with (tempfile.TemporaryFile() as errors,
          subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=errors,
                           env={**os.environ, **(env or {})}) as process):
        timer = threading.Timer(kill_after or limit, os.kill,
                                (process.pid, signal.SIGKILL))
        timer.start()
        output = process.stdout.read().decode(errors='replace')
        # It ends, but keeps its number until nobody can kill it any more.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        in_time = timer.is_alive()
        timer.cancel()
        timer.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        messages = errors.read().decode(errors='replace')
    require(kill_after or in_time, f'it hangs: {" ".join(words)}')
    return Result(process.returncode, output, messages, usage.ru_maxrss)


def proc_status(pid):
    """The lines of /proc/PID/status that are numbers, in KiB or as such."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return {m[1]: int(m[2]) for m in re.finditer(r'^(\w+):\s+(\d+)',
                                                     f.read(), re.M)}


def descriptors(pid):
    """What the open descriptors of a process are."""
    names = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            names.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
        except FileNotFoundError:  # closed meanwhile
            pass
    return names


def count_connections(names):
    """How many descriptors are sockets and pipes, which clients have."""
    return sum(name.startswith(('socket:', 'pipe:')) for name in names)


def zombies_of(parent):
    """The children of a process that have ended and weren't waited for."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat', encoding='latin-1') as f:
                state, ppid = f.read().rpartition(')')[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == 'Z' and int(ppid) == parent:
            found.append(int(pid))
    return found


class Server:
    """nbdkit with our plugin, in a folder of its own."""

    def __init__(self, command, base, folder, arguments):
        self.base, self.sock = base, base + '.sock'
        self.peak = self.most_fds = 0
        self.idle_fds = None
        self.idle_kib = []  # anonymous memory without clients
        self.started = time.monotonic()
        for name in self.sock, base + '.pid':
            if os.path.exists(name):
                os.unlink(name)
        with open(base + '.log', 'wb') as log:
            self.process = subprocess.Popen(
                [*command[:-1], '-f', '--exit-with-parent', '-U', self.sock,
                 '-P', base + '.pid', *arguments[0], command[-1],
                 *arguments[1]],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **MALLOC})
        self.pid = self.process.pid
        while not os.path.exists(base + '.pid'):
            require(self.process.poll() is None,
                    f'the server did not start: {self.messages()}')
            require(time.monotonic() - self.started < 60,
                    'the server does not start')
            time.sleep(0.01)
        self.listening = count_connections(descriptors(self.pid))

    def messages(self):
        """The lines of its log that shouldn't be there."""
        with open(self.base + '.log', encoding='utf-8', errors='replace') as f:
            return ''.join(line for line in f if not HARMLESS.search(line))

    def sample(self):
        """See what it takes now; called often, and by another thread."""
        try:
            status = proc_status(self.pid)
            fds = len(descriptors(self.pid))
        except (FileNotFoundError, ProcessLookupError):
            return
        if 'VmRSS' in status:
            self.peak = max(self.peak, status['VmRSS'])
            self.most_fds = max(self.most_fds, fds)

    def idle(self):
        """No client is left: wait until it knows, and see what it keeps.

        That may be less after the first change: a descriptor is replaced.
        """
        for _ in range(1000):
            fds = descriptors(self.pid)
            if (count_connections(fds) == self.listening and
                    len(fds) <= len(self.idle_fds or fds)):
                break
            time.sleep(0.02)
        else:
            raise Failure(f'descriptors without clients, formerly '
                          f'{self.idle_fds}, now {fds}')
        self.idle_fds = fds
        require(not zombies_of(self.pid), 'the server has zombies')
        self.idle_kib.append(proc_status(self.pid)['RssAnon'])

    def stop(self):
        """End it as one should; it has nothing to complain of."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            raise Failure('the server does not end') from None
        require(self.process.returncode == 0,
                f'the server ended with {self.process.returncode}')
        require(not self.messages(), f'messages: {self.messages()}')

    def was_killed(self):
        """Somebody has killed it, or it crashed, which is another thing."""
        self.process.wait(60)
        require(self.process.returncode == -signal.SIGKILL,
                f'the server ended with {self.process.returncode}: '
                f'{self.messages()}')
        require(not self.messages(), f'messages: {self.messages()}')


    def end_after_clients(self):
        """End it after clients were killed.  Returns whether nbdkit aborted.

        nbdkit before 1.34 does so when large replies are under way.
        """
        time.sleep(0.2)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        aborted = self.process.returncode == -signal.SIGABRT
        require(aborted or self.process.returncode == 0,
                f'the server ended with {self.process.returncode}: '
                f'{self.messages()}')
        return aborted


class Watch(threading.Thread):
    """Looks at all servers that run, four times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.servers, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.wait(0.25):
            for server in list(self.servers):
                if server.process.poll() is None:
                    server.sample()
