# SPDX-License-Identifier: Apache-2.0
# Brings the cluster to what the configuration and the two SQL files say. Prints a line for each change, nothing otherwise.
# Arguments: name of the application's database; --check says what would change and changes nothing.
set -euo pipefail

database=$1
check=${2:-}
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/17/main
conf=/etc/postgresql/17/main
unit=postgresql@17-main.service
socket=/run/postgresql
if [ -n "$check" ] && [ ! -f "$conf/postgresql.conf" ]; then
    echo "cluster: would be made"
    exit 0
fi
PGPORT=$(sed -n "s/^port = //p" "$conf/postgresql.conf")
export PGPORT

as_postgres() { runuser -u postgres -- "$@"; }
sql() { as_postgres psql -X -q -At -v ON_ERROR_STOP=1 -v "database=$database" -h "$socket" "$@"; }
changed() { echo "$*"; [ -z "$check" ]; } # true when the change is to be made

adopt_or_make() {
    local root=/var/lib/postgresql
    if [ -f "$data/PG_VERSION" ] && [ "$(stat -c %U "$data")" != postgres ]; then
        # A replaced host may have given the account another number; the volume keeps the old one.
        if changed "volume $root: owner"; then chown -R postgres:postgres "$root"; fi
    elif [ "$(stat -c %U:%a "$root")" != postgres:750 ]; then
        if changed "volume $root: owner and mode"; then chown postgres:postgres "$root" && chmod 0750 "$root"; fi
    fi
    if [ ! -f "$data/PG_VERSION" ]; then
        if changed "cluster: made"; then
            as_postgres mkdir -p -m 0750 "${data%/*}"
            as_postgres "$bin/initdb" -D "$data" --data-checksums --allow-group-access --encoding=UTF8 --locale-provider=builtin \
                --locale=C.UTF-8 --auth=reject >/dev/null
        fi
    elif ! "$bin/pg_controldata" "$data" | grep -q '^Data page checksum version: *1'; then
        if changed "cluster: checksums on"; then
            systemctl stop "$unit"
            as_postgres "$bin/pg_checksums" --enable -D "$data" >/dev/null
        fi
    fi
}

# The account that hands out copies is in the group, and may read and nothing else.
may_be_copied() {
    if [ -f "$data/PG_VERSION" ] && [ "$(stat -c %a "$data")" != 750 ] && changed "cluster: readable for its group"; then
        systemctl stop "$unit"
        chmod -R g+rX "$data"
    fi
    if ! id jinku-backup >/dev/null 2>&1 && changed "account jinku-backup: made"; then systemd-sysusers jinku-backup.conf; fi
}

hand_out_copies() {
    local name
    # The package's own server has nothing to serve.
    if [ "$(systemctl is-enabled pgbackrest.service 2>/dev/null)" != masked ] && changed "pgbackrest.service: masked"; then
        systemctl mask -q --now pgbackrest.service
    fi
    while read -r name; do
        if ! systemctl is-active -q "$name"; then
            if changed "$name: started"; then systemctl start "$name"; fi
        elif [ "$(stat -c %Y /etc/jinku/backup/agent.conf /etc/systemd/system/jinku-backup-agent@.service | sort -g | tail -1)" -gt \
            "$(date -d "$(systemctl show -P ExecMainStartTimestamp "$name")" +%s)" ]; then
            if changed "$name: restarted"; then systemctl restart "$name"; fi
        fi
    done < <(sed -n 's/^Wants=//p' /etc/systemd/system/jinku-backup-agent.target)
    systemctl is-enabled -q jinku-backup-agent.target || { if changed "jinku-backup-agent.target: enabled"; then systemctl enable -q jinku-backup-agent.target; fi; }
}

may_read_the_key() {
    if ! id -nG postgres | grep -qw jinku-tls; then
        if changed "account postgres: group jinku-tls"; then
            usermod -a -G jinku-tls postgres
            systemctl stop "$unit"
        fi
    fi
}

run_server() {
    if ! systemctl is-active -q "$unit"; then
        if changed "server: started"; then
            systemctl daemon-reload
            systemctl start "$unit"
        fi
        # The unit ignores a failed start (recovery may take long), so ask the server.
        [ -n "$check" ] || as_postgres "$bin/pg_isready" -q -t 60 -h "$socket" || {
            echo "postgresql: the server does not answer; see: journalctl -t postgres -t postgresql@17-main" >&2
            exit 1
        }
        return
    fi
    local loaded newest refused
    loaded=$(sql -d postgres -c "SELECT extract(epoch FROM pg_conf_load_time())")
    newest=$({ echo "$loaded" && stat -c %.6Y "$conf"/*.conf /etc/jinku/tls/host.pem; } | sort -g | tail -1)
    if [ "$newest" != "$loaded" ] && changed "server: reloaded"; then
        sql -d postgres -c "SELECT pg_reload_conf()" >/dev/null
        sleep 0.5 # the postmaster reads its files in its own time
    fi
    refused=$(sql -d postgres -c "SELECT coalesce(sourcefile, '?') || ': ' || name || ': ' || error FROM pg_file_settings WHERE error IS NOT NULL
        AND error <> 'setting could not be applied' UNION ALL SELECT file_name || ':' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL")
    [ -z "$refused" ] || { echo "$refused" >&2; exit 1; }
    if [ "$(sql -d postgres -c "SELECT count(*) FROM pg_settings WHERE pending_restart")" != 0 ] && changed "server: restarted"; then
        systemctl restart "$unit"
        as_postgres "$bin/pg_isready" -q -t 60 -h "$socket"
    fi
}

# Each SQL file is a query whose rows are the statements that are needed; nothing differs when there is none.
apply() {
    local statements round
    for round in 1 2 3 4 5; do
        statements=$("$2" | sql -d "$1")
        [ -n "$statements" ] || return 0
        echo "$statements"
        [ -z "$check" ] || return 0
        sql -d "$1" >/dev/null <<<"$statements"
    done
    echo "$1: still asked for after $round rounds: $statements" >&2
    exit 1
}

main() {
    local exists
    adopt_or_make
    may_be_copied
    may_read_the_key
    run_server
    if [ -n "$check" ] && ! systemctl is-active -q "$unit"; then return; fi
    apply postgres cluster_sql
    exists=$(sql -d postgres -c "SELECT count(*) FROM pg_database WHERE datname = '$database'")
    if [ "$exists" = 1 ]; then apply "$database" database_sql; fi
    [ -n "$check" ] || systemctl daemon-reload
    hand_out_copies
}
