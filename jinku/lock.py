# SPDX-License-Identifier: Apache-2.0
"""One changing verb at a time per environment; the second is told who holds it."""

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from jinku import clock
from jinku.places import Places


class LockedError(Exception):
    """Another process is changing the environment; the text names it."""


def user() -> str:
    """The person behind this process: the one who called sudo, else the login name, else the user id."""
    if os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@contextmanager
def hold(places: Places, verb: str, zone: str = "UTC") -> Iterator[None]:
    """Hold the environment while the block runs.

    The kernel releases the lock when its holder dies, however it dies, so there is no stale lock to remove.
    :param zone: in which the start of another holder is told.
    :raises LockedError: naming the holder's process, user, verb and start, without waiting.
    """
    places.make()
    note = places.state / "lock.json"
    lock = FileLock(places.state / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            holder = json.loads(note.read_text())
            since = clock.told(str(holder["since"]), zone)
            who = f"`jinku {holder['verb']}` by {holder['user']}, process {holder['pid']}, since {since}"
        except (OSError, ValueError, KeyError):  # it took the lock a moment ago and has not yet written its note
            who = "another jinku process"
        raise LockedError(f"{places.name}: lock: is held by {who}; wait for it to end, or end it") from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        note.write_text(json.dumps({"pid": os.getpid(), "user": user(), "since": since, "verb": verb}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()
