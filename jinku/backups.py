# SPDX-License-Identifier: Apache-2.0
"""What the backup host tells: how old its copies are; and restoring one beside it, as it was at a moment."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime

from jinku.model import Topology
from jinku.places import Places

#: Where the backup host writes for the monitor (roles/backup), once a minute.
METRICS = "/var/lib/prometheus/node-exporter/jinku_backup.prom"
_LINE = re.compile(r'^jinku_backup_last_success_timestamp_seconds\{kind="(\w+)"\} (\d+)', re.MULTILINE)
NO_ANSWER = "no answer"
_CONNECT_SECONDS = 5
_ASK_SECONDS = 15


@dataclass(frozen=True)
class Copy:
    """The newest copy of a kind on a node; ``finished`` is None where there is none. ``kind``: NO_ANSWER where the node tells nothing."""

    node: str
    kind: str
    finished: datetime | None


class BackupHostError(Exception):
    """The backup host refused, or there is none; the text says what would be right."""


def parse(node: str, metrics: str) -> list[Copy]:
    """Make sense of the metrics of a backup host."""
    return [
        Copy(node, kind, datetime.fromtimestamp(int(seconds), UTC) if int(seconds) else None)
        for kind, seconds in _LINE.findall(metrics)
    ]


def newest(topology: Topology, places: Places) -> list[Copy]:
    """Ask every backup host for the newest copy of each kind; one that does not answer is named, too."""
    found: list[Copy] = []
    for node in topology.nodes_of("backup"):
        try:
            told = _ssh(places, node.name, f"cat {METRICS}", timeout=_ASK_SECONDS).stdout
        except subprocess.TimeoutExpired:
            told = ""
        found += parse(node.name, told) or [Copy(node.name, NO_ANSWER, None)]
    return found


def ask(topology: Topology, places: Places, *arguments: str, given: str | None = None) -> str:
    """Run a verb of ``jinku-backup`` on the backup host; return what it printed.

    ``given``: standard input, for what may stand in no argument. Raises BackupHostError with the host's own words.
    """
    nodes = topology.nodes_of("backup")
    if not nodes:
        raise BackupHostError(f"{topology.env.name}: sites: has no backup host, for it has no site b; a second site")
    command = "sudo -n /usr/local/sbin/jinku-backup " + shlex.join(arguments)
    done = _ssh(places, nodes[0].name, command, given=given)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BackupHostError(f"{nodes[0].name}: {words.removeprefix('jinku-backup: ')}")
    return done.stdout


def _ssh(
    places: Places, node: str, command: str, *, given: str | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    options = ["-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-o", "BatchMode=yes"]
    return subprocess.run(
        ["ssh", "-F", str(places.ssh_config), *options, node, "--", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        input=given or "",
    )
