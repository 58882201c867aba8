#!/usr/bin/env bash
# uWSGI 2.0.31: the master loads the application and forks its workers without the functions of
# `os.register_at_fork`, unless it is started with --py-call-uwsgi-fork-hooks. Seen: a function for
# `after_in_child` runs in no worker. A library that renews locks, connections or file handles there
# shares those of the master with all workers. `pthread_atfork` is called.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check uwsgi==2.0.31
cat > app.py <<'PYTHON'
import os

hooks = []
os.register_at_fork(after_in_child=lambda: hooks.append(os.getpid()))
master = os.getpid()

def application(environ, start_response):
    start_response("200 OK", [])
    return [f"forked: {os.getpid() != master}, hooks: {len(hooks)}".encode()]
PYTHON
# seen OPTION..: what a worker says.
seen() {
    env/bin/uwsgi --http-socket 127.0.0.1:0 --master --processes 1 --need-app \
        --wsgi-file app.py "$@" > log 2>&1 &
    local server=$! port
    until grep -q "spawned uWSGI worker 1" log; do
        kill -0 "$server"
        sleep 0.1
    done
    port=$(sed -n 's/.*bound to TCP address 127.0.0.1:\([0-9]*\).*/\1/p' log)
    python3 -c "import urllib.request as u; print(u.urlopen('http://127.0.0.1:$port/').read().decode())"
    kill -INT "$server"
    wait "$server" || true
}
default=$(seen) hooked=$(seen --py-call-uwsgi-fork-hooks)
printf '%s\n' "by default: $default" "with --py-call-uwsgi-fork-hooks: $hooked"
[[ $default == "forked: True, hooks: 0" && $hooked == "forked: True, hooks: 1" ]]
