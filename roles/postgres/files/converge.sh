# SPDX-License-Identifier: Apache-2.0
# Brings the cluster to what the configuration and the two SQL files say. Prints a line for each change, nothing otherwise.
# Arguments: name of the application's database; whether its site is the first (True, False); what the servers of the other site
# are, as the words NAME=ROLE, and their slots, separated by commas; the primaries among them, as the words NAME=SYSTEM_IDENTIFIER;
# --check says what would change and changes nothing.
set -euo pipefail

database=$1 first_site=$2 peers=$3 slots=$4 primaries=$5
check=${6:-}
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/17/main
conf=/etc/postgresql/17/main
unit=postgresql@17-main.service
socket=/run/postgresql
new=/run/jinku-postgres.new # as in jinku-postgres
if [ -n "$check" ] && [ ! -f "$conf/postgresql.conf" ]; then
    echo "cluster: would be made"
    exit 0
fi
PGPORT=$(sed -n "s/^port = //p" "$conf/postgresql.conf")
export PGPORT

as_postgres() { runuser -u postgres -- "$@"; }
sql() { as_postgres psql -X -q -At -v ON_ERROR_STOP=1 -v "database=$database" -v "slots=$slots" -h "$socket" "$@"; }
changed() { echo "$*"; [ -z "$check" ]; } # true when the change is to be made

# On an empty volume: a new cluster only where there is certainly no other copy of the data.
make_cluster() {
    as_postgres mkdir -p -m 0750 "${data%/*}"
    as_postgres "$bin/initdb" -D "$data" --data-checksums --allow-group-access --encoding=UTF8 --locale-provider=builtin \
        --locale=C.UTF-8 --auth=reject >/dev/null
    touch "$new"
}

make_or_copy() {
    case " $peers " in
        *=primary*) if changed "cluster: copied from the primary"; then may_read_the_key && jinku-postgres copy; fi ;;
        *=standby* | *=fenced*)
            echo "cluster: there is no data here, but $peers holds a copy; \`jinku promote\` at its site, then the same command again" >&2
            exit 1
            ;;
        *=unknown*)
            echo "cluster: there is no data here, and $peers, which may hold a copy, cannot be asked; bring it up first" >&2
            exit 1
            ;;
        *=none* | "  ")
            if [ "$first_site" = True ]; then
                if changed "cluster: made"; then make_cluster; fi
            elif [ -n "$check" ]; then
                echo "cluster: would be copied from the first site's"
            else
                echo "cluster: there is no data here, nor at $peers, which is converged first" >&2
                exit 1
            fi
            ;;
    esac
}

adopt_or_make() {
    local root=/var/lib/postgresql
    if [ -f "$data/PG_VERSION" ] && [ "$(stat -c %U "$data")" != postgres ]; then
        # A replaced host may have given the account another number; the volume keeps the old one.
        if changed "volume $root: owner"; then chown -R postgres:postgres "$root"; fi
    elif [ "$(stat -c %U:%a "$root")" != postgres:750 ]; then
        if changed "volume $root: owner and mode"; then chown postgres:postgres "$root" && chmod 0750 "$root"; fi
    fi
    if [ ! -f "$data/PG_VERSION" ]; then
        make_or_copy
    elif ! "$bin/pg_controldata" "$data" | grep -q '^Data page checksum version: *1'; then
        if changed "cluster: checksums on"; then
            systemctl stop "$unit"
            as_postgres "$bin/pg_checksums" --enable -D "$data" >/dev/null
        fi
    fi
}

