# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of the `tree` action that runs on the host; see plugins/action/tree.py."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import shutil
import stat
import syslog
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from host_task import HostTask

#: What runs have changed since hardening/integrity last settled, a path a line; JINKU_CHANGED is for tests.
CHANGED = os.environ.get("JINKU_CHANGED", "/var/lib/jinku/changed")


class RefusedError(Exception):
    """The tree cannot be shipped; nothing was changed, or what was changed has been put back."""


@dataclass(frozen=True)
class Found:
    """What lies at a path: kind is file, directory, link, absent or other; content is a file's bytes or a link's target."""

    kind: str
    content: bytes = b""
    uid: int = -1
    gid: int = -1
    mode: int = -1

    @classmethod
    def at(cls, path: str) -> Found:
        """Look at a path without following a link."""
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return cls("absent")
        attributes = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
        if stat.S_ISLNK(info.st_mode):
            return cls("link", os.readlink(path).encode())
        if stat.S_ISDIR(info.st_mode):
            return cls("directory", b"", *attributes)
        if not stat.S_ISREG(info.st_mode):
            return cls("other", b"", *attributes)
        with open(path, "rb") as stream:
            return cls("file", stream.read(), *attributes)

    def attributes(self) -> str:
        """Return owner, group and mode as a diff shows them."""
        if self.uid == -1 and self.mode == -1:
            return f"{self.kind}\n"
        return f"{self.kind} {name_of(self.uid, pwd.getpwuid)}:{name_of(self.gid, grp.getgrgid)} {self.mode:04o}\n"

    def text(self) -> str:
        """Return the content as a diff shows it; never a key that a host has to lose."""
        if b"PRIVATE KEY" in self.content:
            return "(a private key)\n"
        if b"\0" in self.content:
            return f"(binary, {len(self.content)} bytes)\n"
        return self.content.decode("utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class Change:
    """One path that has to change: from what was found to what is wanted."""

    path: str
    before: Found
    after: Found
    validate: str | None = None

    def diff(self) -> list[dict[str, str]]:
        """Return the change as Ansible's callbacks print it."""
        shown = []
        before, after = self.before.attributes(), self.after.attributes()
        if self.before.content != self.after.content:
            names = {
                "before_header": f"{self.path} ({before.strip()})",
                "after_header": f"{self.path} ({after.strip()})",
            }
            shown.append({**names, "before": self.before.text(), "after": self.after.text()})
        elif before != after:
            names = {"before_header": self.path, "after_header": self.path}
            shown.append({**names, "before": before, "after": after})
        return shown


def name_of(number: int, look_up: Any) -> str:
    """Return the account or group name of an id; the number itself where there is none, `?` where it does not exist yet."""
    if number == -1:
        return "?"
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def identity(entry: dict[str, Any], check_mode: bool) -> tuple[int, int]:
    """Return uid and gid of an entry; -1 in check mode for accounts that a package would have brought."""
    look_ups: tuple[tuple[str, Callable[[str], int]], ...] = (
        ("owner", lambda name: pwd.getpwnam(name).pw_uid),
        ("group", lambda name: grp.getgrnam(name).gr_gid),
    )
    ids = []
    for kind, look_up in look_ups:
        try:
            ids.append(look_up(entry[kind]))
        except KeyError:
            if not check_mode:
                raise RefusedError(
                    f"{entry['path']}: {kind}: {entry[kind]!r} does not exist on this host; create it first"
                ) from None
            ids.append(-1)
    return ids[0], ids[1]


def wanted(entry: dict[str, Any], check_mode: bool) -> Found:
    """Return what an entry asks for."""
    state = entry["state"]
    if state == "absent":
        return Found("absent")
    if state == "link":
        return Found("link", entry["target"].encode())
    uid, gid = identity(entry, check_mode)
    content = base64.b64decode(entry["content"]) if state == "file" else b""
    return Found(state, content, uid, gid, int(entry["mode"], 8))


def changes_for(entries: list[dict[str, Any]], check_mode: bool) -> list[Change]:
    """Compare every entry with the host and return what has to change, parents before children."""
    named = {entry["path"] for entry in entries if entry["state"] != "absent"}
    changes = []
    for entry in entries:
        path, before, after = entry["path"], Found.at(entry["path"]), wanted(entry, check_mode)
        if before.kind == "directory" and after.kind in ("file", "link"):
            raise RefusedError(f"{path}: is a directory on this host; remove it, or name another path")
        if before != after:
            changes.append(Change(path, before, after, entry.get("validate")))
        if entry.get("purge") and before.kind == "directory":
            for name in sorted(os.listdir(path)):
                inside = os.path.join(path, name)
                if not any(one == inside or one.startswith(inside + "/") for one in named):
                    changes.append(Change(inside, Found.at(inside), Found("absent")))
    return changes


def write(path: str, content: bytes, like: Found) -> None:
    """Write one file with its attributes beside its place, flush it, and rename it into place."""
    handle, beside = tempfile.mkstemp(prefix=".jinku-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(stream.fileno(), like.uid, like.gid)
            os.fchmod(stream.fileno(), like.mode)
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def become(path: str, state: Found) -> None:
    """Make a path what `state` says; directories are never removed here."""
    if state.kind != "absent":
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if state.kind == "file":
        write(path, state.content, state)
    elif state.kind == "link":
        beside = os.path.join(os.path.dirname(path), f".jinku-{os.getpid()}-{os.path.basename(path)}")
        os.symlink(state.content, beside)
        os.replace(beside, path)
    elif state.kind == "directory":
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            os.unlink(path)
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chown(path, state.uid, state.gid)
        os.chmod(path, state.mode)
    elif os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
        os.unlink(path)


def flush(paths: list[str]) -> None:
    """Make the renames in these paths' folders durable."""
    for folder in sorted({os.path.dirname(path) for path in paths}):
        if os.path.isdir(folder):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def accepted(task: HostTask, command: str, place: str | None, about: str) -> None:
    """Run a validation; raises RefusedError with its words when it fails."""
    ready = command.replace("%s", place) if place is not None else command
    if task.check_mode and not shutil.which(ready.split()[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
        task.warn(f"{about}: not validated, {ready.split()[0]} is not installed yet")
        return
    code, out, err = task.run_command(ready)
    if code != 0:
        said = (err or out).strip()
        raise RefusedError(
            f"{about}: refused by `{command}` (exit {code}): {said}; nothing was changed, mend the source"
        )


def stage(task: HostTask, entries: list[dict[str, Any]], changes: list[Change]) -> None:
    """Lay the tree out in a folder of its own and let the validations judge it there."""
    whole = task.params["validate"]
    judged = {change.path: change.validate for change in changes if change.validate and change.after.kind == "file"}
    if not judged and not (whole and "%s" in whole):
        return
    folder = tempfile.mkdtemp(prefix="jinku-tree-")
    try:
        for entry in entries:
            if entry["state"] == "file" and (entry["path"] in judged or whole):
                uid, gid = identity(entry, task.check_mode)
                become(
                    folder + entry["path"],
                    Found("file", base64.b64decode(entry["content"]), uid, gid, int(entry["mode"], 8)),
                )
        for path, command in judged.items():
            accepted(task, command, folder + path, path)
        if whole and "%s" in whole:
            accepted(task, whole, folder, "the tree")
    finally:
        shutil.rmtree(folder)


def apply(task: HostTask, changes: list[Change]) -> None:
    """Make all changes, or none: whatever was done is put back when a write or the validation in place fails."""
    done: list[Change] = []
    try:
        for change in changes:
            done.append(change)
            become(change.path, change.after)
        flush([change.path for change in changes])
        whole = task.params["validate"]
        if whole and "%s" not in whole:
            accepted(task, whole, None, "the tree")
    except (OSError, RefusedError) as error:
        for change in reversed(done):
            become(change.path, change.before)
            if change.before.kind == "absent" and change.after.kind == "directory" and not os.listdir(change.path):
                os.rmdir(change.path)
        raise RefusedError(str(error)) from error
    for change in changes:
        if change.before.kind == "directory" and change.after.kind == "absent":
            shutil.rmtree(change.path)


def mark(paths: list[str]) -> bool:
    """Leave word of what Jinku itself changes on the host, where hardening/integrity looks; False without its folder."""
    if not os.path.isdir(os.path.dirname(CHANGED)):
        return False
    with open(CHANGED, "a", encoding="utf-8") as stream:
        stream.writelines(f"{path}\n" for path in paths)
    return True


def unsettled(entries: list[dict[str, Any]]) -> list[str]:
    """Return the paths of this tree that an earlier run changed without coming to its end.

    A run that fails or is killed loses its handlers: the files are new, and the service still has the old ones. Whoever
    tells them as changed again has the handlers run. The last role of a whole run, hardening/integrity, empties the list.
    """
    try:
        with open(CHANGED, encoding="utf-8") as stream:
            noted = list(dict.fromkeys(line.rstrip("\n") for line in stream))
    except OSError:
        return []
    own = {entry["path"] for entry in entries}
    purged = tuple(entry["path"] + "/" for entry in entries if entry.get("purge"))
    return [path for path in noted if path in own or path.startswith(purged)]


def main(task: HostTask) -> None:
    """Compare, validate, write; params: entries (paths with contents and attributes), validate (a command for the whole tree)."""
    entries = task.params["entries"]
    # The contents of the files stay out of the host's journal.
    syslog.openlog("jinku-tree")
    syslog.syslog("Ships " + " ".join(entry["path"] for entry in entries))
    earlier = unsettled(entries)
    try:
        changes = changes_for(entries, task.check_mode)
        if changes:
            stage(task, entries, changes)
        if changes and not task.check_mode:
            paths = [change.path for change in changes]
            noted = mark(paths)  # before: a run that is killed in between must not go unnoticed
            apply(task, changes)
            if not noted:
                mark(paths)
    except (OSError, RefusedError) as error:
        task.fail(str(error))
    told = list(dict.fromkeys([change.path for change in changes] + earlier))
    result: dict[str, Any] = {"changed": bool(told), "paths_changed": told}
    if task.diff:
        result["diff"] = [shown for change in changes for shown in change.diff()]
    task.end(**result)
