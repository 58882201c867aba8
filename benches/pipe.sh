#!/usr/bin/env bash
# Lines through a pipe: `logrotor write` beside `cat >> file` and other loggers that rotate.
# README.md has more.
#
#   benches/pipe.sh [--mib 512] [--rounds 5] [--dir DIR] [--save]
#
# Prints a table, and with --save puts it at the end of RESULTS.md. Needs three times the memory of
# the lines.
# As root it installs missing loggers with apt-get; otherwise it skips them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

mib=512 rounds=5 dir=/dev/shm save=
arguments=("$@")
while (($#)); do
    case $1 in
        --mib) mib=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --dir) dir=$2; shift ;;
        --save) save=yes ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    shift
done

lines=$((mib * 8192)) # of 128 bytes
segment=$((64 << 20))
work=$(mktemp -d "$dir/pipe.XXXXXX")
trap 'rm -r "$work"' EXIT
input=$work/input

say() { printf '%s\n' "$*" >&2; }

# need PROGRAM PACKAGE: succeeds if the program is there, if need be after installing the package.
need() {
    if command -v "$1" > /dev/null; then return; fi
    if [[ $EUID -ne 0 ]] || ! command -v apt-get > /dev/null; then
        say "skipped: $1 is not installed (apt-get install $2)"
        return 1
    fi
    apt-get install -qq -y --no-install-recommends "$2" > /dev/null 2>&1 ||
        { say "skipped: $1 cannot be installed (apt-get install $2)"; return 1; }
}

# Each takes the lines from standard input to files in the directory $1.
cat_() { cat >> "$1/log"; }
logrotor_() { "$logrotor" write "$1/log" --max-size 1TiB; }
logrotor_rotating() { "$logrotor" write "$1/log" --max-size $segment --durability on-rotate; }
logrotor_gzip() { "$logrotor" write "$1/log" --max-size $segment --durability on-rotate --gzip; }
rotatelogs_() { rotatelogs -n 1000 "$1/log" ${segment}B; }
svlogd_() { printf '%s\n' s$segment n1000 > "$1/config" && svlogd -b 65536 "$1"; }
multilog_() { multilog s16777215 n1000 "$1"; }
s6_log_() { s6-log -b n1000 s$segment "$1"; }

# The segments in $1, oldest first.
segments() {
    local name
    for name in "$1"/@* "$1"/current "$1"/log.2*Z* "$1"/log "$1"/log.[0-9] "$1"/log.[0-9][0-9]; do
        if [[ -s $name ]]; then printf '%s\n' "$name"; fi
    done
}

label() {
    case $1 in
        cat_) echo '*`cat >> file`*' ;;
        logrotor_) echo '**`logrotor write`**, no rotation' ;;
        logrotor_rotating) echo '**`logrotor write`**' ;;
        logrotor_gzip) echo '**`logrotor write --gzip`** <sup>1</sup>' ;;
        rotatelogs_) echo '`rotatelogs` (Apache) <sup>2</sup>' ;;
        svlogd_) echo '`svlogd` (runit) <sup>3</sup>' ;;
        multilog_) echo '`multilog` (daemontools) <sup>3,4</sup>' ;;
        s6_log_) echo '`s6-log` (s6) <sup>3</sup>' ;;
    esac
}

# Counts the lines that are lost, and pieces that are no whole line.
check() {
    if segments "$1" | xargs zcat -f | cmp -s - "$input"; then
        echo 0 0
    else
        segments "$1" | xargs zcat -f | awk -v lines=$lines '
            length != 127 + ($1 == 0) || !/^[0-9]+ 2026/ { torn++; next }
            !seen[$1]++ { whole++ }
            END { print lines - whole, torn + 0 }'
    fi
}

# How many segments end within a line.
split_lines() {
    local name count=0
    for name in $(segments "$1"); do
        if [[ -n $(zcat -f "$name" | tail -c 1) ]]; then count=$((count + 1)); fi
    done
    echo $count
}

# round CONTESTANT: one run; a line "seconds, CPU seconds, segments, split, lost, torn" to its file.
round() {
    local out=$work/out real user sys
    mkdir "$out"
    cat "$input" | { TIMEFORMAT='%3R %3U %3S'; time "$1" "$out" 2> "$work/said" > "$work/said"; } 2> "$work/time" ||
        { say "$1 failed:"; cat "$work/said" >&2; exit 1; }
    read -r real user sys < "$work/time"
    echo "$real $user $sys $(segments "$out" | wc -l) $(split_lines "$out") $(check "$out")" >> "$work/$1"
    say "$1: $real s"
    rm -r "$out"
}

