#!/usr/bin/env bash
# fflate 0.8.3: `gunzipSync` cuts a gzip file of several members, without an error. It takes the
# last four bytes of the file, the length of the last member, for the length of the whole output.
# Input: "first\n" and "2\n", each compressed by `gzip`, one after the other (RFC 1952, 2.2).
# Seen: "fi", which is neither of the two members. `gzip -dc` and the streaming class `Gunzip` of
# the same package return both members. The reference of `gunzipSync` names no limit, and 0.8.0
# added files of several members, so a reader may expect both here as well.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
npm install --silent --no-save --prefix . fflate@0.8.3
{ printf 'first\n' | gzip; printf '2\n' | gzip; } > two.gz
gzip -t two.gz
[[ $(gzip -dc two.gz) == $'first\n2' ]]
cat > probe.cjs <<'JS'
const { gunzipSync, Gunzip } = require("fflate");
const bytes = require("fs").readFileSync("two.gz");
const pieces = [];
new Gunzip((piece) => pieces.push(piece)).push(bytes, true);
const text = (bytes) => JSON.stringify(Buffer.from(bytes).toString());
console.log(`gunzipSync ${text(gunzipSync(bytes))}, Gunzip ${text(Buffer.concat(pieces))}`);
JS
output=$(node probe.cjs)
printf '%s\n' "$output"
[[ $output == 'gunzipSync "fi", Gunzip "first\n2\n"' ]]
