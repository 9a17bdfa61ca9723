# SPDX-License-Identifier: Apache-2.0
# Brings the CRM's database and service to what the shipped files say. Prints a line for each change, nothing otherwise.
# Arguments: --check says what would change and changes nothing; --issued TIME is the end of the administrator's one-time password that
# the controller has: a line is printed when that is not, or no longer, the one that is needed.
set -euo pipefail

check="" issued=""
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=1 ;;
        --issued) issued=$2 && shift ;;
    esac
    shift
done
agent=jinku-agent.service
secret=/etc/jinku/crm/pgpass factor=/etc/jinku/crm/factor.key

changed() { echo "$*"; [ -z "$check" ]; } # true when the change is to be made
started() { date -d "$(systemctl show -P "${2:-ExecMainStartTimestamp}" "$1")" +%s 2>/dev/null || echo 0; }
newest() { find "$@" -type f -printf '%T@\n' 2>/dev/null | sort -g | tail -1 | cut -d. -f1; }
setup() { JINKU_CRM_PROGRAM=setup jinku-crm "$@"; }

own_the_volume() {
    # A replaced host may have given the account another number; the volume keeps the old one.
    if [ "$(stat -c %U:%a /var/lib/tryton)" != tryton:750 ] && changed "volume /var/lib/tryton: owner and mode"; then
        chown -R tryton:tryton /var/lib/tryton
        chmod 0750 /var/lib/tryton
    fi
}

refused() { [[ "$(setup --check 2>&1 >/dev/null)" == *"password authentication failed"* ]]; }

fetch_the_secret() {
    # The agent notices its new template by itself (jinku-agent.path), but a rotation before its time it does not.
    local second
    for second in $(seq 90); do
        if [ -s "$secret" ] && [ -s "$factor" ] && ! refused; then return 0; fi
        if [ -n "$check" ]; then echo "$secret, $factor: would be fetched" && return 0; fi
        if [ "$((second % 20))" = 3 ]; then
            [ ! -s "$secret" ] || echo "$secret: fetched again"
            systemctl try-restart "$agent"
        fi
        sleep 1
    done
    echo "$secret, $factor: not written, or refused by the database, for $second s; see: journalctl -u $agent" >&2
    exit 1
}

# It was begun early (tasks/begin.yml), and has ended by now. What it could not do is done below, or fails there in its own words.
tell_of_a_failed_first_set_up() {
    local unit=jinku-crm-setup.service run
    if [ -z "$check" ] && systemctl is-failed -q "$unit"; then
        run=$(systemctl show -P InvocationID "$unit")
        echo "$unit: failed; its last words: $(journalctl -q "_SYSTEMD_INVOCATION_ID=$run" -n 8 -o cat)" >&2
        systemctl reset-failed "$unit"
    fi
}

set_up_the_database() {
    local state
    if [ -n "$check" ] && { [ ! -s "$secret" ] || refused; }; then echo "database: would be looked at"; return; fi
    state=$(setup --check)
    if [ "$(field '.changes' "$state")" = "[]" ]; then return; fi
    if changed "database: $(field '.changes' "$state")"; then
        if [ "$(field '.stop' "$state")" = true ]; then systemctl stop jinku-crm.service; fi
        setup >/dev/null
    fi
}

field() { python3 -c 'import json, sys; print(json.dumps(json.loads(sys.argv[2])[sys.argv[1][1:]]))' "$@"; }

# Starts a unit, or restarts it when one of the named files is newer than its start.
keep_running() {
    local name=$1
    shift
    if ! systemctl is-active -q "$name"; then
        if changed "$name: started"; then systemctl start "$name"; fi
    elif [ "$(newest "$@")" -gt "$(started "$name")" ]; then
        if changed "$name: restarted"; then systemctl restart "$name"; fi
    fi
}

run_the_services() {
    local name units=(jinku-crm.service jinku-crm-password.path jinku-crm-router.service jinku-attachments.socket) packages=/var/lib/dpkg/info
    # Debian's own unit has nothing to serve; the router runs as an account of its own.
    if [ "$(systemctl is-enabled haproxy.service 2>/dev/null)" != masked ] && changed "haproxy.service: masked"; then
        systemctl mask -q --now haproxy.service
    fi
    if [ -z "$check" ] && systemctl is-active -q jinku-crm-router.socket; then
        systemctl disable -q --now jinku-crm-router.socket jinku-crm-router.service 2>/dev/null || true
    fi
    [ -n "$check" ] || systemctl daemon-reload
    for name in "${units[@]}"; do
        systemctl is-enabled -q "$name" 2>/dev/null || { if changed "$name: enabled"; then systemctl enable -q "$name"; fi; }
    done
    keep_running jinku-crm.service /etc/jinku/crm/{trytond.conf,application.ini} /usr/lib/jinku/crm /etc/systemd/system/jinku-crm.service \
        $packages/{tryton,uwsgi}-*.list
    systemctl is-active -q jinku-crm-password.path || { if changed "jinku-crm-password.path: started"; then systemctl start jinku-crm-password.path; fi; }
    systemctl is-active -q jinku-attachments.socket || { if changed "jinku-attachments.socket: started"; then systemctl start jinku-attachments.socket; fi; }
    keep_running jinku-crm-router.service /etc/jinku/crm/router.cfg /etc/systemd/system/jinku-crm-router.service $packages/haproxy.list
    [ -n "$check" ] || healthy
}

healthy() { # uWSGI says that it is ready before its workers have loaded the modules
    local until=$((SECONDS + 120))
    until jinku-crm health >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$until" ]; then
            echo "jinku-crm: not healthy for 120 s; see: journalctl -u 'jinku-crm*'" >&2
            exit 1
        fi
        sleep 1
    done
}

say_whether_a_first_login_is_due() {
    local state
    if [ -z "$issued" ] || { [ -n "$check" ] && refused; }; then return; fi
    state=$(setup --check --issued "$issued")
    [ "$(field .first_login_due "$state")" = false ] || echo "administrator: needs a one-time password"
}

main() {
    if [ -n "$check" ] && [ ! -x /usr/bin/jinku-crm ]; then
        echo "the CRM would be set up"
        return
    fi
    own_the_volume
    fetch_the_secret
    tell_of_a_failed_first_set_up
    set_up_the_database
    run_the_services
    say_whether_a_first_login_is_due
}

main
