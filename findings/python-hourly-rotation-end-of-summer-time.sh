#!/usr/bin/env bash
# Python's `TimedRotatingFileHandler(when="H")` at the end of summer time: it gives the hour from 1
# to 2 the name of the hour before. Python 3.11.2 (Debian 12) removes the file which has that name.
# Python 3.14.2 (Pyodide 314.0.7) does not rotate any more.
# Seen for one line an hour from 23:30 on the last of October 2026 in New York, numbered 0 to 7:
# 3.11.2 loses line 1. 3.14.2 has the lines 2 to 7 in one file. In a longer run, 3.13.0 rotated
# again in March. With `utc=True` neither happens. The reference names no such limit, so a reader
# may expect a file for each hour, or two hours in one file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
version=3.11.2-6+deb12u8
apt-get download -qq python3.11-minimal="$version" libpython3.11-minimal="$version" \
    libpython3.11-stdlib="$version" 2> /dev/null
for package in *.deb; do dpkg -x "$package" root; done
npm install --silent --no-save --prefix . pyodide@314.0.7
cat > probe.py <<'PY'
import calendar, glob, logging.handlers, sys, time

clock = calendar.timegm((2026, 11, 1, 3, 30, 0))
time.time = lambda: clock
time.time_ns = lambda: clock * 10**9


def probe(path, utc):
    global clock
    start = clock
    logger = logging.getLogger(path)
    logger.addHandler(logging.handlers.TimedRotatingFileHandler(path, "H", utc=utc, delay=True))
    for number in range(8):
        logger.warning("%d", number)
        clock += 3600
    clock = start
    backups = sorted(glob.glob(path + ".*")) + [path]
    return " ".join(open(backup).read().replace("\n", "") for backup in backups)


version = "%d.%d.%d" % sys.version_info[:3]
output = version + ": " + probe("local.log", False) + "; utc: " + probe("utc.log", True)
PY
cat > probe.mjs <<'JS'
import { readFileSync } from "node:fs";
import { loadPyodide } from "pyodide";
const python = await loadPyodide();
console.log(python.runPython(readFileSync("probe.py", "utf8") + "output"));
JS
export TZ=America/New_York
output=$(
    { cat probe.py && echo 'print(output)'; } | root/usr/bin/python3.11 -
    node probe.mjs
)
printf '%s\n' "$output"
[[ $output == '3.11.2: 0 2 3 4 5 6 7; utc: 0 1 2 3 4 5 6 7
3.14.2: 0 1 234567; utc: 0 1 2 3 4 5 6 7' ]]
