#!/usr/bin/env bash
# PostgreSQL 15 (Debian 12: 15.18): `create table if not exists` fails if another session creates
# the same table at the same time.
# Seen for 8 sessions that run it at once, in 50 rounds: some fail, most with "duplicate key value
# violates unique constraint pg_type_typname_nsp_index", few with "relation already exists" or "type
# already exists". Programs that create their tables at their start fail when several of them start
# together. With `pg_advisory_xact_lock` before it, in one transaction, none failed. The
# documentation says that no error is raised if a relation of that name exists.
set -euo pipefail
dir=$(mktemp -d)
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | tail -n 1)
if [[ -z $bin ]]; then
    printf 'install the package postgresql\n' >&2
    exit 2
fi
as() { if [[ $EUID -eq 0 ]]; then runuser -u postgres -- "$@"; else "$@"; fi; }
trap 'as "$bin/pg_ctl" -D "$dir/data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$dir"' EXIT
if [[ $EUID -eq 0 ]]; then chown postgres "$dir"; fi
cd "$dir"
port=$((20000 + RANDOM % 10000))
as "$bin/initdb" -D "$dir/data" -U postgres -A trust --no-sync > /dev/null
as "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" -o "-p $port -k $dir -c listen_addresses=" start > /dev/null
sql() { psql -qAt -h "$dir" -p "$port" -U postgres "$@"; }
sql -c 'select version()' | cut -d ' ' -f 1-2
# race STATEMENT..: the failures of 8 sessions that run them at once, 50 times, by message.
race() {
    local round session
    for round in {1..50}; do
        for session in {1..8}; do
            printf '%s\n' "$@" | sed "s/TABLE/t$round/" |
                sql -v ON_ERROR_STOP=1 --single-transaction 2>> errors > /dev/null || true &
        done
        wait
        sql -c "drop table t$round"
    done
    grep -o 'ERROR: .*' errors | sort -u || true
    : > errors
}
touch errors
alone=$(race 'create table if not exists TABLE (a int);')
locked=$(race 'select pg_advisory_xact_lock(1);' 'create table if not exists TABLE (a int);')
printf 'alone: %s\nwith a lock: %s\n' "$alone" "$locked"
[[ $alone == *'duplicate key value violates unique constraint "pg_type_typname_nsp_index"'* && -z $locked ]]