# The median of what is read.
median() { sort -g | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

row() {
    local gb rate ratio cpu
    gb=$(awk "BEGIN { print $lines * 128 / 1e9 }")
    rate=$(awk -v gb="$gb" '{ print gb / $1 }' "$work/$1" | median)
    ratio=$(paste "$work/cat_" "$work/$1" | awk '{ print $1 / $8 }' | median)
    cpu=$(awk -v gb="$gb" '{ print ($2 + $3) / gb }' "$work/$1" | median)
    awk -v label="$(label "$1")" -v rate="$rate" -v ratio="$ratio" -v cpu="$cpu" '
        { segments = $4; split_lines += $5; lost += $6; torn += $7 }
        END { printf "| %s | %.2f | %.2f | %.2f | %d | %d | %d | %d |\n", label, rate, ratio, cpu, segments, lost, torn, split_lines }' "$work/$1"
}

table() {
    local contestant
    cat <<EOF
<!-- From here on written by benches/pipe.sh. -->
## (h) Lines through a pipe

$mib MiB of lines of 128 bytes from \`cat\`, through a pipe, to files on $(stat -f -c %T "$dir");
a new segment every 64 MiB.
Made by \`$(printf '%s' "benches/pipe.sh${arguments[*]:+ ${arguments[*]}}")\` on $(date -u +'%F %H:%M UTC'), \
with Linux $(uname -r) on $(nproc) cores.
Medians over $rounds rounds, each with all contestants in a shuffled order. *of cat*: the rate
relative to \`cat >> file\` in the same round. *CPU*: user and system seconds per GB of the logger
and its children, without the sender. *split*: segments that end within a line; *lost* and *torn*
lines with all segments joined in order; both over all rounds.

| | GB/s | of cat | CPU s/GB | segments | lost | torn | split |
|---|--:|--:|--:|--:|--:|--:|--:|
EOF
    for contestant in "${contestants[@]}"; do row "$contestant"; done
    cat <<'EOF'

<sup>1</sup> compresses backups beside the pipe, and ends when all are compressed  
<sup>2</sup> with `-n`, because names by the second would put all segments of a second into one file; ends a segment
after each read, which may be within a line  
<sup>3</sup> keeps lines whole; one process per log, which is locked against a second  
<sup>4</sup> a new segment every 16 MiB, its maximum  

All but `cat` and `rotatelogs` sync a finished segment (`logrotor` with
`--durability on-rotate`), which costs nothing on tmpfs. `svlogd` runs with `-b 65536` instead of
its 1024 bytes, `s6-log` with `-b`, without which its memory has no bound.
Only `logrotor` lets several processes write one log.
EOF
}

target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --features cli
logrotor=$target/release/logrotor
contestants=(cat_ logrotor_ logrotor_rotating logrotor_gzip)
if need rotatelogs apache2-utils; then contestants+=(rotatelogs_); fi
if need svlogd runit; then contestants+=(svlogd_); fi
if need multilog daemontools; then contestants+=(multilog_); fi
if need s6-log s6; then contestants+=(s6_log_); fi

# The first line is longer by a byte, so that reads do not end with a line by chance.
awk -v lines=$lines 'BEGIN {
    srand(1)
    for (i = 0; i < lines; i++) {
        line = sprintf("%010d 2026-11-20T23:57:01.123456Z INFO worker=%d path=/api/v1/items/%d status=200 took=%dus id=%08x", \
            i, i % 8, i * 7919 % 1000003, rand() * 100000, rand() * 4294967296)
        printf "%-*s\n", 127 + (i == 0), line
    }
}' > "$input"
for ((number = 0; number < rounds; number++)); do
    for contestant in $(shuf -e "${contestants[@]}"); do round "$contestant"; done
done
table | tee "$work/table"
if [[ $save ]]; then
    results=benches/RESULTS.md
    sed '/^<!-- From here on written by benches\/pipe.sh/,$d' $results > "$work/results"
    cat "$work/table" >> "$work/results"
    cat "$work/results" > $results
fi
