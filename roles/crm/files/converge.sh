# SPDX-License-Identifier: Apache-2.0
# Brings the CRM's database and service to what the shipped files say. Prints a line for each change, nothing otherwise.
# Argument: --check says what would change and changes nothing.
set -euo pipefail

check=${1:-}
unit=jinku-crm.service
agent=jinku-agent.service
secret=/etc/jinku/crm/pgpass

changed() { echo "$*"; [ -z "$check" ]; } # true when the change is to be made
started() { date -d "$(systemctl show -P ExecMainStartTimestamp "$1")" +%s 2>/dev/null || echo 0; }
newest() { find "$@" -type f -printf '%T@\n' 2>/dev/null | sort -g | tail -1 | cut -d. -f1; }
setup() { JINKU_CRM_PROGRAM=setup jinku-crm "$@"; }

own_the_volume() {
    # A replaced host may have given the account another number; the volume keeps the old one.
    if [ "$(stat -c %U:%a /var/lib/tryton)" != tryton:750 ] && changed "volume /var/lib/tryton: owner and mode"; then
        chown -R tryton:tryton /var/lib/tryton
        chmod 0750 /var/lib/tryton
    fi
}

fetch_the_secret() {
    # The agent notices its new template by itself (jinku-agent.path).
    [ -z "$check" ] || return 0
    local second
    for second in $(seq 90); do
        [ ! -s "$secret" ] || return 0
        [ "$second" != 15 ] || systemctl try-restart "$agent" # it may have asked before the database engine knew the role
        sleep 1
    done
    echo "$secret: not written within $second s; does the vault's database engine know the role crm? see: journalctl -u $agent" >&2
    exit 1
}

set_up_the_database() {
    local state
    if [ -n "$check" ] && [ ! -s "$secret" ]; then echo "database: would be set up"; return; fi
    state=$(setup --check)
    if [ "$(field '.changes' "$state")" = "[]" ]; then return; fi
    if changed "database: $(field '.changes' "$state")"; then
        if [ "$(field '.stop' "$state")" = true ]; then systemctl stop "$unit"; fi
        setup >/dev/null
    fi
}

field() { python3 -c 'import json, sys; print(json.dumps(json.loads(sys.argv[2])[sys.argv[1][1:]]))' "$@"; }

run_the_service() {
    systemctl is-enabled -q "$unit" 2>/dev/null || { if changed "$unit: enabled"; then systemctl enable -q "$unit"; fi; }
    local code
    code=$(newest /etc/jinku/crm/trytond.conf /etc/jinku/crm/uwsgi.ini /usr/lib/jinku/crm /etc/systemd/system/$unit /var/lib/dpkg/info/tryton-*.list \
        /var/lib/dpkg/info/uwsgi-*.list)
    if ! systemctl is-active -q "$unit"; then
        if changed "$unit: started"; then systemctl daemon-reload && systemctl start "$unit"; fi
    elif [ "$code" -gt "$(started $unit)" ]; then
        if changed "$unit: restarted"; then systemctl daemon-reload && systemctl restart "$unit"; fi
    fi
    [ -n "$check" ] || jinku-crm health >/dev/null || { echo "$unit: not healthy; see: journalctl -u $unit" >&2; exit 1; }
}

main() {
    if [ -n "$check" ] && [ ! -x /usr/bin/jinku-crm ]; then
        echo "the CRM would be set up"
        return
    fi
    own_the_volume
    fetch_the_secret
    set_up_the_database
    run_the_service
}

main </dev/null # the rest of this script would be read otherwise
