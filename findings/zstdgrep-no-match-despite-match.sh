#!/usr/bin/env bash
# zstdgrep (zstd 1.5.4, Debian 12) and bzgrep (bzip2 1.0.8): with several files, the exit status is
# 1, "no match", if only one of them has no match. Matches in the others are printed.
# Seen for two files, of which the first has a match: zstdgrep and bzgrep 1, but zgrep (gzip 1.12),
# xzgrep (xz-utils 5.4.1) and grep 0, with and without `-q`. So the condition of
# `if zstdgrep -q error app.log.*.zst` is false unless each backup has an error. The manual of
# zstdgrep: "In case of missing arguments or missing pattern, 1 will be returned, otherwise 0". A
# reader may expect the status of grep from all of them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq zstd=1.5.4+dfsg2-5+deb12u1 bzip2=1.0.8-5+b1 gzip=1.12-1 \
    xz-utils=5.4.1-1+deb12u2 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
PATH=$dir/root/usr/bin:$dir/root/bin:$PATH
printf 'an error\n' > 1
printf 'fine\n' > 2
zstd -q 1 2
bzip2 -k 1 2
gzip -k 1 2
xz -k 1 2
# status COMMAND FILE..: the exit status, after the number of lines that are printed without `-q`.
status() {
    local status=0 lines
    lines=$({ "$1" error "$2" "$3" || true; } | grep -c 'an error')
    "$1" -q error "$2" "$3" || status=$?
    printf '%s: lines %d, status %d\n' "$1" "$lines" "$status"
}
output=$(
    status zstdgrep 1.zst 2.zst
    status bzgrep 1.bz2 2.bz2
    status zgrep 1.gz 2.gz
    status xzgrep 1.xz 2.xz
    status grep 1 2
)
printf '%s\n' "$output"
[[ $output == 'zstdgrep: lines 1, status 1
bzgrep: lines 1, status 1
zgrep: lines 1, status 0
xzgrep: lines 1, status 0
grep: lines 1, status 0' ]]
