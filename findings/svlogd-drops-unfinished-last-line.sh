#!/usr/bin/env bash
# svlogd 2.1.2 (Debian 12, runit): a last line without a line break is not written, and no message
# says so. The end of a program that is killed while it prints is lost.
# Seen for "started\npanic: no space" and the end of input: the log has "started" alone, and svlogd
# exits with 0. multilog (daemontools 0.76) writes both lines for the same input. The manual: "if it
# sees end-of-file on standard input, it stops reading standard input, processes the data in the
# buffer". A reader may expect the text in the log, with or without a line break.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq runit=2.1.2-54 daemontools=1:0.76-8.1 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
mkdir svlogd multilog
printf 'started\npanic: no space' | root/usr/bin/svlogd ./svlogd 2> messages
printf 'started\npanic: no space' | root/usr/bin/multilog ./multilog
output="svlogd: $(paste -s -d , svlogd/current), bytes of messages $(wc -c < messages)
multilog: $(paste -s -d , multilog/current)"
printf '%s\n' "$output"
[[ $output == 'svlogd: started, bytes of messages 0
multilog: started,panic: no space' ]]