# Two clusters that were made apart never become one: which of them holds the data, a person says.
must_be_of_one_kind() {
    local own other
    [ ! -f "$data/standby.signal" ] || return 0
    own=$("$bin/pg_controldata" "$data" | sed -n 's/^Database system identifier: *//p')
    for other in $primaries; do
        [ "${other#*=}" = "$own" ] || {
            echo "cluster: the data here ($data) and that of ${other%%=*}, which is a primary too, were made apart; stop the server that holds nothing" \
                "and move its 17/main away: the same command then copies the other one" >&2
            exit 1
        }
    done
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
    for name in /etc/systemd/system/jinku-volumes.target.wants/jinku-backup-agent@*.service; do
        [ -L "$name" ] || continue
        name=${name##*/}
        if ! systemctl is-active -q "$name"; then
            if changed "$name: started"; then systemctl start "$name"; fi
        elif [ "$(stat -c %Y /etc/jinku/backup/agent.conf /etc/systemd/system/jinku-backup-agent@.service | sort -g | tail -1)" -gt \
            "$(date -d "$(systemctl show -P ExecMainStartTimestamp "$name")" +%s)" ]; then
            if changed "$name: restarted"; then systemctl restart "$name"; fi
        fi
    done
}

may_read_the_key() {
    local account
    for account in jinku-heartbeat jinku-lag; do
        getent passwd "$account" >/dev/null || { if changed "account $account: made"; then systemd-sysusers "/etc/sysusers.d/$account.conf"; fi; }
    done
    if ! id -nG postgres | grep -qw jinku-tls; then
        if changed "account postgres: group jinku-tls"; then
            usermod -a -G jinku-tls postgres
            systemctl stop "$unit"
        fi
    fi
}

may_be_primary() {
    local why
    # Just made: nobody can have taken its place. The mark is left for the unit's own guard, which would wait for an answer without it.
    [ ! -e "$new" ] || return 0
    why=$(jinku-postgres guard 2>&1) && return
    echo "$why"
    [ -n "$check" ] || { echo "$why" >&2 && exit 1; }
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
    newest=$({ stat -c "%.6Y %n" "$conf"/*.conf /etc/jinku/tls/host.pem && echo "$loaded"; } | sort -s -k 1,1g | tail -1)
    if [ "$newest" != "$loaded" ] && changed "server: reloaded, for ${newest#* } is newer than what it has loaded"; then
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

recovering() { [ "$(sql -d postgres -c 'SELECT pg_is_in_recovery()')" = t ]; }

# A standby that does not follow is not mended here: only a person may decide that its data is worth nothing.
follow() {
    local second
    case " $peers " in *=primary*) ;; *) return 0 ;; esac # nobody to follow: its own host says so
    for second in $(seq 30); do
        [ "$(sql -d postgres -c 'SELECT streaming FROM jinku.replication' 2>/dev/null)" = t ] && return 0
        [ -z "$check" ] || break
        sleep 1
    done
    echo "standby: does not follow the primary ($second s): $(journalctl -q -n 40 -o cat -t postgres | grep -E 'FATAL|ERROR' | tail -1)"
    [ -n "$check" ] || { echo "standby: \`jinku rejoin\` makes a new copy of the primary and moves this data aside" >&2 && exit 1; }
}

keep_units() {
    local name
    for name in jinku-postgres-heartbeat.service jinku-postgres-lag.service jinku-postgres-watch.timer; do
        systemctl is-active -q "$name" || { if changed "$name: started"; then systemctl daemon-reload && systemctl start "$name"; fi; }
    done
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
    if [ -n "$check" ] && [ ! -f "$data/PG_VERSION" ]; then return; fi
    must_be_of_one_kind
    may_be_copied
    may_read_the_key
    may_be_primary
    run_server
    if [ -n "$check" ] && ! systemctl is-active -q "$unit"; then return; fi
    [ -n "$check" ] || systemctl daemon-reload
    hand_out_copies
    if recovering; then
        apply postgres slots_sql
        follow
        keep_units
        return
    fi
    apply postgres cluster_sql
    apply postgres slots_sql
    keep_units
    exists=$(sql -d postgres -c "SELECT count(*) FROM pg_database WHERE datname = '$database'")
    if [ "$exists" = 1 ]; then apply "$database" database_sql; fi
}

main
