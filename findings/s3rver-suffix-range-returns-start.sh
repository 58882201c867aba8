#!/usr/bin/env bash
# s3rver 3.7.1 (npm): a request for the last bytes of an object returns its first ones.
# Seen for `Range: bytes=-10` and an object of the numbers from 1 to 100, one a line: status 206 and
# 11 bytes from the beginning (`Content-Range: bytes 0-10/292`), which are "1" to "6". The range
# `282-291` is answered as it should be. Readers of an object's end (the last lines of a log, the
# index of a seekable Zstandard file) get other data without an error. RFC 9110, 14.1.2, and S3 let
# a reader expect the last 10 bytes.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill "${pid:-}" 2> /dev/null || true; wait 2> /dev/null; rm -r "$dir"' EXIT
cd "$dir"
npm install --silent --no-save --prefix . s3rver@3.7.1
port=$((20000 + RANDOM % 10000))
mkdir data
node node_modules/s3rver/bin/s3rver.js -d data -p $port --no-vhost-buckets > log 2>&1 &
pid=$!
request() {
    curl -sf --aws-sigv4 aws:amz:us-east-1:s3 -u S3RVER:S3RVER \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"
}
url=http://127.0.0.1:$port/demo
for _ in {1..300}; do
    if request -X PUT "$url"; then break; fi
    sleep 1
done
seq 100 > numbers
request -T numbers "$url/numbers"
request -H 'Range: bytes=282-291' "$url/numbers" | cmp - <(tail -c 10 numbers)
output=$(request -H 'Range: bytes=-10' -w '%{http_code}' "$url/numbers" | paste -s -d ' ')
printf '%s\n' "$output"
[[ $output == "1 2 3 4 5 6206" ]]
