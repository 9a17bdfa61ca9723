# SPDX-License-Identifier: Apache-2.0
"""One control group per guest, in every hierarchy that systemd uses: cgroup v2, or the older layout with v1 beside it."""

import asyncio
import contextlib
from pathlib import Path

from .process import LabError

MOUNT = Path("/sys/fs/cgroup")


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """Roots in which a guest needs a group; the one with v2 comes last. Raises LabError where a guest could not boot."""
    if (mount / "cgroup.controllers").exists():
        return [mount]
    unified = mount / "unified"
    if (unified / "cgroup.controllers").exists() and (mount / "systemd").is_dir():
        return [mount / "systemd", unified]
    raise LabError(f"{mount}: neither cgroup v2 nor systemd's mixed layout; one of them mounted there would be right")


def groups(name: str) -> list[Path]:
    """The folders of a guest's group that exist."""
    return [root / name for root in hierarchies() if (root / name).is_dir()]


def found(prefix: str) -> list[Path]:
    """Groups whose name begins with the prefix, in every hierarchy."""
    return [path for root in hierarchies() for path in sorted(root.glob(f"{prefix}*"))]


def populated(name: str, part: str = "") -> bool:
    """True if a process lives in a guest's group, or in a part of it such as `guest`."""
    events = hierarchies()[-1] / name / part / "cgroup.events"
    try:
        return "populated 1" in events.read_text()
    except OSError:
        return False


def pids(name: str, part: str) -> list[int]:
    """Processes directly in one part of a guest's group."""
    try:
        return [int(line) for line in (hierarchies()[-1] / name / part / "cgroup.procs").read_text().split()]
    except OSError:
        return []


async def kill(name: str) -> None:
    """End every process of a guest at once and remove its groups. Raises LabError if one is still there after 20 s."""
    for _ in range(200):
        with contextlib.suppress(FileNotFoundError):
            (hierarchies()[-1] / name / "cgroup.kill").write_text("1")
        if not populated(name):
            break
        await asyncio.sleep(0.1)
    for group in groups(name):
        await remove(group)


async def remove(group: Path) -> None:
    """Remove an empty group with those below it. Raises LabError if a process stays in it."""
    for _ in range(50):
        folders = [path for path in sorted(group.rglob("*"), reverse=True) if path.is_dir()] if group.is_dir() else []
        try:
            for path in [*folders, group]:
                with contextlib.suppress(FileNotFoundError):
                    path.rmdir()
        except OSError:
            await asyncio.sleep(0.1)  # the kernel lets go of a dead process a little later
            continue
        return
    raise LabError(f"{group}: a process in it does not end")
