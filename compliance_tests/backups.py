# SPDX-License-Identifier: Apache-2.0
"""Questions to the backup host's own program."""

import json

from jinku.evidence.waiting import trials

PROGRAM = "/usr/local/sbin/jinku-backup"


def listed(host):
    """What can be restored, asked of pgBackRest and restic; waits while the very first copies are being made, 90 s at most."""
    found = {}
    for trial in trials(f"first copies on {host.backend.hostname}", times=30, pause_s=3):
        again = f" ; : {trial}" if trial else ""
        under_way = host.check_output(
            f"systemctl list-units --plain --no-legend --state=activating 'jinku-backup@*'{again}"
        )
        found = json.loads(host.check_output(f"{PROGRAM} list{again}"))
        if not under_way.strip() or all(found[kind] for kind in ("database", "attachments", "vault")):
            break
    return found
