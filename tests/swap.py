# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# swap.py VMDK-IMG SHIM MADE STEP [USER]: the commands of vmdk-img in a folder
# that an attacker may write.  Right before a command uses the name of a
# file, he exchanges the folder, or a folder in it, or a file, for a symbolic
# link that leads to files of somebody else; in some runs he changes that back
# a moment later (see swap-shim.c).  Whatever the command says then: the files
# of somebody else are what they were, no others are among them, and what they
# say has not got into anything of the attacker's.
#
# MADE has the disks, see test-trust-swap.sh.  The current folder is a scratch
# directory.  Of the moments every STEP-th is tried.  With USER, a number,
# commands are run as that user, and the folder and its files are his.

import hashlib
import os
import re
import shutil
import subprocess
import sys

img, shim, made, step = *sys.argv[1:4], int (sys.argv[4])
user = int (sys.argv[5]) if len (sys.argv) > 5 else None
SECRET = b'This is a secret of somebody else. ' * 8
DISK = 'shared/d.vmdk'

# Each: the disk in MADE, and the command.
COMMANDS = [
  ('flat', 'convert -q -t raw %s out.raw'),
  ('child', 'convert -q -t raw %s out.raw'),
  ('flat', 'snapshot -q %s'),
  ('child', 'commit -q --delete %s'),
  ('over-stream', 'commit -q --delete %s'),
  ('child', 'pull -q %s'),
  ('sesparse', 'pull -q %s'),
  ('spoiled', 'repair -q %s'),
  ('repaired', 'repair -q --undo %s'),
  ('sparse', 'compact -q %s'),
  ('split', 'resize -q %s 6G'),
  ('changed', 'fix-cid -q %s'),
  ('flat', 'rebuild-descriptor -q --force %s'),
  ('split', 'create -q -t twoGbMaxExtentSparse --force 3G %s'),
  ('none', 'create -q -t twoGbMaxExtentFlat 3G %s'),
]

def is_extent (name):
    return re.search (r'-(flat|sesparse|s\d\d\d)\.vmdk$', name)

def look (folder):
    """All that can be seen of what is in a folder."""
    found = {}
    for entry in os.scandir (folder):
        st = entry.stat (follow_symlinks=False)
        with open (entry.path, 'rb') as f:
            content = hashlib.sha256 (f.read (4096)).hexdigest ()
        found[entry.name] = (st.st_ino, st.st_mode, st.st_uid, st.st_gid,
                             st.st_size, st.st_mtime_ns, content)
    return found

def everything (folder):
    for path, folders, names in os.walk (folder):
        for name in names:
            yield os.path.join (path, name)

def remove (name):
    if os.path.isdir (name) and not os.path.islink (name):
        shutil.rmtree (name)
    elif os.path.lexists (name):
        os.unlink (name)

def move_extents ():
    """To a folder in the folder, which the descriptors name."""
    extents = [n for n in os.listdir ('shared') if is_extent (n)]
    os.mkdir ('shared/sub')
    for name in os.listdir ('shared'):
        path = 'shared/' + name
        if name in extents:
            os.rename (path, 'shared/sub/' + name)
        elif os.path.isfile (path) and os.path.getsize (path) < 4096:
            with open (path, 'rb+') as f:
                text = f.read ()
                for n in extents:
                    text = text.replace (b' "%s"' % n.encode (),
                                         b' "sub/%s"' % n.encode ())
                f.seek (0)
                f.write (text)

def make_victim ():
    """Files of the names that the disk has, or might get."""
    os.mkdir ('victim')
    names = {os.path.basename (p) for p in everything ('shared')}
    for name in names | {'d-s004.vmdk', 'd-f001.vmdk', 'd.vmdk.commit'}:
        with open ('victim/' + name, 'wb') as f:
            f.write (SECRET)
            if is_extent (name):
                f.truncate (1 << 20)

def prepare (disk, kind):
    for name in 'shared', 'victim', 'link', 'out.raw', 'swapped':
        remove (name)
    shutil.copytree (made + '/' + disk, 'shared')
    if kind == 'sub':
        move_extents ()
    make_victim ()
    if user is not None:
        for path in ['.', 'shared', 'shared/sub', *everything ('shared')]:
            if os.path.exists (path):
                os.chown (path, user, user)

def kinds (disk):
    """What is exchanged: a name, what the link leads to, and which of the
    names that the command uses count."""
    yield 'folder', 'shared', 'victim', 'shared'
    names = os.listdir (made + '/' + disk)
    if any (map (is_extent, names)):
        yield 'sub', 'shared/sub', 'victim', 'sub'
    for name in names:
        yield 'file', 'shared/' + name, 'victim/' + name, name

def become ():
    if user is not None:
        os.setgroups ([])
        os.setresgid (user, user, user)
        os.setresuid (user, user, user)

def run (command, environment):
    p = subprocess.run ([img] + (command % DISK).split (),
                        env=dict (os.environ, LD_PRELOAD=shim, **environment),
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, preexec_fn=become,
                        timeout=100)
    return p.returncode, p.stdout

def verify (before, status, output):
    """None, or what is wrong."""
    if status not in (0, 1, 2, 3):
        return 'status %d' % status
    if 'victim' not in os.listdir ('.') or look ('victim') != before:
        return 'somebody else\'s files are changed'
    if SECRET[:64] in output:
        return 'the secret was printed'
    his = [n for n in ('shared', 'link') if not os.path.islink (n)]
    for path in ['out.raw', *his, *(p for n in his for p in everything (n))]:
        if os.path.isfile (path) and not os.path.islink (path):
            with open (path, 'rb') as f:
                if SECRET[:64] in f.read (2 << 20):
                    return 'the secret is in ' + path
    return None

def one (disk, command, kind, at, back):
    """False: it doesn't use so many names."""
    how, name, target, names = kind
    prepare (disk, how)
    os.symlink (os.path.abspath (target), 'link')
    before = look ('victim')
    status, output = run (command, {
        'SWAP_AT': str (at), 'SWAP_BACK': str (back), 'SWAP_NAMES': names,
        'SWAP_A': name, 'SWAP_B': 'link', 'SWAP_SAY': 'swapped'})
    wrong = verify (before, status, output)
    if wrong:
        raise SystemExit ('%s (%s): %s exchanged before use %d, back after '
                          '%d: %s: %s' % (command, disk, name, at, back,
                                          wrong, output.decode ()))
    return os.path.exists ('swapped')

def try_all (disk, command, kind, n):
    """The number of moments that were tried, with n before."""
    # What the user names, at first, is what he means, wherever it is.
    first = 2 if command.startswith ('create') else 1
    # Reading has few moments, and commit what is worst.
    every = 1 if command.startswith (('convert', 'commit')) else step
    at = first + n % every
    while one (disk, command, kind, at, n % 2):
        if step == 1:
            one (disk, command, kind, at, 1 - n % 2)
        n += 1
        at += every
    return n

def main ():
    n = 0
    for disk, command in COMMANDS:
        prepare (disk, 'folder')
        status, output = run (command, {})
        if status != 0:
            raise SystemExit ('%s: %s' % (command, output.decode ()))
        for kind in kinds (disk):
            n = try_all (disk, command, kind, n)
    print ('%d moments' % n)

main ()
