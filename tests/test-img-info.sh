#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# vmdk-img info: what it says is what the image was built with.

. ./functions.sh
requires python3
requires jq

cd "$scratch"

# says EXPECTED FILTER [ARGS...]: the JSON, through jq -c.
says ()
{
  local found

  found=$("$vmdk_img" info --json "${@:3}" | jq -c "$2")
  [ "$found" = "$1" ] || fail "$2 is $found instead of $1"
}

# prints PATTERN [ARGS...]: a line of the text.
prints ()
{
  "$vmdk_img" info "${@:2}" > text
  grep -q -E -e "$1" text || {
    cat text >&2
    fail "no line that matches: $1"
  }
}

# allocated FILE...: the room that they take up on disk.
allocated ()
{
  stat -c %b "$@" | awk '{ n += $1 } END { print n * 512 }'
}

#----------------------------------------------------------------------
# One file.

$vmdkgen sparse size=6145 grain=16 cid=0x1234abcd ddb.uuid=x-y one.vmdk
says '["one.vmdk","vmdk",3146240,"monolithicSparse",1]' \
  '[.filename, .format, ."virtual-size", ."create-type", (.links | length)]' \
  one.vmdk
says '"monolithicSparse, 3.0 MiB, CID 1234abcd"' .description one.vmdk
says "[$(allocated one.vmdk),$(allocated one.vmdk)]" \
  '[."actual-size", .links[0]."actual-size"]' one.vmdk
says '[true,true,1,"1234abcd","ffffffff",null]' '.links[0] |
  [."has-descriptor", .embedded, .version, .cid, ."parent-cid",
   ."parent-hint"]' one.vmdk
says "[0,3146240,\"RW\",\"SPARSE\",\"hosted sparse\",$(stat -c %s one.vmdk)]" \
  '.links[0].extents[0] | [.start, .size, .access, .type, .format,
   ."file-size"]' one.vmdk
says '[8192,1,3,false,false,true,false,false]' '.links[0].extents[0] |
  [."grain-size", .version, .flags, .compressed, ."zeroed-grains",
   ."redundant-tables", .unclean, .recovered]' one.vmdk
says '["x-y","ide"]' '.links[0].ddb | [.uuid, .adapterType]' one.vmdk
prints '^disk size: 3 MiB \(3146240 bytes\)$' one.vmdk
prints '^  CID: 1234abcd$' one.vmdk
prints '^  parent CID: none$' one.vmdk
prints 'hosted sparse version 1, grains of 8 KiB, redundant tables' one.vmdk
prints '^    uuid: x-y$' one.vmdk

# Whose writer crashed.
cp one.vmdk unclean.vmdk
$vmdkgen poke unclean.vmdk kdmv.uncleanShutdown 1
says true '.links[0].extents[0].unclean' unclean.vmdk
prints 'not closed properly' unclean.vmdk

$vmdkgen stream size=5000 stream.vmdk
says '["stream",3,true]' \
  '.links[0].extents[0] | [.format, .version, .compressed]' stream.vmdk

# Without a descriptor.
$vmdkgen extent size=512 lone.vmdk
says '[false,null,null,262144]' \
  '.links[0] | [."has-descriptor", .cid, .version, .extents[0].size]' lone.vmdk
prints '^  descriptor: none$' lone.vmdk

#----------------------------------------------------------------------
# Different extents.

$vmdkgen custom mixed.vmdk \
  'extents=RW 100 flat offset=63; RW 5 zero; RDONLY 80 sparse grain=8'
says '[["flat","RW",0,51200,32256,null],["zero","RW",51200,2560,null,null],["hosted sparse","RDONLY",53760,40960,0,4096]]' \
  '.links[0].extents | map([.format, .access, .start, .size, ."file-offset",
                            ."grain-size"])' mixed.vmdk
