#!/usr/bin/env bash
# tail 2.2.6 (npm): after a rotation by rename and create, the package resumes in the new file at
# the offset that it had reached in the old one, and after that at the end of what is there. The
# first lines of the new file are never emitted. If the path was given without a directory, the
# package stays with the old file for good.
# Seen (Node.js 20, `follow` at its default `true`): of the lines `new 1` to `new 4`, each written
# a second after the last, `new 1` and `new 2` are missing for an absolute path, and all for
# `app.log`. The README: "`follow`: simulate `tail -F` option. In the case the file is moved,
# renamed, logrotated, if set to `true` will start tailing again after a 1 second delay". A reader
# may expect a pause, and then the new file from its first line, however the path is spelled.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"
npm install --silent --no-save --prefix "$dir" tail@2.2.6
cat > follow.cjs << 'JS'
const { Tail } = require("tail");
const tail = new Tail(process.argv[2], { fromBeginning: true, follow: true });
tail.on("line", (line) => console.log(line));
tail.on("error", (error) => console.log(`error: ${error}`));
JS

# shown PATH: the lines that are emitted for a log that is rotated once.
shown() {
    local pid number
    printf 'old 1\nold 2\nold 3\n' > app.log
    node follow.cjs "$1" > out &
    pid=$!
    sleep 2
    mv app.log app.log.1
    for number in 1 2 3 4; do
        printf 'new %d\n' "$number" >> app.log
        sleep 1.2
    done
    sleep 1
    kill "$pid"
    wait "$pid" 2> /dev/null || true
    paste -s -d , out
}

absolute=$(shown "$dir/app.log")
relative=$(shown app.log)
printf '%s\n' "absolute path: $absolute" "relative path: $relative"
[[ $absolute == "old 1,old 2,old 3,new 3,new 4" && $relative == "old 1,old 2,old 3" ]]
