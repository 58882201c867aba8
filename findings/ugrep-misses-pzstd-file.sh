#!/usr/bin/env bash
# ugrep 3.11.2 (Debian 12): `ugrep -z` finds nothing in a file that pzstd 1.5.4 compressed, prints
# no warning, and exits with status 1, "no match". pzstd begins its files with a skippable frame
# (RFC 8878, 3.1.2), and ugrep does not search the frames after it.
# Seen: `ugrep -z -c error` prints 0 for the file of pzstd and 1 for that of zstd, although
# `zstd -dc` returns the same text for both. The help names zstd and the suffix `.zst` as supported,
# so a reader may expect a match in each valid file, or a message.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq ugrep=3.11.2+dfsg-1 zstd=1.5.4+dfsg2-5+deb12u1 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
PATH=$dir/root/usr/bin:$PATH
printf 'an error\n' > text
zstd -q text -o by-zstd.zst
pzstd -q text -o by-pzstd.zst
output=
for by in zstd pzstd; do
    zstd -dcq "by-$by.zst" | cmp - text
    status=0
    count=$(ugrep -z -c error "by-$by.zst" 2> warning) || status=$?
    output+="$by: matches $count, status $status, bytes of warning $(wc -c < warning)"$'\n'
done
printf '%s' "$output"
[[ $output == 'zstd: matches 1, status 0, bytes of warning 0
pzstd: matches 0, status 1, bytes of warning 0
' ]]
