#!/usr/bin/env bash
# uu_tail 0.12.0 (uutils coreutils): `tail -F` does not show a line that is written just before the
# file is renamed and another one takes its path. GNU tail 9.1 shows it.
# Seen on Linux (inotify in both): of 20 lines `last N`, each followed by `mv` and a new file, GNU
# tail shows 20 and uutils 2 to 4; both show all 20 lines of the new files. A reader may expect
# what the two programs share by option, message and description to include the end of the old file.
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
    for ((number = 0; number < 20; number++)); do
        printf 'last %d\n' "$number" >> app.log
        mv app.log app.log.1
        printf 'first %d\n' "$number" > app.log
        sleep 0.5
    done
    sleep 2
    kill "$pid"
    wait "$pid" 2> /dev/null || true
    printf '%d last, %d first\n' "$(grep -c last out)" "$(grep -c first out)"
}

gnu=$(shown tail)
uutils=$(shown bin/tail)
printf '%s\n' "GNU: $gnu" "uutils: $uutils"
[[ $gnu == "20 last, 20 first" && $uutils == *" 20 first" && ${uutils%% *} -lt 15 ]]
