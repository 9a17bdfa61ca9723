# SPDX-License-Identifier: Apache-2.0
"""What the edge's rules have said of this machine."""

from __future__ import annotations

import socket

from crm_client import Door
from testinfra.host import Host


def alarms(edge: Host, door: Door, since: float) -> list[str]:
    """What the rules have said of this machine since then (seconds since 1970), a line each, warnings too."""
    with socket.create_connection((door.address, door.port), timeout=10) as plain:
        own = plain.getsockname()[0]
    told = edge.check_output(f"journalctl -q -o cat -t apache --since=@{since:.3f}")
    return [
        line for line in told.splitlines() if f"[client {own}:" in line and ("ModSecurity" in line or "mod_qos" in line)
    ]
