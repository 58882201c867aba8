#!/usr/bin/env bash
# uu_tail 0.12.0 (uutils coreutils): `tail -F` does not show a line that is written just before the
# file is renamed and another one takes its path. GNU tail 9.1 shows it.
# Seen on Linux (inotify in both): of 10 lines `last N`, each followed by `mv` and a new file, GNU
# tail shows 10 and uutils 0 to 4. Both show the lines of the new files. The two programs share the
# option, its description and its messages. A reader may expect the end of the old file of both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
tail --version | grep -q 'GNU coreutils'
cargo install --quiet --locked --debug --root "$dir" uu_tail@=0.12.0

# shown PROGRAM: how many of the lines before and after a rename `tail -F` shows.
shown() {
    local pid number
    printf 'start\n' > app.log
    "$1" -F app.log > out 2> /dev/null &
    pid=$!
    sleep 2
    for ((number = 0; number < 10; number++)); do
        printf 'last %d\n' "$number" >> app.log
        mv app.log app.log.1
        printf 'first %d\n' "$number" > app.log
        sleep 1
    done
    sleep 2
    kill "$pid"
    wait "$pid" 2> /dev/null || true
    printf '%d last, %d first\n' "$(grep -c last out || true)" "$(grep -c first out || true)"
}

gnu=$(shown tail)
uutils=$(shown bin/tail)
printf '%s\n' "GNU: $gnu" "uutils: $uutils"
[[ $gnu == "10 last, 10 first" && ${uutils%% *} -lt 8 ]]
