#!/usr/bin/env bash
# etcd 3.4 (Debian 12: 3.4.23): the JSON gateway ignores fields that it does not know.
# Seen for a transaction that puts `b` only if the key was never written, with `compares` for
# `compare`: status 200, `"succeeded":true`, and the value `a` of another writer is replaced. A
# transaction without conditions always succeeds. So a misspelled condition is no condition, and
# two writers overwrite each other without an error. With `compare`, the same transaction fails, and
# the value stays. A client expects an error that names the field, as gRPC's own clients cannot send
# one that does not exist.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill "${pid:-}" 2> /dev/null || true; wait 2> /dev/null; rm -r "$dir"' EXIT
cd "$dir"
apt-get download -qq etcd-server 2> apt.log
dpkg -x etcd-server_*.deb .
usr/bin/etcd --version | head -n 1
port=$((20000 + RANDOM % 10000))
url=http://127.0.0.1:$port peer=http://127.0.0.1:$((port + 1))
ETCD_UNSUPPORTED_ARCH=$(uname -m) usr/bin/etcd --name demo --data-dir data \
    --listen-client-urls $url --advertise-client-urls $url --listen-peer-urls $peer \
    --initial-advertise-peer-urls $peer --initial-cluster demo=$peer > log 2>&1 &
pid=$!
for _ in {1..300}; do
    if curl -sf $url/health > /dev/null; then break; fi
    sleep 0.1
done
key=$(printf k | base64)
value() { curl -sf $url/v3/kv/range -d "{\"key\":\"$key\"}" | grep -o '"value":"[^"]*' | cut -c 10- | base64 -d; }
curl -sf $url/v3/kv/put -d "{\"key\":\"$key\",\"value\":\"$(printf a | base64)\"}" > /dev/null
# put_if FIELD: puts `b` if the key was never written.
put_if() {
    curl -sf $url/v3/kv/txn -d "{\"$1\":[{\"key\":\"$key\",\"target\":\"MOD\",\"mod_revision\":\"0\"}],
        \"success\":[{\"request_put\":{\"key\":\"$key\",\"value\":\"$(printf b | base64)\"}}]}" |
        grep -o '"succeeded":true' || true
}
output="compare: $(put_if compare) $(value)
compares: $(put_if compares) $(value)"
printf '%s\n' "$output"
[[ $output == 'compare:  a
compares: "succeeded":true b' ]]
