#!/usr/bin/env bash
# fail2ban 1.0.2 (Debian 12): a line that is written shortly before a log is renamed is never
# examined. The server opens the path for each look, so the rest of the old file is out of reach as
# soon as a new file has the path.
# Seen with `backend = polling` (one look a second): failures 1, 2, 4 and 5 are reported, but not 3,
# whose line was the last before `mv`. Logs with login failures are rotated on most systems. A
# reader may expect the old file to be read to its end, because an address that is not found is not
# banned.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq fail2ban=1.0.2-2 2> /dev/null
dpkg -x fail2ban_*.deb root
mv root/etc/fail2ban etc
rm -f etc/jail.d/*
printf '[Definition]\ndbfile = None\n' > etc/fail2ban.local
printf '[Definition]\nfailregex = login failed from <ADDR>\n' > etc/filter.d/demo.conf
printf '%s\n' '[demo]' 'enabled = true' 'backend = polling' "logpath = $dir/app.log" \
    'filter = demo' 'action =' 'maxretry = 1000' > etc/jail.local

failure() { printf '%s login failed from 10.0.0.%d\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$1"; }

failure 1 > app.log
# Python 3.11 is that of Debian 12.
PYTHONPATH=$dir/root/usr/lib/python3/dist-packages python3 root/usr/bin/fail2ban-server -f -c etc \
    -s "$dir/socket" -p "$dir/pid" --logtarget "$dir/found" --loglevel INFO > /dev/null 2>&1 &
pid=$!
sleep 4
failure 2 >> app.log
sleep 3
failure 3 >> app.log
mv app.log app.log.1
failure 4 > app.log
sleep 3
failure 5 >> app.log
sleep 3
kill "$pid"
wait "$pid" || true
output=$(sed -n 's/.*Found 10\.0\.0\.\([0-9]*\) .*/\1/p' found | paste -s -d ' ')
printf '%s\n' "found: $output"
[[ $output == "1 2 4 5" ]]
