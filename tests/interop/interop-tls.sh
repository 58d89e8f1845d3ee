#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# nbdkit's TLS in front of the plugin: with certificates, with keys that both
# sides know, and for those who have neither.

. ../functions.sh
. "$srcdir/writing.sh"
requires certtool --version
requires psktool --version
requires nbdinfo --version
nbdkit --dump-config | grep -q '^tls=yes' || skip "nbdkit has no TLS"

# certificate NAME TEMPLATE...: a key and one that the authority signed.
certificate ()
{
  printf '%s\n' "${@:2}" > "pki/$1.info"
  certtool --generate-privkey --sec-param=medium \
           --outfile "pki/$1-key.pem" 2> certtool.log
  if [ "$1" = ca ]; then
    certtool --generate-self-signed --load-privkey pki/ca-key.pem \
             --template pki/ca.info --outfile pki/ca-cert.pem
  else
    certtool --generate-certificate --load-ca-certificate pki/ca-cert.pem \
             --load-ca-privkey pki/ca-key.pem --template "pki/$1.info" \
             --load-privkey "pki/$1-key.pem" --outfile "pki/$1-cert.pem"
  fi 2>> certtool.log || fail "$(cat certtool.log)"
}

mkdir pki
certificate ca 'cn = "An authority"' ca cert_signing_key
certificate server 'cn = "localhost"' 'dns_name = "localhost"' \
            tls_www_server encryption_key signing_key
certificate client 'cn = "client"' tls_www_client encryption_key signing_key
psktool -u somebody -p keys.psk > psktool.log 2>&1 || fail "$(cat psktool.log)"
psktool -u somebody -p others.psk > psktool.log 2>&1

# use URI: reads all, and writes.
use ()
{
  local read

  nbdcopy --connections=4 "$1" - > n.raw || fail "$1: $(cat "$server_log")"
  same_bytes n.raw d.raw
  nbdinfo --json "$1" | grep -q '"TLS": true' || fail "$1: no TLS"
  read=$(nbdinfo --map --totals "$1" | awk '{ n += $1 } END { print n }')
  [ "$read" = "$(stat -c %s d.raw)" ] || fail "$1: $read"
  nbdcopy --connections=4 new.raw "$1" || fail "$1: $(cat "$server_log")"
  mv new.raw x.raw
  mv d.raw new.raw
  mv x.raw d.raw
  nbdcopy "$1" - | cmp - d.raw >&2
}

# refused_for URI...: none of them is let in.
refused_for ()
{
  local u

  for u; do
    if nbdinfo "$u" > nbdinfo.out 2>&1; then
      fail "not refused: $u"
    fi
  done
}

new_disk sparse size=60001 alloc=mixed:30
serve d.vmdk --tls=require --tls-certificates="$PWD/pki" --tls-verify-peer
use "nbds+unix://localhost/?socket=$sock&tls-certificates=$PWD/pki"
mkdir nobody
cp pki/ca-cert.pem nobody
refused_for "nbds+unix://localhost/?socket=$sock&tls-certificates=$PWD/nobody" \
            "$uri" "nbds+unix:///?socket=$sock&tls-psk-file=$PWD/keys.psk"
use "nbds+unix://localhost/?socket=$sock&tls-certificates=$PWD/pki"
closed_right
check_quiet

serve d.vmdk --tls=require --tls-psk="$PWD/keys.psk"
use "nbds+unix://somebody@/?socket=$sock&tls-psk-file=$PWD/keys.psk"
refused_for "$uri" \
            "nbds+unix://somebody@/?socket=$sock&tls-psk-file=$PWD/others.psk"
use "nbds+unix://somebody@/?socket=$sock&tls-psk-file=$PWD/keys.psk"
closed_right
check_quiet

# For those who want to.
serve d.vmdk --tls=on --tls-psk="$PWD/keys.psk"
use "nbds+unix://somebody@/?socket=$sock&tls-psk-file=$PWD/keys.psk"
right
closed_right
