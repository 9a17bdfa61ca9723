# SPDX-License-Identifier: Apache-2.0
"""The database's log of changes (WAL): received as it is written, archived segment by segment, handed out to a restored copy."""

import os
import re
import shutil
import subprocess
import sys
import time

from jinku_backup.places import SCRATCH, TLS, WAL, BackupError, call, pgbackrest, settings

SLOT = "backup"
UNIT = "jinku-backup-wal.service"
#: A whole segment or a history file; what is still being received ends with .partial.
WHOLE = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
WAIT_SECONDS = 0.5
AGAIN_SECONDS = 10


def connection(more=""):
    """Return libpq's connection to whichever database host leads now, with this host's certificate on both ends."""
    found = settings()
    hosts = ",".join(found["databases"])
    tls = f"sslmode=verify-full sslrootcert={TLS}/ca.pem sslcert={TLS}/host.pem sslkey={TLS}/host.key"
    more = f"target_session_attrs=primary {tls} {more}"
    return f"host={hosts} port={found['database_port']} user=backup application_name=backup connect_timeout=5 {more}"


def slot():
    """Have the database keep what was not received yet."""
    call(["pg_receivewal", f"--dbname={connection()}", f"--slot={SLOT}", "--create-slot", "--if-not-exists"])


def anew():
    """Receive from now on: for a slot that was lost, after which nothing more comes. What lies in between is given up. Asked by root.

    The last changes before the gap lie in a segment that was still being received; it goes into the repository first.
    """
    _systemctl("stop", UNIT)
    try:
        received = sorted(WAL.glob("*.partial"))
        for path in received:
            call(pgbackrest("archive-push", str(path)))
        ask = ["psql", "-XAtq", f"--dbname={connection('replication=true')}"]
        try:
            call([*ask, "-c", f"DROP_REPLICATION_SLOT {SLOT} WAIT"])
        except BackupError as error:
            if "does not exist" not in str(error):
                raise
        slot()
        for path in received:
            path.unlink()
    finally:
        _systemctl("start", UNIT)
    _systemctl("start", "jinku-backup@full.service")


def _systemctl(verb, unit):
    """Start or stop a unit, as who asks: the backups' account may not."""
    done = subprocess.run(["systemctl", verb, unit], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackupError(f"{unit}: {verb}: {done.stderr.strip() or done.returncode}")


def receive():
    """Become pg_receivewal: each piece is on this host's disk before the database hears that it was received."""
    slot()
    command = ["pg_receivewal", f"--dbname={connection()}", f"--slot={SLOT}", f"--directory={WAL}"]
    os.execvp(command[0], [*command, "--synchronous", "--no-loop"])  # noqa: S606 - no shell is wanted


def waiting():
    """Return the received files that are whole, oldest first."""
    return sorted(path for path in WAL.iterdir() if WHOLE.fullmatch(path.name))


def archive():
    """Move received segments into the repository, for ever. One that cannot be stored is tried again and never dropped."""
    while True:
        for path in waiting():
            try:
                call(pgbackrest("archive-push", str(path)))
            except BackupError as error:
                print(f"jinku-backup: {path.name}: {error}", file=sys.stderr, flush=True)
                time.sleep(AGAIN_SECONDS)
                break
            path.unlink()
        time.sleep(WAIT_SECONDS)


def fetch(name, target):
    """Fetch a segment for a restored copy: from the repository, else what was received and is not archived. Returns an exit code."""
    command = pgbackrest(f"--pg1-path={SCRATCH}/database", "archive-get", name, target)
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode == 0:
        return 0
    if done.returncode != 1:  # 1: it is not in the repository
        sys.stderr.buffer.write(done.stderr)
        return done.returncode
    for path in (WAL / name, WAL / f"{name}.partial"):
        if path.is_file():
            shutil.copyfile(path, target)
            return 0
    # The last one before a slot was given up (`anew`).
    command = pgbackrest(f"--pg1-path={SCRATCH}/database", "archive-get", f"{name}.partial", target)
    return subprocess.run(command, capture_output=True, check=False).returncode if WHOLE.fullmatch(name) else 1


def position():
    """Return (where the database was, where this host is at most ten seconds later) in its log of changes, in bytes."""
    first = None
    for _ in range(5):
        ask = ["psql", "-XAtq", "-F ", f"--dbname={connection('replication=true dbname=postgres')}"]
        there, here = call([*ask, "-c", "IDENTIFY_SYSTEM", "-c", f"READ_REPLICATION_SLOT {SLOT}"]).splitlines()
        first = first or lsn(there.split()[2])
        received = lsn(here.split()[1]) if len(here.split()) > 1 else 0
        if received >= first:
            break
        time.sleep(2)
    return first, received


def lsn(text):
    """Return a position that PostgreSQL writes as ``16/B374D848`` in bytes."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
