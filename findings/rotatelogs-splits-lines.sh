#!/usr/bin/env bash
# rotatelogs 2.4.71 (Debian 12, apache2-utils): a rotation by size splits a line. Its first part is
# the end of one file, and the rest is the beginning of the next.
# Seen for 20 000 lines of 100 bytes that `cat` writes to its pipe, with the limit `100K`: 15 of 16
# files end within a line, and none of multilog (daemontools 0.76) and svlogd (runit 2.1.2) for the
# same lines. A program that wrote each line with one call was not affected; one that buffers its
# output is. The manual names no such limit, so a reader may expect whole lines in each file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq apache2-utils=2.4.71-1~deb12u1 libapr1=1.7.2-3+deb12u1 \
    libaprutil1=1.6.3-1+deb12u1 daemontools=1:0.76-8.1 runit=2.1.2-54 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu PATH=$dir/root/usr/bin:$PATH
seq -f 'line %094.0f' 20000 > lines

# split FILE..: how many of the files end within a line.
split() {
    local file number=0
    for file in "$@"; do
        [[ $(tail -c 1 "$file" | od -An -tx1) == " 0a" ]] || number=$((number + 1))
    done
    printf '%d\n' "$number"
}

mkdir rotatelogs multilog svlogd
# `cat` writes blocks, as programs do that buffer their output.
# shellcheck disable=SC2002
cat lines | rotatelogs -n 100 rotatelogs/log 100K
multilog s102400 n100 ./multilog < lines
printf 's102400\nn100\n' > svlogd/config
svlogd ./svlogd < lines 2> /dev/null
for program in rotatelogs multilog svlogd; do
    [[ $(cat "$program"/[@cl]* | grep -c '^line') == 20000 ]]
done
rotatelogs=$(split rotatelogs/*)
multilog=$(split multilog/@* multilog/current)
svlogd=$(split svlogd/@* svlogd/current)
printf 'files that end within a line: rotatelogs %d, multilog %d, svlogd %d\n' \
    "$rotatelogs" "$multilog" "$svlogd"
[[ $rotatelogs -ge 10 && $multilog == 0 && $svlogd == 0 ]]
