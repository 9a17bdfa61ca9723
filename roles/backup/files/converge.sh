# SPDX-License-Identifier: Apache-2.0
# Makes the repositories, runs the services, begins the first copies. Prints a line for each change, nothing otherwise.
# --check says what would change and changes nothing.
set -euo pipefail

check=${1:-}
volume=/var/lib/jinku-backup
key=/etc/jinku/backup/keys/restic
if [ -n "$check" ] && [ ! -s "$key" ]; then
    echo "the repositories would be made"
    exit 0
fi

changed() { echo "$*"; [ -z "$check" ]; } # true when the change is to be made
newest() { find "$@" -type f -printf '%T@\n' 2>/dev/null | sort -g | tail -1 | cut -d. -f1; }
started() { date -d "$(systemctl show -P ExecMainStartTimestamp "$1")" +%s 2>/dev/null || echo 0; }
as_backup() { runuser -u jinku-backup -- "$@"; }

account_and_volume() {
    if ! id jinku-backup >/dev/null 2>&1 && changed "account jinku-backup: made"; then systemd-sysusers jinku-backup.conf; fi
    if [ "$(stat -c %U:%a "$volume")" != jinku-backup:700 ] && changed "volume $volume: owner and mode"; then
        # A replaced host may have given the account another number; the volume keeps the old one.
        chown -R jinku-backup:jinku-backup "$volume"
        chmod 0700 "$volume"
    fi
}

stop_what_the_packages_started() {
    local unit
    # Of the packages only the programs are wanted: neither a cluster nor a server of their own runs here.
    for unit in pgbackrest.service postgresql.service postgresql@17-main.service; do
        if [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != masked ] && changed "$unit: masked"; then systemctl mask -q --now "$unit"; fi
    done
    if [ -d /var/lib/postgresql/17/main ] && changed "the package's own cluster: removed"; then
        rm -rf /var/lib/postgresql/17/main /etc/postgresql/17/main
    fi
}

wait_for_the_key() {
    local second
    for second in $(seq 60); do
        [ ! -s "$key" ] || return 0
        # The agent notices its new template by itself (jinku-agent.path), the new account it does not.
        [ "$((second % 10))" != 5 ] || systemctl try-restart jinku-agent.service
        sleep 1
    done
    echo "$key: not written after 60 s; see: journalctl -u jinku-agent" >&2
    exit 1
}

make_the_repositories() {
    if [ -n "$check" ]; then return; fi
    install -d -o jinku-backup -g jinku-backup -m 0700 /run/jinku-backup
    as_backup jinku-backup prepare
}

run_the_services() {
    local unit
    [ -n "$check" ] || systemctl daemon-reload
    for unit in jinku-backup-wal.service jinku-backup-archive.service; do
        systemctl is-enabled -q "$unit" 2>/dev/null || { if changed "$unit: enabled"; then systemctl enable -q "$unit"; fi; }
        if ! systemctl is-active -q "$unit"; then
            if changed "$unit: started"; then systemctl start "$unit"; fi
        elif [ "$(newest /etc/jinku/backup/*.* /usr/lib/jinku/backup "/etc/systemd/system/$unit")" -gt "$(started "$unit")" ]; then
            if changed "$unit: restarted"; then systemctl restart "$unit"; fi
        fi
    done
    for unit in /etc/systemd/system/jinku-backup-*.timer; do
        unit=${unit##*/}
        systemctl is-enabled -q "$unit" 2>/dev/null || { if changed "$unit: enabled"; then systemctl enable -q "$unit"; fi; }
        systemctl is-active -q "$unit" || { if changed "$unit: started"; then systemctl start "$unit"; fi; }
    done
}

# They run beside what is configured next; whoever asks for them waits.
begin_the_first_copies() {
    local kind kinds
    if [ -n "$check" ] && ! id jinku-backup >/dev/null 2>&1; then return; fi
    kinds=$(as_backup jinku-backup missing) || [ -n "$check" ] # by itself: a loop would hide that it failed
    for kind in $kinds; do
        case $(systemctl show -P ActiveState "jinku-backup@$kind.service") in active | activating) continue ;; esac
        if changed "first copy of the kind $kind: begun"; then systemctl start --no-block "jinku-backup@$kind.service"; fi
    done
}

account_and_volume
stop_what_the_packages_started
[ -n "$check" ] || wait_for_the_key
make_the_repositories
run_the_services
begin_the_first_copies