says '["mixed-f001.vmdk",null,"mixed-s003.vmdk"]' \
  '.links[0].extents | map(.file)' mixed.vmdk
says "$(allocated mixed.vmdk mixed-f001.vmdk mixed-s003.vmdk)" \
  '."actual-size"' mixed.vmdk
prints 'mixed-f001.vmdk: .*, data from 32256$' mixed.vmdk

# A file that has several extents takes up its room once.
cat > shared.vmdk <<'END'
# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="custom"
RW 20 FLAT "shared-flat.vmdk" 0
RW 20 FLAT "shared-flat.vmdk" 20
END
head -c 20480 /dev/zero | tr '\0' x > shared-flat.vmdk
says "$(allocated shared.vmdk shared-flat.vmdk)" '."actual-size"' shared.vmdk

# Another name than in the descriptor.
mv shared-flat.vmdk elsewhere.vmdk
says '["shared-flat.vmdk","elsewhere.vmdk"]' \
  '.links[0].extents[1] | [.name, .file]' \
  --extent=shared-flat.vmdk=elsewhere.vmdk shared.vmdk
prints 'the descriptor calls it shared-flat.vmdk' \
  --extent=shared-flat.vmdk=elsewhere.vmdk shared.vmdk

#----------------------------------------------------------------------
# Many extents.

$vmdkgen split size=3000 piece=100 many.vmdk
says '[30,1484800]' \
  '.links[0].extents | [length, .[29].start]' many.vmdk
prints '^  extents: 30$' many.vmdk
prints '^    and 10 more; --all lists them$' many.vmdk
[ "$(grep -c '^    [0-9]*: RW SPARSE' text)" = 20 ] || fail "not 20 extents"
prints '^    29: RW SPARSE' --all many.vmdk
[ "$(grep -c '^    [0-9]*: RW SPARSE' text)" = 30 ] || fail "not 30 extents"

#----------------------------------------------------------------------
# A chain.

$vmdkgen chain size=512 chain.vmdk \
  layers='flat cid=0xa; cowd cid=0xb; sparse cid=0xc'
says '[["chain.vmdk","0000000c","0000000b","chain-1.vmdk"],["chain-1.vmdk","0000000b","0000000a","chain-0.vmdk"],["chain-0.vmdk","0000000a","ffffffff",null]]' \
  '.links | map([.file, .cid, ."parent-cid", ."parent-hint"])' chain.vmdk
says '["hosted sparse","COWD","flat"]' '.links | map(.extents[0].format)' \
  chain.vmdk
says 1 '.links | length' --single-link chain.vmdk
prints '^links: 3$' chain.vmdk
prints '^link 2: chain-0.vmdk$' chain.vmdk

#----------------------------------------------------------------------
# Hostile strings are data: no control character reaches the terminal, and
# the JSON stays JSON, with each key once.

printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe \
  parentCID=ffffffff $'createType="cus\x1b[31mtom\xff\\"' 'RW 1 ZERO' \
  $'ddb.title = "\x1b]0;x\x07 \xc2\x9b \xc3\xa4"' \
  'ddb.twice = "1"' 'ddb.twice = "2"' > hostile.vmdk
"$vmdk_img" info hostile.vmdk > text
if LC_ALL=C grep -q -P '[\x00-\x09\x0b-\x1f\x7f\xff]|\xc2\x9b' text; then
  fail "control characters are printed"
fi
grep -q $'title: ?]0;x? ? \xc3\xa4$' text || fail "the title is lost"
"$vmdk_img" info --json hostile.vmdk > json
python3 - <<'END'
import json

def unique(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)

text = open('json', 'rb').read().decode('utf-8')
info = json.loads(text, object_pairs_hook=unique)
assert info['create-type'] == 'cus\x1b[31mtom\ufffd\\', info
ddb = info['links'][0]['ddb']
assert ddb == {'title': '\x1b]0;x\x07 \x9b ä', 'twice': '1'}, ddb
END
