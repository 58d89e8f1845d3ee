#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# Long work of vmdk-img: how far it is can be seen, and ^C ends it in good
# order.  What makes it long is a slow NBD server.

. ./functions.sh
requires python3
requires nbdkit --version
requires nbdkit pattern --version
requires nbdkit --filter=delay null --version

cd "$scratch"

# Something that takes a third of a second.
nbdkit -f --exit-with-parent -U slow.sock -P slow.pid --filter=blocksize \
       --filter=delay pattern 8M maxdata=256K delay-read=10ms \
       >slow.log 2>&1 &
cleanup_fn kill $!
for ((i = 0; i < 500; i++)); do
  [ ! -s slow.pid ] || break
  sleep 0.02
done
uri="nbd+unix:///?socket=$PWD/slow.sock"
convert=(convert --connections=1 "$uri")

mkdir new
if ! "$vmdk_img" "${convert[@]}" -t raw new/first.raw >out 2>err; then
  ! grep -q -i libnbd err || skip "there is no libnbd: $(cat err)"
  fail "$(cat err)"
fi
[ ! -s err ] || fail "not on a terminal, but it shows: $(cat err)"

# Sends a signal once when a command has begun its work, which is when it
# catches SIGINT; or with EVERY from its start on, all the time.
cat > send.py <<'END'
import os, signal, subprocess, sys, time

how, name, command = sys.argv[1], 'SIG' + sys.argv[2], sys.argv[3:]
number = getattr(signal, name)
waits_for = signal.SIGINT if how == 'ONCE' else number

def is_caught(pid):
    try:
        status = open('/proc/%d/status' % pid).read()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in status.split('\n')
             if line.startswith(('SigCgt:', 'SigIgn:'))]
    return any(m >> (waits_for - 1) & 1 for m in masks)

# A shell's background jobs ignore it.
signal.signal(signal.SIGINT, signal.SIG_DFL)
process = subprocess.Popen(command)
sent = False
while process.poll() is None:
    if not (sent and how == 'ONCE') and is_caught(process.pid):
        if how == 'ONCE':
            time.sleep(0.05)
        process.send_signal(number)
        sent = True
    time.sleep(0.005)
status = process.returncode
sys.exit(status if status >= 0 else 128 - status)
END

# interrupted HOW SIGNAL COMMAND...: sets $status.
interrupted ()
{
  status=0
  python3 send.py "$@" >out 2>err </dev/null || status=$?
}

left ()
{
  ls -A new | grep -v -x first.raw || :
}

#----------------------------------------------------------------------
# --progress: a line for each tenth, ascending.

"$vmdk_img" "${convert[@]}" --progress -t raw new/x.raw >out 2>err
python3 - err <<'END' || fail "wrong progress: $(cat err)"
import re, sys
last = -1
lines = open(sys.argv[1]).read().split('\n')
assert lines.pop() == ''
assert 4 <= len(lines) <= 12, len(lines)
for line in lines:
    m = re.match(r'progress: +([0-9.]+) %, [^,]* of [^,]*(, .*)?$', line)
    assert m, line
    assert last < float(m.group(1)) <= 100, line
    last = float(m.group(1))
END
cmp new/first.raw new/x.raw || fail "another result"
rm new/x.raw

# --json: on standard output there is nothing but that.
"$vmdk_img" "${convert[@]}" --progress --json -t raw new/x.raw >out 2>err
python3 -m json.tool out >/dev/null || fail "no JSON: $(cat out)"
grep -q '^progress: ' err || fail "no progress with --json"
rm new/x.raw

#----------------------------------------------------------------------
# SIGUSR1: one line, also without --progress; and never harmful.

for quiet in '' --quiet; do
  interrupted ONCE USR1 "$vmdk_img" "${convert[@]}" $quiet -t raw new/x.raw
  [ $status = 0 ] || fail "SIGUSR1: exit status $status: $(cat err)"
  [ "$(grep -c -E '^progress: +[0-9.]+ %, ' err)" = 1 ] &&
    [ "$(wc -l < err)" = 1 ] || fail "SIGUSR1: $(cat err)"
  cmp new/first.raw new/x.raw || fail "SIGUSR1 changes the result"
  rm new/x.raw
done
interrupted EVERY USR1 "$vmdk_img" "${convert[@]}" -t vmfs new/x.vmdk
[ $status = 0 ] && grep -q '^progress: ' err ||
  fail "many SIGUSR1: exit status $status: $(cat err)"
rm new/x*

#----------------------------------------------------------------------
# SIGINT and SIGTERM: one line, 130, and nothing is left.

for how in 'INT raw' 'TERM twoGbMaxExtentSparse' 'INT streamOptimized'; do
  interrupted ONCE ${how% *} "$vmdk_img" "${convert[@]}" -t ${how#* } \
              new/x.vmdk
  [ $status = 130 ] || fail "SIG$how: exit status $status: $(cat err)"
  [ "$(cat err)" = 'vmdk-img: stopped' ] || fail "SIG$how: $(cat err)"
  [ -z "$(left)" ] || fail "SIG$how leaves $(left)"
done

# A file that was to be replaced is what it was.
echo old > new/x.vmdk
interrupted ONCE INT "$vmdk_img" "${convert[@]}" --force new/x.vmdk
[ $status = 130 ] || fail "exit status $status: $(cat err)"
[ "$(cat new/x.vmdk)" = old ] && [ "$(left)" = x.vmdk ] ||
  fail "the former file is gone"
rm new/x.vmdk

# Nor is anything left by kill -9, where files can have no name.
interrupted ONCE KILL "$vmdk_img" "${convert[@]}" -t raw new/x.raw
[ $status = 137 ] || fail "SIGKILL: exit status $status"
if python3 -c 'import os; os.open (".", os.O_TMPFILE | os.O_RDWR)' \
     2>/dev/null; then
  [ -z "$(left)" ] || fail "SIGKILL leaves $(left)"
fi

#----------------------------------------------------------------------
# On a terminal it is shown, in one line that is gone at the end, except
# with --quiet.

command -v script >/dev/null || exit 0
on_terminal ()
{
  script -q -e -c "$(printf '%q ' "$vmdk_img" "$@")" /dev/null >out </dev/null
}
on_terminal "${convert[@]}" -t raw new/x.raw
grep -q $'\rprogress: .* %, ' out || fail "nothing on a terminal: $(cat out)"
[ "$(tail -c 4 out)" = $'\r\033[K' ] || fail "the line remains: $(cat out)"
rm new/x.raw
on_terminal "${convert[@]}" --quiet -t raw new/x.raw
[ ! -s out ] || fail "--quiet on a terminal: $(cat out)"
