# SPDX-License-Identifier: Apache-2.0
"""Opens a copy beside the repository, as it was at a moment. Nothing that runs is touched."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from datetime import UTC, datetime

from jinku_backup import copies
from jinku_backup.places import RUN, SCRATCH, SOCKET, VOLUME, BackupError, account, call, noted, pgbackrest, restic

UNIT = "jinku-backup-scratch.service"
PSQL = ["psql", "-XAtq", f"--host={SOCKET}", "--username=postgres", "--no-password"]


def moment(text):
    """Return Unix seconds of a time in RFC 3339. Raises BackupError when it is none, or has no zone."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise BackupError(
            f"--to: {text!r} is not a time with a zone; such as {datetime.now(UTC).isoformat(timespec='seconds')}"
        )
    return when.timestamp()


def utc(seconds):
    """Return Unix seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def snapshots(kind):
    """Return the snapshots of attachments or vault, oldest first, each with ``short_id``, ``time`` and ``paths``."""
    found = json.loads(call(restic("snapshots", "--json", f"--tag={kind}")) or "[]")
    return sorted(found, key=lambda one: one["time"])


def listed():
    """Return what can be restored: every copy, and the moments between which any can be named."""
    known = [one for one in (copies.stanza() or {}).get("backup", []) if not one.get("error")]
    database = [
        {"label": one["label"], "type": one["type"], "finished": utc(one["timestamp"]["stop"])} for one in known
    ]
    others = {
        kind: [{"id": one["short_id"], "time": one["time"], "path": one["paths"][0]} for one in snapshots(kind)]
        for kind in ("attachments", "vault")
    }
    first = min((one["timestamp"]["stop"] for one in known), default=None)
    return {
        "schema": "jinku/backups/1",
        "from": first and utc(first),
        "to": utc(noted("wal").get("finished", 0)),
        "database": database,
        **others,
    }


def in_range(when):
    """Raise BackupError unless the database can be brought to that moment; None means the newest."""
    known = [one for one in (copies.stanza() or {}).get("backup", []) if not one.get("error")]
    if not known:
        raise BackupError("repository of the database: holds no copy; `systemctl start jinku-backup@full` makes one")
    if when is None:
        return
    first, last = min(one["timestamp"]["stop"] for one in known), noted("wal").get("finished", 0)
    if when < first:
        raise BackupError(f"--to: {utc(when)} is before the oldest copy, which was whole at {utc(first)}; a later time")
    if when > max(last, time.time() if last > time.time() - 120 else 0):
        raise BackupError(
            f"--to: {utc(when)} is later than what was received, {utc(last)}; an earlier time, or none for the newest"
        )


def _take_key(text):
    """Use the key of the operators' escrow for this restore; it lies in memory only. Raises BackupError when it is none."""
    try:
        found = json.loads(text)
        parts = {
            "pgbackrest.conf": f"[global]\nrepo1-cipher-pass={found['database']}\n",
            "restic": found["files"] + "\n",
        }
    except (ValueError, KeyError, TypeError):
        raise BackupError(
            "--key: is not an escrow of the backups' key; the file backup/key.json of the state folder"
        ) from None
    folder = RUN / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = SCRATCH.parent.stat()
    for one in (RUN, folder):
        os.chown(one, owner.st_uid, owner.st_gid, follow_symlinks=False)
    for name, content in parts.items():
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(content)
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _alone():
    """Hold the restored copy: a second restore would remove the first one's while it is being made. Raises BackupError."""
    folder = os.open(VOLUME, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError("a copy is being restored or removed now; wait for it") from None
    finally:
        os.close(folder)


def room(chosen):
    """Raise BackupError unless the copies fit on the volume: on a full one nothing more is received, and the primary gives up the slot."""
    known = [one for one in (copies.stanza() or {}).get("backup", []) if not one.get("error")]
    needed = max((one["info"]["size"] for one in known), default=0)
    needed += sum(one.get("summary", {}).get("total_bytes_processed", 0) for found in chosen.values() for one in found)
    volume = shutil.disk_usage(VOLUME)
    earlier = sum(path.lstat().st_blocks * 512 for path in SCRATCH.rglob("*"))  # it goes first
    if volume.free + earlier - needed < volume.total // 10:
        raise BackupError(
            f"{VOLUME}: volume: the copy needs {needed >> 20} MiB and a tenth must stay free, of {volume.free + earlier >> 20} MiB; enlarge it"
        )


def restore(to, key=None, *, beside_none=False):
    """Restore to a moment (RFC 3339), or the newest; return what came back. Asked by root.

    ``beside_none``: an earlier copy, which is removed else, stays, and the restore is refused.
    All that can be known beforehand is looked at first; until then nothing is made or removed.
    """
    when = None if to is None else moment(to)
    with _alone():
        if beside_none and os.path.lexists(SCRATCH):
            raise BackupError(f"{SCRATCH}: somebody's restored copy lies there; `jinku restore --discard`")
        return _restore(when, key)


def _restore(when, key):
    try:
        if key is not None:
            _take_key(key)
        in_range(when)
        chosen = {kind: choose(kind, when) for kind in ("attachments", "vault")}
        room(chosen)
        _remove()
        began = time.monotonic()
        call(["mkdir", "-m", "0700", str(SCRATCH)])
        database = _database(when)
        return {
            "schema": "jinku/restore/1",
            "to": utc(when) if when else None,
            "database": database,
            "attachments": [_attachments(one) for one in chosen["attachments"]],
            "vault": [_vault(one) for one in chosen["vault"]],
            "seconds": round(time.monotonic() - began, 1),
        }
    finally:
        shutil.rmtree(RUN / "keys", ignore_errors=True)  # nothing more is read from the repository


def choose(kind, when):
    """Return the snapshots of a kind that fit a moment, one a source: attachments the first after it, the vault the last before it.

    Attachments never change, so a later copy holds them all; those that were deleted in between are missing.
    """
    by_source = {}
    for one in snapshots(kind):
        by_source.setdefault(one["paths"][0], []).append(one)
    picked = []
    for found in by_source.values():
        before = [one for one in found if when is None or _seconds(one) <= when]
        after = [one for one in found if when is not None and _seconds(one) > when]
        picked.append(
            (after or before)[0] if kind == "attachments" and after else (before or after)[-1 if before else 0]
        )
    return picked


def _seconds(snapshot):
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", snapshot["time"])).timestamp()


def _database(when):
    """Restore and open the database; return label, the moment it reached and the databases' sizes in bytes."""
    target = [] if when is None else [
        "--type=time", f"--target={datetime.fromtimestamp(when, UTC).strftime('%Y-%m-%d %H:%M:%S.%f+00')}", "--target-action=promote",
    ]  # fmt: skip
    fetch = "--recovery-option=restore_command=/usr/local/sbin/jinku-backup wal %f %p"
    place = SCRATCH / "database"
    # A tablespace would else go to the place that the database's host names, anywhere on this one.
    spaces = f"--tablespace-map-all={SCRATCH}/tablespaces"
    call(pgbackrest("restore", f"--pg1-path={place}", "--archive-mode=off", spaces, fetch, *target))
    label = _label(place)  # before it runs: what lies there afterwards is what the copy wants to be seen
    if subprocess.run(["systemctl", "start", UNIT], capture_output=True, check=False).returncode or not _recovered():
        raise BackupError(f"the restored database: {_last_words()}")
    ask = "SELECT json_object_agg(datname, pg_database_size(oid)) FROM pg_database WHERE datallowconn"
    reached = call(
        [*PSQL, "--dbname=postgres", "-c", "SELECT coalesce(pg_last_xact_replay_timestamp()::text, '')"]
    ).strip()
    return {
        "label": label,
        "last_change": reached or None,
        "bytes": json.loads(call([*PSQL, "--dbname=postgres", "-c", ask])),
        "socket": str(SOCKET),
    }


def _recovered():
    """Wait until the recovery is over; tell whether the database is open then, for it may also have given up."""
    while True:
        if subprocess.run([*PSQL, "--dbname=postgres", "-c", ""], capture_output=True, check=False).returncode == 0:
            return True
        if subprocess.run(["systemctl", "is-active", "-q", UNIT], check=False).returncode:
            return False
        time.sleep(0.5)


def _label(place):
    text = next((path.read_text() for path in (place / "backup_label",) if path.is_file()), "")
    found = re.search(r"^START TIME: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else None


def _last_words():
    """Return why the restored database did not open, in one line."""
    told = subprocess.run(
        ["journalctl", "-u", UNIT, "-n", "30", "-o", "cat", "--no-pager"], capture_output=True, text=True, check=False
    )
    fatal = [line for line in told.stdout.splitlines() if "FATAL" in line]
    if any("before configured recovery target was reached" in line for line in fatal):
        return "nothing was changed after the moment that was asked for; without --to the newest is restored"
    return (fatal or told.stdout.splitlines() or ["it did not start"])[-1] + f"; see: journalctl -u {UNIT}"


def _attachments(snapshot):
    """Unpack one copy of attachments; return where, and how many files and bytes it holds."""
    place = SCRATCH / "attachments"
    call(["mkdir", "-p", "-m", "0700", str(place)])
    dump = subprocess.Popen(
        restic("dump", snapshot["short_id"], snapshot["paths"][0]), stdout=subprocess.PIPE, **account()
    )
    unpacked = subprocess.Popen(
        ["tar", "--extract", "--no-same-owner", f"--directory={place}"], stdin=dump.stdout, **account()
    )
    dump.stdout.close()  # else a tar that ends early would leave the other one waiting for us to read
    if any([unpacked.wait(), dump.wait()]):
        raise BackupError(f"attachments of {snapshot['time']}: do not unpack; an earlier time")
    files = [path for path in place.rglob("*") if path.is_file()]
    return {
        "time": snapshot["time"],
        "folder": str(place),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


def _vault(snapshot):
    """Take out one copy of the vault and compare its own sums; return where it lies."""
    path = SCRATCH / "vault.snap"
    with path.open("xb") as stream_:
        done = subprocess.run(
            restic("dump", snapshot["short_id"], snapshot["paths"][0]), stdout=stream_, check=False, **account()
        )
    if done.returncode:
        raise BackupError(f"vault of {snapshot['time']}: cannot be read; an earlier time")
    return {"time": snapshot["time"], "file": str(path), "index": opened(path)}


def opened(path):
    """Return the raft index of a snapshot of the vault, whose sums are compared. Raises BackupError when they differ."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            sums = dict(
                reversed(line.split()) for line in archive.extractfile("SHA256SUMS").read().decode().splitlines()
            )
            for name, wanted in sums.items():
                if hashlib.file_digest(archive.extractfile(name), "sha256").hexdigest() != wanted:
                    raise BackupError(f"{path}: {name}: its sum differs; an earlier time")
            return json.load(archive.extractfile("meta.json"))["Index"]
    except (tarfile.TarError, OSError, KeyError, ValueError, EOFError, AttributeError) as error:
        raise BackupError(f"{path}: is not a snapshot of the vault ({error}); an earlier time") from error


def discard():
    """Stop and remove the restored copy. Asked by root."""
    with _alone():
        _remove()
        shutil.rmtree(RUN / "keys", ignore_errors=True)


def _remove():
    subprocess.run(["systemctl", "stop", UNIT], check=False, capture_output=True)
    subprocess.run(["systemctl", "reset-failed", UNIT], check=False, capture_output=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(SCRATCH)
