# SPDX-License-Identifier: Apache-2.0
"""How old the newest copy of each kind is, in the text format of Prometheus, for the node exporter."""

import contextlib
import sys
import time
from pathlib import Path

from jinku_backup import copies, stream
from jinku_backup.places import RESTIC, BackupError, note, noted

METRICS = Path("/var/lib/prometheus/node-exporter/jinku_backup.prom")
HEAD = """# HELP jinku_backup_last_success_timestamp_seconds When the newest copy of a kind was whole, Unix time; 0 if there is none.
# TYPE jinku_backup_last_success_timestamp_seconds gauge
"""


def newest():
    """Return kind -> Unix time of the newest copy that is there now, 0 where there is none."""
    found = dict.fromkeys(("full", "incremental", "wal", "attachments", "vault", "verify"), 0)
    for one in (copies.stanza() or {}).get("backup", []):
        if not one.get("error"):
            for kind in ("full", "incremental") if one["type"] == "full" else ("incremental",):
                found[kind] = max(found[kind], one["timestamp"]["stop"])
    for kind in ("attachments", "vault"):
        known = noted(kind)
        if known and all(
            (RESTIC / "snapshots" / one).exists() for one in known.get("snapshots", [known.get("snapshot")])
        ):
            found[kind] = known["finished"]
    for kind in ("wal", "verify"):
        found[kind] = noted(kind).get("finished", 0)
    # Received is not yet kept: what the repository does not take lies here in clear, and holds up all that follows it.
    found["wal"] = min(found["wal"], _oldest_waiting())
    return found


def _oldest_waiting():
    """Return when the oldest segment that waits for the repository was received, Unix time; now if none waits."""
    oldest = int(time.time())
    with contextlib.suppress(OSError):  # health() says of a volume that is shut
        for path in stream.waiting():
            with contextlib.suppress(FileNotFoundError):  # archived meanwhile
                oldest = min(oldest, int(path.stat().st_mtime))
    return oldest


def missing():
    """Print the kinds of which there is no copy, so that the first is made at once."""
    found = newest()
    print(*(kind for kind in ("full", "attachments", "vault") if not found[kind]))


def look():
    """Ask how far the received log of changes is behind, and keep the time when it was not."""
    asked = int(time.time())
    there, here = stream.position()
    if here >= there:
        note("wal", finished=asked)
    return max(there - here, 0)


def health():
    """Write the metrics. Raises BackupError, after writing what is known, when the copies themselves cannot be looked at.

    A database that does not answer is no fault of this host: the age of the log of changes tells it, and grows into an alarm.
    """
    problem, lines = None, []
    try:
        lines.append(f"jinku_backup_wal_behind_bytes {look()}")
    except BackupError as error:
        print(f"jinku-backup: {error}", file=sys.stderr)
    try:
        found = newest()
    except BackupError as error:  # without the key nothing is known, and that is what the monitor must see
        problem, found = error, {}
    lines += [f'jinku_backup_last_success_timestamp_seconds{{kind="{kind}"}} {seen}' for kind, seen in found.items()]
    with contextlib.suppress(
        OSError
    ):  # written once, when the repository was made: a trial that never came is missed from then on
        since = int((RESTIC / "config").stat().st_mtime)
        lines.append(f'jinku_backup_since_timestamp_seconds{{kind="verify"}} {since}')
    try:
        lines.append(f"jinku_backup_wal_waiting_segments {len(stream.waiting())}")
    except OSError as error:
        problem, lines = (
            BackupError(f"{error.filename}: volume: {error.strerror}; is it open? journalctl -u jinku-volumes"),
            [],
        )
    METRICS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = METRICS.with_name(f".{METRICS.name}.new")
    scratch.write_text(HEAD + "\n".join(lines) + "\n")
    scratch.chmod(0o644)
    scratch.rename(METRICS)
    if problem:
        raise problem
