#!/usr/bin/env bash
# svlogd 2.1.2 (runit) and s6-log 2.11.3.2 (s6), Debian 12: a last line without a line break is not
# written, and no message says so. The end of a program that is killed while it prints is lost.
# Seen for "started\npanic: no space" and the end of input: both logs have "started" alone, and both
# programs exit with 0. multilog (daemontools 0.76) writes both lines for the same input. The manual
# of svlogd: "if it sees end-of-file on standard input, it stops reading standard input, processes
# the data in the buffer". That of s6-log: "It does its best to ensure there is never any log loss".
# A reader may expect the text in the log, with or without a line break.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq runit=2.1.2-54 daemontools=1:0.76-8.1 s6=2.11.3.2-1 libs6-2.11=2.11.3.2-1 \
    libskarnet2.13=2.13.1.1-1 libexecline2.9=2.9.3.0-1 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu:$dir/root/lib/x86_64-linux-gnu
mkdir svlogd s6-log multilog
for program in svlogd s6-log multilog; do
    printf 'started\npanic: no space' | "root/usr/bin/$program" "./$program" 2>> messages
done
output=$(
    for program in svlogd s6-log multilog; do
        printf '%s: %s\n' "$program" "$(paste -s -d , "$program/current")"
    done
    printf 'bytes of messages: %d\n' "$(wc -c < messages)"
)
printf '%s\n' "$output"
[[ $output == 'svlogd: started
s6-log: started
multilog: started,panic: no space
bytes of messages: 0' ]]
